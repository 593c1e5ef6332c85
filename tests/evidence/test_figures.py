# SPDX-License-Identifier: Apache-2.0
"""Means over seeds, and the line through static detectors."""

import pytest

from evidence.figures import Figure, static_front, static_line


def test_mean_spread_and_least_by_hand() -> None:
    figure = Figure.of([1.0, 2.0, 4.5])
    assert (figure.mean, figure.least) == (2.5, 1.0)
    assert figure.spread == pytest.approx(((1.5**2 + 0.5**2 + 2.0**2) / 2) ** 0.5)
    assert figure.text("+.1f") == "+2.5 ± 1.8"
    assert Figure.of([3.0]).text() == "3.00"


def test_what_is_undefined_for_a_seed_is_undefined() -> None:
    for values in ([], [None], [1.0, None]):
        assert Figure.of(values) == Figure(None, None, None)
    assert Figure.of([]).text() == "-"


def test_static_line_by_hand() -> None:
    """The third is beaten by the second at a lower cost, so that the line is level behind it."""
    line = static_line([(3.0, 42.0), (1.0, 40.0), (2.0, 44.0)])
    assert [line(cost) for cost in (0.9, 1.0, 1.25, 2.0, 2.5, 3.0, 3.1)] == [
        None,
        40.0,
        41.0,
        44.0,
        44.0,
        44.0,
        None,
    ]
    assert static_line([])(1.0) is None


def test_what_is_on_the_line_is_what_no_cheaper_one_beats() -> None:
    assert static_front([(3.0, 40.0), (1.0, 30.0), (2.0, 41.0), (2.0, 20.0)]) == [
        (1.0, 30.0),
        (2.0, 41.0),
    ]
    assert static_front([]) == []
