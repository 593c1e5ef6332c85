# SPDX-License-Identifier: Apache-2.0
"""How two orders of the same images agree: Spearman's and Kendall's correlation, and AUROC.

Pure numpy. None stands for what is undefined. I: images.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray


def midranks(values: ArrayLike) -> NDArray[np.float64]:
    """(I,) ranks from 1 for the smallest; equal values share the mean of their ranks."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]


def spearman(first: ArrayLike, second: ArrayLike) -> float | None:
    """Rank correlation of two (I,) scores, in [-1, 1]; None where one of them is constant."""
    one, other = midranks(first), midranks(second)
    if any(len(ranks) < 2 or np.ptp(ranks) == 0 for ranks in (one, other)):
        return None
    return float(np.corrcoef(one, other)[0, 1])


def auroc(scores: ArrayLike, positive: ArrayLike) -> float | None:
    """Chance that a random positive image scores above a random other one, ties half.

    Args:
        scores: (I,).
        positive: (I,) bool.

    Returns:
        In [0, 1], 0.5 for a score that says nothing; None without positive or without other images.
    """
    positive = np.asarray(positive, dtype=bool)
    pairs = int(positive.sum()) * int((~positive).sum())
    if not pairs:
        return None
    # Mann and Whitney: a positive image's rank counts what lies below it, other positive ones too.
    count = int(positive.sum())
    won = midranks(scores)[positive].sum() - count * (count + 1) / 2
    return float(won / pairs)


def kendall_tau(scores: ArrayLike, positive: ArrayLike) -> float | None:
    """Kendall's tau-b of a score and a yes or no, which corrects for ties in both.

    Of all pairs of a positive and another image, the share in order less the share out of order,
    over the geometric mean of the pairs that differ in the score and of those that differ in the
    answer. The first is known from the area under the curve, so that no pair need be looked at.

    Args:
        scores: (I,).
        positive: (I,) bool.

    Returns:
        In [-1, 1]; None where all scores or all answers are the same.
    """
    area = auroc(scores, positive)
    positive = np.asarray(positive, dtype=bool)
    _, counts = np.unique(scores, return_counts=True)
    different_scores = math.comb(len(positive), 2) - sum(
        map(math.comb, counts.tolist(), [2] * len(counts))
    )
    if area is None or not different_scores:
        return None
    different_answers = int(positive.sum()) * int((~positive).sum())
    return (2 * area - 1) * math.sqrt(different_answers / different_scores)
