# SPDX-License-Identifier: Apache-2.0
"""Agreement of two orders, by hand and against looking at every pair."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynamicdet_d2.evaluation.tradeoff.ranks import auroc, kendall_tau, midranks, spearman

# Few different scores, so that there are ties.
images = st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=1, max_size=40)


def test_midranks_by_hand() -> None:
    assert midranks([30, 10, 20, 10]).tolist() == [4, 1.5, 3, 1.5]
    assert midranks([]).tolist() == []


def test_spearman_by_hand() -> None:
    assert spearman([1, 2, 3], [10, 100, 1000]) == pytest.approx(1)
    assert spearman([1, 2, 3], [3, 2, 1]) == pytest.approx(-1)
    # Ranks 1, 2.5, 2.5, 4 against 1, 3, 2, 4: deviations -1.5, 0, 0, 1.5 and -1.5, 0.5, -0.5, 1.5.
    assert spearman([1, 2, 2, 9], [1, 3, 2, 4]) == pytest.approx(4.5 / (4.5 * 5) ** 0.5)
    assert spearman([1, 1], [1, 2]) is None
    assert spearman([1], [2]) is None


def test_auroc_and_tau_by_hand() -> None:
    # Positive 0.9 and 0.4; others 0.4 and 0.1: of four pairs three are in order and one is tied.
    scores, positive = [0.9, 0.4, 0.4, 0.1], [True, True, False, False]
    assert auroc(scores, positive) == 3.5 / 4
    # Of six pairs, four differ in the answer and five in the score.
    assert kendall_tau(scores, positive) == pytest.approx(3 / math.sqrt(4 * 5))
    assert auroc([1, 2], [False, True]) == kendall_tau([1, 2], [False, True]) == 1
    assert kendall_tau([2, 1], [False, True]) == -1
    assert auroc([5, 5], [False, True]) == 0.5 and kendall_tau([5, 5], [False, True]) is None
    for same in ([True, True], [False, False]):
        assert auroc([1, 2], same) is None and kendall_tau([1, 2], same) is None
    assert auroc([], []) is None and kendall_tau([], []) is None


@given(images)
def test_auroc_and_tau_of_every_pair(found: list[tuple[int, bool]]) -> None:
    scores, positive = zip(*found, strict=True)
    signs = [
        (np.sign(a - b), np.sign(int(p) - int(q)))
        for i, (a, p) in enumerate(found)
        for b, q in found[:i]
    ]
    answered = [score * answer for score, answer in signs if answer]
    different = sum(score != 0 for score, _ in signs)
    area, tau = auroc(scores, positive), kendall_tau(scores, positive)
    if not answered:
        assert area is None and tau is None
        return
    assert area == pytest.approx(np.mean([(product + 1) / 2 for product in answered]))
    if different:
        assert tau == pytest.approx(sum(answered) / math.sqrt(len(answered) * different))
    else:
        assert tau is None


@given(images)
def test_only_the_order_of_the_scores_counts(found: list[tuple[int, bool]]) -> None:
    scores, positive = zip(*found, strict=True)
    stretched = [math.exp(score) for score in scores]
    assert auroc(stretched, positive) == auroc(scores, positive)
    assert kendall_tau(stretched, positive) == kendall_tau(scores, positive)
