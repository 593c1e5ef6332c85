# SPDX-License-Identifier: Apache-2.0
"""What an evaluation keeps of a stream of images."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dynamicdet_d2.evaluation.exit_records import ExitRecord, SpreadSample


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


@pytest.mark.parametrize("image_id", [np.int64(3), np.str_("a"), 3, "a"])
def test_ids_of_tables_can_be_written(image_id: object) -> None:
    """A data set by code may have numpy's; an evaluation could not write what it had found."""
    image = {"image_id": image_id, "image": torch.zeros(3, 4, 5)}
    record = ExitRecord.of(image, {"difficulty": 0.5})
    assert json.loads(json.dumps(record.image_id)) == image_id
