# SPDX-License-Identifier: Apache-2.0
"""Keys that a program has made, and sections that it has replaced: yacs takes what is assigned."""

from collections.abc import Iterator
from functools import cache

from detectron2.config import CfgNode
from detectron2.config import get_cfg as detectron2_cfg

from dynamicdet_d2.config.declare import KEYS
from dynamicdet_d2.config.ranges import nearest
from dynamicdet_d2.utils.words import shown

# As difflib measures it: MAX_ITR and MAX_ITER have 0.93, MERGE_EXITS and MERGE_EXITS_IOU 0.85,
# MAX_ITER and MAX_SIZE 0.63.
_CLOSE = 0.8
# Keys of a section that are named.
_FEW = 3


def misspelt(cfg: CfgNode) -> Iterator[str]:
    """A sentence for each key that nobody declares and that is not of a user's own model.

    That has nearly the name of one beside it, stands in a section of this project's, or stands in
    none and is called as a key of some section is.
    """
    yield from _in_section(cfg, "")


def replaced(cfg: CfgNode) -> list[str]:
    """A sentence for each section that is none any more, as by ``cfg.SOLVER.AMP = True``."""
    found = []
    for section, names in _declared().items():
        node, parts = cfg, section.split(".")[:-1]
        while isinstance(node, CfgNode) and parts and parts[0] in node:
            node = node[parts.pop(0)]
        if not parts and not isinstance(node, CfgNode):
            found.append(
                f"{section[:-1]} is {shown(node)}; it must be the section that it was, of "
                f"{', '.join(section + name for name in sorted(names)[:_FEW])}."
            )
    return found


def _in_section(node: CfgNode, prefix: str) -> Iterator[str]:
    known = _declared().get(prefix, frozenset())
    for name, value in node.items():
        if isinstance(value, CfgNode):
            yield from _in_section(value, f"{prefix}{name}.")
        elif name not in known:
            near = hint = nearest(name, {other: f"{prefix}{other}" for other in known}, _CLOSE)
            elsewhere = [f"{other}{name}" for other, names in _declared().items() if name in names]
            if not hint and elsewhere:
                hint = f" There is {' and '.join(elsewhere[:_FEW])}."
            if near or prefix in _own_sections() or (not prefix and elsewhere):
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


@cache
def _own_sections() -> frozenset[str]:
    """Those that Detectron2 has not, with a dot behind them."""
    theirs = {name.rpartition(".")[0] + "." for name in _names(detectron2_cfg(), "")}
    return frozenset(section for section in _declared() if section and section not in theirs)


def _names(node: CfgNode, prefix: str) -> Iterator[str]:
    for name, value in node.items():
        if isinstance(value, CfgNode):
            yield from _names(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"
