# SPDX-License-Identifier: Apache-2.0
"""Exact COCO figures of any routing, from one matching of both exits' detections.

A routing says for every image which exit's detections count. Matching stays within an image, so
it is done once for both exits (``matching``); part of a stably sorted list is the stable sort of
that part, so both exits are ranked once too (``ranking``). A routing then only
selects and counts. The figures are those of a fresh pycocotools evaluation of the mixed
detections, bit for bit.

Letters: I images, K classes, T = 10 IoU thresholds, R = 101 recall thresholds, A = 4 area ranges
(all, small, medium, large), M = 3 limits on the detections of an image and class (1, 10, 100).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pycocotools.coco import COCO

from dynamicdet_d2.evaluation.coco.arrays import (
    IOU_TYPES,
    Vocabulary,
    read_detections,
    read_objects,
)
from dynamicdet_d2.evaluation.coco.counts import Counts, count_by_image, count_from_score
from dynamicdet_d2.evaluation.coco.gains import first_order_gains
from dynamicdet_d2.evaluation.coco.influence import ObjectPlaces, ap_influence
from dynamicdet_d2.evaluation.coco.matching import IOU_THRESHOLDS, MAX_DETECTIONS, NUM_AREAS, match
from dynamicdet_d2.evaluation.coco.own_ap import own_ap
from dynamicdet_d2.evaluation.coco.ranking import RankedDetections, Ranking

FIGURE_NAMES = (
    *("AP", "AP50", "AP75", "APs", "APm", "APl"),
    *("AR1", "AR10", "AR100", "ARs", "ARm", "ARl"),
)


@dataclass(frozen=True)
class CocoFigures:
    """Figures of one COCO evaluation; undefined ones are -1, as in pycocotools.

    Attributes:
        stats: (12,) float64 in [0, 1], in the order of ``FIGURE_NAMES``.
        precision: (T, R, K, A) float64 at 100 detections, the only limit that an AP uses;
            ``CocoSweep.full_precision`` has the others.
        recall: (T, K, A, M) float64.
        category_ids: the K category ids, in the order of the arrays.
    """

    stats: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    category_ids: tuple[Any, ...]

    @property
    def ap(self) -> float:
        """AP in percent; NaN where it is undefined."""
        return _percent(self.stats[0])

    def as_dict(self) -> dict[str, float]:
        """The twelve figures in percent by name; undefined ones are NaN."""
        return dict(zip(FIGURE_NAMES, map(_percent, self.stats), strict=True))

    def class_ap(self) -> dict[Any, float]:
        """AP of every category id in percent; NaN for classes without objects."""
        classes = np.moveaxis(self.precision[..., 0], 2, 0)
        return {c: _percent(_mean(p)) for c, p in zip(self.category_ids, classes, strict=True)}


class CocoSweep:
    """COCO evaluation of every mixture of two exits' detections.

    Attributes:
        image_ids: the I image ids in the order given; masks over images follow it.
        category_ids: the K category ids, sorted.
    """

    def __init__(
        self,
        ground_truth: COCO,
        exits: tuple[Sequence[dict], Sequence[dict]],
        iou_type: str,
        image_ids: Sequence[Any],
    ) -> None:
        """Match and rank the results of both exits.

        Args:
            ground_truth: the data set; it is not changed.
            exits: COCO results of detector1 and of detector2: dicts with ``image_id``,
                ``category_id``, ``score``, and ``bbox`` or ``segmentation`` (compressed RLE). The
                area of a detection is its box's for "bbox" and its mask's for "segm", as in
                pycocotools when mask results come without boxes.
            iou_type: "bbox" or "segm".
            image_ids: the images to evaluate, each once, in any order.

        Raises:
            ValueError: on an unknown ``iou_type``, on images given twice or not in the ground
                truth, and on results that are not as described.
        """
        if iou_type not in IOU_TYPES:
            raise ValueError(f"iou_type must be one of {', '.join(IOU_TYPES)}, not {iou_type!r}")
        self.image_ids = tuple(image_ids)
        self._sorted = np.array(
            sorted(range(len(self.image_ids)), key=self.image_ids.__getitem__), dtype=np.int64
        )
        vocabulary = Vocabulary.read(ground_truth, [self.image_ids[i] for i in self._sorted])
        self.category_ids = tuple(vocabulary.labels)
        objects = read_objects(ground_truth, vocabulary, iou_type)
        detections = read_detections(exits, vocabulary, iou_type, MAX_DETECTIONS[-1])
        outcomes = match(detections, objects)
        ranked = RankedDetections.build(detections, outcomes, len(self.image_ids))
        self._rank(ranked, objects.cell, outcomes.object_counted)

    def _rank(
        self, ranked: RankedDetections, object_cell: np.ndarray, object_counted: np.ndarray
    ) -> None:
        self._object_cell, self._object_counted = object_cell, object_counted
        self._ranked = ranked
        self._ranking = Ranking.build(ranked, len(self.category_ids))

    def evaluate(self, hard: np.ndarray, images: np.ndarray | None = None) -> CocoFigures:
        """COCO figures when the hard images take detector2's detections.

        Args:
            hard: (I,) bool, in the order of ``image_ids``.
            images: (I,) bool, evaluate these images only; None for all.

        Raises:
            ValueError: when a mask is not a bool array with one entry for each image.
        """
        kept, wanted = self._select(hard, images)
        precision, recall = self._ranking.precision_and_recall(kept, wanted)
        precision, recall = precision.transpose(1, 3, 2, 0), recall.transpose(1, 2, 0, 3)
        return CocoFigures(_stats(precision, recall), precision, recall, self.category_ids)

    def full_precision(self, hard: np.ndarray, images: np.ndarray | None = None) -> np.ndarray:
        """pycocotools' whole precision array, (T, R, K, A, M) float64; arguments as above."""
        kept, wanted = self._select(hard, images)
        by_limit = []
        for limit in MAX_DETECTIONS:
            ranking = Ranking.build(self._ranked.best(limit), len(self.category_ids))
            by_limit.append(ranking.precision_and_recall(kept, wanted)[0])
        return np.stack(by_limit).transpose(2, 4, 3, 1, 0)

    def counts(
        self, hard: np.ndarray, min_score: float, images: np.ndarray | None = None
    ) -> Counts:
        """What a user who keeps detections from a score on gets; other arguments as above."""
        kept, wanted = self._select(hard, images)
        return count_from_score(self._ranked, kept, min_score, wanted[0], self.category_ids)

    def image_counts(self, min_score: float) -> tuple[np.ndarray, np.ndarray]:
        """What each exit finds in each image, from a score on, at IoU 0.5.

        Returns:
            (I,) int64 objects to be found, and (I, 2, 2) int64 as ``count_by_image``; in the order
            of ``image_ids``.
        """
        number = len(self.image_ids)
        image = self._object_cell[self._object_counted[:, 0]] % number
        objects, found = np.empty(number, np.int64), np.empty((number, 2, 2), np.int64)
        objects[self._sorted] = np.bincount(image, minlength=number)
        found[self._sorted] = count_by_image(self._ranked, min_score, number)
        return objects, found

    def image_gains(self) -> np.ndarray:
        """True gain of detector2 over detector1 in each image, for the oracle.

        It is the first-order effect of the image on the AP of the whole set (``gains`` says
        why not the image's own AP). Routing by it is close to the best routing, found by looking
        at the ground truth: no router can be expected to reach it.

        Returns:
            (I,) float64 in the order of ``image_ids``; a share of AP, positive where detector2
            is better, 0 for images in which nothing was detected.
        """
        everything = np.ones(len(self.image_ids), dtype=bool)
        wanted = self._select(everything, None)[1][0]
        gains = np.empty(len(self.image_ids))
        gains[self._sorted] = first_order_gains(self._ranked, wanted, len(self.image_ids))
        return gains

    def influence(self, hard: np.ndarray) -> np.ndarray:
        """How much each image moves each class's part of a routing's AP (``influence`` says why).

        Returns:
            (K, I) float64, images in the order of ``image_ids``; shares of AP, of each class 0 in
            sum.
        """
        kept, _ = self._select(hard, None)
        influence = np.empty((len(self.category_ids), len(self.image_ids)))
        influence[:, self._sorted] = ap_influence(
            self._ranked, kept, self._objects_of_all_sizes(), influence.shape
        )
        return influence

    def own_ap(self) -> np.ndarray:
        """AP of every image alone, over the classes that it shows.

        Returns:
            (I, 2) float64 in the order of ``image_ids``, in percent, of detector1 and of
            detector2; NaN for images without objects.
        """
        ap = np.empty((len(self.image_ids), 2))
        ap[self._sorted] = own_ap(self._ranked, self._objects_of_all_sizes(), len(self.image_ids))
        return ap

    def class_images(self) -> np.ndarray:
        """(K,) int64, images that show objects of each class, in the order of ``category_ids``."""
        places = self._objects_of_all_sizes()
        shown = np.unique(np.stack([places.label, places.image]), axis=1)[0]
        return np.bincount(shown, minlength=len(self.category_ids))

    def _objects_of_all_sizes(self) -> ObjectPlaces:
        wanted = self._object_cell[self._object_counted[:, 0]]
        return ObjectPlaces(*np.divmod(wanted, len(self.image_ids)))

    def _select(self, hard: np.ndarray, images: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """Which sources count (2 * I,) bool, and how many objects are to be found (A, K)."""
        everything = np.ones(len(self.image_ids), dtype=bool)
        hard = self._mask("hard", hard)
        images = everything if images is None else self._mask("images", images)
        kept = np.stack([images & ~hard, images & hard], axis=1).ravel()
        label, image = np.divmod(self._object_cell, len(self.image_ids))
        counted = self._object_counted & images[image][:, None]
        wanted = [np.bincount(label[c], minlength=len(self.category_ids)) for c in counted.T]
        return kept, np.stack(wanted)

    def _mask(self, name: str, mask: np.ndarray) -> np.ndarray:
        """A mask over the images, checked and put in the order of the sorted image ids."""
        mask = np.asarray(mask)
        if mask.dtype != bool or mask.shape != self._sorted.shape:
            raise ValueError(
                f"{name} must be a bool array of shape {self._sorted.shape}, "
                f"not {mask.dtype} of shape {mask.shape}"
            )
        return mask[self._sorted]


def _stats(precision: np.ndarray, recall: np.ndarray) -> np.ndarray:
    """(12,) from precision (T, R, K, A) and recall (T, K, A, M)."""
    at_50, at_75 = (precision[IOU_THRESHOLDS == t, ..., 0] for t in (0.5, 0.75))
    sizes = range(1, NUM_AREAS)
    return np.array(
        [
            *(_mean(precision[..., 0]), _mean(at_50), _mean(at_75)),
            *(_mean(precision[..., a]) for a in sizes),
            *(_mean(recall[..., 0, m]) for m in range(len(MAX_DETECTIONS))),
            *(_mean(recall[..., a, -1]) for a in sizes),
        ]
    )


def _mean(values: np.ndarray) -> float:
    """Mean of the defined entries, in the order in which pycocotools adds them; -1 if none."""
    defined = values[values > -1]
    return defined.mean() if len(defined) else -1.0


def _percent(figure: float) -> float:
    return 100 * float(figure) if figure > -1 else math.nan
