# SPDX-License-Identifier: Apache-2.0
"""What the router learns: signs, medians and ties by hand, and a router that learns it."""

from itertools import islice

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from dynamicdet_d2.config import read_config
from dynamicdet_d2.config.checking import problems
from dynamicdet_d2.config.declare import KEYS
from dynamicdet_d2.engine.loss_table import LossTable
from dynamicdet_d2.engine.loss_table.columns import check_columns
from dynamicdet_d2.engine.objectives import OBJECTIVES, Objective, fitted
from dynamicdet_d2.engine.phases.phase import Start, Stream
from dynamicdet_d2.engine.phases.router import RouterPhase
from dynamicdet_d2.engine.trainer import DynamicTrainer
from dynamicdet_d2.modeling.losses import median, router_gain_loss
from tests.support.toy import toy_cfg, toy_model

# L1 - L2 is 0.8, 0.1 and -0.4.
LOSSES = torch.tensor([[0.9, 0.1], [0.3, 0.2], [0.5, 0.9]])


def slopes(name: str, column: Tensor) -> list[float]:
    """Derivative of an objective by the difficulty of each image, all at 0.3."""
    difficulty = torch.full((len(column),), 0.3, requires_grad=True)
    OBJECTIVES[name].fit(column)(difficulty, column).backward()
    return difficulty.grad.tolist()


def test_median_by_hand() -> None:
    assert median(torch.tensor([3.0, 1.0, 2.0])) == 2
    assert median(torch.tensor([4.0, 1.0, 2.0, 9.0])) == 3
    with pytest.raises(ValueError, match="of 0, 0 are not"):
        median(torch.zeros(0))
    with pytest.raises(ValueError, match="of 2, 1 are not"):
        median(torch.tensor([1.0, float("nan")]))


def test_gain_loss_by_hand() -> None:
    # (1 - .25)(.3 - .05) + .25 * .05 = .1875 + .0125.
    loss = router_gain_loss(torch.tensor([0.25]), torch.tensor([0.3]), 0.1)
    assert loss.item() == pytest.approx(0.2)


def test_every_objective_pushes_by_hand() -> None:
    """Down the slope: a negative one raises the difficulty, towards hard."""
    # Gaps 0.8, 0.1, -0.4 of median 0.1: -(0.7, 0, -0.5) / 3.
    assert slopes("loss", LOSSES) == pytest.approx([-0.7 / 3, 0, 0.5 / 3], abs=1e-7)
    # L1 0.9, 0.3, 0.5 of median 0.5; L2 says nothing.
    assert slopes("hardness", LOSSES) == pytest.approx([-0.4 / 3, 0.2 / 3, 0], abs=1e-7)
    # Its ranks 5/6, 1/6, 3/6, which the difficulty 0.3 is to become: 2 (0.3 - rank) / 3.
    expected = [2 * (0.3 - rank) / 3 for rank in (5 / 6, 1 / 6, 3 / 6)]
    assert slopes("hardness_regression", LOSSES) == pytest.approx(expected)
    # Gains -1, 0, 2, 4 of median 1.
    gains = torch.tensor([-1.0, 0.0, 2.0, 4.0])
    assert slopes("gain", gains) == pytest.approx([0.5, 0.25, -0.25, -0.75])
    # Their ranks 1/8, 3/8, 5/8, 7/8 of median 1/2; of two that are equal the middle.
    assert slopes("gain_rank", gains) == pytest.approx([3 / 32, 1 / 32, -1 / 32, -3 / 32])
    tied = torch.tensor([5.0, 1.0, 1.0, 0.0])
    assert slopes("gain_rank", tied) == pytest.approx([-3 / 32, 0, 0, 3 / 32])
    # Cross entropy at 0.3, the mean over two images: -1/0.3 / 2 and 1/0.7 / 2; a tie is left out.
    expected = [-0.5 / 0.3, 0, 0.5 / 0.7]
    assert slopes("ap", torch.tensor([5.0, 0.0, -1.0])) == pytest.approx(expected)


@pytest.mark.parametrize("name", ["loss", "hardness", "gain", "gain_rank"])
def test_images_that_are_all_alike_move_nothing(name: str) -> None:
    column = LOSSES[:1].expand(4, 2) if OBJECTIVES[name].column == "losses" else torch.ones(4)
    assert slopes(name, column) == pytest.approx([0, 0, 0, 0], abs=1e-7)


