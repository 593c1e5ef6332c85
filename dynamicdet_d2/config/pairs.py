# SPDX-License-Identifier: Apache-2.0
"""What stands where a key or a value should: a sentence for it."""

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dynamicdet_d2.config.declare import KEYS
from dynamicdet_d2.config.ranges import nearest
from dynamicdet_d2.utils.words import shown

BASE = "_BASE_"
# Of a key that can be said as it is.
_NAME = r"[\w.-]+"
# Keys of one name that are all said.
_MANY = 6
# A letter in a list: its words are to stand in quotes.
_WORD = re.compile("[A-Za-z]")


def option_behind(name: str, first: str = "") -> str:
    """For an option among the keys.

    Args:
        first: the word that is taken for the first of them; "": it is not known.
    """
    if name == "--":
        return "'--' stands before config overrides, which need no mark: leave it out."
    begin = f", which begin with {shown(first)}" if first else ""
    return f"{name} stands behind config overrides{begin}; options stand before them."


def refuse_no_pairs(overrides: object) -> None:
    """
    Raises:
        ValueError: overrides that a program gives are no flat list, or have no name for a key.
    """
    if not isinstance(overrides, list | tuple):
        raise ValueError(
            f"Config overrides are of type {type(overrides).__name__}; they must be a list "
            "['KEY', value, 'KEY', value, ...]."
        )
    for name in overrides[::2]:
        if not isinstance(name, str):
            raise ValueError(f"Config overrides have {shown(name)} in the place of a key.")


def plain(value: Any) -> Any:
    """Of a number of numpy's and of a path, as programs give them, what a file would hold."""
    if isinstance(value, np.generic):
        return value.item()
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def without_value(overrides: Sequence[str], known: set[str]) -> str:
    """A sentence for an odd number of overrides: where the pairs go wrong."""
    said = "Config overrides are KEY VALUE pairs;"
    for place in range(0, len(overrides), 2):
        name, *value = overrides[place : place + 2]
        if name.startswith("--"):
            return option_behind(name, overrides[0])
        if "=" in overrides[place : place + 2] or name.partition("=")[0] in known - {name}:
            return f"{said} there is no '=' between them: {shown(' '.join(overrides))}."
        if place + 1 < len(overrides) and name not in known and value[0] in known:
            return f"{said} '{name}' stands in the place of a key."
        if name in known and (not value or value[0] in known):
            return f"{said} '{name}' has no value."
    return f"{said} '{overrides[-1]}' has no value."


def _dots(name: str) -> list[int]:
    return [place for place, character in enumerate(name) if character == "."]


def unknown_key(name: str, value: object, known: Sequence[str]) -> str:
    """For a name that is none of the known ones, with the one that was meant."""
    if name.startswith("--"):
        return option_behind(name)
    if any(key.startswith(f"{name}.") for key in known):
        hint = f" There is {name}.ENABLED." if f"{name}.ENABLED" in known else ""
        if isinstance(value, Mapping):  # by its full name, at the top of a file
            hint = " In a file its parts stand below each other, or its keys have full names."
        return f"{name} is {shown(value)}, but it is a section, whose keys have values.{hint}"
    last = name.rpartition(".")[2]
    if last.strip("_").upper() == BASE.strip("_"):
        return f"{name} is no key. {BASE} names other files, at the top of a file."
    if isinstance(value, Mapping):  # a section, one step too deep or too high
        known = sorted({key[:dot] for key in known for dot in _dots(key)})
    by_last = {key.rpartition(".")[2]: key for key in known}
    # By the whole name or, for a key in another section, by its last part.
    moved = [key for key in known if key.rpartition(".")[2] == last]
    hint = "" if len(moved) == 1 else nearest(name, known)
    hint = hint or nearest(last, by_last)
    section = name.rpartition(".")[0]
    if 1 < len(moved) <= _MANY and any(key.startswith(f"{section}.") for key in known):
        # Its own section is left out: whose key is meant depends on the model.
        hint = f" There are {', '.join(moved[:-1])} and {moved[-1]}."
    return f"{name if re.fullmatch(_NAME, name, re.ASCII) else shown(name)} is no key.{hint}"


def mismatch(name: str, value: object, default: object) -> str:
    """A sentence for a value that a known key cannot have.

    Args:
        name: of the key.
        default: of the key, whose type the value must have where it has no range.
    """
    if name in KEYS:
        allowed = KEYS[name].range
        # What was typed may be right as a string, before yacs has read something else out of it.
        read = shown(value).strip("'\"")
        if isinstance(value, str) and allowed.must.startswith("be a list"):
            form = "such as [1, 2]"
            if _WORD.search(read):
                form = "with words in quotes: ['a', 'b']"
            elif read.startswith(("[", "(")):  # [1/3], or a comma that is not there
                form = "in plain numbers with commas between, such as [1, 2]; nothing is computed"
            return f"{name} is '{read}'; it must {allowed.must}, {form}."
        return allowed.complaint(name, value) or f"{name} is {read}; it must {allowed.must}."
    kind = type(default).__name__
    return (
        f"{name} is {shown(value)}; it must be of type {kind}, like its default {shown(default)}."
    )
