# SPDX-License-Identifier: Apache-2.0
"""Model: composite backbone, router, necks and heads."""

from dynamicdet_d2.modeling.backbone import CompositeBackbone, StagedBackbone
from dynamicdet_d2.modeling.dynamic_rcnn import DynamicRCNN
from dynamicdet_d2.modeling.router import AdaptiveRouter
from dynamicdet_d2.modeling.yolo.yolov7 import YOLOv7

__all__ = ["AdaptiveRouter", "CompositeBackbone", "DynamicRCNN", "StagedBackbone", "YOLOv7"]
