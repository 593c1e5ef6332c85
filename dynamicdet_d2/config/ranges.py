# SPDX-License-Identifier: Apache-2.0
"""What a config key may be: the words for the declarations in ``keys.py`` and ``rules.py``."""

import difflib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeGuard

from fvcore.common.registry import Registry

from dynamicdet_d2.utils.words import as_number, shown

# What torch and numpy count in.
_INTEGER_BITS = 63
# Of an image that is resized, in pixels: a larger one would fill any memory before it is refused.
LARGEST_SIDE = 1 << 15
# Of a step: more are a slip of the hand, and their list alone takes minutes.
MOST_IMAGES = 1 << 16
# Of rates, decays and what gradients are clipped at: what an optimizer makes of larger ones is
# beyond float32.
LARGEST_RATE = 1e31
# More fill any memory before a model is built.
MOST_LAYERS = 100
# Of an image, each a box in memory, also where work is counted.
MOST_PROPOSALS = 100_000


@dataclass(frozen=True)
class Range:
    """The values that a key may have.

    Attributes:
        must: what the value must do or be, in the words that follow "it must".
        holds: whether a value, of whatever type, does.
    """

    must: str
    holds: Callable[[object], bool]

    def complaint(self, key: str, value: object) -> str | None:
        """One sentence with key, value and what is allowed; None where the value is right."""
        if self.holds(value):
            return None
        must = f"lie within 2^{_INTEGER_BITS}" if _is_too_long(value) else self.must
        if isinstance(value, str) and must.startswith("lie in"):
            must = f"be a number and {must}"  # '0.5' looks as if it did
        return f"{key} is {shown(value)}; it must {must}."

    def number(self, value: object, name: str) -> float:
        """A number that a program gives: Python's, numpy's or a tensor of one, as a float.

        Raises:
            ValueError: text, None, true or false, several numbers, or one out of range; one
                sentence with the name, the value and what is allowed.
        """
        found = as_number(value, name)
        # Whole numbers of numpy's are such in every range.
        said = self.complaint(name, int(found) if found.is_integer() else found)
        if said is not None:
            raise ValueError(said)
        return found

    def whole(self, value: object, name: str) -> int:
        """As ``number``, of a range of whole numbers."""
        return int(self.number(value, name))


@dataclass(frozen=True)
class Each(Range):
    """A list, each entry of which lies in ``entry``."""

    entry: Range

    def complaint(self, key: str, value: object) -> str | None:
        said = super().complaint(key, value)
        if said is not None or not isinstance(value, Sequence):
            return said
        wrong = [item for item in value if not self.entry.holds(item)]
        return f"{key} has {shown(wrong[0])}; each must {self.entry.must}." if wrong else None


@dataclass(frozen=True)
class Registered(Range):
    """A name in a registry; the nearest one is said for a name that is not."""

    registry: Registry

    def complaint(self, key: str, value: object) -> str | None:
        said = super().complaint(key, value)
        return said and said + nearest(value, [name for name, _ in self.registry])


def nearest(word: object, names: Mapping[str, str] | Iterable[str], closeness: float = 0.6) -> str:
    """`` The nearest is X.`` for a word that is not among the names; empty where none is near.
    Capitals are as small letters.

    Args:
        word: what a user typed.
        names: what it could have been, or a mapping from that to what shall be said of it.
        closeness: from which a name is near, in [0, 1], as difflib measures it.
    """
    said = names if isinstance(names, Mapping) else {name: name for name in names}
    folded = {name.casefold(): name for name in said}
    close = difflib.get_close_matches(str(word)[:200].casefold(), folded, n=1, cutoff=closeness)
    return f" The nearest is '{said[folded[close[0]]]}'." if close else ""


def number(at_least: float, below: float = math.inf) -> Range:
    """A finite number in [at_least, below)."""
    limits = f"at least {at_least:g}"
    if below != math.inf:
        limits = f"in [{at_least:g}, {below:g})"
    return Range(f"be a number {limits}", lambda x: _is_number(x) and at_least <= x < below)


def between(low: float, high: float) -> Range:
    """A number in [low, high]."""
    return Range(f"lie in [{low:g}, {high:g}]", lambda x: _is_number(x) and low <= x <= high)


def above(limit: float, below: float = math.inf) -> Range:
    """A finite number in (limit, below)."""
    limits = f"above {limit:g}" if below == math.inf else f"in ({limit:g}, {below:g})"
    return Range(f"be a number {limits}", lambda x: _is_number(x) and limit < x < below)


def integer(at_least: int, at_most: int | None = None) -> Range:
    """A whole number from ``at_least`` on, up to ``at_most`` if there is an end."""
    limits = f", at least {at_least}" if at_most is None else f" in [{at_least}, {at_most}]"
    return Range(
        f"be a whole number{limits}",
        lambda x: (
            _is_number(x)
            and isinstance(x, int)
            and x >= at_least
            and (at_most is None or x <= at_most)
        ),
    )


def one_of(*allowed: str | int) -> Range:
    """One of a few values."""
    *others, last = (repr(value) for value in allowed)
    words = f"{', '.join(others)} or {last}"
    return Range(f"be {words}", lambda x: any(type(x) is type(y) and x == y for y in allowed))


def only(value: object, why: str) -> Range:
    """The one value that the project can do with."""
    return Range(f"be {value!r}: {why}", lambda x: type(x) is type(value) and x == value)


def none_or(inner: Range) -> Range:
    """None, or in another range."""
    return Range(f"be None or {inner.must}", lambda x: x is None or inner.holds(x))


def each(entry: Range, length: int | None = None, at_least: int = 0) -> Each:
    """A list (or tuple) of any length, of one length, or of some entries."""
    must = "be a list" if length is None else f"be a list of {length}"
    must += f" of at least {at_least}" if at_least else ""
    return Each(
        must,
        lambda x: isinstance(x, (list, tuple)) and length in (None, len(x)) and len(x) >= at_least,
        entry,
    )


def rising(entry: Range) -> Each:
    """A list whose numbers rise."""
    listed = each(entry)
    return Each(
        "be a list of numbers that rise",
        lambda x: listed.holds(x) and isinstance(x, Sequence) and _rises(x),
        entry,
    )


def _rises(values: Sequence) -> bool:
    return not all(map(_is_number, values)) or all(
        one < next_ for one, next_ in zip(values, values[1:], strict=False)
    )


def registered(registry: Registry) -> Registered:
    """The name of something that is registered with Detectron2."""
    return Registered(
        "be a name that is registered with Detectron2, as one of your own is once its file is "
        "imported",
        lambda x: isinstance(x, str) and x in registry,
        registry,
    )


def _is_number(x: object) -> TypeGuard[int | float]:
    whole = isinstance(x, int) and not isinstance(x, bool) and not _is_too_long(x)
    return whole or (isinstance(x, float) and math.isfinite(x))


def _is_too_long(x: object) -> bool:
    return isinstance(x, int) and x.bit_length() > _INTEGER_BITS


true_or_false = Range("be True or False", lambda x: type(x) is bool)
text = Range("be a string", lambda x: type(x) is str)
side = integer(at_least=1, at_most=LARGEST_SIDE)
rate = number(at_least=0, below=LARGEST_RATE)
