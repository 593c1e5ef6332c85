# SPDX-License-Identifier: Apache-2.0
"""The parts of a YOLO by a config; importing registers the backbones."""

from dataclasses import replace
from typing import Any

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, build_backbone
from torch import nn

from dynamicdet_d2.modeling.backbone.composite import CompositeBackbone
from dynamicdet_d2.modeling.backbone.depths import num_blocks_of
from dynamicdet_d2.modeling.backbone.elan import Levels, StagedELAN
from dynamicdet_d2.modeling.router import AdaptiveRouter
from dynamicdet_d2.modeling.router_inputs.pooled_features import PooledFeatures
from dynamicdet_d2.modeling.yolo import settings
from dynamicdet_d2.modeling.yolo.grid import AnchorGrid
from dynamicdet_d2.modeling.yolo.head import YOLOHead
from dynamicdet_d2.modeling.yolo.neck import YOLONeck


@BACKBONE_REGISTRY.register()
def build_elan_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> StagedELAN:
    """One backbone by ``MODEL.YOLO`` (``MODEL.BACKBONE.NAME``)."""
    return _staged(cfg, input_shape, settings.variant_of(cfg).backbone)


@BACKBONE_REGISTRY.register()
def build_composite_elan_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> CompositeBackbone:
    """Two backbones by ``MODEL.YOLO``, composed; they share nothing (``MODEL.BACKBONE.NAME``)."""
    levels = settings.variant_of(cfg).backbone
    depths = num_blocks_of(cfg, [level.depth for level in levels.levels], levels.names, 0)
    return CompositeBackbone(
        bottom_up1=_staged(cfg, input_shape, _with_depths(levels, depths[0])),
        bottom_up2=_staged(cfg, input_shape, _with_depths(levels, depths[1])),
    )


def _with_depths(levels: Levels, depths: tuple[int, ...]) -> Levels:
    pairs = zip(levels.levels, depths, strict=True)
    return replace(levels, levels=tuple(replace(level, depth=depth) for level, depth in pairs))


def _staged(cfg: CfgNode, input_shape: ShapeSpec, levels: Levels) -> StagedELAN:
    backbone = StagedELAN(
        levels,
        in_channels=input_shape.channels,
        norm=cfg.MODEL.YOLO.NORM,
        connection_init=cfg.MODEL.YOLO.CONNECTION_INIT,
        strided_from_first=settings.strided_from_backbone1(cfg, levels),
    )
    backbone.freeze(cfg.MODEL.BACKBONE.FREEZE_AT)
    if cfg.MODEL.BACKBONE.GRADIENT_CHECKPOINTING:
        backbone.checkpoint_gradients()
    return backbone


def static_parts(cfg: CfgNode) -> dict[str, Any]:
    """Backbone, neck, head and auxiliary head of one detector, by their names in ``YOLOv7``."""
    backbone = build_backbone(cfg)
    neck = _neck(cfg, backbone.output_shape())
    return {
        "backbone": backbone,
        "neck": neck,
        "head": _head(cfg, neck.output_shape()),
        "auxiliary_head": _auxiliary_head(cfg, neck.top_down_shape()),
    }


def dynamic_parts(cfg: CfgNode) -> dict[str, nn.Module]:
    """Two backbones, the published router, and a neck and head of each detector, by their names."""
    backbone = build_backbone(cfg)
    router = AdaptiveRouter(
        inputs={"features": PooledFeatures(backbone.output_shape())},
        reduction=cfg.MODEL.ROUTER.REDUCTION,
    )
    return {"backbone": backbone, "router": router, **tails(cfg, backbone.output_shape())}


def tails(cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
    """A neck and a head of each detector, by their names.

    Args:
        input_shape: the backbone's output shapes.
    """
    parts: dict[str, Any] = {}
    for number in (1, 2):
        neck = _neck(cfg, input_shape)
        parts |= {f"neck{number}": neck, f"head{number}": _head(cfg, neck.output_shape())}
    return parts


def _neck(cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> YOLONeck:
    return YOLONeck(input_shape, settings.variant_of(cfg).neck, cfg.MODEL.YOLO.NORM)


def build_grid(cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> AnchorGrid:
    """Anchors over a neck's output levels."""
    return AnchorGrid(settings.anchors_of(cfg), [shape.stride for shape in input_shape.values()])


def _head(cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> YOLOHead:
    size = settings.variant_of(cfg).head
    return YOLOHead(
        input_shape,
        channels=size.channels,
        num_classes=cfg.MODEL.YOLO.NUM_CLASSES,
        num_anchors=build_grid(cfg, input_shape).num_anchors,
        rep_conv=size.rep_conv,
        norm=cfg.MODEL.YOLO.NORM,
    )


def _auxiliary_head(cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> YOLOHead | None:
    channels = settings.auxiliary_channels(cfg)
    if not channels:
        return None
    return YOLOHead(
        input_shape,
        channels=channels,
        num_classes=cfg.MODEL.YOLO.NUM_CLASSES,
        num_anchors=build_grid(cfg, input_shape).num_anchors,
        implicit=False,
        norm=cfg.MODEL.YOLO.NORM,
    )
