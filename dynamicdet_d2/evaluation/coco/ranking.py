# SPDX-License-Identifier: Apache-2.0
"""Precision and recall of any selection from one fixed ranking of both exits' detections.

The ranking orders the detections by class, then falling score; ties by image, then by rank in
the image. Sorting is stable, so the selected detections, in this order, are exactly what a COCO
evaluation of the selection alone would go through.

Precision can rise at a true positive only, and recall moves there only. So the precision
envelope is known from the true positives alone, and false positives need only be counted, by one
running sum per area range that all IoU thresholds share.

Letters: N detections, V events, P true positives selected, S sources (2 exits x I images), K
classes, A area ranges, T IoU thresholds, R recall thresholds, M limits on the detections of an
image and class.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from dynamicdet_d2.evaluation.coco.arrays import Detections, stable_argsort
from dynamicdet_d2.evaluation.coco.matching import (
    MAX_DETECTIONS,
    NUM_AREAS,
    NUM_THRESHOLDS,
    RECALL_THRESHOLDS,
    SETTING_BITS,
    Outcomes,
    area_bits,
)


@dataclass(frozen=True)
class RankedDetections:
    """The detections of both exits in the order of the ranking, and what became of them.

    Attributes:
        source: (N,) int64, ``2 * image + exit``.
        label: (N,) int64, class, ascending.
        score: (N,) float64.
        score_order: (N,) int64, ascending in each class, the same for equal scores.
        rank: (N,) int64, place by score among the detections of its image, class and exit.
        positive, counted: (N,) uint64, bits of ``matching.Outcomes``.
    """

    source: np.ndarray
    label: np.ndarray
    score: np.ndarray
    score_order: np.ndarray
    rank: np.ndarray
    positive: np.ndarray
    counted: np.ndarray

    @classmethod
    def build(cls, detections: Detections, outcomes: Outcomes, num_images: int) -> RankedDetections:
        """Order the detections; they come by class, image and rank, which settles the ties."""
        order = stable_argsort(detections.score_order)
        order = order[stable_argsort(detections.cell[order] // (2 * num_images))]
        label, source = np.divmod(detections.cell[order], 2 * num_images)
        return cls(
            source=source,
            label=label,
            score=detections.score[order],
            score_order=detections.score_order[order],
            rank=detections.rank[order],
            positive=outcomes.positive[order],
            counted=outcomes.counted[order],
        )

    def best(self, limit: int) -> RankedDetections:
        """The ``limit`` best detections of every image, class and exit."""
        within = self.rank < limit
        return RankedDetections(*(getattr(self, f.name)[within] for f in fields(self)))


@dataclass(frozen=True)
class Ranking:
    """Ranked detections of both exits, and the events that precision depends on.

    An event is a detection that is a true positive in one of the A x T settings, or counts in it
    although it does not at the highest IoU threshold of that area range, or the reverse. Events
    are ordered by setting, class, and place in the ranking.

    Attributes:
        source: (N,) int64, ``2 * image + exit``.
        class_start: (K + 1,) int64, where each class begins among the detections.
        counted: (A, N) bool, whether the detection counts at the highest IoU threshold.
        event: (V,) int64, its detection.
        event_source, event_rank: (V,) int64, the detection's source and rank by score in its cell.
        event_positive: (V,) bool, whether it is a true positive.
        event_step: (V,) int8 in -1..1, what it counts here more than ``counted`` says.
        event_start: (A * T * K + 1,) int64, where each setting and class begins among the events.
    """

    source: np.ndarray
    class_start: np.ndarray
    counted: np.ndarray
    event: np.ndarray
    event_source: np.ndarray
    event_rank: np.ndarray
    event_positive: np.ndarray
    event_step: np.ndarray
    event_start: np.ndarray

    @classmethod
    def build(cls, ranked: RankedDetections, num_classes: int) -> Ranking:
        """Find the events of ranked detections."""
        class_start = np.searchsorted(ranked.label, np.arange(num_classes + 1))
        counted = (ranked.counted & SETTING_BITS[:, -1, None]) != 0
        usual = area_bits(counted.T)
        eventful = np.flatnonzero(ranked.positive | (ranked.counted ^ usual))
        bits = (ranked.positive | (ranked.counted ^ usual))[eventful]
        events = [eventful[np.flatnonzero(bits & bit)] for bit in SETTING_BITS.ravel()]
        sizes = [len(part) for part in events]
        starts = [np.searchsorted(part, class_start[:-1]) for part in events]
        first = np.repeat(np.cumsum(sizes) - sizes, num_classes)
        event, bit = np.concatenate(events), np.repeat(SETTING_BITS.ravel(), sizes)
        step = ((ranked.counted[event] & bit) != 0).astype(np.int8) - ((usual[event] & bit) != 0)
        return cls(
            source=ranked.source,
            class_start=class_start,
            counted=counted,
            event=event,
            event_source=ranked.source[event],
            event_rank=ranked.rank[event],
            event_positive=(ranked.positive[event] & bit) != 0,
            event_step=step.astype(np.int8),
            event_start=np.append(first + np.concatenate(starts), len(event)),
        )

    def precision_and_recall(
        self, kept: np.ndarray, wanted: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Figures of the detections of some sources.

        Args:
            kept: (S,) bool, the sources whose detections count.
            wanted: (A, K) int64, number of objects to be found.

        Returns:
            precision (A, T, K, R) without regard to rank, and recall (A, T, K, M); float64, -1
            for classes without objects.
        """
        chosen = np.flatnonzero(kept[self.event_source])
        chosen_start = np.searchsorted(chosen, self.event_start)
        hit = np.flatnonzero(self.event_positive[chosen])
        start = np.searchsorted(hit, chosen_start)
        seen = self._seen(kept, chosen, chosen_start, hit, start)
        found = np.arange(1, len(hit) + 1) - np.repeat(start[:-1], np.diff(start))
        # The order of these operations is pycocotools' own: the last bit depends on it.
        precision = found / (seen + np.spacing(1))
        absent = (wanted == 0)[:, None, :, None]
        recall = self._found(chosen[hit], start) / np.maximum(wanted, 1)[:, None, :, None]
        return (
            np.where(absent, -1.0, _interpolate(precision, start, wanted)),
            np.where(absent, -1.0, recall),
        )

    def _seen(
        self,
        kept: np.ndarray,
        chosen: np.ndarray,
        chosen_start: np.ndarray,
        hit: np.ndarray,
        start: np.ndarray,
    ) -> np.ndarray:
        """Detections counted in its class and setting down to each true positive, itself
        included; (P,) int64."""
        steps = _running(self.event_step[chosen])
        before = steps[chosen_start[:-1]].reshape(NUM_AREAS, NUM_THRESHOLDS, -1)
        seen = steps[hit + 1]
        detection = self.event[chosen[hit]]
        kept_detection = kept[self.source]
        area_start = start[:: before[0].size]
        for a in range(NUM_AREAS):
            counts = _running(kept_detection & self.counted[a])
            part = slice(area_start[a], area_start[a + 1])
            seen[part] += counts[detection[part] + 1]
            before[a] += counts[self.class_start[:-1]]
        return seen - np.repeat(before.ravel(), np.diff(start))

    def _found(self, event: np.ndarray, start: np.ndarray) -> np.ndarray:
        """True positives within each limit on the rank; (A, T, K, M) int64."""
        rank = self.event_rank[event]
        found = [np.diff(_running(rank < limit)[start]) for limit in MAX_DETECTIONS]
        shape = (NUM_AREAS, NUM_THRESHOLDS, -1, len(MAX_DETECTIONS))
        return np.stack(found, axis=-1).reshape(shape)


