# SPDX-License-Identifier: Apache-2.0
"""A router that sends every image the same way."""

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynamicdet_d2.engine.phases.collapse import CollapseWatch, collapse


@pytest.mark.parametrize(
    ("difficulties", "says"),
    [
        ([0.001, 0.009], "calls every image easy. The difficulties of the last 2 images lie from"),
        ([0.995, 1.0], "calls every image hard"),
        ([0.5, 0.50001, 0.5], "tells no image from another"),
    ],
)
def test_a_collapse_is_a_sentence(difficulties: list[float], says: str) -> None:
    assert says in collapse(difficulties)


@pytest.mark.parametrize("difficulties", [[], [0.5], [0.001], [0.3, 0.7], [0.001, 0.02]])
def test_what_is_none(difficulties: list[float]) -> None:
    assert collapse(difficulties) == ""


@given(st.lists(st.floats(0, 1), min_size=2))
def test_difficulties_on_both_sides_are_no_collapse(difficulties: list[float]) -> None:
    assert collapse([*difficulties, 0.2, 0.8]) == ""


def test_it_is_said_once_until_it_is_over(caplog: pytest.LogCaptureFixture) -> None:
    watch = CollapseWatch(enough=3)
    with caplog.at_level(logging.WARNING):
        for difficulties in ([0.5] * 2, [0.5] * 3, [0.5] * 4, [0.1, 0.5, 0.9], [0.5] * 3):
            watch.look(difficulties)
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2
    assert all("The router has collapsed: it tells no image from another." in x for x in said)
