# SPDX-License-Identifier: Apache-2.0
"""Tiny YOLOs, shared by the tests."""

import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.modeling import build_model
from torch import nn

from dynamicdet_d2 import add_dynamicdet_config


def yolo_cfg(*overrides: object) -> CfgNode:
    """YOLOv7 with a sixteenth of its channels and three classes, on the CPU."""
    cfg = get_cfg()
    add_dynamicdet_config(cfg)
    cfg.MODEL.META_ARCHITECTURE = "YOLOv7"
    cfg.MODEL.BACKBONE.NAME = "build_elan_backbone"
    cfg.MODEL.BACKBONE.FREEZE_AT = 0
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.WEIGHTS = ""
    cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD = [0.0, 0.0, 0.0], [255.0, 255.0, 255.0]
    cfg.MODEL.YOLO.WIDTH = 1 / 16
    cfg.MODEL.YOLO.NUM_CLASSES = 3
    cfg.INPUT.FORMAT = "RGB"
    cfg.TEST.DETECTIONS_PER_IMAGE = 300
    cfg.merge_from_list(list(overrides))
    return cfg


DYNAMIC = (
    *("MODEL.META_ARCHITECTURE", "DynamicYOLO"),
    *("MODEL.BACKBONE.NAME", "build_composite_elan_backbone"),
)
"""What makes a config of a YOLO one of a dynamic YOLO."""


def yolo_model(*overrides: object, seed: int = 0) -> nn.Module:
    """In evaluation mode, with statistics and vectors that are no longer at their start."""
    torch.manual_seed(seed)
    return unsettled(build_model(yolo_cfg(*overrides))).eval()


def dynamic_yolo(*overrides: object, seed: int = 0) -> nn.Module:
    """As ``yolo_model``, with two detectors, whose every prediction is a detection."""
    return yolo_model(*DYNAMIC, "MODEL.YOLO.SCORE_THRESH_TEST", 0.0, *overrides, seed=seed)


def unsettled(model: nn.Module) -> nn.Module:
    """With other statistics and affines of its norms, in place."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
            nn.init.uniform_(module.running_var, 0.1, 0.3)
            nn.init.uniform_(module.weight, 0.5, 1.0)
            nn.init.uniform_(module.bias, -0.2, 0.2)
    return model
