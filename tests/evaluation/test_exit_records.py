# SPDX-License-Identifier: Apache-2.0
"""What an evaluation keeps of a stream of images."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dynamicdet_d2.evaluation.exit_records import SpreadSample


@given(count=st.integers(0, 7), length=st.integers(0, 100))
def test_spread_sample(count: int, length: int) -> None:
    sample = SpreadSample(count)
    for item in range(length):
        sample.add(item)
        assert len(sample._held) <= 2 * count
    items = sample.items()
    assert len(items) == min(count, length)
    assert items == sorted(set(items))
    if count > 1 and length:
        assert items[0] == 0
        assert max(np.diff([*items, length])) <= 2 * length / count + 1
