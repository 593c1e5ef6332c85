# SPDX-License-Identifier: Apache-2.0
"""How good a routing is: the router's figures beside random routing's and an oracle's.

Numbers in, records out. I: images.
"""

import functools
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dynamicdet_d2.evaluation.coco.counts import Counts
from dynamicdet_d2.evaluation.coco.matching import IOU_THRESHOLDS
from dynamicdet_d2.evaluation.coco.references import oracle_hard, random_figures
from dynamicdet_d2.evaluation.coco.sweep import CocoSweep
from dynamicdet_d2.evaluation.tradeoff.points import (
    CurvePoint,
    DetectionRates,
    Point,
    Rates,
    RoutedAP,
    RouteFigures,
    Task,
    TaskFigures,
)
from dynamicdet_d2.evaluation.tradeoff.record import PrecisionCurve
from dynamicdet_d2.evaluation.tradeoff.routes import ImageCounts
from dynamicdet_d2.operating_point import threshold_for_hard_fraction
from dynamicdet_d2.utils.class_labels import told_apart
from dynamicdet_d2.utils.plain import finite

# Hard fractions of the curves.
GRID = tuple(k / 20 for k in range(21))
# Of the curves of precision against recall.
CURVE_IOUS = (0.5, 0.75)


class RoutingQuality:
    """Points of the trade-off of one evaluated data set.

    Whatever needs COCO figures takes them from a sweep, so that a point costs milliseconds.
    """

    def __init__(
        self,
        sweeps: Mapping[Task, CocoSweep],
        difficulties: ArrayLike,
        costs: ArrayLike,
        class_names: Mapping[int, str],
        draws: int,
        min_score: float = 0.5,
    ) -> None:
        """
        Args:
            sweeps: "box" and, with masks, "mask"; their images in the order of the difficulties.
            difficulties: (I,) in [0, 1].
            costs: (I, 2) 10^9 multiply-adds of each image on the easy and on the hard route.
            class_names: category id -> name, for all categories of the sweeps; in figures the id
                stands behind a name that several have.
            draws: random routings that the expectation of random routing is taken over.
            min_score: from which a detection counts in precision and recall.
        """
        self.sweeps = dict(sweeps)
        self.difficulties = np.asarray(difficulties, dtype=np.float64)
        self.costs = np.asarray(costs, dtype=np.float64)
        self.class_names = told_apart(class_names)
        self.draws = draws
        self.min_score = min_score
        self.gains = {task: sweep.image_gains() for task, sweep in self.sweeps.items()}
        self._references = functools.cache(self._measure_references)

    def curve(self, hard_fractions: Sequence[float]) -> tuple[CurvePoint, ...]:
        """One point for each hard fraction asked for; random routing and oracle with as many hard
        images as the router."""
        return tuple(self._curve_point(k) for k in hard_fractions)

    def point(self, hard_fraction: float | None, threshold: float) -> Point:
        """All figures at one threshold, without latency.

        Args:
            hard_fraction: the one asked for; None: the realised one.
        """
        hard = self.difficulties > threshold
        return Point(
            **self._place(hard_fraction, threshold),
            tasks={task: self._figures(task, hard) for task in self.sweeps},
            easy=self._route(~hard),
            hard=self._route(hard),
        )

    def threshold(self, hard_fraction: float) -> float:
        """The threshold in [0, 1] that makes this share of the images hard, as near as can be."""
        return threshold_for_hard_fraction(self.difficulties, hard_fraction)

    def precision_curves(self, points: Sequence[CurvePoint]) -> tuple[PrecisionCurve, ...]:
        """Of each point, at each of ``CURVE_IOUS``; none of a task without objects."""
        found = []
        for task, point in itertools.product(self.sweeps, points):
            hard = self.difficulties > point.threshold
            precision = self.sweeps[task].evaluate(hard).precision[..., 0]  # of all sizes
            for iou in CURVE_IOUS:
                at = precision[np.isclose(IOU_THRESHOLDS, iou)][0]
                of_classes = at[:, (at > -1).all(axis=0)]
                if of_classes.size:
                    mean = tuple((100 * of_classes.mean(axis=1)).round(4).tolist())
                    found.append(PrecisionCurve(task, point.hard_fraction, iou, mean))
        return tuple(found)

    def image_counts(self) -> list[ImageCounts]:
        """What both detectors find in each image, of boxes."""
        objects, found = self.sweeps["box"].image_counts(self.min_score)
        return [
            ImageCounts(wanted, tuple(exits[0]), tuple(exits[1]))
            for wanted, exits in zip(objects.tolist(), found.swapaxes(1, 2).tolist(), strict=True)
        ]

    def _curve_point(self, hard_fraction: float) -> CurvePoint:
        threshold = self.threshold(hard_fraction)
        hard = self.difficulties > threshold
        tasks = {
            task: RoutedAP(AP=finite(sweep.evaluate(hard).ap), **self._against(task, hard))
            for task, sweep in self.sweeps.items()
        }
        return CurvePoint(**self._place(hard_fraction, threshold), tasks=tasks)

    def _place(self, hard_fraction: float | None, threshold: float) -> dict[str, Any]:
        hard = self.difficulties > threshold
        realised = float(hard.mean())
        return {
            "hard_fraction": realised if hard_fraction is None else float(hard_fraction),
            "threshold": float(threshold),
            "realised_hard_fraction": realised,
            "gflops": float(np.where(hard, self.costs[:, 1], self.costs[:, 0]).mean()),
        }

    def _figures(self, task: Task, hard: NDArray[np.bool_]) -> TaskFigures:
        sweep = self.sweeps[task]
        figures = sweep.evaluate(hard)
        return TaskFigures(
            **{name: finite(value) for name, value in figures.as_dict().items()},
            **self._against(task, hard),
            classes={self.class_names[c]: finite(ap) for c, ap in figures.class_ap().items()},
            detections=self._detections(sweep.counts(hard, self.min_score)),
        )

    def _against(self, task: Task, hard: NDArray[np.bool_]) -> dict[str, float | None]:
        return self._references(task, float(hard.mean()))

    def _measure_references(self, task: Task, hard_fraction: float) -> dict[str, float | None]:
        """Random routing and oracle with the router's number of hard images."""
        sweep = self.sweeps[task]
        # One seed for all: the draws are nested, and the curve is smooth.
        mean, error = random_figures(sweep, hard_fraction, self.draws, seed=0)
        oracle = sweep.evaluate(oracle_hard(self.gains[task], hard_fraction))
        return {
            "random_AP": finite(mean),
            "random_AP_stderr": finite(error),
            "random_AP_std": finite(error * math.sqrt(self.draws)),
            "oracle_AP": finite(oracle.ap),
        }

    def _detections(self, counts: Counts) -> DetectionRates:
        classes = {self.class_names[c]: Rates(**_finite(r)) for c, r in counts.by_class().items()}
        return DetectionRates(**_finite(counts.overall()), classes=classes)

    def _route(self, images: NDArray[np.bool_]) -> RouteFigures:
        everywhere = np.ones(len(images), dtype=bool)
        aps = [self.sweeps["box"].evaluate(hard, images).ap for hard in (~everywhere, everywhere)]
        return RouteFigures(int(images.sum()), *map(finite, aps))


def _finite(figures: Mapping[str, float]) -> dict[str, Any]:
    return {name: finite(value) for name, value in figures.items()}
