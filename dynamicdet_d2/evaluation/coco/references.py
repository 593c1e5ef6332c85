# SPDX-License-Identifier: Apache-2.0
"""Routings that a router is measured against: random ones, and an oracle's."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from dynamicdet_d2.evaluation.coco.sweep import CocoSweep


class RandomFigures(NamedTuple):
    """AP under random routing, in percent: its mean over the draws, and that mean's standard
    error (0 where there is only one routing, NaN for a single draw)."""

    mean: float
    standard_error: float


def random_figures(sweep: CocoSweep, hard_fraction: float, draws: int, seed: int) -> RandomFigures:
    """Estimate the expected AP when hard images are drawn at random.

    Args:
        hard_fraction: share of hard images, [0, 1]; every draw has the closest possible number.
        draws: number of random routings, at least 1.
        seed: the same seed gives the same figures, and draws whose hard images grow with the
            hard fraction, so that a curve over it is smooth.

    Raises:
        ValueError: when ``hard_fraction`` is not in [0, 1] or there is no draw.
    """
    num_images = len(sweep.image_ids)
    num_hard = _num_hard(num_images, hard_fraction)
    if draws < 1:
        raise ValueError(f"draws must be at least 1, not {draws}")
    if num_hard in (0, num_images):
        ends = sweep.evaluate(np.full(num_images, num_hard > 0))
        return RandomFigures(ends.ap, 0.0)
    generator = np.random.default_rng(seed)
    figures = []
    for _ in range(draws):
        hard = np.arange(num_images) < num_hard
        figures.append(sweep.evaluate(generator.permutation(hard)).ap)
    error = np.std(figures, ddof=1) / math.sqrt(draws) if draws > 1 else math.nan
    return RandomFigures(float(np.mean(figures)), float(error))


def oracle_hard(gains: np.ndarray, hard_fraction: float) -> np.ndarray:
    """Route the images of the largest gain to detector2.

    Args:
        gains: (I,) from ``CocoSweep.image_gains``; of equal ones the earlier image goes first.
        hard_fraction: share of hard images, [0, 1].

    Returns:
        (I,) bool, with the number of hard images closest to the share asked for.

    Raises:
        ValueError: when ``hard_fraction`` is not in [0, 1].
    """
    hard = np.zeros(len(gains), dtype=bool)
    hard[np.argsort(-gains, kind="stable")[: _num_hard(len(gains), hard_fraction)]] = True
    return hard


def _num_hard(num_images: int, hard_fraction: float) -> int:
    """The number of hard images closest to the share; of two, the smaller and cheaper one."""
    if not 0 <= hard_fraction <= 1:
        raise ValueError(f"hard_fraction must be in [0, 1], not {hard_fraction}")
    return math.ceil(hard_fraction * num_images - 0.5)
