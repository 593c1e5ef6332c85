# SPDX-License-Identifier: Apache-2.0
"""Records from and to plain types."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynamicdet_d2.utils.plain import finite, from_plain, to_plain


@dataclass(frozen=True)
class Inner:
    number: float | None
    kind: Literal["a", "b"] = "a"


@dataclass(frozen=True)
class Outer:
    name: str
    counts: tuple[int, ...]
    inner: Inner
    by_name: Mapping[str, Inner]
    anything: Any = None

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("name is empty")


inners = st.builds(Inner, st.none() | st.floats(allow_nan=False, allow_infinity=False))
outers = st.builds(
    Outer,
    st.text(min_size=1),
    st.lists(st.integers()).map(tuple),
    inners,
    st.dictionaries(st.text(), inners),
)


@given(outers)
def test_there_and_back(record: Outer) -> None:
    assert from_plain(Outer, json.loads(json.dumps(to_plain(record))), "") == record


GOOD = {"name": "x", "counts": [1], "inner": {"number": 1}, "by_name": {"y": {"number": None}}}


def test_by_hand() -> None:
    record = from_plain(Outer, {**GOOD, "later": 1}, "")
    assert record == Outer("x", (1,), Inner(1), {"y": Inner(None)})
    assert from_plain(Outer, {**GOOD, "inner": Inner(2.0, "b")}, "").inner == Inner(2.0, "b")
    assert to_plain(record) == {
        **{"name": "x", "counts": [1], "inner": {"number": 1, "kind": "a"}},
        **{"by_name": {"y": {"number": None, "kind": "a"}}, "anything": None},
    }


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"name": 3}, "top.name is 3; it must be a string"),
        ({"name": ""}, "top: name is empty"),
        ({"counts": [1, 2.5]}, "top.counts[1] is 2.5; it must be a whole number"),
        ({"counts": None}, "top.counts is None; it must be a list"),
        ({"inner": []}, "top.inner is []; it must be an object"),
        ({"inner": {}}, "top.inner.number is missing"),
        ({"inner": {"number": float("inf")}}, "top.inner.number is inf; it must be a number"),
        ({"inner": {"number": "x" * 99}}, "top.inner.number is 'xxx"),
        ({"inner": {"number": 1, "kind": "c"}}, "top.inner.kind is 'c'; it must be 'a' or 'b'"),
        ({"inner": {"number": 1, "kind": []}}, "top.inner.kind is []; it must be 'a' or 'b'"),
        ({"by_name": {"z": 1}}, "top.by_name.z is 1; it must be an object"),
    ],
)
def test_what_does_not_fit_is_named(change: dict, says: str) -> None:
    with pytest.raises(ValueError) as error:
        from_plain(Outer, {**GOOD, **change}, "top")
    assert str(error.value).startswith(says) and len(str(error.value)) < 100


def test_finite() -> None:
    assert finite(1) == 1.0 and type(finite(1)) is float
    assert finite(float("nan")) is finite(float("-inf")) is None
