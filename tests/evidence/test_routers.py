# SPDX-License-Identifier: Apache-2.0
"""Routers on made-up tables, where it is known which images gain; figures by hand."""

import numpy as np
import pytest

from evidence.passes import Passes
from evidence.records import FRACTIONS
from evidence.routers import AUTO, AUTOS, LINEAR, Judge, learners_of
from tests.support.made_up import made_up_table
from tests.support.toy import toy_cfg, toy_model

KEYS = ("MODEL.ROUTER.INPUTS", ["detections"], "SOLVER.ROUTER.IMS_PER_BATCH", 16)


@pytest.fixture(scope="module")
def passes() -> Passes:
    tables = {
        split: made_up_table(count, helps=True, seed=seed)
        for seed, (split, count) in enumerate({"train": 90, "val": 40, "test": 30}.items())
    }
    return Passes(toy_cfg(*KEYS, "SOLVER.ROUTER.EPOCHS", 6), "cpu", tables, {})


def test_all_learners_are_judged_and_the_gain_is_chosen(passes: Passes) -> None:
    """The loss gap says the opposite of what is worth while; gain and ridge know it."""
    learners = learners_of(passes, toy_model(*KEYS[:2]).router)
    assert {*AUTOS, *LINEAR, "loss", "gain", "hardness"} <= learners.keys()
    judge = Judge(passes.tables["test"])
    area = {
        name: judge.routing(("detections",), name, [(s.scores["test"], s.by) for s in found]).area
        for name, found in learners.items()
    }
    right = [area[name] for name in (*AUTOS, "gain", *LINEAR)]
    assert min(right) > 1 > 0 > area["loss"]
    assert all(scored.by.startswith(("gain", "ap", "hardness")) for scored in learners[AUTO])


def test_figures_of_a_perfect_score(passes: Passes) -> None:
    judge = Judge(passes.tables["val"])
    easy, hard = judge.ends
    assert hard == pytest.approx(100.0) and easy < 90
    gains = judge.sweep.image_gains()
    costs = np.tile([1.0, 3.0], (40, 1))
    found = judge.routing(("detections",), "gain", [(gains, "a"), (gains, "b")], costs)
    # Ties route together, so that some points have no image more than the oracle.
    assert found.chosen == {"a": 1, "b": 1}
    assert found.ap_std == (0.0,) * len(FRACTIONS)
    assert found.auroc == 1.0
    assert all(1 <= cost <= 3 for cost in found.gflops)
    assert list(found.gflops) == sorted(found.gflops)
    split = judge.split({}, [found])
    assert split.better == pytest.approx(float((gains > 0).mean()))
    assert [x.learns for x in split.routings] == [
        "gain",
        "true loss gap",
        "true L1",
        "true gain",
    ]
    assert split.routings[-1].ap == found.ap


def test_leads_and_shares_by_hand(passes: Passes) -> None:
    judge = Judge(passes.tables["val"])
    scores = np.random.default_rng(0).permutation(40).astype(float)
    found = judge.routing((), "chance", [(scores, "")])
    place = FRACTIONS.index(0.5)
    hard = scores >= 20
    ap, random = judge.sweep.evaluate(hard).ap, judge.random(0.5).mean
    assert found.ap[place] == pytest.approx(ap)
    assert found.lead[place] == pytest.approx(ap - random)
    assert found.share[place] == pytest.approx((ap - random) / (judge.oracle_ap[place] - random))


def test_exits_alike_have_no_share() -> None:
    judge = Judge(made_up_table(20, helps=False))
    found = judge.routing((), "chance", [(np.arange(20.0), "")])
    assert set(found.share) == {None}
    assert found.auroc is None
