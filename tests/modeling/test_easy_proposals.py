# SPDX-License-Identifier: Apache-2.0
"""Fewer proposals on the easy route: routed batches, exits, cost, calibrations, optimised copy."""

from collections.abc import Callable

import pytest
import torch
from detectron2.structures import Instances
from torch import nn

from dynamicdet_d2.evaluation.cost import RouteCost, count_flops
from dynamicdet_d2.evaluation.latency import measure_routes
from dynamicdet_d2.modeling.given import best_proposals
from dynamicdet_d2.operating_point import fingerprint
from tests.support.optimized import assert_same, decided
from tests.support.toy import dense_model, toy_cfg, toy_inputs, toy_model
from tests.support.toy_yolo import dynamic_yolo

KEY = "MODEL.DYNAMIC.EASY_PROPOSALS"
FEW = 3
LOW = ("MODEL.RETINANET.SCORE_THRESH_TEST", 0.0, "MODEL.FCOS.SCORE_THRESH_TEST", 0.0)


def rcnn(*keys: object) -> nn.Module:
    return decided(toy_model("MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.0, *keys))


def looking_rcnn(*keys: object) -> nn.Module:
    """Whose router sees proposals, so that each route has a pass of its own."""
    return rcnn("MODEL.ROUTER.INPUTS", ["features", "rpn"], *keys)


def retinanet(*keys: object) -> nn.Module:
    return dense_model("RetinaNet", *LOW, *keys)


def fcos(*keys: object) -> nn.Module:
    return dense_model("FCOS", *LOW, *keys)


# What limits the candidates of all images in each kind.
KINDS = {
    rcnn: "MODEL.RPN.POST_NMS_TOPK_TEST",
    retinanet: "MODEL.RETINANET.TOPK_CANDIDATES_TEST",
    fcos: "MODEL.FCOS.TOPK_CANDIDATES_TEST",
    dynamic_yolo: "MODEL.YOLO.TOPK_CANDIDATES_TEST",
}


def middle(model: nn.Module, inputs: list[dict]) -> float:
    return sorted(model.difficulties(inputs))[len(inputs) // 2 - 1]


@pytest.mark.parametrize("kind", [*KINDS, looking_rcnn], ids=lambda kind: kind.__name__)
@torch.no_grad()
def test_a_routed_batch_is_what_the_exits_say(kind: Callable) -> None:
    model, inputs = kind(KEY, FEW), toy_inputs(4)
    model.threshold = middle(model, inputs)
    exits, routed = model.exits(inputs), model(inputs)
    assert {output["route"] for output in routed} == {"easy", "hard"}
    for output, both in zip(routed, exits, strict=True):
        expected = both["detector2" if output["route"] == "hard" else "detector1"]
        assert len(expected)
        assert_same(output["instances"], expected)


@pytest.mark.parametrize("merging", [False, True], ids=["one_exit", "merged"])
@pytest.mark.parametrize("kind", [*KINDS, looking_rcnn], ids=lambda kind: kind.__name__)
@torch.no_grad()
def test_a_threshold_that_moves_while_a_batch_runs_is_that_of_the_next(
    kind: Callable, merging: bool
) -> None:
    """Another thread may set it; each route is that by which its detections were found."""
    merged = ["MODEL.DYNAMIC.MERGE_EXITS_IOU", 0.6] if merging else []
    model, inputs = kind("MODEL.INFERENCE.OPTIMIZE", False, *merged), toy_inputs(4)
    easy, hard = [model(inputs) for model.threshold in (1.0, 0.0)]
    model.threshold = threshold = middle(model, inputs)

    def move(*_: object) -> None:
        model.threshold = 1.0 - model.threshold if model.threshold in (0.0, 1.0) else 1.0

    parts = [module for module in model.modules() if module is not model]
    hooks = [module.register_forward_hook(move) for module in parts]
    outputs = model(inputs)
    for hook in hooks:
        hook.remove()
    assert model.threshold in (0.0, 1.0)
    for output, first, second in zip(outputs, easy, hard, strict=True):
        is_hard = output["difficulty"] > threshold
        assert output["route"] == ("hard" if is_hard else "easy")
        assert_same(output["instances"], (second if is_hard else first)["instances"])


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@torch.no_grad()
def test_easy_images_alone_keep_fewer(kind: Callable) -> None:
    """As with the heads' own limit for all images; hard ones are as without either."""
    inputs = toy_inputs(2)
    ours, few, all_ = kind(KEY, FEW), kind(KINDS[kind], FEW), kind()
    for found, limited, free in zip(*(m.exits(inputs) for m in (ours, few, all_)), strict=True):
        assert_same(found["detector1"], limited["detector1"])
        assert_same(found["detector2"], free["detector2"])
        assert len(limited["detector1"]) < len(free["detector1"])


def test_a_generator_in_another_order_gives_its_best() -> None:
    found = Instances((9, 9), objectness_logits=torch.tensor([0.0, 3.0, 1.0, 3.0]))
    found.number = torch.arange(4)
    assert best_proposals(found, 3).number.tolist() == [1, 3, 2]
    found.remove("objectness_logits")
    assert best_proposals(found, 3).number.tolist() == [0, 1, 2]


@torch.no_grad()
def test_more_than_there_are_changes_nothing() -> None:
    inputs = toy_inputs(1)
    for kind in KINDS:
        found, free = kind(KEY, 10**5).exits(inputs)[0], kind().exits(inputs)[0]
        assert_same(found["detector1"], free["detector1"])


@torch.no_grad()
def test_the_optimised_copy_follows() -> None:
    inputs = toy_inputs(3)
    plain, fast = rcnn(KEY, FEW), rcnn(KEY, FEW, "MODEL.INFERENCE.OPTIMIZE", True)
    for model in (plain, fast):
        model.threshold = 1.0
    for one, other in zip(fast(inputs), plain(inputs), strict=True):
        assert_same(one["instances"], other["instances"])
    fast.threshold = 0.0
    assert fast.operating_point.easy_proposals == FEW


def test_cost_of_the_easy_route() -> None:
    cost = RouteCost(rcnn(KEY, FEW))
    free = count_flops(rcnn(), 64, 96, num_proposals=50)
    few = count_flops(rcnn(), 64, 96, num_proposals=FEW)
    assert cost.at(64, 96) == {**free, "easy": few["easy"]}
    assert cost.average([(64, 96)] * 2, [False, True]) == (few["easy"] + free["hard"]) / 2e9
    # Another number for hard images leaves that of easy ones, unless it is smaller.
    assert RouteCost(rcnn(KEY, FEW), num_proposals=20).at(64, 96)["easy"] == few["easy"]
    fewer = count_flops(rcnn(), 64, 96, num_proposals=2)
    assert RouteCost(rcnn(KEY, FEW), num_proposals=2).at(64, 96)["easy"] == fewer["easy"]


def test_measuring_latency_keeps_it() -> None:
    model = rcnn(KEY, FEW)
    seen = []
    model.register_forward_pre_hook(lambda m, _: seen.append(m.operating_point.easy_proposals))
    measure_routes(model, [toy_inputs(1)], warmup=0)
    assert seen == [FEW, FEW]
    assert model.operating_point.easy_proposals == FEW


def test_a_calibration_belongs_to_the_number() -> None:
    model = toy_model()
    assert "easy_proposals" not in fingerprint(model, toy_cfg())
    assert fingerprint(model, toy_cfg(KEY, FEW))["easy_proposals"] == FEW
