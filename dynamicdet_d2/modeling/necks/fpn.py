# SPDX-License-Identifier: Apache-2.0
"""Detectron2's FPN over features that are already computed, so that both detectors share it."""

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import Backbone
from detectron2.modeling.backbone import FPN
from detectron2.modeling.backbone.fpn import LastLevelMaxPool
from torch import Tensor


class GivenFeatures(Backbone):
    """A ``Backbone`` without weights that returns the feature dict it is called with."""

    def __init__(self, output_shape: dict[str, ShapeSpec]) -> None:
        super().__init__()
        self._shape = output_shape

    def output_shape(self) -> dict[str, ShapeSpec]:
        return dict(self._shape)

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        return features


def build_fpn(cfg: CfgNode, bottom_up: Backbone) -> FPN:
    """An FPN by Detectron2's keys (``MODEL.FPN.*``) over any backbone.

    Args:
        cfg: config; ``MODEL.FPN.IN_FEATURES`` names the levels that it takes.
        bottom_up: gives the features.

    Raises:
        ValueError: if a level of ``MODEL.FPN.IN_FEATURES`` is not among them.
    """
    levels = bottom_up.output_shape()
    missing = [name for name in cfg.MODEL.FPN.IN_FEATURES if name not in levels]
    if missing or not cfg.MODEL.FPN.IN_FEATURES:
        raise ValueError(
            f"MODEL.FPN.IN_FEATURES is {list(cfg.MODEL.FPN.IN_FEATURES)}; it must name some of "
            f"the backbone's levels, {list(levels)}."
        )
    top_block = LastLevelMaxPool()
    # Detectron2 has it work on p5 whatever the coarsest level is.
    coarsest = max(levels[name].stride for name in cfg.MODEL.FPN.IN_FEATURES)
    top_block.in_feature = f"p{coarsest.bit_length() - 1}"
    return FPN(
        bottom_up=bottom_up,
        in_features=cfg.MODEL.FPN.IN_FEATURES,
        out_channels=cfg.MODEL.FPN.OUT_CHANNELS,
        norm=cfg.MODEL.FPN.NORM,
        top_block=top_block,
        fuse_type=cfg.MODEL.FPN.FUSE_TYPE,
    )


def build_fpn_neck(cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> FPN:
    """``build_fpn`` over features of these shapes; it is called with a feature dict."""
    return build_fpn(cfg, GivenFeatures(input_shape))
