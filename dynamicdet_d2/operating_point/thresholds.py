# SPDX-License-Identifier: Apache-2.0
"""Pure: difficulties and a hard fraction -> a threshold, and how far to trust it (section 3.4).

N: images, T: thresholds that route differently, K: hard fractions.

The direction of the quantile, since eq. 15 prints ``percentile(S, k)`` and that is not what is
computed here. k is the share of *hard* images (eq. 14), and an image is hard iff its difficulty is
*above* the threshold, so 1 - k of the difficulties must lie below it. With difficulties 0.1, 0.2,
0.3, 0.4 and k = 0.25 the (1 - k) quantile, 0.35, sends one image of four to detector2, as asked;
the k quantile, 0.15, would send three. The printed formula fits a score that falls with
difficulty, such as 1 - difficulty: 0.9, 0.8, 0.7, 0.6 has its k quantile at 0.65, and the one
image below it is the same hard one.
"""

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dynamicdet_d2.config.ranges import above, between, integer
from dynamicdet_d2.utils.numbers import as_numbers

SHARE = between(0, 1)
_CONFIDENCE, _COUNT, _SEED = above(0, below=1), integer(at_least=1), integer(at_least=0)

# Below this many images the paper saw thresholds move by 0.11 (section 4.4.3, Fig. 9).
ENOUGH_IMAGES = 1500
# Hard fractions that a calibration lists.
TABLE = tuple(k / 10 for k in range(11))
# Hard fractions 0, 0.001, ..., 1: what a calibration stores to answer any other.
GRID = tuple(k / 1000 for k in range(1001))


def threshold_for_hard_fraction(difficulties: ArrayLike, hard_fraction: float) -> float:
    """The threshold that makes a given share of the images hard: the (1 - k) quantile.

    The threshold lies midway between two neighbouring difficulties. Any value between them gives
    the same routes here; the middle one leaves the largest margin on both sides, so that small
    changes (another batch size, another device) turn no image.

    Images of equal difficulty take the same route. Without ties the realised hard fraction is the
    requested one to within half an image. With ties it is the closest that a threshold can reach,
    and of two equally close ones the cheaper, with fewer hard images.

    Args:
        difficulties: (N,) in [0, 1].
        hard_fraction: k of eq. 14, in [0, 1]; 0 gives threshold 1.0, 1 gives 0.0.

    Returns:
        The threshold, in [0, 1]. An image is hard iff difficulty > threshold.

    Raises:
        ValueError: difficulties empty, not finite or outside [0, 1]; hard_fraction outside [0, 1].
    """
    share = SHARE.number(hard_fraction, "The hard fraction")
    return float(_nearest(*_reachable(checked_difficulties(difficulties)), [share])[0])


def realised_hard_fraction(difficulties: ArrayLike, threshold: float) -> float:
    """Share of the (N,) difficulties above the threshold, in [0, 1].

    Raises:
        ValueError: the threshold is no number in [0, 1], or there is no such difficulty.
    """
    least = SHARE.number(threshold, "The threshold")
    return float(np.mean(checked_difficulties(difficulties) > least))


def threshold_grid(difficulties: ArrayLike) -> list[float]:
    """The thresholds of the hard fractions 0, 0.001, ..., 1: 1001 values that never rise."""
    return _nearest(*_reachable(checked_difficulties(difficulties)), GRID).tolist()


def threshold_at(grid: Sequence[float], hard_fraction: float) -> float:
    """The threshold of a hard fraction in [0, 1], to within 0.0005 of it.

    Args:
        grid: as :func:`threshold_grid` gives it.

    Raises:
        ValueError: it is no number in [0, 1].
    """
    share = SHARE.number(hard_fraction, "The hard fraction")
    return grid[round(share * (len(grid) - 1))]


