# SPDX-License-Identifier: Apache-2.0
"""Staged backbones and their composition; importing registers the builders."""

from dynamicdet_d2.modeling.backbone.composite import CompositeBackbone, StagedBackbone
from dynamicdet_d2.modeling.backbone.efficientnet_lite import (
    StagedEfficientNetLite,
    build_composite_efficientnet_lite_backbone,
    build_efficientnet_lite_fpn_backbone,
)
from dynamicdet_d2.modeling.backbone.resnet import StagedResNet, build_composite_resnet_backbone
from dynamicdet_d2.modeling.backbone.swin import (
    StagedSwin,
    build_composite_swin_backbone,
    build_swin_fpn_backbone,
)

__all__ = [
    "CompositeBackbone",
    "StagedBackbone",
    "StagedEfficientNetLite",
    "StagedResNet",
    "StagedSwin",
    "build_composite_efficientnet_lite_backbone",
    "build_composite_resnet_backbone",
    "build_composite_swin_backbone",
    "build_efficientnet_lite_fpn_backbone",
    "build_swin_fpn_backbone",
]
