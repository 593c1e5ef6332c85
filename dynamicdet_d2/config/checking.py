# SPDX-License-Identifier: Apache-2.0
"""Everything that is wrong with a config, said at once, before anything is built from it."""

import difflib
import functools
import logging
from collections.abc import Iterator

from detectron2.config import CfgNode, get_cfg

from dynamicdet_d2.config.declare import KEYS, RULES, Key, Use
from dynamicdet_d2.utils.words import in_lines

logger = logging.getLogger(__name__)

MISSING = object()
# Names of which one is the other misspelt, and not another key of somebody's own.
_ALIKE = 0.85


def check(cfg: CfgNode, use: Use = Use.TRAIN) -> None:
    """Refuse a config that a later part of the run would stumble over.

    Args:
        cfg: Detectron2's and the project's keys.
        use: what it is about to be used for. For ``Use.MODEL`` the keys below MODEL and INPUT are
            looked at, else all.

    Raises:
        ValueError: a sentence for each thing that is wrong, a line each.
    """
    sentences = problems(cfg, use)
    if sentences:
        raise ValueError(in_lines(sentences))
    _warn_of_misspelt(cfg)


def _warn_of_misspelt(cfg: CfgNode) -> None:
    """On keys that a program has set by a name that is nearly one: yacs makes new keys of them.

    They are not refused, as a program may have keys of its own.
    """
    known = {*KEYS, *_names(get_cfg())}
    for name in set(_names(cfg)) - known:
        section, _, last = name.rpartition(".")
        beside = [x.rpartition(".")[2] for x in known if x.rpartition(".")[0] == section]
        near = difflib.get_close_matches(last, beside, n=1, cutoff=_ALIKE)
        if near:
            place = f"{section}." if section else ""
            _say_misspelt(name, f"{place}{near[0]}")


@functools.cache  # a config is checked by each part that is built from it
def _say_misspelt(name: str, near: str) -> None:
    logger.warning("%s is set, and is no key here. The nearest is '%s'.", name, near)


def _names(node: CfgNode, prefix: str = "") -> Iterator[str]:
    """Full names of all keys that have a value."""
    for name, value in node.items():
        if isinstance(value, CfgNode):
            yield from _names(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def problems(cfg: CfgNode, use: Use = Use.TRAIN) -> list[str]:
    """The sentences of ``check``."""
    values = {name: value_of(cfg, name) for name in KEYS}
    complaints = {key.name: _complaint(key, values[key.name]) for key in KEYS.values()}
    said = [complaints[key.name] for key in KEYS.values() if _matters(key, use)]
    # A rule is for values that are in range; of others it could only say something confusing.
    sound = {name for name in KEYS if values[name] is not MISSING and complaints[name] is None}
    said += [
        rule.complaint(*(values[name] for name in rule.keys))
        for rule in RULES
        if rule.when in use and sound.issuperset(rule.keys)
    ]
    return [sentence for sentence in said if sentence is not None]


def value_of(cfg: CfgNode, name: str) -> object:
    """The value of a key by its full name, or ``MISSING``."""
    node: object = cfg
    for part in name.split("."):
        if not isinstance(node, CfgNode) or part not in node:
            return MISSING
        node = node[part]
    return node


def _matters(key: Key, use: Use) -> bool:
    return use != Use.MODEL or key.name.startswith(("MODEL.", "INPUT."))


def _complaint(key: Key, value: object) -> str | None:
    if value is not MISSING:
        return key.range.complaint(key.name, value)
    # Other versions of Detectron2 may lack a key of theirs.
    return f"{key.name} is missing: add_dynamicdet_config adds it." if key.ours else None
