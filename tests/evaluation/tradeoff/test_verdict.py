# SPDX-License-Identifier: Apache-2.0
"""What is said of good and bad trade-offs, and what is said first."""

import dataclasses

import pytest

from dynamicdet_d2.evaluation.tradeoff.difficulties import DifficultySummary
from dynamicdet_d2.evaluation.tradeoff.points import Point, RoutedLatency
from dynamicdet_d2.evaluation.tradeoff.record import RankCorrelations
from dynamicdet_d2.evaluation.tradeoff.verdict import verdict, warnings
from tests.support.tradeoffs import EASY, GOOD, HARD, a_point, a_tradeoff


def test_verdict_of_a_good_router() -> None:
    assert verdict(GOOD) == (
        "The hard end is 2.00 AP above the easy end (32.00 against 30.00). The router beats random "
        "routing at every inner point (+0.50 at 0.5 AP); at 0.5 it reaches 25% of what an oracle "
        "gains over random."
    )
    assert warnings(GOOD) == []


def test_a_router_below_random_is_said_first() -> None:
    worse = a_tradeoff(a_point(0, 32.0, 32.0), a_point(0.5, 30.9, 31.0), a_point(1, 30.0, 30.0))
    said = verdict(worse)
    assert said.startswith("The router does NOT beat random routing (-0.10 at 0.5 AP). ")
    assert "2.00 AP BELOW" in said
    assert said.endswith("No gain: no operating point is above detector1 alone.")


def test_a_lead_within_noise_is_no_lead() -> None:
    # Two standard deviations are 0.6; the share of the oracle's gain would be 25 %.
    lucky = a_tradeoff(EASY, a_point(0.5, 31.5, 31.0, std=0.3), HARD)
    said = verdict(lucky)
    assert said.startswith("The router does NOT beat random routing by more than chance (+0.50")
    assert "oracle" not in said
    assert "At hard fraction 0.5" in warnings(lucky)[0] and "luck" in warnings(lucky)[0]
    above = a_tradeoff(EASY, a_point(0.5, 31.61, 31.0, std=0.3), HARD)
    assert "beats random routing at every inner point" in verdict(above)


def test_points_are_called_as_the_table_calls_them() -> None:
    # Of few images a fraction may be had by none: 0.24 and 0.26 of 40 are 10 of them both.
    asked = [a_point(k, 31.5, 31.0, std=0.3, realised_hard_fraction=0.25) for k in (0.24, 0.26)]
    few = a_tradeoff(EASY, *asked, HARD)
    assert "(+0.50 at 0.24, +0.50 at 0.26 AP)" in verdict(few)
    assert warnings(few)[0].startswith("At hard fraction 0.24, 0.26 the lead over random routing")


def test_a_lead_that_nobody_would_notice_is_no_lead() -> None:
    sure = a_tradeoff(EASY, a_point(0.5, 31.04, 31.0, std=0.001), HARD)
    assert "does NOT beat random routing by more than chance" in verdict(sure)


def test_a_lead_near_zero_ap_is_no_lead() -> None:
    # One point is near zero though the ends are not; its lead is many deviations.
    weak = a_tradeoff(EASY, a_point(0.1, 0.9, 0.2), a_point(0.5, 31.5, 31.0), HARD)
    assert "at 1 of 2 inner points only" in verdict(weak)


def test_routes_that_take_the_same_time_are_said() -> None:
    def at(k: float, ms: float) -> Point:
        return a_point(k, 31.0, 31.0, latency=RoutedLatency(ms, ms, ms, k))

    same = a_tradeoff(at(0, 20.0), at(0.5, 20.5), at(1, 20.9))
    assert "No gain on this device: the easy route takes 20.00 ms" in warnings(same)[-1]
    assert "No gain" in warnings(a_tradeoff(at(0, 30.0), at(0.5, 25.0), at(1, 20.0)))[-1]
    assert warnings(a_tradeoff(at(0, 20.0), at(0.5, 20.6), at(1, 21.1))) == []


def test_a_lead_over_a_single_draw_is_not_proved() -> None:
    figures = dataclasses.replace(GOOD.points[1].box, random_AP_stderr=None, random_AP_std=None)
    alone = a_tradeoff(EASY, a_point(0.5, 31.5, 31.0, tasks={"box": figures}), HARD)
    assert "does NOT beat random routing by more than chance" in verdict(alone)


def test_a_lead_at_some_points_only_is_said_first() -> None:
    half = a_tradeoff(EASY, a_point(0.1, 30.1, 30.2), a_point(0.5, 31.5, 31.0), HARD)
    said = verdict(half)
    assert said.startswith("The router beats random routing at 1 of 2 inner points only (")
    assert "(-0.10 at 0.1, +0.50 at 0.5 AP)" in said


def test_no_routing_is_judged_where_nothing_is_found() -> None:
    points = a_point(0, 0.2, 0.2, 0), a_point(0.5, 0.6, 0.3), a_point(1, 0.4, 0.4, 0)
    said = verdict(a_tradeoff(*points))
    assert said.startswith("AP is near zero (0.60 at most)")
    assert "beats" not in said and "0.20 AP above" in said
    nothing = [a_point(k, None, None) for k in (0, 0.5, 1)]
    assert verdict(a_tradeoff(*nothing)).startswith("AP is undefined")


def test_no_routing_is_judged_where_all_images_go_one_way() -> None:
    assert "cannot be judged" in verdict(a_tradeoff(EASY, EASY, HARD))


@pytest.mark.parametrize(
    ("correlation", "says"),
    [
        (0.5, "follows the true loss gap L1 - L2 (rank correlation 0.50"),
        (0.2, "only weakly"),
        (-0.1, "does NOT follow"),
    ],
)
def test_verdict_on_the_loss_gap(correlation: float, says: str) -> None:
    measured = RankCorrelations(loss_gap=correlation)
    assert says in verdict(a_tradeoff(*GOOD.points, rank_correlation=measured))
    assert "loss gap" not in verdict(GOOD)


def test_warnings() -> None:
    collapsed = a_tradeoff(*GOOD.points, difficulty=DifficultySummary.of([0.5, 0.501]))
    assert "collapsed" in warnings(collapsed)[0]
    one_way = a_tradeoff(*GOOD.points, operating_point=a_point(0, 30.0, 30.0, threshold=0.95))
    assert "100.0% of the images to the easy route" in warnings(one_way)[0]
    assert warnings(a_tradeoff(*GOOD.points, images_missing=3))[0].startswith("3 images")
    # One image has one difficulty and takes one route.
    alone = {"num_images": 1, "difficulty": DifficultySummary.of([0.5])}
    assert warnings(dataclasses.replace(one_way, **alone)) == []
    # A threshold of 1 or 0 is a choice.
    assert warnings(a_tradeoff(*GOOD.points, operating_point=EASY)) == []
