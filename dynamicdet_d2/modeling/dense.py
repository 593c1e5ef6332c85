# SPDX-License-Identifier: Apache-2.0
"""Detectron2's RetinaNet and FCOS over a backbone that is given, by their config keys.

Importing registers FCOS with Detectron2, which has its model and no config for it.
"""

from collections.abc import Callable
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY, Backbone, build_anchor_generator, build_backbone
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.modeling.matcher import Matcher
from detectron2.modeling.meta_arch import fcos as stock
from detectron2.modeling.meta_arch.retinanet import RetinaNet
from detectron2.structures import Boxes, Instances
from torch import Tensor, nn

from dynamicdet_d2.modeling.dense_heads import FCOSHead, RetinaNetHead
from dynamicdet_d2.modeling.necks.fpn import check_levels

# Groups of a group norm, as everywhere in Detectron2.
_GROUPS = 32


class FCOS(stock.FCOS):
    """Detectron2's FCOS, built from ``MODEL.FCOS.*``."""

    @configurable
    def __init__(self, *, input_format: str | None = None, **arguments: Any) -> None:
        """As Detectron2's, which does not know its ``input_format``, as its RetinaNet does."""
        super().__init__(**arguments)
        self.input_format = input_format

    @classmethod
    def from_config(cls, cfg: CfgNode, backbone: Backbone | None = None) -> dict:
        """``backbone``: gives the pyramid; None: the one of ``MODEL.BACKBONE.NAME``."""
        keys = cfg.MODEL.FCOS
        backbone = build_backbone(cfg) if backbone is None else backbone
        levels = backbone.output_shape()
        check_levels("MODEL.FCOS.IN_FEATURES", keys.IN_FEATURES, levels)
        shapes = [levels[name] for name in keys.IN_FEATURES]
        head = FCOSHead(
            input_shape=shapes,
            num_classes=keys.NUM_CLASSES,
            conv_dims=[shapes[0].channels] * keys.NUM_CONVS,
            norm=norm_of(keys.NORM),
            prior_prob=keys.PRIOR_PROB,
        )
        return {
            "backbone": backbone,
            "head": head,
            "head_in_features": keys.IN_FEATURES,
            "num_classes": keys.NUM_CLASSES,
            "center_sampling_radius": keys.CENTER_SAMPLING_RADIUS,
            "focal_loss_alpha": keys.FOCAL_LOSS_ALPHA,
            "focal_loss_gamma": keys.FOCAL_LOSS_GAMMA,
            "test_score_thresh": keys.SCORE_THRESH_TEST,
            "test_topk_candidates": keys.TOPK_CANDIDATES_TEST,
            "test_nms_thresh": keys.NMS_THRESH_TEST,
            "max_detections_per_image": cfg.TEST.DETECTIONS_PER_IMAGE,
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            "input_format": cfg.INPUT.FORMAT,
        }

    @torch.no_grad()
    def label_anchors(
        self, anchors: list[Boxes], gt_instances: list[Instances]
    ) -> tuple[list[Tensor], list[Boxes]]:
        """As Detectron2's, whose release 0.6 cannot take an image without objects."""
        count = sum(len(level) for level in anchors)
        labels, boxes = [], []
        for gt in gt_instances:
            if len(gt):
                label, box = super().label_anchors(anchors, [gt])
            else:
                label = [gt.gt_classes.new_full((count,), self.num_classes)]
                box = [Boxes(gt.gt_boxes.tensor.new_zeros(count, 4))]
            labels += label
            boxes += box
        return labels, boxes


if "FCOS" not in META_ARCH_REGISTRY:
    META_ARCH_REGISTRY.register(FCOS)


def build_fcos(cfg: CfgNode, backbone: Backbone) -> FCOS:
    """FCOS over what gives its pyramid."""
    return FCOS(cfg, backbone=backbone)


def build_retinanet(cfg: CfgNode, backbone: Backbone) -> RetinaNet:
    """RetinaNet over what gives its pyramid; Detectron2's ``from_config`` builds a backbone."""
    keys = cfg.MODEL.RETINANET
    levels = backbone.output_shape()
    check_levels("MODEL.RETINANET.IN_FEATURES", keys.IN_FEATURES, levels)
    shapes = [levels[name] for name in keys.IN_FEATURES]
    matcher = Matcher(keys.IOU_THRESHOLDS, keys.IOU_LABELS, allow_low_quality_matches=True)
    return RetinaNet(
        backbone=backbone,
        head=RetinaNetHead(cfg, shapes, norm=norm_of(keys.NORM)),
        head_in_features=keys.IN_FEATURES,
        anchor_generator=build_anchor_generator(cfg, shapes),
        box2box_transform=Box2BoxTransform(weights=keys.BBOX_REG_WEIGHTS),
        anchor_matcher=matcher,
        num_classes=keys.NUM_CLASSES,
        focal_loss_alpha=keys.FOCAL_LOSS_ALPHA,
        focal_loss_gamma=keys.FOCAL_LOSS_GAMMA,
        smooth_l1_beta=keys.SMOOTH_L1_LOSS_BETA,
        box_reg_loss_type=keys.BBOX_REG_LOSS_TYPE,
        test_score_thresh=keys.SCORE_THRESH_TEST,
        test_topk_candidates=keys.TOPK_CANDIDATES_TEST,
        test_nms_thresh=keys.NMS_THRESH_TEST,
        max_detections_per_image=cfg.TEST.DETECTIONS_PER_IMAGE,
        pixel_mean=cfg.MODEL.PIXEL_MEAN,
        pixel_std=cfg.MODEL.PIXEL_STD,
        input_format=cfg.INPUT.FORMAT,
    )


def anchors_of(cfg: CfgNode) -> int:
    """Anchors per position by ``MODEL.ANCHOR_GENERATOR``, as many at every level."""
    keys = cfg.MODEL.ANCHOR_GENERATOR
    return len(keys.SIZES[0]) * len(keys.ASPECT_RATIOS[0])


def norm_of(name: str) -> str | Callable[[int], nn.Module]:
    """A norm of Detectron2's heads by its name.

    A group norm as a function: by its name the heads of release 0.6 first ask for one of a single
    channel in 32 groups. A group has at least two channels, since the coarsest level of a small
    image is one position, and torch refuses to normalise a single value.
    """
    return _group_norm if name == "GN" else name


def _group_norm(channels: int) -> nn.Module:
    most = min(_GROUPS, max(channels // 2, 1))
    return nn.GroupNorm(next(n for n in range(most, 0, -1) if channels % n == 0), channels)
