# SPDX-License-Identifier: Apache-2.0
"""Everything that is wrong with a config, said at once, before anything is built from it."""

import logging
from functools import cache

from detectron2.config import CfgNode

from dynamicdet_d2.config.declare import KEYS, RULES, Key, Use
from dynamicdet_d2.config.misspelt import misspelt, replaced
from dynamicdet_d2.utils.arguments import refuse_no_config
from dynamicdet_d2.utils.words import in_lines

logger = logging.getLogger(__name__)

MISSING = object()

# The first data set names the classes.
_OF_MODELS = ("DATASETS.TEST", "TEST.DETECTIONS_PER_IMAGE")


def check(cfg: CfgNode, use: Use = Use.TRAIN) -> None:
    """Refuse a config that a later part of the run would stumble over.

    Keys that a program has made by misspelling one are said; a file or a command line has none.

    Args:
        cfg: Detectron2's and the project's keys.
        use: what it is about to be used for. For ``Use.MODEL`` the keys below MODEL and INPUT are
            looked at, and two others that models and predictors read; else all.

    Raises:
        ValueError: a sentence for each thing that is wrong, a line each.
    """
    refuse_no_config(cfg)
    for sentence in misspelt(cfg):
        _say_once(sentence)
    sentences = replaced(cfg) or problems(cfg, use)
    if sentences:
        raise ValueError(in_lines(sentences))


@cache  # a config is checked by each part that is built from it
def _say_once(sentence: str) -> None:
    logger.warning(sentence)


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


def check_rules_of(name: str, cfg: CfgNode) -> None:
    """As ``check``, of the rules that a key is part of, for a config that nothing has checked.

    Raises:
        ValueError: a sentence for each that is broken, a line each.
    """
    said = [
        rule.complaint(*(value_of(cfg, key) for key in rule.keys))
        for rule in RULES
        if name in rule.keys
    ]
    sentences = [sentence for sentence in said if sentence is not None]
    if sentences:
        raise ValueError(in_lines(sentences))


def value_of(cfg: CfgNode, name: str) -> object:
    """The value of a key by its full name, or ``MISSING``."""
    node: object = cfg
    for part in name.split("."):
        if not isinstance(node, CfgNode) or part not in node:
            return MISSING
        node = node[part]
    return node


def _matters(key: Key, use: Use) -> bool:
    return use != Use.MODEL or key.name.startswith(("MODEL.", "INPUT.")) or key.name in _OF_MODELS


def _complaint(key: Key, value: object) -> str | None:
    if value is not MISSING:
        return key.range.complaint(key.name, value)
    # Other versions of Detectron2 may lack a key of theirs.
    return f"{key.name} is missing: add_dynamicdet_config adds it." if key.ours else None
