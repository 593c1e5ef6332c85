# SPDX-License-Identifier: Apache-2.0
"""Calls timed in turns: A, B, C, A, B, C, ...; what is quoted are medians of paired ratios.

A machine that slows down (heat, neighbours) slows all of a round, so a ratio within a round holds
where single times drift.
"""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from dynamicdet_d2.utils.progress import Progress

WARMUP = 2


@dataclass(frozen=True)
class Rounds:
    """Seconds of each call in each round.

    Attributes:
        seconds: name -> one figure a round.
        images: name -> images that a call works on.
    """

    seconds: Mapping[str, list[float]]
    images: Mapping[str, int]

    def milliseconds(self, name: str) -> float:
        """Median over the rounds, an image."""
        return 1000 * statistics.median(self.seconds[name]) / self.images[name]

    def ratio(self, name: str, reference: str) -> float:
        """Median over the rounds of time an image over that of ``reference`` in the same round."""
        pairs = zip(self.seconds[name], self.seconds[reference], strict=True)
        scale = self.images[reference] / self.images[name]
        return statistics.median(a / b for a, b in pairs) * scale

    def ratio_to_sum(self, name: str, parts: Mapping[str, float]) -> float:
        """As ``ratio``, to a weighted sum of others: name -> weight."""
        ratios = []
        for i, seconds in enumerate(self.seconds[name]):
            whole = sum(w * self.seconds[p][i] / self.images[p] for p, w in parts.items())
            ratios.append(seconds / self.images[name] / whole)
        return statistics.median(ratios)


def interleave(
    title: str, calls: Mapping[str, tuple[int, Callable[[], object]]], rounds: int
) -> Rounds:
    """Time calls in turns; the one that begins a round moves on by one with every round.

    Args:
        title: for the progress that is logged.
        calls: name -> (images that it works on, the call).
        rounds: timed ones, after ``WARMUP`` calls of each.
    """
    names = list(calls)
    for name in names:
        for _ in range(WARMUP):
            _seconds(calls[name][1])
    seconds: dict[str, list[float]] = {name: [] for name in names}
    progress = Progress(rounds, title)
    for i in range(rounds):
        first = i % len(names)
        for name in names[first:] + names[:first]:
            seconds[name].append(_seconds(calls[name][1]))
        progress.step()
    return Rounds(seconds, {name: images for name, (images, _) in calls.items()})


def _seconds(call: Callable[[], object]) -> float:
    synchronize()
    start = time.perf_counter()
    call()
    synchronize()
    return time.perf_counter() - start


def synchronize() -> None:
    """Wait for the GPU, where there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
