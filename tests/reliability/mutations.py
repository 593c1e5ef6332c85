# SPDX-License-Identifier: Apache-2.0
"""Hypothesis strategies: plain values that nobody expects, and good content with some of them."""

import copy
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

LIMITS = [
    *(None, True, False, "", "x", "\0", "\ud800", "../x", "$a_b$", "<b>", "nan", "1"),
    *(0, -1, 1, 2, 255, 2**31, 2**53, 2**63 - 1, 2**63, -(2**63) - 1, 10**400),
    *(0.0, -0.0, 0.5, 1.0, 1e-320, 1e9, 1e308, float("nan"), float("inf"), -float("inf")),
    *([], {}, [[]], [None], [{}], {"": None}),
]
leaves = st.sampled_from(LIMITS) | st.integers() | st.floats() | st.text(max_size=12)
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)


@st.composite
def mutated(draw: Callable, base: Any, most: int = 3) -> Any:
    """Content of a JSON file with up to ``most`` of its values replaced, removed or repeated."""
    content = {"": copy.deepcopy(base)}
    for _ in range(draw(st.integers(1, most))):
        node, key = _place(draw, content)
        change = draw(st.sampled_from(("replace", "replace", "replace", "remove", "repeat")))
        if change == "remove" and node is not content:
            del node[key]
        elif change == "repeat" and isinstance(node, list):
            node.append(copy.deepcopy(node[key]))
        else:
            # Of its own: the next change may be made inside of it.
            node[key] = copy.deepcopy(draw(values))
    return content[""]


def _place(draw: Callable, content: Any) -> tuple[Any, Any]:
    """A container somewhere within, and a key or an index that it has."""
    node, key = content, ""
    while isinstance(node[key], dict | list) and node[key] and draw(st.integers(0, 4)):
        node = node[key]
        # Of long lists the beginning, which is as good as the rest.
        keys = list(node) if isinstance(node, dict) else range(min(len(node), 4))
        key = draw(st.sampled_from(list(keys)))
    return node, key
