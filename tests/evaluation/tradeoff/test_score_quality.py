# SPDX-License-Identifier: Apache-2.0
"""What a score is worth as a difficulty, by hand and against its definition."""

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynamicdet_d2.evaluation.coco.references import random_figures
from dynamicdet_d2.evaluation.coco.sweep import CocoSweep
from dynamicdet_d2.evaluation.tradeoff.score_quality import (
    INNER,
    hard_by_score,
    random_routing,
    score_quality,
)
from tests.support.coco_data import SQUARE, data_set, result, target

IDS = [1, 2, 3, 4, 5]


def five_images() -> CocoSweep:
    """One object each; detector1 finds those of images 1 to 3, detector2 of 2 to 5."""
    truth = data_set(IDS, [target(i, SQUARE) for i in IDS], [1])
    found = [result(i, SQUARE, 0.9) for i in IDS]
    return CocoSweep(truth, (found[:3], found[1:]), "bbox", IDS)


SWEEP = five_images()


def percent_of_recall(found: int) -> float:
    """AP of ``found`` of five objects without a false positive: recall 0, 0.01, ... up to it."""
    return 100 * (20 * found + 1) / 101 if found else 0.0


def test_the_best_score_by_hand() -> None:
    random = random_routing(SWEEP, draws=400)
    best = score_quality(SWEEP, [-1.0, 0.0, 0.1, 2.0, 3.0], random, [0.2, 0.4, 0.8])
    assert best.hard_fractions == (0.2, 0.4, 0.8)
    # Image 5; then 4 too; then all but the first, which only detector1 finds.
    assert best.ap == pytest.approx([percent_of_recall(4), 100, 100])
    # Images 2 and 3 are found in any case, 1 where it is easy, 4 and 5 where they are hard.
    pairs = [
        percent_of_recall(2 + sum(i in (4, 5) for i in pair) + (1 not in pair))
        for pair in combinations(IDS, 2)
    ]
    assert abs(best.random_ap[1] - np.mean(pairs)) < 4 * random(0.4).standard_error
    lead = np.mean(np.subtract(best.ap, best.random_ap))
    assert best.area == pytest.approx(lead) and best.area > 0
    # Detector2 is better in images 4 and 5 alone: the two of the highest scores.
    assert best.auroc == 1
    # Of ten pairs, six differ in the answer, all in order.
    assert best.kendall_tau == pytest.approx(math.sqrt(6 / 10))


def test_the_worst_and_the_constant_score() -> None:
    random = random_routing(SWEEP, draws=20)
    worst = score_quality(SWEEP, [3.0, 2.0, 1.0, 0.0, -1.0], random)
    assert worst.area < 0 and worst.auroc == 0 and worst.kendall_tau < 0
    # Images of equal score go together, so that nothing is routed and nothing is gained.
    constant = score_quality(SWEEP, np.ones(5), random)
    assert set(constant.hard_fractions) == {0.0, 1.0}
    assert constant.area == 0 and constant.auroc == 0.5 and constant.kendall_tau is None


def test_without_objects_there_is_no_area() -> None:
    sweep = CocoSweep(data_set([1, 2], [], [1]), ([], []), "bbox", [1, 2])
    quality = score_quality(sweep, [0.1, 0.2], random_routing(sweep, draws=2))
    assert math.isnan(quality.area) and quality.auroc is None and quality.kendall_tau is None


scores = st.lists(st.integers(-3, 3), min_size=5, max_size=5)


@settings(max_examples=30, deadline=None)
@given(scores)
def test_the_area_is_the_mean_lead_of_the_routings(values: list[int]) -> None:
    quality = score_quality(SWEEP, values, random_routing(SWEEP, draws=3))
    leads = []
    for k, realised in zip(INNER, quality.hard_fractions, strict=True):
        # Every routing by a threshold on the score; the nearest, and of two the cheaper one.
        routings = [np.array(values) > t for t in (*sorted(set(values)), min(values) - 1)]
        hard = min(routings, key=lambda hard, k=k: (abs(hard.mean() - k).round(12), hard.sum()))
        assert realised == hard.mean()
        expected = random_figures(SWEEP, hard.mean(), draws=3, seed=0).mean
        leads.append(SWEEP.evaluate(hard).as_dict()["AP"] - expected)
    assert quality.area == pytest.approx(np.mean(leads), abs=1e-9)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30, unique=True), st.floats(0, 1))
def test_the_highest_scores_are_hard(values: list[float], k: float) -> None:
    hard = hard_by_score(values, k)
    assert abs(hard.sum() - k * len(values)) <= 0.5 + 1e-9
    assert hard.tolist() == [v in sorted(values)[len(values) - hard.sum() :] for v in values]


@pytest.mark.parametrize("wrong", [[0.1, 0.2], [0.1, 0.2, 0.3, 0.4, math.nan]])
def test_wrong_scores_are_refused(wrong: list[float]) -> None:
    with pytest.raises(ValueError, match="scores must be 5 finite numbers, one per image"):
        score_quality(SWEEP, wrong, random_routing(SWEEP, draws=1))
