# SPDX-License-Identifier: Apache-2.0
"""Passes of a program's own: predictions and figures take the same."""

from functools import cached_property

import pytest
import torch
from detectron2.structures import Instances

from dynamicdet_d2.modeling import DynamicRCNN
from dynamicdet_d2.modeling.tail_pass import ProposalPass
from tests.support.optimized import assert_same, detector
from tests.support.toy import toy_inputs


class SecondOfBoth(DynamicRCNN):
    """Whose hard images leave with the mean of both backbones' features."""

    def second_pass(self, seen: ProposalPass, start: torch.Tensor) -> ProposalPass:
        features = self.backbone.second(seen.features, start)
        mean = {name: (level + seen.features[name]) / 2 for name, level in features.items()}
        return self.pass_type(self, 2, seen.images, mean)


class FiveOfAll(ProposalPass):
    @cached_property
    def detections(self) -> list[Instances]:
        return [found[:5] for found in super().detections]


class OfFive(DynamicRCNN):
    pass_type = FiveOfAll


@pytest.mark.parametrize("kind", [SecondOfBoth, OfFive])
@torch.no_grad()
def test_predictions_take_a_kinds_own_passes(kind: type[DynamicRCNN]) -> None:
    """As figures do, which are of the exits."""
    model, inputs = detector("MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.0), toy_inputs(2)
    model.threshold = sum(model.difficulties(inputs)) / 2
    before = model(inputs)
    model.__class__ = kind
    assert not model.shared_tail
    for plain, found, exits in zip(before, model(inputs), model.exits(inputs), strict=True):
        exit_ = {"easy": "detector1", "hard": "detector2"}[found["route"]]
        assert_same(found["instances"], exits[exit_])
        if kind is OfFive:
            assert len(found["instances"]) == 5
        elif found["route"] == "hard":
            assert not torch.equal(found["instances"].scores[:5], plain["instances"].scores[:5])
