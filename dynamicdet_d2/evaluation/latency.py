# SPDX-License-Identifier: Apache-2.0
"""Latency of the routed model at several thresholds, measured in turns on the same images.

Images are in memory and batches of one are what latency is about (Table 2); the time of a call
contains all that the model does, from moving the image to the device to the rescaled detections.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from dynamicdet_d2.modeling.modes import evaluating, setting
from dynamicdet_d2.operating_point import OperatingPoint
from dynamicdet_d2.utils.progress import Progress

Clock = Callable[[], float]


@dataclass(frozen=True)
class Latency:
    """Milliseconds per image: median, 95th percentile, mean, and each timed call in order."""

    p50: float
    p95: float
    mean: float
    samples: tuple[float, ...]

    @classmethod
    def of(cls, samples: Sequence[float]) -> "Latency":
        p50, p95 = np.percentile(samples, [50, 95]).tolist()
        return cls(p50, p95, float(np.mean(samples)), tuple(samples))


def measure_routes(
    model: nn.Module, inputs: Sequence[list[dict]], warmup: int, clock: Clock = time.perf_counter
) -> dict[str, Latency]:
    """Latency of each route, by sending every image down both: {"easy", "hard"}.

    Arguments and errors as :func:`measure_thresholds`.
    """
    easy, hard = measure_thresholds(model, inputs, [1.0, 0.0], warmup, clock)
    return {"easy": easy, "hard": hard}


def measure_latency(
    model: nn.Module,
    inputs: Sequence[list[dict]],
    threshold: float | None,
    warmup: int,
    clock: Clock = time.perf_counter,
) -> Latency:
    """Latency at one threshold, or of a static detector (None).

    Arguments and errors as :func:`measure_thresholds`.
    """
    return measure_thresholds(model, inputs, [threshold], warmup, clock)[0]


def measure_thresholds(
    model: Any,
    inputs: Sequence[list[dict]],
    thresholds: Sequence[float | None],
    warmup: int,
    clock: Clock = time.perf_counter,
) -> list[Latency]:
    """Latency of the model at each threshold.

    Args:
        model, inputs, warmup, clock: as :func:`measure_points` takes them.
        thresholds: each in [0, 1]; None, and nothing else, for a static detector, which has none.

    Returns:
        One :class:`Latency` per threshold, with one sample per batch.

    Raises:
        ValueError: as :func:`measure_points`, or a threshold is out of range.
    """
    points = [None if x is None else model.operating_point.tried(x) for x in thresholds]
    return measure_points(model, inputs, points, warmup, clock)


def measure_points(
    model: nn.Module,
    inputs: Sequence[list[dict]],
    points: Sequence[OperatingPoint | None],
    warmup: int,
    clock: Clock = time.perf_counter,
) -> list[Latency]:
    """Latency of the model at each operating point.

    Every batch is run at all points before the next one, so that a machine that slows down
    (heat, other jobs) slows all of them. Which point comes first moves on by one with every
    batch, because the first to see a batch finds it in no cache.

    Args:
        model: a detector; its operating point and the training flag of each of its modules are
            afterwards what they were.
        inputs: batches of Detectron2's input dicts, in memory.
        points: thresholds and limits; None: of a static detector, which has none.
        warmup: untimed calls at each point beforehand.
        clock: gives seconds.

    Returns:
        One :class:`Latency` per point, with one sample per batch.

    Raises:
        ValueError: no inputs, an empty batch, or a negative warmup.
    """
    if not inputs or not all(inputs) or warmup < 0:
        sizes = [len(batch) for batch in inputs]
        raise ValueError(
            "Latency needs at least one batch, no empty one, and a warm-up of 0 or more; "
            f"found batches of {sizes} images and a warm-up of {warmup}."
        )
    samples: list[list[float]] = [[] for _ in points]
    with evaluating(model), torch.inference_mode():
        for i in range(warmup):
            for point in points:
                _timed_call(model, inputs[i % len(inputs)], point, clock)
        progress = Progress(len(inputs), "Latency", clock)
        for i, batch in enumerate(inputs):
            for j in _turn(len(points), i):
                seconds = _timed_call(model, batch, points[j], clock)
                samples[j].append(1000 * seconds / len(batch))
            progress.step()
    return [Latency.of(values) for values in samples]


def _turn(count: int, first: int) -> list[int]:
    """0 .. count - 1, rotated to begin with ``first`` modulo ``count``."""
    return [(first + j) % count for j in range(count)]


def _timed_call(model: Any, batch: list[dict], point: OperatingPoint | None, clock: Clock) -> float:
    """Seconds that the call took; afterwards the model has its own operating point again."""
    with nullcontext() if point is None else setting("operating_point", point, model):
        _synchronize(model.device)
        start = clock()
        model(batch)
        _synchronize(model.device)
        return clock() - start


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
