# SPDX-License-Identifier: Apache-2.0
"""What an export would leave out, since a runner does it by itself."""

from typing import Any

import pytest
from detectron2.modeling.box_regression import Box2BoxTransform, Box2BoxTransformLinear

from dynamicdet_d2.export.by_runner import (
    check_methods,
    check_module,
    check_two_stage,
    check_yolo,
)
from dynamicdet_d2.modeling.yolo.grid import AnchorGrid
from dynamicdet_d2.modeling.yolo.padding import Padding
from tests.support.optimized import MASK
from tests.support.toy import toy_model
from tests.support.toy_yolo import yolo_model


class OwnTransform(Box2BoxTransform):
    def apply_deltas(self, deltas: Any, boxes: Any) -> Any:
        return boxes


def test_what_is_as_written_passes(caplog: pytest.LogCaptureFixture) -> None:
    model = toy_model()
    check_two_stage(model.proposal_generator, model.roi_heads)
    check_methods(model, ("preprocess_image", "no_method_of_it"))
    assert not caplog.messages


def test_a_function_in_the_place_of_a_method() -> None:
    model = toy_model()
    model.roi_heads.box_predictor.inference = lambda *_: None
    says = r"^FastRCNNOutputLayers has inference\(\) of its own, which an export would leave out:"
    with pytest.raises(ValueError, match=says):
        check_two_stage(model.proposal_generator, model.roi_heads)


def test_masks_that_are_made_otherwise() -> None:
    model = toy_model(*MASK)
    model.roi_heads.forward_with_given_boxes = lambda *_: None
    with pytest.raises(ValueError, match=r"^StandardROIHeads has forward_with_given_boxes\(\) of"):
        check_two_stage(model.proposal_generator, model.roi_heads)


class OwnPadding(Padding):
    def batch(self, *given: Any) -> Any:
        return super().batch(*given)


class OwnGrid(AnchorGrid):
    def forward(self, logits: Any) -> Any:
        return super().forward(logits)


def test_a_yolos_padding_and_grid() -> None:
    model = yolo_model()
    check_yolo(model.detections, model.padding)
    with pytest.raises(ValueError, match=r"^OwnPadding has batch\(\) of its own, which an export"):
        check_yolo(model.detections, OwnPadding(8))
    model.detections.grid.__class__ = OwnGrid
    with pytest.raises(ValueError, match=r"^OwnGrid has forward\(\) of its own, which an export"):
        check_yolo(model.detections, model.padding)


def test_a_subclass_inside_a_detector() -> None:
    model = toy_model()
    model.proposal_generator.box2box_transform = OwnTransform((1.0, 1.0, 1.0, 1.0))
    with pytest.raises(ValueError, match=r"^OwnTransform has apply_deltas\(\) of its own"):
        check_two_stage(model.proposal_generator, model.roi_heads)


def test_boxes_that_are_distances() -> None:
    model = toy_model()
    model.roi_heads.box_predictor.box2box_transform = Box2BoxTransformLinear()
    with pytest.raises(
        ValueError, match="^Box2BoxTransformLinear makes boxes of deltas in a way n"
    ):
        check_two_stage(model.proposal_generator, model.roi_heads)


def test_a_hook_is_said(caplog: pytest.LogCaptureFixture) -> None:
    model = toy_model()
    model.proposal_generator.register_forward_hook(lambda *_: None)
    check_module(model.proposal_generator, ("forward",))
    assert caplog.messages == [
        "RPN has a hook, which the export leaves out: a runner does by itself what it does."
    ]
