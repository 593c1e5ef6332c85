# SPDX-License-Identifier: Apache-2.0
"""Exits at several limits, from one run, are those of models that were built with each limit."""

from collections.abc import Callable

import pytest
import torch
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


@torch.no_grad()
def test_masks_come_back() -> None:
    model, inputs = mask_rcnn(), toy_inputs(1)
    exits_at_limits(model, inputs, LIMITS)
    assert model.exits(inputs)[0]["detector1"].has("pred_masks")
