# SPDX-License-Identifier: Apache-2.0
"""Latency of the routed model at every operating point, as it would be over the whole data set."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from dynamicdet_d2.evaluation.latency import Latency, measure_thresholds
from dynamicdet_d2.evaluation.tradeoff.points import Point, RoutedLatency
from dynamicdet_d2.evaluation.tradeoff.record import LatencyProtocol, RouteLatency


def measure_routed(
    model: nn.Module,
    warmup: int,
    difficulty_of: Mapping[Any, float],
    inputs: Sequence[dict],
    points: Sequence[Point],
) -> tuple[LatencyProtocol, list[RoutedLatency | None]]:
    """Measure the model at the points' thresholds, in turns.

    Args:
        warmup: untimed calls beforehand.
        difficulty_of: image id -> difficulty.
        inputs: images in memory; without any, nothing is measured.
        points: both ends among them.

    Returns:
        how it was measured, and the latency of each point.
    """
    if not inputs:
        return LatencyProtocol(0, warmup, batch_size=1), [None] * len(points)
    thresholds = sorted({point.threshold for point in points})
    measured = measure_thresholds(model, [[x] for x in inputs], thresholds, warmup)
    latency_at = dict(zip(thresholds, measured, strict=True))
    ends = latency_at[1.0], latency_at[0.0]
    difficulties = np.array([difficulty_of[x["image_id"]] for x in inputs])
    easy, hard = (RouteLatency(end.p50, end.p95, end.mean) for end in ends)
    return LatencyProtocol(len(inputs), warmup, 1, easy, hard), [
        _routed(latency_at[point.threshold], difficulties > point.threshold, point, ends)
        for point in points
    ]


def _routed(
    latency: Latency, hard: NDArray[np.bool_], point: Point, ends: tuple[Latency, Latency]
) -> RoutedLatency:
    mean = routed_mean(latency, hard, point.realised_hard_fraction, ends)
    error = routed_error(latency, hard, point.realised_hard_fraction, ends)
    return RoutedLatency(mean, latency.p50, latency.p95, float(hard.mean()), error)


def routed_mean(
    latency: Latency,
    hard: NDArray[np.bool_],
    hard_fraction: float,
    ends: tuple[Latency, Latency],
) -> float:
    """Mean milliseconds per image when the routes are taken as often as in the whole data set.

    Among few images the hard ones are more or fewer than among all, so the mean of each route's
    calls is weighted by the route's share of all images.

    Args:
        latency: with one sample per image.
        hard: for each sample, whether it took the hard route.
        hard_fraction: of the data set.
        ends: with all images easy, and with all of them hard; for a route without a sample.
    """
    easy_ms, hard_ms = (samples.mean() for samples in _by_route(latency, hard, ends))
    return float((1 - hard_fraction) * easy_ms + hard_fraction * hard_ms)


def routed_error(
    latency: Latency,
    hard: NDArray[np.bool_],
    hard_fraction: float,
    ends: tuple[Latency, Latency],
) -> float | None:
    """Standard error of ``routed_mean`` in milliseconds; arguments as there.

    How far the mean would move from one choice of timed images to another; a machine that slows
    down between two runs is not in it. None where a route that is taken was timed once.
    """
    total = 0.0
    shares = 1 - hard_fraction, hard_fraction
    for share, samples in zip(shares, _by_route(latency, hard, ends), strict=True):
        if share and len(samples) < 2:
            return None
        if share:
            total += share**2 * float(samples.var(ddof=1)) / len(samples)
    return math.sqrt(total)


def _by_route(
    latency: Latency, hard: NDArray[np.bool_], ends: tuple[Latency, Latency]
) -> list[NDArray[np.float64]]:
    """Milliseconds of the easy and of the hard images; those of its end for a route without any."""
    samples = np.array(latency.samples)
    return [
        samples[taken] if taken.any() else np.array(end.samples)
        for taken, end in zip((~hard, hard), ends, strict=True)
    ]
