# SPDX-License-Identifier: Apache-2.0
"""Exits at several limits, from one run, are those of models that were built with each limit."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from detectron2.modeling.roi_heads import MaskRCNNConvUpsampleHead, StandardROIHeads
from detectron2.structures import Instances
from torch import nn

from dynamicdet_d2.modeling.limited_exits import exits_at_limits
from tests.modeling.test_easy_proposals import KEY, KINDS, looking_rcnn, rcnn
from tests.support.optimized import MASK
from tests.support.toy import toy_inputs

LIMITS = (0, 3, 12)


def fast_rcnn(*keys: object) -> nn.Module:
    return rcnn("MODEL.INFERENCE.OPTIMIZE", True, *keys)


def mask_rcnn(*keys: object) -> nn.Module:
    return rcnn(*MASK, *keys)


def seeing_rcnn(*keys: object) -> nn.Module:
    """Whose router sees detections, so that difficulties depend on the limit."""
    return rcnn("MODEL.ROUTER.INPUTS", ["features", "detections"], *keys)


def own_heads_rcnn(*keys: object) -> nn.Module:
    return rcnn("MODEL.COMPOSITE.SHARE_HEADS", False, *keys)


@pytest.mark.parametrize(
    "kind",
    [*KINDS, looking_rcnn, seeing_rcnn, fast_rcnn, mask_rcnn, own_heads_rcnn],
    ids=lambda kind: kind.__name__,
)
@torch.no_grad()
def test_each_limit_is_as_built_with_it(kind: Callable) -> None:
    inputs, model = toy_inputs(2), kind(KEY, 7)
    found = exits_at_limits(model, inputs, LIMITS)
    assert model.operating_point.easy_proposals == 7  # is as it was
    lengths, difficulties = set(), set()
    for place, limit in enumerate(LIMITS):
        for exits, expected in zip(found, kind(KEY, limit).exits(inputs), strict=True):
            assert exits.difficulties[place] == expected["difficulty"]
            same(exits.easy[place], expected["detector1"])
            same(exits.hard[0], expected["detector2"])
            lengths.add(len(exits.easy[place]))
            difficulties.add(exits.difficulties[place])
    assert len(lengths) > 1
    assert (len(difficulties) > len(inputs)) == (kind is seeing_rcnn)


def same(ours: Instances, theirs: Instances) -> None:
    """Bit for bit, without masks."""
    assert not ours.has("pred_masks")
    assert torch.equal(ours.pred_boxes.tensor, theirs.pred_boxes.tensor)
    assert torch.equal(ours.scores, theirs.scores)
    assert torch.equal(ours.pred_classes, theirs.pred_classes)


def rescored(found: list[Instances]) -> list[Instances]:
    """As where masks are scored."""
    for each in found:
        each.scores = each.scores * each.pred_masks.flatten(1).mean(1)
    return found


class Rescored(StandardROIHeads):
    def forward_with_given_boxes(self, features: Any, instances: list[Instances]) -> Any:
        return rescored(super().forward_with_given_boxes(features, instances))


class RescoringMasks(MaskRCNNConvUpsampleHead):
    def forward(self, x: Any, instances: list[Instances]) -> Any:
        return rescored(super().forward(x, instances))


@pytest.mark.parametrize(("name", "kind"), [("", Rescored), (".mask_head", RescoringMasks)])
@torch.no_grad()
def test_masks_that_scores_depend_on_are_computed(name: str, kind: type) -> None:
    model, inputs = mask_rcnn(), toy_inputs(1)
    before = model.exits(inputs)[0]["detector1"].scores
    model.get_submodule("roi_heads" + name).__class__ = kind
    expected = model.exits(inputs)[0]
    found = exits_at_limits(model, inputs, [0])[0]
    assert torch.equal(found.easy[0].scores, expected["detector1"].scores)
    assert torch.equal(found.hard[0].scores, expected["detector2"].scores)
    assert not torch.equal(found.easy[0].scores, before)


@torch.no_grad()
def test_masks_that_a_hook_may_score_are_computed() -> None:
    model, inputs = mask_rcnn(), toy_inputs(1)
    model.roi_heads.mask_head.register_forward_hook(lambda *given: rescored(given[-1]))
    found = exits_at_limits(model, inputs, [0])[0]
    assert torch.equal(found.easy[0].scores, model.exits(inputs)[0]["detector1"].scores)
    assert found.easy[0].has("pred_masks")


@torch.no_grad()
def test_masks_come_back() -> None:
    model, inputs = mask_rcnn(), toy_inputs(1)
    exits_at_limits(model, inputs, LIMITS)
    assert model.exits(inputs)[0]["detector1"].has("pred_masks")
