# SPDX-License-Identifier: Apache-2.0
"""What the tables of the papers say about cost, and which of their systems a config is."""

from collections.abc import Mapping
from dataclasses import dataclass

from detectron2.config import CfgNode
from detectron2.modeling import GeneralizedRCNN

from dynamicdet_d2.modeling.architecture import architecture_of, is_dynamic


@dataclass(frozen=True)
class Setting:
    """What a network is run on.

    Attributes:
        height, width: of its input in pixels.
        num_proposals: boxes that the box head works on, where there is one.
    """

    height: int
    width: int
    num_proposals: int = 1000


@dataclass(frozen=True)
class Published:
    """What is printed about one system, by row of the cost table.

    Attributes:
        rows: operations, without attention's products.
        setting: that they are for.
        per_multiply_add: operations that are printed for each multiply-add.
    """

    rows: Mapping[str, float]
    setting: Setting = Setting(800, 1280)
    per_multiply_add: int = 1


def _one_stage(side: int, *giga: float) -> Published:
    """Table 1 at 0, 10, 50, 90 and 100 % on the hard route; YOLOv7's own tables alike."""
    rows = ("route easy", "average at 0.1", "average at 0.5", "average at 0.9", "route hard")
    named = {"total": giga[0]} if len(giga) == 1 else dict(zip(rows, giga, strict=True))
    return Published({k: x * 1e9 for k, x in named.items()}, Setting(side, side), 2)


PAPER_SETTING = Published({}).setting
"""Of two-stage detectors, and of whatever the tables do not have."""

PAPER = {
    "Faster R-CNN ResNet-50": Published({"total": 207.1e9}),
    "Faster R-CNN ResNet-101": Published({"total": 283.1e9}),
    "Mask R-CNN Swin-T": Published({"total": 263.8e9}),
    "Mask R-CNN Swin-S": Published({"total": 353.8e9}),
    "Dy-Faster R-CNN ResNet-50": Published(
        {
            "route easy": 207.1e9,
            "route hard": 283.7e9,
            "router": 3.7e6,
            "average at 0.5": 245.4e9,
            "average at 0.9": 276.0e9,
        }
    ),
    "Dy-Mask R-CNN Swin-T": Published(
        {
            "route easy": 263.8e9,
            "route hard": 357.4e9,
            "router": 0.5e6,
            "average at 0.5": 310.6e9,
            "average at 0.9": 348.0e9,
        }
    ),
    "YOLOv7": _one_stage(640, 104.7),
    "YOLOv7-X": _one_stage(640, 189.9),
    "YOLOv7-W6": _one_stage(1280, 360.0),
    "Dy-YOLOv7": _one_stage(640, 104.7, 112.4, 143.2, 174.0, 181.7),
    "Dy-YOLOv7-X": _one_stage(640, 189.9, 201.7, 248.9, 296.1, 307.9),
    "Dy-YOLOv7-W6": _one_stage(1280, 360.0, 384.2, 480.8, 577.4, 601.6),
}
"""Tables 1 to 3 of DynamicDet, and of static YOLOs tables 1 and 2 of YOLOv7, by ``system_name``."""


def setting_of(cfg: CfgNode) -> Setting:
    """What a config's system is measured on in the papers."""
    published = PAPER.get(system_name(cfg))
    return PAPER_SETTING if published is None else published.setting


def system_name(cfg: CfgNode) -> str:
    """What the tables of the paper would call a config's system, or "" where they could not.

    A "Dy-" for two routes; then "Mask" or "Faster" with the backbone and its size, or the YOLO.
    """
    name = _detector_name(cfg)
    composite = cfg.MODEL.COMPOSITE
    if not name or composite.NUM_BLOCKS1 or composite.NUM_BLOCKS2:
        return ""
    return f"{'Dy-' if is_dynamic(cfg) else ''}{name}"


def _detector_name(cfg: CfgNode) -> str:
    architecture = architecture_of(cfg)
    if architecture.__name__ in ("YOLOv7", "DynamicYOLO"):
        return _yolo_name(cfg)
    return _rcnn_name(cfg) if issubclass(architecture, GeneralizedRCNN) else ""


def _yolo_name(cfg: CfgNode) -> str:
    keys = cfg.MODEL.YOLO
    if keys.WIDTH != 1 or keys.DEPTHS or keys.NECK_DEPTH or keys.NUM_CLASSES != 80:
        return ""
    names = {"yolov7": "YOLOv7", "yolov7x": "YOLOv7-X", "yolov7_w6": "YOLOv7-W6"}
    return names[keys.VARIANT]


def _rcnn_name(cfg: CfgNode) -> str:
    backbone, heads = _backbone_name(cfg), cfg.MODEL.ROI_HEADS
    if not backbone or (heads.NAME, heads.NUM_CLASSES) != ("StandardROIHeads", 80):
        return ""
    if cfg.MODEL.KEYPOINT_ON or cfg.MODEL.RESNETS.NUM_GROUPS != 1:  # of ResNeXt
        return ""
    return f"{'Mask R-CNN' if cfg.MODEL.MASK_ON else 'Faster R-CNN'} {backbone}"


def _backbone_name(cfg: CfgNode) -> str:
    builder = cfg.MODEL.BACKBONE.NAME
    if "resnet" in builder and ("fpn" in builder or "composite" in builder):  # no C4, no DC5
        return f"ResNet-{cfg.MODEL.RESNETS.DEPTH}"
    if "swin" in builder and "SWIN" in cfg.MODEL:
        return f"Swin-{cfg.MODEL.SWIN.SIZE}"
    if "efficientnet_lite" in builder:
        keys = cfg.MODEL.EFFICIENTNET_LITE
        alone = "composite" not in builder or keys.SIZE2 in (None, keys.SIZE)
        second = "" if alone else f" and Lite{keys.SIZE2}"
        return f"EfficientNet-Lite{keys.SIZE}{second}"
    return ""
