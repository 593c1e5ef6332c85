# SPDX-License-Identifier: Apache-2.0
"""How keys and rules are declared, and where declarations are kept."""

import enum
from collections.abc import Callable
from dataclasses import dataclass

from dynamicdet_d2.config.ranges import Range


class Use(enum.Flag):
    """What a config is about to be used for; a use contains those that it is built on."""

    MODEL = 1  # build a model and run it on images
    EVALUATE = MODEL | 2  # also read the data sets of DATASETS.TEST
    CALIBRATE = EVALUATE | 4
    TRAIN = EVALUATE | 8


@dataclass(frozen=True)
class Key:
    """A key with a range.

    Attributes:
        name: in full, such as "MODEL.DYNAMIC.THRESHOLD".
        range: what it may be.
        default: plain value; of keys that Detectron2 defines: None.
        ours: whether ``add_dynamicdet_config`` adds it.
    """

    name: str
    range: Range
    default: object = None
    ours: bool = False


@dataclass(frozen=True)
class Rule:
    """What several keys, or a key and the machine, must agree in.

    Attributes:
        keys: names of the keys whose values ``complaint`` takes, in its order.
        complaint: gives one sentence, or None where all is well. It sees only values that lie in
            the ranges of their keys.
        when: the uses that it matters for are those that contain this one.
    """

    keys: tuple[str, ...]
    complaint: Callable[..., str | None]
    when: Use


KEYS: dict[str, Key] = {}
RULES: list[Rule] = []


def key(name: str, default: object, allowed: Range) -> None:
    """Declare a key of the project's."""
    _keep(Key(name, allowed, default, ours=True))


def limit(name: str, allowed: Range) -> None:
    """Declare what the project can do with of a key that Detectron2 defines."""
    _keep(Key(name, allowed))


def _keep(key: Key) -> None:
    if key.name in KEYS:
        raise ValueError(f"{key.name} is declared twice.")
    KEYS[key.name] = key


def rule(*keys: str, when: Use = Use.MODEL) -> Callable:
    """Decorate a function from the values of ``keys`` to a sentence or None: see ``Rule``."""

    def declare(complaint: Callable[..., str | None]) -> Callable[..., str | None]:
        RULES.append(Rule(keys, complaint, when))
        return complaint

    return declare
