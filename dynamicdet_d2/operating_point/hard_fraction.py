# SPDX-License-Identifier: Apache-2.0
"""Pure: costs of the two routes, or AP at several hard fractions -> the hard fraction to choose."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dynamicdet_d2.config.ranges import number
from dynamicdet_d2.utils.numbers import as_numbers
from dynamicdet_d2.utils.words import rounded_inward

_NOT_NEGATIVE = number(at_least=0)
# Points of AP: AP is a mean of shares, in which 80 and 70 may differ by 10.000000000000014.
_ROUNDING = 1e-9


def hard_fraction_for_latency(easy: float, hard: float, target: float) -> float:
    """Eq. 14: the share of hard images at which the mean latency per image is ``target`` ms.

    Args:
        easy, hard: mean latency of the two routes in milliseconds.
        target: mean latency wanted, between them.

    Returns:
        k in [0, 1].

    Raises:
        ValueError: target outside [easy, hard], or hard not above easy.
    """
    return hard_fraction_for_cost(easy, hard, target, "latency", "ms")


def hard_fraction_for_cost(easy: float, hard: float, target: float, what: str, unit: str) -> float:
    """Eq. 14 for any cost that averages over images: (target - easy) / (hard - easy).

    Costs are means: the mean of a mixture of routes is the mixture of their means, which does not
    hold for medians (at 0.5 the median of the mixture may be anywhere between the two).

    Args:
        easy, hard, target: mean cost per image, in ``unit``.
        what: name of the cost, for the error ("latency").
        unit: "ms", "GFLOPs".

    Raises:
        ValueError: a cost is no finite number, hard is not above easy, or target outside [easy,
            hard].
    """
    easy = _NOT_NEGATIVE.number(easy, f"The {what} of the easy route in {unit}")
    hard = _NOT_NEGATIVE.number(hard, f"The {what} of the hard route in {unit}")
    target = _NOT_NEGATIVE.number(target, f"The target {what} in {unit}")
    if hard <= easy:
        raise ValueError(
            f"The hard route's {what} ({hard:g} {unit}) is not above the easy route's "
            f"({easy:g} {unit}), so there is nothing to gain here and no target to meet."
        )
    if not easy <= target <= hard:
        low, high = rounded_inward(easy, hard)
        raise ValueError(
            f"The target {what} of {target:g} {unit} cannot be reached; {low} to {high} {unit} can."
        )
    return (target - easy) / (hard - easy)


def least_ap(best: ArrayLike, drop: float) -> NDArray[np.float64]:
    """The least AP that is no more than ``drop`` below ``best``; all in points, to rounding.

    Returns:
        Of the shape of ``best``, a hair below ``best - drop``, so that a loss of just ``drop`` is
        none of more.
    """
    return np.asarray(best, dtype=np.float64) - drop - _ROUNDING


def hard_fraction_for_ap_drop(
    hard_fractions: Sequence[float], aps: Sequence[float], drop: float
) -> float:
    """The smallest hard fraction whose AP is at most ``drop`` points below that of all hard.

    Args:
        hard_fractions: (K,) rising, in [0, 1], the last one 1.
        aps: (K,) AP at each, in points (0 to 100).
        drop: points of AP that may be lost, >= 0.

    Returns:
        One of ``hard_fractions``; 1.0 always qualifies.

    Raises:
        ValueError: other shapes or ranges, or an AP that is not finite.
    """
    fractions, points = as_numbers(hard_fractions, "Hard fractions"), as_numbers(aps, "AP")
    if fractions.ndim != 1 or not len(fractions) or fractions.shape != points.shape:
        raise ValueError(
            f"As many AP as hard fractions are needed; found {points.shape} and {fractions.shape}."
        )
    if not (np.all(np.diff(fractions) > 0) and fractions[0] >= 0 and fractions[-1] == 1):
        raise ValueError(f"Hard fractions must rise within [0, 1] up to 1; found {hard_fractions}.")
    if not np.all(np.isfinite(points)):
        raise ValueError("AP is not a number: these images may have no object.")
    drop = _NOT_NEGATIVE.number(drop, "The AP drop in points")
    return float(fractions[np.argmax(points >= least_ap(points[-1], drop))])
