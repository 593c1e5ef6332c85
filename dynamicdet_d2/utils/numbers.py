# SPDX-License-Identifier: Apache-2.0
"""Numbers that a program gives in a list, an array or a tensor."""

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
