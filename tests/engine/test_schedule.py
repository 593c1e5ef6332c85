# SPDX-License-Identifier: Apache-2.0
"""Learning rates and momentum at given steps, and which parameters decay."""

import math

import pytest
import torch
from detectron2.config import CfgNode
from detectron2.layers import Conv2d, CycleBatchNormList
from detectron2.solver import LRMultiplier, build_lr_scheduler
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from dynamicdet_d2.engine.optimizer import build_detectors_optimizer
from dynamicdet_d2.engine.schedule import Warmups, build_schedule
from tests.support.toy import toy_cfg


class Net(nn.Module):
    """A weight of each kind."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = Conv2d(3, 4, 1, norm=nn.BatchNorm2d(4))
        self.out = nn.Linear(4, 2)
        self.implicit = nn.Parameter(torch.zeros(1, 4, 1, 1))
        self.relative_position_bias_table = nn.Parameter(torch.zeros(4, 2))


def config(*overrides: object) -> CfgNode:
    keys = ("SOLVER.BASE_LR", 0.1, "SOLVER.MAX_ITER", 100, "SOLVER.WARMUP_ITERS", 10)
    steps = ("SOLVER.STEPS", (50,), "SOLVER.GAMMA", 0.1, "SOLVER.WARMUP_FACTOR", 0.0)
    return toy_cfg(*keys, *steps, *overrides)


def parts(cfg: CfgNode) -> tuple[Net, Optimizer, LRScheduler]:
    net = Net()
    optimizer = build_detectors_optimizer(cfg, net)
    return net, optimizer, build_schedule(cfg, optimizer)


@pytest.mark.parametrize(("steps", "says"), [(99, False), (100, True), (1000, True)])
def test_a_warm_up_that_does_not_end_is_said(
    caplog: pytest.LogCaptureFixture, steps: int, says: bool
) -> None:
    parts(config("SOLVER.WARMUP_ITERS", steps))
    assert ("SOLVER.BASE_LR is never reached" in caplog.text) == says


def group_of(optimizer: Optimizer, parameter: nn.Parameter) -> dict:
    (found,) = [g for g in optimizer.param_groups if any(p is parameter for p in g["params"])]
    return found


def rates(cfg: CfgNode, *steps: int) -> list[tuple[float, float, float]]:
    """Rate of a weight, rate of a bias, momentum, at each of the steps."""
    net, optimizer, schedule = parts(cfg)
    found = []
    for step in range(max(steps) + 1):
        if step:
            optimizer.step()
            schedule.step()
        if step in steps:
            weight, bias = (group_of(optimizer, p) for p in (net.conv.weight, net.out.bias))
            found.append((weight["lr"], bias["lr"], weight["momentum"]))
    return found


def close(found: list[tuple], expected: list[tuple]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one == pytest.approx(other, rel=1e-9, abs=1e-12)


COSINE = ("SOLVER.LR_SCHEDULER_NAME", "WarmupCosineLR", "SOLVER.BASE_LR_END", 0.01)


def cosine(step: int) -> float:
    return 0.01 + 0.5 * (0.1 - 0.01) * (1 + math.cos(math.pi * step / 100))


def test_a_schedule_that_there_is_not_is_named() -> None:
    with pytest.raises(ValueError) as refused:
        rates(config("SOLVER.LR_SCHEDULER_NAME", "WarmupCosine"), 0)
    assert str(refused.value) == (
        "SOLVER.LR_SCHEDULER_NAME is 'WarmupCosine', which Detectron2 does not know; there are "
        "WarmupMultiStepLR and WarmupCosineLR. The nearest is 'WarmupCosineLR'."
    )


def test_a_cosine_that_ends_at_a_fraction() -> None:
    """From 0 to what it is at step 10, then down to a tenth; 0.055 half way."""
    found = rates(config(*COSINE), 0, 5, 10, 50, 100)
    expected = [0, cosine(10) / 2, cosine(10), 0.055, 0.01]
    close(found, [(rate, rate, 0.9) for rate in expected])


def test_biases_come_down_and_momentum_goes_up() -> None:
    keys = ("SOLVER.WARMUP_BIAS_LR", 0.5, "SOLVER.WARMUP_MOMENTUM", 0.8)
    found = rates(config(*COSINE, *keys, "SOLVER.MOMENTUM", 0.9), 0, 5, 9, 10, 50)
    top = cosine(10)
    close(
        found,
        [
            (0, 0.5, 0.8),
            (top / 2, (0.5 + top) / 2, 0.85),
            (0.9 * top, 0.05 + 0.9 * top, 0.89),
            (top, top, 0.9),
            (0.055, 0.055, 0.9),
        ],
    )


def test_warm_ups_of_a_schedule_of_steps() -> None:
    keys = ("SOLVER.WARMUP_BIAS_LR", 0.5)
    found = rates(config(*keys), 0, 5, 10, 49, 50)
    close(found, [(0, 0.5, 0.9), (0.05, 0.3, 0.9), *[(0.1, 0.1, 0.9)] * 2, (0.01, 0.01, 0.9)])


def test_without_a_warm_up_nothing_warms_up() -> None:
    keys = ("SOLVER.WARMUP_BIAS_LR", 0.5, "SOLVER.WARMUP_MOMENTUM", 0.8, "SOLVER.WARMUP_ITERS", 0)
    close(rates(config(*keys), 0, 1), [(0.1, 0.1, 0.9)] * 2)


def test_a_warm_up_longer_than_the_training_ends_with_it() -> None:
    keys = ("SOLVER.WARMUP_ITERS", 200, "SOLVER.WARMUP_MOMENTUM", 0.7, "SOLVER.STEPS", ())
    (rate, _, momentum) = rates(config(*keys), 100)[0]
    assert rate == pytest.approx(0.1)
    assert momentum == pytest.approx(0.8)


@pytest.mark.parametrize("name", ["WarmupMultiStepLR", "WarmupCosineLR"])
def test_without_our_keys_the_schedule_is_detectron2s(name: str) -> None:
    cfg = config("SOLVER.LR_SCHEDULER_NAME", name)
    ours, theirs = rates(cfg, 0, 5, 10, 50, 99), []
    assert type(parts(cfg)[2]) is LRMultiplier
    optimizer = torch.optim.SGD(Net().parameters(), lr=0.1)
    schedule = build_lr_scheduler(cfg, optimizer)
    for step in range(100):
        if step in (0, 5, 10, 50, 99):
            theirs.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert [rate for rate, _, _ in ours] == theirs


@pytest.mark.parametrize("name", ["WarmupMultiStepLR", "WarmupCosineLR"])
def test_our_schedules_are_detectron2s_where_they_meet(name: str) -> None:
    """A momentum that begins where it ends is asked for, and changes nothing."""
    keys = ("SOLVER.LR_SCHEDULER_NAME", name)
    ours = config(*keys, "SOLVER.WARMUP_MOMENTUM", 0.9)
    assert type(parts(ours)[2]) is Warmups
    steps = (0, 3, 9, 10, 49, 50, 99)
    close(rates(ours, *steps), rates(config(*keys), *steps))


def test_a_schedule_resumes() -> None:
    cfg = config(*COSINE, "SOLVER.WARMUP_BIAS_LR", 0.5, "SOLVER.WARMUP_MOMENTUM", 0.8)
    _, optimizer, schedule = parts(cfg)
    for _ in range(7):
        optimizer.step()
        schedule.step()
    _, resumed, other = parts(cfg)
    resumed.load_state_dict(optimizer.state_dict())
    other.load_state_dict(schedule.state_dict())
    for _ in range(10):
        for one, two in zip(optimizer.param_groups, resumed.param_groups, strict=True):
            assert (one["lr"], one["momentum"]) == (two["lr"], two["momentum"])
        for step in (optimizer, schedule, resumed, other):
            step.step()


# Which parameters decay


@pytest.mark.parametrize("optimizer", ["SGD", "ADAMW"])
def test_weights_of_maps_alone_decay(optimizer: str) -> None:
    keys = ("SOLVER.WEIGHT_DECAY", 0.01, "SOLVER.WEIGHT_DECAY_NORM", 0.0)
    cfg = config(*keys, "SOLVER.WEIGHT_DECAY_BIAS", 0.0, "SOLVER.OPTIMIZER", optimizer)
    net = Net()
    found = build_detectors_optimizer(cfg, net)
    decay = {name: group_of(found, p)["weight_decay"] for name, p in net.named_parameters()}
    assert {name for name, value in decay.items() if value} == {"conv.weight", "out.weight"}
    assert set(decay.values()) == {0, 0.01}


@pytest.mark.parametrize(("of_biases", "decays"), [(None, (0.0, 0.0)), (0.02, (0.0, 0.02))])
def test_norms_that_share_an_affine_are_norms(
    of_biases: float | None, decays: tuple[float, float]
) -> None:
    """As the batch norms of RetinaNet's levels; the layers beside them decay as ever."""
    keys = ("SOLVER.WEIGHT_DECAY", 0.01, "SOLVER.WEIGHT_DECAY_NORM", 0.0)
    cfg = config(*keys, "SOLVER.WEIGHT_DECAY_BIAS", of_biases)
    net = nn.Sequential(nn.Linear(4, 4), CycleBatchNormList(2, num_features=4))
    found = build_detectors_optimizer(cfg, net)
    groups = [group_of(found, p) for p in (net[1].weight, net[1].bias)]
    assert tuple(group["weight_decay"] for group in groups) == decays
    assert group_of(found, net[0].weight)["weight_decay"] == 0.01
    assert {group["lr"] for group in groups} == {0.1}
    assert sum(len(group["params"]) for group in found.param_groups) == 4


def test_detectron2s_own_keys_of_biases() -> None:
    keys = ("SOLVER.BIAS_LR_FACTOR", 2.0, "SOLVER.WEIGHT_DECAY", 0.01)
    net = Net()
    group = group_of(build_detectors_optimizer(config(*keys), net), net.out.bias)
    assert (group["lr"], group["weight_decay"]) == (0.2, 0.01)


def test_nesterov_and_clipping_are_followed() -> None:
    """A gradient of 3 is cut to 1; with Nesterov's momentum the first step is 1.9 times that."""
    keys = ("SOLVER.NESTEROV", True, "SOLVER.CLIP_GRADIENTS.ENABLED", True)
    cfg = config(*keys, "SOLVER.CLIP_GRADIENTS.CLIP_VALUE", 1.0, "SOLVER.WEIGHT_DECAY", 0.0)
    net = Net()
    optimizer = build_detectors_optimizer(cfg, net)
    before = net.out.weight.detach().clone()
    for parameter in net.parameters():
        parameter.grad = torch.full_like(parameter, 3.0)
    optimizer.step()
    torch.testing.assert_close(net.out.weight, before - 0.1 * 1.9)
