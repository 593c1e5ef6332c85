# SPDX-License-Identifier: Apache-2.0
"""Model: composite backbone, router, shared neck and heads."""

from dynamicdet_d2.modeling.backbone import CompositeBackbone, StagedBackbone
from dynamicdet_d2.modeling.dynamic_rcnn import DynamicRCNN
from dynamicdet_d2.modeling.router import AdaptiveRouter

__all__ = ["AdaptiveRouter", "CompositeBackbone", "DynamicRCNN", "StagedBackbone"]
