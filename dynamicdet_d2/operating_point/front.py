# SPDX-License-Identifier: Apache-2.0
"""Pure: which of many points are worth having, and which of them meets a target.

P: points, each with a cost (less is better) and an AP (more is better).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dynamicdet_d2.utils.numbers import as_numbers


def pareto_front(costs: Sequence[float], aps: Sequence[float]) -> list[int]:
    """The points that no other one beats: none is as cheap with more AP, or cheaper with as much.

    Args:
        costs: (P,) finite.
        aps: (P,) finite.

    Returns:
        Their places by rising cost (and rising AP); of equal points the first.

    Raises:
        ValueError: other shapes, no point, or a value that is not finite.
    """
    cost, ap = _checked(costs, aps)
    front: list[int] = []
    best = -np.inf
    for place in np.lexsort((-ap, cost)).tolist():
        if ap[place] > best:
            front.append(place)
            best = ap[place]
    return front


def best_within_cost(costs: Sequence[float], aps: Sequence[float], most: float) -> int | None:
    """The place of the best AP that costs at most ``most``; of several the cheapest, then first.

    Arguments and errors as ``pareto_front``; None where every point costs more.
    """
    front = [place for place in pareto_front(costs, aps) if costs[place] <= most]
    return front[-1] if front else None


def cheapest_within_ap(costs: Sequence[float], aps: Sequence[float], least: float) -> int | None:
    """The place of the least cost with an AP of ``least`` or more; of several the best, then first.

    Arguments and errors as ``pareto_front``; None where every point has less.
    """
    return next((place for place in pareto_front(costs, aps) if aps[place] >= least), None)


def _checked(
    costs: Sequence[float], aps: Sequence[float]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    cost, ap = as_numbers(costs, "Costs"), as_numbers(aps, "AP")
    if cost.ndim != 1 or not len(cost) or cost.shape != ap.shape:
        raise ValueError(
            f"One cost and one AP a point are needed; found {cost.shape} and {ap.shape}."
        )
    if not np.all(np.isfinite(cost)):
        raise ValueError("A cost is not a number.")
    if not np.all(np.isfinite(ap)):
        raise ValueError("AP is not a number: these images may have no object.")
    return cost, ap
