# SPDX-License-Identifier: Apache-2.0
"""Everything that is wrong with a config, said at once, before anything is built from it."""

from detectron2.config import CfgNode

from dynamicdet_d2.config.declare import KEYS, RULES, Key, Use

MISSING = object()


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
        raise ValueError("\n".join(sentences))


def problems(cfg: CfgNode, use: Use = Use.TRAIN) -> list[str]:
    """The sentences of ``check``."""
    values = {name: value_of(cfg, name) for name in {*KEYS, *(k for r in RULES for k in r.keys)}}
    complaints = {k.name: _complaint(k, values[k.name]) for k in KEYS.values() if _matters(k, use)}
    sentences = [said for said in complaints.values() if said is not None]
    # What a rule says of a value that is out of range anyway would only confuse.
    sound = {name for name in values if values[name] is not MISSING and not complaints.get(name)}
    for rule in RULES:
        if rule.when in use and sound.issuperset(rule.keys):
            said = rule.complaint(*(values[name] for name in rule.keys))
            sentences += [said] if said is not None else []
    return sentences


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
