# SPDX-License-Identifier: Apache-2.0
"""Staged backbones and their composition; importing registers the builders."""

from dynamicdet_d2.modeling.backbone.composite import CompositeBackbone, StagedBackbone
from dynamicdet_d2.modeling.backbone.resnet import StagedResNet, build_composite_resnet_backbone

__all__ = [
    "CompositeBackbone",
    "StagedBackbone",
    "StagedResNet",
    "build_composite_resnet_backbone",
]