def test_what_regresses_ranks_an_image_among_those_that_it_was_fitted_to() -> None:
    """L1 of 0.4 lies above one of three, of 0.5 above one and a half, of 2 above all."""
    loss = OBJECTIVES["hardness_regression"].fit(LOSSES)
    for loss1, rank in ((0.4, 1 / 3), (0.5, 0.5), (2.0, 1.0)):
        own = torch.tensor([[loss1, 0.0]])
        assert loss(torch.tensor([rank]), own).item() == pytest.approx(0, abs=1e-12)
        assert loss(torch.tensor([rank - 0.2]), own).item() == pytest.approx(0.04)


@given(st.lists(st.integers(-5, 5).map(float), min_size=1, max_size=9))
def test_at_most_half_of_the_images_are_pushed_either_way(gains: list[float]) -> None:
    found = slopes("gain", torch.tensor(gains))
    middle = median(torch.tensor(gains))
    for gain, slope in zip(gains, found, strict=True):
        assert (slope < 0) <= (gain > middle)
        assert (slope > 0) <= (gain < middle)
    assert max(sum(s < 0 for s in found), sum(s > 0 for s in found)) <= len(gains) / 2


def test_an_objective_of_ones_own_that_forgets_its_return(monkeypatch: pytest.MonkeyPatch) -> None:
    """None would be taken for no objective: the router would learn by another one's loss."""
    monkeypatch.setitem(OBJECTIVES, "own", Objective("losses", lambda losses: None, online=True))
    with pytest.raises(ValueError, match=r"^fit of the objective 'own' returns None; it must "):
        fitted("own", LOSSES)


@pytest.mark.parametrize(
    ("column", "online", "says"),
    [
        ("matched", False, "from the column 'matched', which has"),
        ("gain", True, "'gain' is online"),
    ],
)
def test_columns_that_are_not_of_each_image(column: str, online: bool, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Objective(column, lambda values: F.mse_loss, online=online)


def test_an_input_of_the_router_that_is_called_as_a_column() -> None:
    with pytest.raises(ValueError, match="^An input of the router is registered as 'ap', which"):
        check_columns(["losses"], ["features", "ap"])


def test_a_column_that_there_is_not_is_said_before_the_first_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(OBJECTIVES, "loss", Objective("entropy", lambda x: x, online=False))
    with pytest.raises(ValueError, match=r"^The loss table has no column 'entropy', "):
        RouterPhase(toy_cfg()).check(toy_model())


@pytest.mark.parametrize("name", list(OBJECTIVES))
def test_the_router_learns_every_objective(name: str) -> None:
    """Two images of four should be hard, by whatever the objective looks at."""
    model = toy_model()
    model.requires_grad_(False).router.requires_grad_(True)
    hard = torch.tensor([1.0, 1.0, -1.0, -1.0])
    features = torch.randn(4, model.router.hidden.in_features, generator=torch.Generator())
    losses = torch.stack([2 + hard, torch.ones(4)], dim=1)
    table = LossTable({"features": features, "losses": losses, "ap": 9 * hard, "gain": hard})
    keys = ["SOLVER.ROUTER.BASE_LR", "0.003", "SOLVER.ROUTER.IMS_PER_BATCH", "4"]
    cfg = read_config("configs/quickstart.yaml", ["SOLVER.ROUTER.OBJECTIVE", name, *keys])
    start = Start(model, Stream([], seed=0, step=0), DynamicTrainer, table)
    training = RouterPhase(cfg).build(start)
    for batch in islice(training.loader, 150):
        training.optimizer.zero_grad()
        training.module(batch)["loss_router"].backward()
        training.optimizer.step()
    scores = model.router.difficulty(features).tolist()
    assert min(scores[:2]) > 0.5 > max(scores[2:])


def test_the_key_has_a_range_of_these_names() -> None:
    allowed = KEYS["SOLVER.ROUTER.OBJECTIVE"].range
    assert allowed.must == "be " + ", ".join(map(repr, OBJECTIVES)) + " or 'auto'"


@pytest.mark.parametrize("name", list(OBJECTIVES))
def test_mode_online_is_refused_where_losses_do_not_do(name: str) -> None:
    keys = ["SOLVER.ROUTER.OBJECTIVE", name, "SOLVER.ROUTER.MODE", "online"]
    found = problems(read_config("configs/quickstart.yaml", keys))
    refusal = f"SOLVER.ROUTER.OBJECTIVE '{name}' needs SOLVER.ROUTER.MODE 'cached'; found 'online'."
    assert found == ([] if OBJECTIVES[name].online else [refusal])
