# SPDX-License-Identifier: Apache-2.0
"""What the page says over several runs: means and spreads over seeds, and the static line."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

import numpy as np


@dataclass(frozen=True)
class Figure:
    """Of some seeds; None where it is undefined for one of them.

    Attributes:
        mean: over the seeds.
        spread: standard deviation of the seeds (n - 1); None of a single one.
        least: of the seeds.
    """

    mean: float | None
    spread: float | None
    least: float | None

    @classmethod
    def of(cls, values: Iterable[float | None]) -> "Figure":
        every = list(values)
        known = [value for value in every if value is not None]
        if not known or len(known) < len(every):
            return cls(None, None, None)
        return cls(fmean(known), stdev(known) if len(known) > 1 else None, min(known))

    def text(self, form: str = ".2f") -> str:
        """Mean and spread, the spread with as many digits."""
        if self.mean is None:
            return "-"
        shown = f"{self.mean:{form}}"
        return shown if self.spread is None else f"{shown} ± {self.spread:{form.lstrip('+')}}"


Line = Callable[[float], float | None]
"""10^9 multiply-adds -> AP; None outside."""


def static_front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points that no cheaper one beats, by cost; arguments as ``static_line``."""
    front: list[tuple[float, float]] = []
    for cost, ap in sorted(points, key=lambda point: (point[0], -point[1])):
        if not front or ap > front[-1][1]:
            front.append((cost, ap))
    return front


def static_line(points: Sequence[tuple[float, float]]) -> Line:
    """The line through static detectors that no other one beats at a lower cost.

    Args:
        points: 10^9 multiply-adds and AP of each detector.

    Returns:
        linear between the detectors; None below the cheapest of them and above the dearest.
    """
    front = static_front(points)
    costs, heights = [cost for cost, _ in front], [ap for _, ap in front]
    dearest = max((cost for cost, _ in points), default=-math.inf)

    def line(cost: float) -> float | None:
        if not front or not front[0][0] <= cost <= dearest:
            return None
        return float(np.interp(cost, costs, heights))

    return line
