# SPDX-License-Identifier: Apache-2.0
"""Both exits made one: values by hand, properties, routed batches, limits, cost, calibrations."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from dynamicdet_d2.config import check
from dynamicdet_d2.evaluation.cost import RouteCost
from dynamicdet_d2.modeling.exit_merging import ExitMerging, hard_detections
from dynamicdet_d2.modeling.limited_exits import exits_at_limits
from dynamicdet_d2.operating_point import fingerprint
from tests.modeling.test_easy_proposals import KINDS, looking_rcnn, middle, rcnn
from tests.support.optimized import MASK, assert_same
from tests.support.toy import toy_cfg, toy_inputs, toy_model

KEY, LEAST = "MODEL.DYNAMIC.MERGE_EXITS_IOU", 0.6
LIMIT = "MODEL.DYNAMIC.EASY_PROPOSALS"
MERGING = ExitMerging(LEAST, limit=100)


@pytest.mark.parametrize("least_iou", [0, 60, "0.6", float("nan")])
def test_an_overlap_that_is_none(least_iou: Any) -> None:
    with pytest.raises(ValueError, match="^least_iou of ExitMerging"):
        ExitMerging(least_iou, limit=100)


@pytest.mark.parametrize("limit", [0, -1, 1.5, "3"])
def test_a_limit_that_is_none(limit: Any) -> None:
    with pytest.raises(ValueError, match="^limit of ExitMerging"):
        ExitMerging(0.6, limit=limit)


def found(*detections: tuple[list[float], float, int]) -> Instances:
    """Of (box, score, class)."""
    boxes, scores, classes = zip(*detections, strict=True) if detections else ([], [], [])
    return Instances(
        (50, 60),
        pred_boxes=Boxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)),
        scores=torch.tensor(scores, dtype=torch.float32),
        pred_classes=torch.tensor(classes, dtype=torch.long),
    )


def listed(detections: Instances) -> list[tuple]:
    boxes = detections.pred_boxes.tensor.tolist()
    scores, classes = detections.scores.tolist(), detections.pred_classes.tolist()
    return [
        (pytest.approx(box), pytest.approx(score), label)
        for box, score, label in zip(boxes, scores, classes, strict=True)
    ]


def test_what_both_have_found_is_their_mean() -> None:
    merged = MERGING(found(([0, 0, 10, 10], 0.8, 1)), found(([0, 0, 10, 12], 0.4, 1)))
    # IoU 100 / 120; the box is (2 * 10 + 12) / 3 high.
    assert listed(merged) == [([0, 0, 10, 32 / 3], 0.6, 1)]
    assert merged.image_size == (50, 60)
    assert set(merged.get_fields()) == {"pred_boxes", "scores", "pred_classes"}


def test_what_one_has_found_keeps_half_its_score() -> None:
    first = found(([0, 0, 10, 10], 0.8, 1), ([30, 30, 40, 40], 0.5, 2))
    second = found(([0, 0, 10, 10], 0.9, 0), ([30, 30, 40, 50], 0.2, 2))  # other class; IoU 0.5
    assert listed(MERGING(first, second)) == [
        ([0, 0, 10, 10], 0.45, 0),
        ([0, 0, 10, 10], 0.4, 1),
        ([30, 30, 40, 40], 0.25, 2),
        ([30, 30, 40, 50], 0.1, 2),
    ]


def test_the_nearest_ones_are_a_pair() -> None:
    first = found(([0, 0, 10, 10], 0.9, 0), ([0, 0, 10, 9], 0.4, 0))
    second = found(([0, 0, 10, 9], 0.6, 0))
    assert listed(MERGING(first, second)) == [
        ([0, 0, 10, 9], 0.5, 0),
        ([0, 0, 10, 10], 0.45, 0),
    ]


def test_no_more_than_the_limit_and_none_of_nothing() -> None:
    one, none = found(([0, 0, 10, 10], 0.8, 1)), found()
    for merged in (MERGING(one, none), MERGING(none, one)):
        assert listed(merged) == [([0, 0, 10, 10], 0.4, 1)]
    assert len(MERGING(none, none)) == 0
    other = found(([20, 20, 30, 30], 0.9, 1))
    assert listed(ExitMerging(LEAST, limit=1)(one, other)) == [([20, 20, 30, 30], 0.45, 1)]


@pytest.mark.parametrize(
    ("gives", "says"),
    [
        (None, "gives None; each image has Instances."),
        (Instances((50, 60)), "gives Instances without 'pred_boxes'."),
        (
            Instances((5, 6), **found().get_fields()),
            "gives Instances of an image of (5, 6) (height, width), where it is (50, 60) ",
        ),
        (
            Instances(
                (50, 60), **{**found().get_fields(), "scores": torch.zeros(0, dtype=torch.long)}
            ),
            "gives scores of shape (0,) and torch.int64; they must be a tensor (n,) of floats.",
        ),
    ],
)
def test_a_merging_of_ones_own_that_gives_no_detections(gives: Any, says: str) -> None:
    class Own(ExitMerging):
        def __call__(self, first: Instances, second: Instances) -> Any:
            return gives

    with pytest.raises(ValueError) as refused:
        hard_detections(Own(LEAST, limit=100), [found()], [found()])
    assert str(refused.value).startswith(f"Own, the merging of both exits, {says}")


def test_scores_of_zero_are_numbers() -> None:
    nothing = found(([0, 0, 10, 10], 0.0, 1))
    assert listed(MERGING(nothing, nothing)) == [([0, 0, 10, 10], 0.0, 1)]


@st.composite
def sets(draw: st.DrawFn, detector: int = 1) -> Instances:
    """Up to six detections of two classes, at random; no two scores are the same."""
    rng = np.random.default_rng([detector, draw(st.integers(0, 2**32 - 1))])
    count = draw(st.integers(0, 6))
    corners, sides = rng.uniform(0, 12, (count, 2)), rng.uniform(2, 20, (count, 2))
    boxes = np.hstack([corners, corners + sides]).tolist()
    scores, classes = rng.uniform(0.01, 1, count).tolist(), rng.integers(2, size=count).tolist()
    return found(*zip(boxes, scores, classes, strict=True))


@given(first=sets(), second=sets(detector=2))
def test_neither_detector_is_favoured(first: Instances, second: Instances) -> None:
    one, other = MERGING(first, second), MERGING(second, first)
    assert_same(one, other)
    assert float(one.scores.sum()) == pytest.approx(
        float(first.scores.sum() + second.scores.sum()) / 2, abs=1e-5
    )
    assert max(len(first), len(second)) <= len(one) <= len(first) + len(second)
    assert bool((one.scores[:-1] >= one.scores[1:]).all())


@given(own=sets())
def test_two_that_agree_are_as_each(own: Instances) -> None:
    order = own.scores.argsort(descending=True)
    assert_same(MERGING(own, own), own[order])


@pytest.mark.parametrize("kind", [*KINDS, looking_rcnn], ids=lambda kind: kind.__name__)
@torch.no_grad()
def test_a_routed_batch_is_what_the_exits_say(kind: Callable) -> None:
    """One by one too; and easy images are as without."""
    model, plain, inputs = kind(KEY, LEAST), kind(), toy_inputs(4)
    model.threshold = middle(model, inputs)
    exits, routed = model.exits(inputs), model(inputs)
    assert {output["route"] for output in routed} == {"easy", "hard"}
    alone = [model([one])[0] for one in inputs]
    stock = plain.exits(inputs)
    for output, both, single, free in zip(routed, exits, alone, stock, strict=True):
        assert output["route"] == single["route"]
        assert_same(output["instances"], single["instances"])
        assert_same(both["detector1"], free["detector1"])
        expected = both["detector2" if output["route"] == "hard" else "detector1"]
        assert_same(output["instances"], expected)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@torch.no_grad()
def test_batches_of_one_route(kind: Callable) -> None:
    model, inputs = kind(KEY, LEAST), toy_inputs(2)
    for threshold, exit_name in ((0.0, "detector2"), (1.0, "detector1")):
        model.threshold = threshold
        for output, both in zip(model(inputs), model.exits(inputs), strict=True):
            assert_same(output["instances"], both[exit_name])


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@torch.no_grad()
def test_a_hard_image_has_what_both_detectors_alone_say(kind: Callable) -> None:
    model, plain, inputs = kind(KEY, LEAST), kind(), toy_inputs(2)
    model.threshold, found = 0.0, []
    for plain.threshold in (1.0, 0.0):
        found.append(plain.inference(inputs, do_postprocess=False))
    merging = ExitMerging(LEAST, model.exit_merging.limit)
    merged = model.inference(inputs, do_postprocess=False)
    for ours, *both in zip(merged, *found, strict=True):
        assert len(ours)
        assert_same(ours, merging(*both))


@torch.no_grad()
def test_a_merging_of_ones_own_may_change_what_it_is_given() -> None:
    class Halving(ExitMerging):
        def __call__(self, first: Instances, second: Instances) -> Instances:
            first.scores, _ = first.scores / 2, second.scores.mul_(0.5)
            return Instances.cat([first, second])

    model, inputs = next(iter(KINDS))(KEY, LEAST), toy_inputs(2)
    usual = model.exits(inputs)
    model.exit_merging = Halving(LEAST, 100)
    for own, both in zip(model.exits(inputs), usual, strict=True):
        assert_same(own["detector1"], both["detector1"])
        count = len(both["detector1"])
        assert torch.equal(own["detector2"].scores[:count], both["detector1"].scores / 2)


@torch.no_grad()
def test_limits_of_the_easy_exit_change_the_hard_one() -> None:
    # Of larger originals: what is merged is in the network's pixels, whatever was scaled before.
    inputs, limits = [{**x, "height": 640, "width": 960} for x in toy_inputs(2)], (0, 3)
    exits = exits_at_limits(rcnn(KEY, LEAST), inputs, limits)
    for place, limit in enumerate(limits):
        built = rcnn(KEY, LEAST, LIMIT, limit).exits(inputs)
        for ours, expected in zip(exits, built, strict=True):
            assert_same(ours.easy[place], expected["detector1"])
            assert_same(ours.hard[place], expected["detector2"])


@pytest.mark.parametrize("inputs", [["features"], ["features", "detections"]])
def test_a_hard_image_pays_both_tails(inputs: list[str]) -> None:
    router = ("MODEL.ROUTER.INPUTS", inputs)
    cost = RouteCost(rcnn(KEY, LEAST, *router))
    parts, routes = cost.parts(64, 96), cost.at(64, 96)
    tail = sum(parts[name] for name in ("neck", "rpn_head", "box_head"))
    second = parts["connections"] + parts["bottom_up2"]
    assert routes["easy"] == parts["bottom_up1"] + parts["router"] + tail
    assert routes["hard"] == routes["easy"] + second + tail


def test_a_calibration_belongs_to_the_merging() -> None:
    assert fingerprint(toy_model(), toy_cfg(KEY, LEAST))["merge_exits_iou"] == LEAST
    assert "merge_exits_iou" not in fingerprint(toy_model(), toy_cfg())


def test_masks_are_not_merged() -> None:
    with pytest.raises(ValueError, match="merges boxes alone; MODEL.MASK_ON must be False beside"):
        check(toy_cfg(KEY, LEAST, *MASK))


def test_what_keys_say() -> None:
    model: nn.Module = toy_model(KEY, LEAST, "TEST.DETECTIONS_PER_IMAGE", 7)
    assert model.exit_merging == ExitMerging(LEAST, limit=7)
    assert toy_model().exit_merging is None  # the paper
