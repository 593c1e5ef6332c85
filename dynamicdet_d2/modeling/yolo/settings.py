# SPDX-License-Identifier: Apache-2.0
"""``MODEL.YOLO`` read and checked: what the parts of a YOLO are built from."""

from detectron2.config import CfgNode

from dynamicdet_d2.modeling.backbone.elan import Levels
from dynamicdet_d2.modeling.yolo.detections import DetectionSettings
from dynamicdet_d2.modeling.yolo.losses import LossSettings
from dynamicdet_d2.modeling.yolo.padding import PLACEMENTS, Padding
from dynamicdet_d2.modeling.yolo.variants import VARIANTS, Anchors, Variant, scaled, with_depths


def variant_of(cfg: CfgNode) -> Variant:
    """Widths and depths by ``MODEL.YOLO.VARIANT``, ``WIDTH``, ``DEPTHS`` and ``NECK_DEPTH``.

    Raises:
        ValueError: naming the key that is out of range.
    """
    keys = cfg.MODEL.YOLO
    if keys.VARIANT not in VARIANTS:
        raise ValueError(
            f"MODEL.YOLO.VARIANT is '{keys.VARIANT}'; it must be one of {', '.join(VARIANTS)}."
        )
    _check(keys.WIDTH > 0, "WIDTH", keys.WIDTH, "above 0")
    _check(keys.NECK_DEPTH >= 0, "NECK_DEPTH", keys.NECK_DEPTH, "at least 0")
    names = VARIANTS[keys.VARIANT].backbone.names
    fits = not keys.DEPTHS or (len(keys.DEPTHS) == len(names) and min(keys.DEPTHS) >= 1)
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
    """``MODEL.YOLO.LOSS``.

    Raises:
        ValueError: naming the key that is out of range.
    """
    keys = cfg.MODEL.YOLO.LOSS
    for name in ("BOX_GAIN", "OBJECTNESS_GAIN", "CLASS_GAIN", "AUXILIARY_GAIN"):
        _check(keys[name] >= 0, f"LOSS.{name}", keys[name], "at least 0")
    for name in ("TRAIN_SIZE", "TOP_K"):
        _check(keys[name] >= 1, f"LOSS.{name}", keys[name], "at least 1")
    _check(keys.MAX_RATIO > 1, "LOSS.MAX_RATIO", keys.MAX_RATIO, "above 1")
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
    """What becomes a detection.

    Raises:
        ValueError: naming the key that is out of range.
    """
    keys = cfg.MODEL.YOLO
    _check(
        0 <= keys.SCORE_THRESH_TEST < 1, "SCORE_THRESH_TEST", keys.SCORE_THRESH_TEST, "in [0, 1)"
    )
    _check(0 <= keys.NMS_THRESH_TEST <= 1, "NMS_THRESH_TEST", keys.NMS_THRESH_TEST, "in [0, 1]")
    candidates = keys.TOPK_CANDIDATES_TEST
    _check(candidates >= 1, "TOPK_CANDIDATES_TEST", candidates, "at least 1")
    return DetectionSettings(
        score_threshold=keys.SCORE_THRESH_TEST,
        nms_threshold=keys.NMS_THRESH_TEST,
        max_candidates=candidates,
        max_detections=cfg.TEST.DETECTIONS_PER_IMAGE,
        multi_label=keys.MULTI_LABEL,
    )


def num_classes_of(cfg: CfgNode) -> int:
    """``MODEL.YOLO.NUM_CLASSES``, at least 1."""
    classes = cfg.MODEL.YOLO.NUM_CLASSES
    _check(classes >= 1, "NUM_CLASSES", classes, "at least 1")
    return classes


def padding_of(cfg: CfgNode, multiple: int) -> Padding:
    """``MODEL.YOLO.PADDING`` and ``PAD_VALUE``.

    Args:
        multiple: the coarsest stride in pixels.

    Raises:
        ValueError: for an unknown placement.
    """
    placement = cfg.MODEL.YOLO.PADDING
    _check(placement in PLACEMENTS, "PADDING", placement, f"one of {', '.join(PLACEMENTS)}")
    return Padding(multiple, placement, cfg.MODEL.YOLO.PAD_VALUE)


def _check(fits: bool, key: str, found: object, allowed: str) -> None:
    if not fits:
        raise ValueError(f"MODEL.YOLO.{key} is {found}; it must be {allowed}.")
