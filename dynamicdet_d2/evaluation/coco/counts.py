# SPDX-License-Identifier: Apache-2.0
"""Precision and recall at one score and IoU 0.5, from matches that the sweep already has.

AP is over all scores; who deploys a detector picks one. COCO matches from the best score down, so
the matches of the detections above a score are the same whether the others are there or not.

Letters: N detections (of both exits), I images, S sources (2 exits x I images), K classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dynamicdet_d2.evaluation.coco.matching import IOU_THRESHOLDS, SETTING_BITS
from dynamicdet_d2.evaluation.coco.ranking import RankedDetections

IOU = float(IOU_THRESHOLDS[0])


@dataclass(frozen=True)
class Counts:
    """Detections and objects of each class, of all sizes.

    Attributes:
        found: (K,) int64, true positives.
        counted: (K,) int64, true and false positives; matches of crowds are neither.
        wanted: (K,) int64, objects to be found.
        category_ids: the K category ids, in the order of the arrays.
    """

    found: np.ndarray
    counted: np.ndarray
    wanted: np.ndarray
    category_ids: tuple[Any, ...]

    def overall(self) -> dict[str, float]:
        """ "precision" and "recall" over the detections and objects of all classes together.

        In percent; NaN where nothing was detected, or where there is nothing to be found.
        """
        return _rates(self.found.sum(), self.counted.sum(), self.wanted.sum())

    def by_class(self) -> dict[Any, dict[str, float]]:
        """As ``overall``, for each category id."""
        columns = zip(self.category_ids, self.found, self.counted, self.wanted, strict=True)
        return {category: _rates(*numbers) for category, *numbers in columns}


def count_from_score(
    ranked: RankedDetections,
    kept: np.ndarray,
    min_score: float,
    wanted: np.ndarray,
    category_ids: tuple[Any, ...],
) -> Counts:
    """Count the detections of some sources with a score of ``min_score`` or more.

    Args:
        kept: (S,) bool, the sources whose detections count.
        wanted: (K,) int64, objects of each class to be found.
    """
    chosen = kept[ranked.source] & (ranked.score >= min_score)
    bit = SETTING_BITS[0, 0]  # all sizes, the lowest IoU threshold
    found, counted = (
        np.bincount(ranked.label[chosen & ((bits & bit) != 0)], minlength=len(wanted))
        for bits in (ranked.positive, ranked.counted)
    )
    return Counts(found, counted, wanted, category_ids)


def count_by_image(ranked: RankedDetections, min_score: float, num_images: int) -> np.ndarray:
    """True and false positives of either exit in each image, with a score of ``min_score`` or more.

    Returns:
        (I, 2, 2) int64: image; exit; found, false. Matches of crowds are neither.
    """
    bit = SETTING_BITS[0, 0]  # as above
    found, counted = (
        np.bincount(
            ranked.source[(ranked.score >= min_score) & ((bits & bit) != 0)],
            minlength=2 * num_images,
        )
        for bits in (ranked.positive, ranked.counted)
    )
    return np.stack([found, counted - found], axis=-1).reshape(num_images, 2, 2)


def _rates(found: int, counted: int, wanted: int) -> dict[str, float]:
    return {"precision": _percent(found, counted), "recall": _percent(found, wanted)}


def _percent(part: int, whole: int) -> float:
    return 100 * float(part) / float(whole) if whole else float("nan")
