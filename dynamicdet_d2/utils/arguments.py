# SPDX-License-Identifier: Apache-2.0
"""Arguments that programs give, of which another type would be met far from where it was given."""

import operator
from typing import Any

from detectron2.config import CfgNode

from dynamicdet_d2.utils.words import shown


def refuse_no_config(cfg: object) -> None:
    """Refuse a path in the place of the config that it names, and the like.

    Raises:
        ValueError: naming the type.
    """
    if not isinstance(cfg, CfgNode):
        raise ValueError(
            f"The config is of type {type(cfg).__name__}; it must be a CfgNode, as "
            "dynamicdet_d2.config.read_config reads it from a file."
        )


def as_whole(value: Any, name: str, least: int | None = None) -> int:
    """A whole number of Python's or numpy's as Python's: they are spelt in different ways, which
    seeds are made of.

    Args:
        name: of it, for the sentence.
        least: that it may be; None: any.

    Raises:
        ValueError: text, None, true or false, a number with a point, or one that is too small.
    """
    try:
        if isinstance(value, bool):  # which is 0 or 1 for Python
            raise TypeError
        found = operator.index(value)
        if least is not None and found < least:
            raise TypeError
    except TypeError:
        room = "" if least is None else f", at least {least}"
        raise ValueError(f"{name} is {shown(value)}; it must be a whole number{room}.") from None
    return found
