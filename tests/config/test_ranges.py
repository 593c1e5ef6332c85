# SPDX-License-Identifier: Apache-2.0
"""What a key may be, by hand: values inside and outside, and the words for it."""

import math
import re
from collections.abc import Iterable
from typing import Any

import pytest
from fvcore.common.registry import Registry
from hypothesis import given
from hypothesis import strategies as st

from dynamicdet_d2.config import ranges
from dynamicdet_d2.config.declare import KEYS
from dynamicdet_d2.config.ranges import Range
from dynamicdet_d2.engine import auto
from dynamicdet_d2.engine.objectives import OBJECTIVES
from dynamicdet_d2.engine.phases import PHASES
from dynamicdet_d2.modeling.dynamic_dense import KINDS
from dynamicdet_d2.modeling.router_inputs import ROUTER_INPUTS

HUGE = 10**400

REGISTRY = Registry("toys")
REGISTRY.register(object)

CASES: list[tuple[Range, list, list]] = [
    (ranges.between(0, 1), [0, 1, 0.5, 1.0], [-0.1, 1.1, math.nan, math.inf, "0.5", True, None]),
    (ranges.number(at_least=0), [0, 0.5, 2**62], [-1e-9, math.nan, math.inf, HUGE, "1", False]),
    (ranges.number(at_least=0, below=1), [0, 0.0, 0.99], [1, 1.0, -0.1, HUGE]),
    (ranges.above(0), [1e-9, 1, 2**62], [0, 0.0, -1, math.inf, HUGE, "1"]),
    (ranges.above(0, below=1), [0.5, 1e-9], [0, 1, 1.0, True]),
    (ranges.integer(at_least=1), [1, 2, 2**62], [0, HUGE, 1.0, True, "1", None, [1]]),
    (ranges.one_of("a", "b"), ["a", "b"], ["c", "", None, ["a"], 1]),
    (ranges.one_of(1, 2), [1, 2], [True, 1.0, "1", 3]),
    (ranges.only(False, "so it is"), [False], [True, 0, None]),
    (ranges.true_or_false, [True, False], [0, 1, "True", None]),
    (ranges.text, ["", "x"], [None, 1, ["x"]]),
    (ranges.none_or(ranges.between(0, 1)), [None, 0, 1.0], [2, "None", False]),
    (ranges.each(ranges.between(0, 1)), [[], [0, 1], (0.5,)], [None, 0.5, "01", [2], [[0]]]),
    (ranges.each(ranges.text, length=2), [["a", "b"]], [[], ["a"], "ab", ["a", 1]]),
    (ranges.registered(REGISTRY), ["object"], ["objet", "", None, 3]),
]


@pytest.mark.parametrize(("allowed", "inside", "outside"), CASES)
def test_by_hand(allowed: Range, inside: list, outside: list) -> None:
    for value in inside:
        assert allowed.complaint("A.KEY", value) is None, value
    for value in outside:
        said = allowed.complaint("A.KEY", value)
        assert said is not None and said.startswith("A.KEY ") and said.endswith("."), value


@pytest.mark.parametrize(
    ("allowed", "value", "sentence"),
    [
        (ranges.between(0, 1), 1.5, "K is 1.5; it must lie in [0, 1]."),
        (ranges.between(0, 1), "0.5", "K is '0.5'; it must be a number and lie in [0, 1]."),
        (ranges.number(at_least=0), -1, "K is -1; it must be a number at least 0."),
        (ranges.above(1), 1, "K is 1; it must be a number above 1."),
        (ranges.above(1), 2**63, "K is 9223372036854775808; it must lie within 2^63."),
        (ranges.above(0, below=1), 1, "K is 1; it must be a number in (0, 1)."),
        (ranges.number(at_least=0, below=1), 1, "K is 1; it must be a number in [0, 1)."),
        (ranges.integer(at_least=1), 0, "K is 0; it must be a whole number, at least 1."),
        (ranges.one_of("a", "b", "c"), "d", "K is 'd'; it must be 'a', 'b' or 'c'."),
        (ranges.only(False, "as it is"), True, "K is True; it must be False: as it is."),
        (ranges.none_or(ranges.between(0, 1)), 2, "K is 2; it must be None or lie in [0, 1]."),
        (ranges.each(ranges.between(0, 1)), [1, 2], "K has 2; each must lie in [0, 1]."),
        (ranges.each(ranges.between(0, 1)), 1, "K is 1; it must be a list."),
        (ranges.each(ranges.text, length=2), [], "K is []; it must be a list of 2."),
        (
            ranges.registered(REGISTRY),
            "objet",
            "K is 'objet'; it must be a name that is registered with Detectron2, as one of your "
            "own is once its file is imported. The nearest is 'object'.",
        ),
    ],
)
def test_sentences(allowed: Range, value: object, sentence: str) -> None:
    assert allowed.complaint("K", value) == sentence


def test_long_values_are_cut() -> None:
    bomb: Any = ["x" * 1000]
    for _ in range(40):
        bomb = [bomb] * 10
    said = ranges.text.complaint("K", bomb)
    assert said is not None and len(said) < 10_000


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner, inner),
    max_leaves=8,
)


@given(plain)
def test_no_value_is_too_strange(value: object) -> None:
    for allowed, *_ in CASES:
        said = allowed.complaint("K", value)
        assert said is None or said.startswith("K ")


@pytest.mark.parametrize(
    ("key", "known"),
    [
        ("SOLVER.PHASES", PHASES),
        ("SOLVER.ROUTER.OBJECTIVE", {*OBJECTIVES, auto.NAME}),
        ("MODEL.ROUTER.INPUTS", ROUTER_INPUTS),
        ("MODEL.DENSE.HEAD", KINDS),
    ],
)
def test_words_of_a_key_are_those_that_its_room_knows(key: str, known: Iterable[str]) -> None:
    """The room that has them is above, so that the range cannot ask it (ARCHITECTURE.md)."""
    allowed = KEYS[key].range
    said = allowed.complaint(key, ["?"]) if allowed.holds([]) else allowed.complaint(key, "?")
    assert said is not None and set(re.findall(r"'(\w+)'", said)) == set(known)
