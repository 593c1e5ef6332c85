# SPDX-License-Identifier: Apache-2.0
"""Some of many, evenly spread."""

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def spread(items: Sequence[T], count: int) -> list[T]:
    """So many of the items, at even distances from the first on; all where there are fewer.

    Args:
        count: at least 0.
    """
    count = min(count, len(items))
    return [items[i * len(items) // count] for i in range(count)]