def _running(values: np.ndarray) -> np.ndarray:
    """Running sum that begins with 0: entry i is the sum of the first i values; int32."""
    total = np.zeros(len(values) + 1, dtype=np.int32)
    np.cumsum(values, dtype=np.int32, out=total[1:])
    return total


def _interpolate(precision: np.ndarray, start: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Best precision at or beyond each recall threshold.

    Args:
        precision: (P,) float64 at the true positives.
        start: (A * T * K + 1,) where each setting and class begins among them.
        wanted: (A, K) number of objects.

    Returns:
        (A, T, K, R) float64, 0 where the recall is not reached.
    """
    needed = needed_positives(wanted)[:, None]
    first, last = (
        bound.reshape(NUM_AREAS, NUM_THRESHOLDS, -1, 1) for bound in (start[:-1], start[1:])
    )
    out_of_reach = needed > last - first
    place = np.where(out_of_reach, last, first + needed - 1)
    # Best within each stretch between two recall thresholds. An empty stretch yields the value at
    # its end, which is either part of the next one or out of reach.
    best = np.maximum.reduceat(np.append(precision, 0.0), place.ravel()).reshape(place.shape)
    best[out_of_reach] = 0.0
    return np.maximum.accumulate(best[..., ::-1], axis=-1)[..., ::-1]


def needed_positives(wanted: np.ndarray) -> np.ndarray:
    """Fewest true positives whose recall, rounded as float64, reaches each recall threshold.

    Recall 0 is reached before any true positive; the best precision from there on is the best at
    or after the first one, so 1 stands for it.

    Args:
        wanted: (...,) int64, number of objects.

    Returns:
        (..., R) int64, at least 1.
    """
    objects = np.maximum(wanted, 1)[..., None]
    # The product may be rounded over an integer; one below is surely not too many.
    least = np.maximum(np.floor(RECALL_THRESHOLDS * objects).astype(np.int64) - 1, 1)
    return least + sum((least + step) / objects < RECALL_THRESHOLDS for step in range(3))
