# SPDX-License-Identifier: Apache-2.0
"""Detectron2's own detector from a dynamic one's weights, shared by the tests."""

from detectron2.modeling import GeneralizedRCNN
from detectron2.modeling.backbone import FPN
from detectron2.modeling.backbone.fpn import LastLevelMaxPool
from detectron2.modeling.backbone.resnet import ResNet
from torch import nn

STAGES = ["res2", "res3", "res4", "res5"]


def stock_detector(model: nn.Module, stages: list[nn.Sequential] | None = None) -> GeneralizedRCNN:
    """With the given stages; None: backbone 1's."""
    bottom_up = model.backbone.bottom_up1
    stages = stages or [getattr(bottom_up, name) for name in STAGES]
    resnet = ResNet(bottom_up.stem, [list(s) for s in stages], out_features=STAGES)
    fpn = FPN(resnet, STAGES, 16, top_block=LastLevelMaxPool())
    fpn.load_state_dict(model.neck.state_dict(), strict=False)
    return GeneralizedRCNN(
        backbone=fpn,
        proposal_generator=model.proposal_generator,
        roi_heads=model.roi_heads,
        pixel_mean=model.pixel_mean.flatten().tolist(),
        pixel_std=model.pixel_std.flatten().tolist(),
        input_format="BGR",
    ).eval()
