# SPDX-License-Identifier: Apache-2.0
"""Detectron2's FPN over features that are already computed, so that both detectors share it."""

from collections.abc import Mapping, Sequence

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, Backbone, build_resnet_backbone
from detectron2.modeling.backbone import FPN
from detectron2.modeling.backbone.fpn import LastLevelMaxPool, LastLevelP6P7
from torch import Tensor, nn


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
        ValueError: if a level of ``MODEL.FPN.IN_FEATURES`` or ``TOP_BLOCK_INPUT`` is not among
            them, or there is no such ``TOP_BLOCK``.
    """
    levels = bottom_up.output_shape()
    check_levels("MODEL.FPN.IN_FEATURES", cfg.MODEL.FPN.IN_FEATURES, levels, "backbone", row=True)
    return FPN(
        bottom_up=bottom_up,
        in_features=cfg.MODEL.FPN.IN_FEATURES,
        out_channels=cfg.MODEL.FPN.OUT_CHANNELS,
        norm=cfg.MODEL.FPN.NORM,
        top_block=_top_block(cfg, levels),
        fuse_type=cfg.MODEL.FPN.FUSE_TYPE,
    )


def check_levels(
    key: str,
    names: Sequence[str],
    levels: Mapping[str, ShapeSpec],
    of: str = "neck",
    *,
    row: bool = False,
) -> None:
    """Refuse levels that are not given.

    Args:
        key: of the config, which names the levels.
        names: its value.
        levels: there are.
        of: what gives them.
        row: whether they must be neighbours, from fine to coarse.

    Raises:
        ValueError: one is missing, named twice or out of order, none is named, or they are no
            row.
    """
    known = list(levels)
    if not names or list(names) != [name for name in known if name in names]:
        raise ValueError(
            f"{key} is {list(names)}; it must name some of the {of}'s levels, {known}, each once "
            "and in this order."
        )
    first = known.index(names[0])
    if row and list(names) != known[first : first + len(names)]:
        raise ValueError(
            f"{key} is {list(names)}; it must name neighbours among the {of}'s levels, {known}."
        )


def _top_block(cfg: CfgNode, levels: dict[str, ShapeSpec]) -> nn.Module:
    keys = cfg.MODEL.FPN
    fpn_levels = [f"p{levels[name].stride.bit_length() - 1}" for name in keys.IN_FEATURES]
    coarsest = max(fpn_levels, key=lambda name: int(name[1:]))
    if keys.TOP_BLOCK == "maxpool":
        top_block = LastLevelMaxPool()
        top_block.in_feature = coarsest  # Detectron2 has it work on p5 whatever the coarsest is
        return top_block
    source = keys.TOP_BLOCK_INPUT or coarsest
    if source not in [*levels, *fpn_levels]:
        raise ValueError(
            f"MODEL.FPN.TOP_BLOCK_INPUT is '{source}'; it must be one of the backbone's levels, "
            f"{list(levels)}, or of the FPN's, {fpn_levels}."
        )
    channels = levels[source].channels if source in levels else keys.OUT_CHANNELS
    return LastLevelP6P7(channels, keys.OUT_CHANNELS, in_feature=source)


@BACKBONE_REGISTRY.register()
def build_resnet_dense_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> FPN:
    """Detectron2's ResNet and a ``build_fpn`` over it: of static dense detectors."""
    return build_fpn(cfg, build_resnet_backbone(cfg, input_shape))


def build_fpn_neck(cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> FPN:
    """``build_fpn`` over features of these shapes; it is called with a feature dict."""
    return build_fpn(cfg, GivenFeatures(input_shape))
