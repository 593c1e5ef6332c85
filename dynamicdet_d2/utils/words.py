# SPDX-License-Identifier: Apache-2.0
"""Values of unknown worth in sentences: never longer than a few lines, whatever they are."""

import re
import reprlib
from collections.abc import Iterable, Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, Context
from typing import Any

# Sentences that are read at once.
_MOST_LINES = 20
# Characters of a name in a file: with many more a chart takes minutes.
LONGEST_LABEL = 1000
# Python turns no longer number into digits.
_MOST_BITS = 4096
_LINES = re.compile(r"\s*\n\s*")


class _Short(reprlib.Repr):
    """Of every value; Python's own refuses numbers of thousands of digits."""

    def repr_int(self, x: int, level: int) -> str:
        bits = x.bit_length()
        return super().repr_int(x, level) if bits < _MOST_BITS else f"a number of {bits} bits"


_short = _Short()
_short.maxstring = _short.maxother = 100
_short.maxlist = _short.maxtuple = 8
_short.maxlevel = 3


def shown(value: object) -> str:
    """A value for a sentence: its repr, cut where it is long, and in one line, as of an array."""
    return _LINES.sub(" ", _short.repr(value))


def named_image(source: Any, otherwise: str) -> str:
    """How a sentence that begins with it calls the image of one of Detectron2's dicts.

    Args:
        otherwise: where it has neither file name nor id.
    """
    known = source if isinstance(source, dict) else {}
    id_ = known.get("image_id")
    if known.get("file_name") is not None:
        return f"Image {known['file_name']}" + (f" (id {id_!r})" if id_ is not None else "")
    return otherwise if id_ is None else f"Image {id_!r}"


def as_number(value: Any, name: str) -> float:
    """A number of Python's or numpy's, or a tensor of one, as a float.

    Args:
        name: of it, for the sentence.

    Raises:
        ValueError: text, None, true or false, several numbers, ...
    """
    try:
        of = str(getattr(value, "dtype", type(value).__name__)).removeprefix("torch.")
        if isinstance(value, str | bytes) or of == "bool":
            raise TypeError
        return float(value)
    except (ArithmeticError, RuntimeError, TypeError, ValueError):
        raise ValueError(f"{name} is {shown(value)}; it must be a number.") from None


def rounded_inward(low: float, high: float) -> tuple[str, str]:
    """Both ends of a range in six digits, neither of them outside of it.

    Whoever is told a range may type what was said, which must not be refused again.
    """
    up, down = (Context(6, way).create_decimal for way in (ROUND_CEILING, ROUND_FLOOR))
    return f"{float(up(repr(float(low)))):g}", f"{float(down(repr(float(high)))):g}"


def is_whole(text: str) -> bool:
    """Without lone halves of characters, which no file and no screen can take."""
    return text == text.encode("utf-8", "replace").decode()


def spelt_alike(names: Iterable[str]) -> list[str]:
    """A sentence for each group of class names that differ in capitals and spaces alone."""
    groups: dict[str, dict[str, None]] = {}
    for name in names:
        groups.setdefault("".join(name.split()).casefold(), {})[name] = None
    return [
        f"The classes {shown(list(group))} differ in capitals and spaces alone: are they one?"
        for group in groups.values()
        if len(group) > 1
    ]


def in_lines(sentences: Sequence[str]) -> str:
    """A line each, of many the first ones and how many there are beside them."""
    more = len(sentences) - _MOST_LINES
    said = [*sentences[:_MOST_LINES], *([f"There are {more} more."] if more > 0 else [])]
    return "\n".join(said)


def in_words(error: BaseException) -> str:
    """What an error of another library says, where that may be a bare key or nothing at all."""
    text = " ".join(str(error).split()).rstrip(".")
    if type(error) in (AssertionError, ValueError) and text:
        return text
    if isinstance(error, KeyError):
        return f"there is no {text or 'such key'}"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
