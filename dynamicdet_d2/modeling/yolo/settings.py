# SPDX-License-Identifier: Apache-2.0
"""``MODEL.YOLO`` read: what the parts of a YOLO are built from.

Ranges are checked before anything is built (``config/yolo_keys.py``); what is refused here is what
depends on the variant.
"""

from detectron2.config import CfgNode

from dynamicdet_d2.modeling.backbone.elan import Levels
from dynamicdet_d2.modeling.yolo.detections import DetectionSettings
from dynamicdet_d2.modeling.yolo.losses import LossSettings
from dynamicdet_d2.modeling.yolo.padding import Padding
from dynamicdet_d2.modeling.yolo.variants import VARIANTS, Anchors, Variant, scaled, with_depths


def variant_of(cfg: CfgNode) -> Variant:
    """Widths and depths by ``MODEL.YOLO.VARIANT``, ``WIDTH``, ``DEPTHS`` and ``NECK_DEPTH``.

    Raises:
        ValueError: for other depths than the variant has levels.
    """
    keys = cfg.MODEL.YOLO
    names = VARIANTS[keys.VARIANT].backbone.names
    fits = len(keys.DEPTHS) in (0, len(names))
    allowed = f"empty or {len(names)} positive numbers, one for each of {names[0]}..{names[-1]}"
    _check(fits, "DEPTHS", list(keys.DEPTHS), allowed)
    return with_depths(scaled(VARIANTS[keys.VARIANT], keys.WIDTH), keys.DEPTHS, keys.NECK_DEPTH)


def anchors_of(cfg: CfgNode) -> Anchors | list:
    """``MODEL.YOLO.ANCHORS``, or those of the variant."""
    return cfg.MODEL.YOLO.ANCHORS or variant_of(cfg).anchors


def auxiliary_channels(cfg: CfgNode) -> tuple[int, ...]:
    """Of the auxiliary head's levels; none without ``MODEL.YOLO.AUXILIARY``.

    Raises:
        ValueError: if the variant has no auxiliary head.
    """
    keys, channels = cfg.MODEL.YOLO, variant_of(cfg).head.auxiliary
    if keys.AUXILIARY and not channels:
        have = ", ".join(name for name, variant in VARIANTS.items() if variant.head.auxiliary)
        raise ValueError(
            f"MODEL.YOLO.AUXILIARY is True, but '{keys.VARIANT}' has no auxiliary head; it must be "
            f"False, or MODEL.YOLO.VARIANT one of {have}."
        )
    return channels if keys.AUXILIARY else ()


def strided_from_backbone1(cfg: CfgNode, levels: Levels) -> tuple[str, ...]:
    """``MODEL.YOLO.STRIDED_FROM_BACKBONE1``.

    Args:
        levels: of the backbone.

    Raises:
        ValueError: for a level that has no strided branch behind another level.
    """
    names = tuple(cfg.MODEL.YOLO.STRIDED_FROM_BACKBONE1)
    pairs = zip(levels.names, levels.levels, strict=True)
    able = [name for name, level in pairs if level.entry == "pool"]
    allowed = f"some of {', '.join(able) or 'no level'}"
    _check(set(names) <= set(able), "STRIDED_FROM_BACKBONE1", list(names), allowed)
    return names


def loss_settings(cfg: CfgNode) -> LossSettings:
    """``MODEL.YOLO.LOSS``."""
    keys = cfg.MODEL.YOLO.LOSS
    return LossSettings(
        box_gain=keys.BOX_GAIN,
        objectness_gain=keys.OBJECTNESS_GAIN,
        class_gain=keys.CLASS_GAIN,
        balance=tuple(keys.BALANCE),
        train_size=keys.TRAIN_SIZE,
        max_ratio=keys.MAX_RATIO,
        top_k=keys.TOP_K,
        auxiliary_gain=keys.AUXILIARY_GAIN,
    )


def detection_settings(cfg: CfgNode) -> DetectionSettings:
    """What becomes a detection."""
    keys = cfg.MODEL.YOLO
    return DetectionSettings(
        score_threshold=keys.SCORE_THRESH_TEST,
        nms_threshold=keys.NMS_THRESH_TEST,
        max_candidates=keys.TOPK_CANDIDATES_TEST,
        max_detections=cfg.TEST.DETECTIONS_PER_IMAGE,
        multi_label=keys.MULTI_LABEL,
    )


def padding_of(cfg: CfgNode, multiple: int) -> Padding:
    """``MODEL.YOLO.PADDING`` and ``PAD_VALUE``.

    Args:
        multiple: the coarsest stride in pixels.
    """
    return Padding(multiple, cfg.MODEL.YOLO.PADDING, cfg.MODEL.YOLO.PAD_VALUE)


def _check(fits: bool, key: str, found: object, allowed: str) -> None:
    if not fits:
        raise ValueError(f"MODEL.YOLO.{key} is {found}; it must be {allowed}.")
