# SPDX-License-Identifier: Apache-2.0
"""How difficulties are distributed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

BINS = 40


@dataclass(frozen=True)
class Histogram:
    """Numbers of images between B + 1 rising edges: ``edges`` (B + 1,), ``counts`` (B,)."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.counts or len(self.edges) != len(self.counts) + 1:
            raise ValueError(f"{len(self.edges)} edges do not bound {len(self.counts)} counts")


@dataclass(frozen=True)
class DifficultySummary:
    """Of the difficulties of a data set, each in [0, 1].

    Attributes:
        quartiles: (3,).
        histogram: over their range.
    """

    mean: float
    std: float
    min: float
    max: float
    quartiles: tuple[float, ...]
    histogram: Histogram

    @classmethod
    def of(cls, difficulties: ArrayLike) -> DifficultySummary:
        """Of (I,) difficulties, at least one."""
        values = np.asarray(difficulties, dtype=np.float64)
        span = (values.min(), values.max()) if np.ptp(values) else (0, 1)
        counts, edges = np.histogram(values, bins=BINS, range=span)
        return cls(
            mean=float(values.mean()),
            std=float(values.std()),
            min=float(values.min()),
            max=float(values.max()),
            quartiles=tuple(np.percentile(values, [25, 50, 75]).tolist()),
            histogram=Histogram(tuple(edges.tolist()), tuple(counts.tolist())),
        )
