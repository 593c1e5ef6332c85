# SPDX-License-Identifier: Apache-2.0
"""The points that no other one beats, and which of them meets a target."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynamicdet_d2.operating_point.front import (
    best_within_cost,
    cheapest_within_ap,
    pareto_front,
)

#        0   1   2   3   4   5   6
COSTS = [30, 10, 20, 25, 20, 30, 40]
APS = [50, 30, 42, 41, 42, 50, 49]
# 3 has less AP than 2 for more; 4 and 5 are as 2 and 0, but later; 6 is dearer than 0 and worse.
FRONT = [1, 2, 0]


def test_the_front_by_hand() -> None:
    assert pareto_front(COSTS, APS) == FRONT
    assert pareto_front([5], [0]) == [0]
    # As cheap with more AP; as good for less.
    assert pareto_front([5, 5, 4], [1, 2, 2]) == [2]


@pytest.mark.parametrize(
    ("most", "place"), [(9.9, None), (10, 1), (19, 1), (20, 2), (29, 2), (30, 0), (1000, 0)]
)
def test_the_best_for_a_cost(most: float, place: int | None) -> None:
    assert best_within_cost(COSTS, APS, most) == place


@pytest.mark.parametrize(
    ("least", "place"), [(-5, 1), (30, 1), (30.5, 2), (42, 2), (43, 0), (50, 0), (50.1, None)]
)
def test_the_cheapest_for_an_ap(least: float, place: int | None) -> None:
    assert cheapest_within_ap(COSTS, APS, least) == place


@pytest.mark.parametrize(
    ("costs", "aps", "says"),
    [
        ([], [], r"One cost and one AP a point are needed; found \(0,\) and \(0,\)"),
        ([1], [1, 2], r"found \(1,\) and \(2,\)"),
        ([1, np.inf], [1, 2], "A cost is not a number"),
        ([1, 2], [1, np.nan], "AP is not a number: these images may have no object"),
    ],
)
def test_no_front_without_points(costs: list, aps: list, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        pareto_front(costs, aps)


few = st.integers(0, 6)
clouds = st.lists(st.tuples(few, few), min_size=1, max_size=30)


@given(clouds)
def test_the_front_is_what_nothing_beats(cloud: list[tuple[int, int]]) -> None:
    costs, aps = zip(*cloud, strict=True)
    front = pareto_front(costs, aps)

    def beaten(own: tuple[int, int]) -> bool:
        return any(c <= own[0] and a >= own[1] and (c, a) != own for c, a in cloud)

    assert {cloud[i] for i in front} == {own for own in cloud if not beaten(own)}
    assert all(i == cloud.index(cloud[i]) for i in front)  # of equal ones the first
    assert sorted(cloud[i] for i in front) == [cloud[i] for i in front]


@given(clouds, st.floats(-1, 7))
def test_choices_are_the_best_that_is_allowed(cloud: list[tuple[int, int]], limit: float) -> None:
    costs, aps = zip(*cloud, strict=True)
    allowed = [(-a, c, i) for i, (c, a) in enumerate(cloud) if c <= limit]
    assert best_within_cost(costs, aps, limit) == (min(allowed)[2] if allowed else None)
    allowed = [(c, -a, i) for i, (c, a) in enumerate(cloud) if a >= limit]
    assert cheapest_within_ap(costs, aps, limit) == (min(allowed)[2] if allowed else None)
