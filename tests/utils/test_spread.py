# SPDX-License-Identifier: Apache-2.0
"""Some of many, evenly spread."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynamicdet_d2.utils.spread import spread


@pytest.mark.parametrize(
    ("count", "expected"), [(0, []), (1, [0]), (2, [0, 5]), (3, [0, 3, 6]), (20, list(range(10)))]
)
def test_places_by_hand(count: int, expected: list[int]) -> None:
    assert spread(range(10), count) == expected
    assert spread([], count) == []


@given(st.integers(0, 200), st.integers(0, 200))
def test_distances_differ_by_one_at_most(total: int, count: int) -> None:
    chosen = spread(range(total), count)
    assert len(chosen) == min(total, count)
    assert len({b - a for a, b in zip(chosen, chosen[1:], strict=False)}) <= 2
