# SPDX-License-Identifier: Apache-2.0
"""Pure: how well a stream kept its budget, by figures of the last images at each image."""

import numpy as np

from benchmarks.budget.scenarios import Array

# Images that mean or percentile are taken over, and how far from the target is well kept.
SPAN, NEAR = 100, 0.05
# 100 images have five beyond p95, too few; so many are taken for a percentile.
PERCENTILE_SPAN = 400
# Images that it must be well kept for, to count as settled: more would count chance as unrest.
HOLD = 200


def moving(milliseconds: Array, percentile: float | None) -> Array:
    """(N - span + 1,) mean or percentile of each stretch of images, in milliseconds."""
    span = SPAN if percentile is None else PERCENTILE_SPAN
    stretches = np.lib.stride_tricks.sliding_window_view(milliseconds, span)
    if percentile is None:
        return stretches.mean(axis=1)
    return np.percentile(stretches, percentile, axis=1)


def kept(values: Array, target: float, percentile: float | None) -> np.ndarray:
    """(N,) whether values are within 5 % of the target; a percentile may also be lower.

    Lower it is wherever both routes are, and where too few hard images to matter bring it down.
    """
    excess = values / target - 1
    return (np.abs(excess) if percentile is None else excess) <= NEAR


def settling(kept: np.ndarray, start: int, end: int, span: int) -> int | None:
    """Images from a change until the target is kept, and stays so for ``HOLD``.

    Args:
        kept: (N - span + 1,) whether it is; entry i is of the images up to i + span - 1.
        start, end: images of the change and of the next one (or N).
        span: images that an entry is taken over; before them nothing is known.

    Returns:
        None where it never does. What is left before the next change may be shorter than ``HOLD``.
    """
    first = max(start - span + 1, 0)
    segment = kept[first : end - span + 1]
    edges = [-1, *np.flatnonzero(~segment).tolist(), len(segment)]
    for before, after in zip(edges, edges[1:], strict=False):
        if after - before - 1 >= min(HOLD, len(segment) - before - 1) > 0:
            return before + 1 + first + span - 1 - start
    return None


def overshoot(values: Array, target: float) -> float:
    """How far the worst value is above the target, as a share of it; 0 where none is."""
    return max(float(values.max() / target - 1), 0.0)