def threshold_interval(
    difficulties: ArrayLike,
    hard_fraction: float,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """Bootstrap interval of :func:`threshold_for_hard_fraction` (percentile method).

    It says how far another validation set of the same size and kind would move the threshold.

    Args:
        difficulties: (N,) in [0, 1].
        hard_fraction: in [0, 1].
        confidence: share of the resampled thresholds within the interval, in (0, 1).
        resamples: how often N images are drawn with replacement.
        seed: of the draws; the same seed gives the same interval.

    Returns:
        (low, high), both in [0, 1].

    Raises:
        ValueError: as :func:`threshold_for_hard_fraction`; confidence, resamples or seed are out
            of range.
    """
    share = SHARE.number(hard_fraction, "The hard fraction")
    low, high = _intervals(difficulties, [share], confidence, resamples, seed)
    return float(low[0]), float(high[0])


def threshold_table(difficulties: ArrayLike, seed: int = 0) -> list[dict]:
    """The rows of a calibration: one for each hard fraction 0, 0.1, ..., 1.

    Returns:
        Dicts of "hard_fraction" (asked for), "threshold", "interval" ([low, high] of the
        threshold, 95 %) and "realised_hard_fraction" (on these images; differs with ties).
    """
    low, high = _intervals(difficulties, TABLE, 0.95, 1000, seed)
    rows = []
    for k, interval in zip(TABLE, zip(low.tolist(), high.tolist(), strict=True), strict=True):
        threshold = threshold_for_hard_fraction(difficulties, k)
        realised = realised_hard_fraction(difficulties, threshold)
        rows.append(_row(k, threshold, list(interval), realised_hard_fraction=realised))
    return rows


def held_out(difficulties: ArrayLike, seed: int = 0) -> list[dict]:
    """Thresholds of one random half of the images, tried on the other half.

    Returns:
        For each hard fraction of the table a dict of "hard_fraction", "threshold" (of the first
        half), "interval" (where the realised fraction is expected, 95 %) and "realised" (on the
        second half). Empty for fewer than two images.
    """
    rng = np.random.default_rng(_SEED.whole(seed, "The seed"))
    values = rng.permutation(checked_difficulties(difficulties))
    fitted, tested = values[: len(values) // 2], values[len(values) // 2 :]
    if not len(fitted):
        return []
    rows = []
    for k in TABLE:
        threshold = threshold_for_hard_fraction(fitted, k)
        interval = realised_interval(k, len(fitted), len(tested))
        realised = realised_hard_fraction(tested, threshold)
        rows.append(_row(k, threshold, list(interval), realised=realised))
    return rows


def realised_interval(
    hard_fraction: float, fitted_on: int, tested_on: int, confidence: float = 0.95
) -> tuple[float, float]:
    """Where the hard fraction of new images is expected, whatever the difficulties look like.

    Only ranks decide routes, so the variance is k (1 - k) (1/n + 1/m) for any distribution
    without ties: 1/n for the threshold, 1/m for the new images. 0.5 calibrated on 1500 images and
    used on 1500 others: 0.46 to 0.54. Half an image is added on each side for the rounding of each.

    Args:
        hard_fraction: k that the threshold was calibrated to, in [0, 1].
        fitted_on: n, images that the threshold was taken from, >= 1.
        tested_on: m, images that it is used on, >= 1.
        confidence: in (0, 1).

    Returns:
        (low, high), both in [0, 1]; the ends 0 and 1 are certain.

    Raises:
        ValueError: an argument is out of its range.
    """
    hard_fraction = SHARE.number(hard_fraction, "The hard fraction")
    fitted_on, tested_on = (_COUNT.whole(n, "A number of images") for n in (fitted_on, tested_on))
    confidence = _CONFIDENCE.number(confidence, "The confidence")
    spread = hard_fraction * (1 - hard_fraction)
    if spread == 0:
        return hard_fraction, hard_fraction
    share = 1 / fitted_on + 1 / tested_on
    half = NormalDist().inv_cdf((1 + confidence) / 2) * math.sqrt(spread * share) + share / 2
    return max(0.0, hard_fraction - half), min(1.0, hard_fraction + half)


def checked_difficulties(difficulties: ArrayLike) -> NDArray[np.float64]:
    """(N,) float64, N >= 1, all in [0, 1].

    Raises:
        ValueError: they are not.
    """
    values = as_numbers(difficulties, "Difficulties").reshape(-1)
    if not len(values):
        raise ValueError("There are no difficulties; at least one image is needed.")
    # Negated, so that NaN is caught too.
    wrong = np.flatnonzero(~((values >= 0) & (values <= 1)))
    if len(wrong):
        first = np.asarray(difficulties).reshape(-1)[wrong[0]]  # None as it was given, not as NaN
        raise ValueError(
            f"{len(wrong)} of {len(values)} difficulties are outside [0, 1]; the first is {first}."
        )
    return values


def _reachable(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Every threshold that routes differently, and the hard fraction that each gives.

    Args:
        values: (N,) difficulties.

    Returns:
        Thresholds (T,) falling from 1 to 0, hard fractions (T,) rising.
    """
    unique = np.unique(values)
    lower, upper = unique[:-1], unique[1:]
    middle = (lower + upper) / 2
    # Between two neighbouring floats there is no middle, it rounds to one of them.
    middle = np.where(middle < upper, middle, lower)
    thresholds = np.concatenate([[0.0], middle, [1.0]])
    not_hard = np.searchsorted(np.sort(values), thresholds, side="right")
    # The highest threshold for each fraction: with a difficulty of 0, two leave just it easy.
    fractions, first = np.unique(1 - not_hard[::-1] / len(values), return_index=True)
    return thresholds[::-1][first], fractions


def _nearest(
    thresholds: NDArray[np.float64],
    fractions: NDArray[np.float64],
    hard_fractions: Sequence[float],
) -> NDArray[np.float64]:
    """Thresholds (K,) of the closest fractions; of two equally close ones the cheaper.

    Args:
        thresholds, fractions: (T,) as of :func:`_reachable`.
        hard_fractions: (K,) wanted, in [0, 1].
    """
    wanted = np.asarray(hard_fractions, dtype=np.float64)
    above = np.searchsorted(fractions, wanted).clip(max=len(fractions) - 1)
    below = np.maximum(above - 1, 0)
    # With a margin, so that which of two equally close ones is taken does not hang on a last bit.
    up = fractions[above] - wanted < wanted - fractions[below] - 1e-9
    nearest = thresholds[np.where(up, above, below)]
    # The ends hold for all images, whatever can be reached on these.
    return np.where(wanted == 0, 1.0, np.where(wanted == 1, 0.0, nearest))


def _intervals(
    difficulties: ArrayLike,
    hard_fractions: Sequence[float],
    confidence: float,
    resamples: int,
    seed: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lower and upper bounds (K,) of the thresholds, all from the same resampled sets."""
    confidence = _CONFIDENCE.number(confidence, "The confidence")
    resamples = _COUNT.whole(resamples, "The number of resamples")
    values = checked_difficulties(difficulties)
    rng = np.random.default_rng(_SEED.whole(seed, "The seed"))
    drawn = np.empty((resamples, len(hard_fractions)))
    for i in range(resamples):
        drawn[i] = _nearest(*_reachable(rng.choice(values, len(values))), hard_fractions)
    low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2], axis=0)
    return low, high


def _row(k: float, threshold: float, interval: list[float], **realised: float) -> dict:
    return {"hard_fraction": k, "threshold": threshold, "interval": interval, **realised}
