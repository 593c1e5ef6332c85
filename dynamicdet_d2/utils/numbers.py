# SPDX-License-Identifier: Apache-2.0
"""Numbers that a program gives, one or in a list, an array or a tensor."""

import operator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynamicdet_d2.utils.words import shown


def as_numbers(values: Any, name: str) -> NDArray[np.float64]:
    """float64 of the same shape, NaN where there is None.

    Args:
        name: of them in the plural, for the sentence.

    Raises:
        ValueError: text, true or false, rows of different lengths, a masked array, ...
    """
    try:
        if isinstance(values, np.ma.MaskedArray):  # whose mask would be passed over
            raise TypeError
        found = np.asarray(values)
        if found.dtype.kind not in "iufO":  # numpy takes "0.5" and True for numbers
            raise TypeError
        return found.astype(np.float64)
    except (ArithmeticError, RuntimeError, TypeError, ValueError):
        raise ValueError(f"{name} are {shown(values)}; they must be a list of numbers.") from None


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
