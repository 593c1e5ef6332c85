# SPDX-License-Identifier: Apache-2.0
"""Toy detectors with and without an optimised copy, and their results, shared by the tests."""

import torch
from detectron2.structures import Instances
from torch import nn

from tests.support.toy import toy_model

MASK = ("MODEL.MASK_ON", True, "MODEL.ROI_MASK_HEAD.CONV_DIM", 8)
STATIC = (
    *("MODEL.META_ARCHITECTURE", "GeneralizedRCNN"),
    *("MODEL.BACKBONE.NAME", "build_resnet_fpn_backbone"),
    *("MODEL.RESNETS.RES2_OUT_CHANNELS", 64),
)


def decided(model: nn.Module) -> nn.Module:
    """With connections and predictors that make a difference, in evaluation mode."""
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if any(part in name for part in ("connections", "predictor", "anchor_deltas")):
            nn.init.normal_(parameter, std=0.1)
    return model.eval()


def detector(*overrides: object, optimize: bool = False) -> nn.Module:
    """The same weights, optimised or not."""
    return decided(toy_model("MODEL.INFERENCE.OPTIMIZE", optimize, *overrides))


def raw(model: nn.Module, inputs: list[dict]) -> list[Instances]:
    """Detections with masks as probabilities, not yet as pixels."""
    with torch.no_grad():
        return model.inference(inputs, do_postprocess=False)


def assert_same(ours: Instances, theirs: Instances) -> None:
    """The same detections to rounding."""
    assert len(ours) == len(theirs)
    assert ours.get_fields().keys() == theirs.get_fields().keys()
    for name, expected in theirs.get_fields().items():
        found = ours.get(name)
        if name == "pred_boxes":
            found, expected = found.tensor, expected.tensor
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
