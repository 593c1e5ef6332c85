# SPDX-License-Identifier: Apache-2.0
"""How good a routing is: the router's figures beside random routing's and an oracle's.

Numbers in, plain Python numbers out; what is undefined is None. I: images.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dynamicdet_d2.evaluation.coco.sweep import CocoSweep, oracle_hard, random_figures
from dynamicdet_d2.operating_point import threshold_for_hard_fraction

# Prefix of a task's keys beside "box" and "mask": those of boxes go without.
PREFIX = {"box": "", "mask": "mask_"}
# Hard fractions of the curves.
GRID = tuple(k / 20 for k in range(21))
BINS = 40
# Points of AP by which the oracle must be above random before shares of that are taken.
_LEAST_GAIN = 0.01


class Audit:
    """Rows of the trade-off of one evaluated data set.

    Whatever needs COCO figures takes them from a sweep, so that a row costs milliseconds.
    """

    def __init__(
        self,
        sweeps: Mapping[str, CocoSweep],
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
            class_names: category id -> name, for all categories of the sweeps.
            draws: random routings that the expectation of random routing is taken over.
            min_score: from which a detection counts in precision and recall.
        """
        self.sweeps = dict(sweeps)
        self.difficulties = np.asarray(difficulties, dtype=np.float64)
        self.costs = np.asarray(costs, dtype=np.float64)
        self.class_names = dict(class_names)
        self.draws = draws
        self.min_score = min_score
        self.gains = {task: sweep.image_gains() for task, sweep in self.sweeps.items()}
        self._references: dict[tuple[str, float], dict[str, float | None]] = {}

    def curve(self, hard_fractions: Sequence[float]) -> list[dict[str, Any]]:
        """One short row for each hard fraction asked for.

        Returns:
            rows of "hard_fraction", "threshold", "realised_hard_fraction", "gflops", "AP",
            "random_AP", "random_AP_stderr" (of that expectation), "random_AP_std" (of single
            random routings), "oracle_AP" and "oracle_share"; with masks the same six as
            "mask_AP" and so on. AP in percent, random routing and oracle with as many hard
            images as the router.
        """
        rows = []
        for hard_fraction in hard_fractions:
            row = self._place(hard_fraction, self.threshold(hard_fraction))
            hard = self.difficulties > row["threshold"]
            for task, sweep in self.sweeps.items():
                ap = number(sweep.evaluate(hard).as_dict()["AP"])
                row[f"{PREFIX[task]}AP"] = ap
                row.update(self._against(task, hard, ap))
            rows.append(row)
        return rows

    def point(self, hard_fraction: float | None, threshold: float) -> dict[str, Any]:
        """All figures at one threshold.

        Args:
            hard_fraction: the one asked for; None: the realised one.

        Returns:
            a row as ``curve``'s with, in place of the APs, "box" and "mask" (twelve COCO
            figures by name; None without masks), "box_classes" and "mask_classes" (AP by class
            name), "box_detections" and "mask_detections" ("precision" and "recall" at IoU 0.5 of
            the detections from ``min_score`` on, and in "classes" the same by class name), and
            "routes": for "easy" and "hard" the number of "images" and, over these images alone,
            "AP_detector1" and "AP_detector2".
        """
        point = self._place(hard_fraction, threshold)
        hard = self.difficulties > threshold
        for task in PREFIX:
            point[task] = None
        for task, sweep in self.sweeps.items():
            figures = sweep.evaluate(hard)
            point[task] = {name: number(value) for name, value in figures.as_dict().items()}
            point[f"{task}_classes"] = {
                self.class_names[c]: number(ap) for c, ap in figures.class_ap().items()
            }
            point[f"{task}_detections"] = self._detections(sweep, hard)
            point.update(self._against(task, hard, point[task]["AP"]))
        point["routes"] = {"easy": self._route(~hard), "hard": self._route(hard)}
        return point

    def threshold(self, hard_fraction: float) -> float:
        """The threshold in [0, 1] that makes this share of the images hard, as near as can be."""
        return threshold_for_hard_fraction(self.difficulties, hard_fraction)

    def _place(self, hard_fraction: float | None, threshold: float) -> dict[str, Any]:
        hard = self.difficulties > threshold
        realised = float(hard.mean())
        return {
            "hard_fraction": realised if hard_fraction is None else float(hard_fraction),
            "threshold": float(threshold),
            "realised_hard_fraction": realised,
            "gflops": float(np.where(hard, self.costs[:, 1], self.costs[:, 0]).mean()),
        }

    def _against(self, task: str, hard: NDArray[np.bool_], ap: float | None) -> dict[str, Any]:
        key = (task, float(hard.mean()))
        if key not in self._references:
            self._references[key] = self._reference(*key)
        reference = self._references[key]
        share = oracle_share(ap, reference["random_AP"], reference["oracle_AP"])
        row = {**reference, "oracle_share": share}
        return {f"{PREFIX[task]}{name}": value for name, value in row.items()}

    def _reference(self, task: str, hard_fraction: float) -> dict[str, float | None]:
        """Random routing and oracle with the router's number of hard images."""
        sweep = self.sweeps[task]
        # One seed for all: the draws are nested, and the curve is smooth.
        mean, error = random_figures(sweep, hard_fraction, self.draws, seed=0)
        oracle = sweep.evaluate(oracle_hard(self.gains[task], hard_fraction))
        return {
            "random_AP": number(mean),
            "random_AP_stderr": number(error),
            "random_AP_std": number(error * math.sqrt(self.draws)),
            "oracle_AP": number(oracle.as_dict()["AP"]),
        }

    def _detections(self, sweep: CocoSweep, hard: NDArray[np.bool_]) -> dict[str, Any]:
        counts = sweep.counts(hard, self.min_score)
        classes = {self.class_names[c]: _numbers(r) for c, r in counts.by_class().items()}
        return {**_numbers(counts.overall()), "classes": classes}

    def _route(self, images: NDArray[np.bool_]) -> dict[str, Any]:
        box = self.sweeps["box"]
        route: dict[str, Any] = {"images": int(images.sum())}
        for exit_name, hard in (("detector1", False), ("detector2", True)):
            figures = box.evaluate(np.full(len(images), hard), images)
            route[f"AP_{exit_name}"] = number(figures.as_dict()["AP"])
        return route


