# SPDX-License-Identifier: Apache-2.0
"""Numbers of other types are said by name."""

from typing import Any

import numpy as np
import pytest

from dynamicdet_d2.utils.numbers import as_whole


@pytest.mark.parametrize("value", [3, np.int64(3), np.uint8(3)])
def test_whole_numbers_of_python_and_numpy(value: Any) -> None:
    found = as_whole(value, "seed", least=3)
    assert found == 3 and type(found) is int and repr(found) == "3"


@pytest.mark.parametrize(
    ("value", "least", "says"),
    [
        (2.0, None, "seed is 2.0; it must be a whole number."),
        ("2", None, "seed is '2'; it must be a whole number."),
        (None, None, "seed is None; it must be a whole number."),
        (True, None, "seed is True; it must be a whole number."),
        (-1, 0, "seed is -1; it must be a whole number, at least 0."),
        ([1], 0, "seed is [1]; it must be a whole number, at least 0."),
    ],
)
def test_other_values_are_refused(value: Any, least: int | None, says: str) -> None:
    with pytest.raises(ValueError) as error:
        as_whole(value, "seed", least)
    assert str(error.value) == says
