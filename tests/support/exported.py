# SPDX-License-Identifier: Apache-2.0
"""Toy detectors that are exported, shared by the tests."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from torch import nn

from dynamicdet_d2.export import export
from dynamicdet_d2.export.write import Request
from tests.support.optimized import MASK, STATIC, decided
from tests.support.toy import dense_keys, dense_model, toy_cfg, toy_model
from tests.support.toy_yolo import DYNAMIC, yolo_cfg, yolo_model


def static_model(*keys: object) -> nn.Module:
    """Of the toy config, without a router."""
    torch.manual_seed(0)
    return build_model(toy_cfg(*keys)).eval()


# A resize to 64 pixels and back is part of what is compared.
SIZES = ("INPUT.MIN_SIZE_TEST", 64, "INPUT.MAX_SIZE_TEST", 128)
# Everything is a detection.
SCORES = ("MODEL.RETINANET.SCORE_THRESH_TEST", 0.0, "MODEL.FCOS.SCORE_THRESH_TEST", 0.0)
# Among hundreds of boxes all over an image some are as near to NMS' threshold as rounding.
FEW = ("TEST.DETECTIONS_PER_IMAGE", 30)
DETECTORS = {
    "rcnn": (toy_cfg, toy_model, MASK),
    "few proposals": (toy_cfg, toy_model, ("MODEL.DYNAMIC.EASY_PROPOSALS", 5)),
    "two tails": (
        toy_cfg,
        toy_model,
        ("MODEL.COMPOSITE.SHARE_NECK", False, "MODEL.COMPOSITE.SHARE_HEADS", False, *MASK),
    ),
    "static rcnn": (toy_cfg, static_model, STATIC),
    "retinanet": (toy_cfg, partial(dense_model, "RetinaNet"), dense_keys("RetinaNet")),
    "fcos": (toy_cfg, partial(dense_model, "FCOS"), dense_keys("FCOS")),
    "yolo": (yolo_cfg, yolo_model, (*DYNAMIC, *FEW)),
    "static yolo": (yolo_cfg, yolo_model, ("MODEL.YOLO.PADDING", "letterbox", *FEW)),
}


@dataclass(frozen=True)
class Exported:
    """A detector and the folder that it was exported to."""

    model: nn.Module
    cfg: CfgNode
    folder: Path


def export_toy(name: str, runtime: str, folder: Path) -> Exported:
    """A detector of ``DETECTORS``, exported to a new folder."""
    cfg_of, model_of, keys = DETECTORS[name]
    keys = (*keys, *SIZES, *SCORES)
    model, cfg = decided(model_of(*keys)), cfg_of(*keys)
    export(model, cfg, folder, Request(runtime, class_names=["disc", "ring", "bar"]))
    return Exported(model, cfg, folder)