def oracle_share(ap: float | None, random: float | None, oracle: float | None) -> float | None:
    """How much of the oracle's lead over random routing a routing reaches; 1 = all of it.

    None where the oracle has no lead: at both ends, and where both exits detect the same.
    """
    if None in (ap, random, oracle) or oracle - random < _LEAST_GAIN:
        return None
    return (ap - random) / (oracle - random)


def difficulty_summary(difficulties: ArrayLike) -> dict[str, Any]:
    """Mean, std, min, max and quartiles of (I,) difficulties, and a histogram over their range."""
    values = np.asarray(difficulties, dtype=np.float64)
    span = (values.min(), values.max()) if np.ptp(values) else (0, 1)
    counts, edges = np.histogram(values, bins=BINS, range=span)
    return {
        "mean": float(values.mean()),
        "std": float(values.std()),
        "min": float(values.min()),
        "max": float(values.max()),
        "quartiles": np.percentile(values, [25, 50, 75]).tolist(),
        "histogram": {"edges": edges.tolist(), "counts": counts.tolist()},
    }


def rank_correlation(first: ArrayLike, second: ArrayLike) -> float | None:
    """Spearman's, in [-1, 1], ties with their mean rank; None where one of them is constant."""
    ranks = [_ranks(np.asarray(values, dtype=np.float64)) for values in (first, second)]
    if any(len(r) < 2 or np.ptp(r) == 0 for r in ranks):
        return None
    return float(np.corrcoef(*ranks)[0, 1])


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]


def _numbers(figures: Mapping[str, float]) -> dict[str, float | None]:
    return {name: number(value) for name, value in figures.items()}


def number(value: float) -> float | None:
    """A plain float; None for what is not a number."""
    return float(value) if math.isfinite(value) else None
