# SPDX-License-Identifier: Apache-2.0
"""Keypoints of objects: as many as the model has, of each object that is learnt or measured."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from detectron2.config import CfgNode

from dynamicdet_d2.utils.words import shown

_EACH = "[x1, y1, v1, x2, y2, v2, ...]"


def num_keypoints(cfg: CfgNode) -> int:
    """Of an object, where the model of a config learns them; else 0."""
    keys = cfg.MODEL
    return int(keys.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS) if keys.KEYPOINT_ON else 0


def keypoints_fault(
    annotation: Mapping[str, Any], count: int, *, measured: bool, arrays: bool = False
) -> str | None:
    """What is wrong with an object's keypoints, and what is needed, as the end of a sentence; None
    where nothing is.

    Detectron2 would stop at an object without them, and keep those of another number apart.

    Args:
        count: as ``num_keypoints`` gives; 0: they may be left out, and be of any number.
        measured: figures are computed of it, as of crowds too.
        arrays: they may be an array, also of shape (count, 3), or a tuple.
    """
    if count and annotation.get("iscrowd") and not measured:
        count = 0
    given = annotation.get("keypoints", [])
    if _are_numbers(given, arrays) and (np.size(given) == 3 * count or not count):
        # A set by code has no such number: Detectron2 counts.
        return _number_fault(annotation) if count and measured and not arrays else None
    found = f"has the keypoints {shown(given)}" if "keypoints" in annotation else "has no keypoints"
    number = f" of {count} keypoints, by MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS," if count else ""
    return f"{found}; a list {_EACH}{number} is needed"


def _number_fault(annotation: Mapping[str, Any]) -> str | None:
    """COCO's evaluation leaves out objects with the number 0, whatever their keypoints are."""
    number = annotation.get("num_keypoints")
    labelled = sum(v > 0 for v in annotation["keypoints"][2::3])
    is_number = type(number) is int and number >= 0
    if "num_keypoints" not in annotation or (is_number and bool(number) == bool(labelled)):
        return None
    return (
        f"has the num_keypoints {shown(number)}, where {labelled} of its keypoints are labelled "
        "(v above 0); their number is needed"
    )


def _are_numbers(given: Any, arrays: bool) -> bool:
    """Whether they are finite and in threes."""
    if not isinstance(given, list) and not (arrays and isinstance(given, tuple | np.ndarray)):
        return False
    try:
        numbers = np.asarray(given)
    except ValueError:  # of several lengths
        return False
    if numbers.dtype.kind not in "iuf":
        return False
    flat = numbers.ndim == 1 or (arrays and numbers.ndim == 2 and numbers.shape[1] == 3)
    return flat and numbers.size % 3 == 0 and bool(np.isfinite(numbers).all())
