# SPDX-License-Identifier: Apache-2.0
"""Keys that a program has made by misspelling one: yacs takes any name that is assigned."""

from collections.abc import Iterator
from functools import cache

from detectron2.config import CfgNode
from detectron2.config import get_cfg as detectron2_cfg

from dynamicdet_d2.config.declare import KEYS
from dynamicdet_d2.config.ranges import nearest

# As difflib measures it: MAX_ITR and MAX_ITER have 0.93, MERGE_EXITS and MERGE_EXITS_IOU 0.85,
# MAX_ITER and MAX_SIZE 0.63.
_CLOSE = 0.8


def misspelt(cfg: CfgNode) -> Iterator[str]:
    """A sentence for each key that nobody declares and that has nearly the name of one beside it.

    Other keys that nobody declares are those of a user's own model.
    """
    yield from _in_section(cfg, "")


def _in_section(node: CfgNode, prefix: str) -> Iterator[str]:
    known = _declared().get(prefix, frozenset())
    for name, value in node.items():
        if isinstance(value, CfgNode):
            yield from _in_section(value, f"{prefix}{name}.")
        elif name not in known:
            hint = nearest(name, {other: f"{prefix}{other}" for other in known}, _CLOSE)
            if hint:
                yield (
                    f"{prefix}{name} is no key, and nothing of Detectron2 or this project reads "
                    f"it.{hint}"
                )


@cache
def _declared() -> dict[str, frozenset[str]]:
    """Section, with a dot behind it -> names of the keys in it."""
    sections: dict[str, set[str]] = {}
    for name in (*_names(detectron2_cfg(), ""), *KEYS):
        section, dot, last = name.rpartition(".")
        sections.setdefault(section + dot, set()).add(last)
    return {section: frozenset(names) for section, names in sections.items()}


def _names(node: CfgNode, prefix: str) -> Iterator[str]:
    for name, value in node.items():
        if isinstance(value, CfgNode):
            yield from _names(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"
