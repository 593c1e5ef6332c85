# SPDX-License-Identifier: Apache-2.0
"""Values of any kind in sentences."""

import json

import numpy as np
import pytest

from dynamicdet_d2.utils.words import in_lines, in_words, shown


def test_values_are_cut() -> None:
    nested: list = []
    for _ in range(300):
        nested = [nested]
    for value in ("x" * 10**6, list(range(10**6)), {n: n for n in range(999)}, nested, 10**300):
        assert len(shown(value)) < 200
    assert shown("a\n\ud800") == r"'a\n\ud800'"
    assert shown(np.eye(2)) == "array([[1., 0.], [0., 1.]])"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (KeyError("p2"), "there is no 'p2'"),
        (KeyError(), "there is no such key"),
        (ValueError("a.pkl is no\n  file."), "a.pkl is no file"),
        (ValueError(), "ValueError"),
        (AssertionError(), "AssertionError"),
        (TypeError("no"), "TypeError: no"),
        (json.JSONDecodeError("bad", "x", 0), "JSONDecodeError: bad: line 1 column 1 (char 0)"),
    ],
)
def test_errors_in_words(error: Exception, said: str) -> None:
    assert in_words(error) == said


def test_of_many_sentences_the_first_are_said() -> None:
    assert in_lines([]) == ""
    assert in_lines(["A.", "B."]) == "A.\nB."
    assert in_lines(["A."] * 20) == "\n".join(["A."] * 20)
    assert in_lines(["A."] * 23) == "\n".join([*["A."] * 20, "There are 3 more."])
