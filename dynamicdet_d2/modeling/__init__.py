# SPDX-License-Identifier: Apache-2.0
"""Model: composite backbone, router, and what kinds of detectors have behind them."""

from dynamicdet_d2.modeling import description  # noqa: F401 (registers)
from dynamicdet_d2.modeling.backbone import CompositeBackbone, StagedBackbone
from dynamicdet_d2.modeling.dynamic_dense import DynamicDenseDetector
from dynamicdet_d2.modeling.dynamic_detector import DynamicDetector
from dynamicdet_d2.modeling.dynamic_rcnn import DynamicRCNN
from dynamicdet_d2.modeling.router import AdaptiveRouter
from dynamicdet_d2.modeling.yolo.dynamic_yolo import DynamicYOLO
from dynamicdet_d2.modeling.yolo.yolov7 import YOLOv7

__all__ = [
    "AdaptiveRouter",
    "CompositeBackbone",
    "DynamicDenseDetector",
    "DynamicDetector",
    "DynamicRCNN",
    "DynamicYOLO",
    "StagedBackbone",
    "YOLOv7",
]
