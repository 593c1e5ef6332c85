# SPDX-License-Identifier: Apache-2.0
"""Run lengths and polygons of COCO files, beside pycocotools' own."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pycocotools import mask

from dynamicdet_d2.data.check.segmentations import are_run_lengths, farthest

pictures = arrays.arrays(
    np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40)), elements={"max_value": 1}
)


@given(pictures | st.integers(1, 5000).map(lambda n: np.arange(2 * n).reshape(2, n) % 7 < n % 5))
def test_what_pycocotools_writes_is_right(picture: np.ndarray) -> None:
    height, width = picture.shape
    encoded = mask.encode(np.asfortranarray(picture, dtype=np.uint8))
    text = encoded["counts"].decode()
    assert are_run_lengths({"size": [height, width], "counts": text}, width, height)
    assert not are_run_lengths({"size": [height, width + 1], "counts": text}, width + 1, height)
    assert not are_run_lengths({"size": [height, width], "counts": text + "1"}, width, height)


@given(st.text(alphabet=[chr(n) for n in range(48, 112)], max_size=12))
def test_pycocotools_decodes_what_is_right(text: str) -> None:
    """To an image of as many pixels."""
    if are_run_lengths({"size": [5, 7], "counts": text}, 7, 5):
        assert mask.decode({"size": [5, 7], "counts": text}).shape == (5, 7)


def test_far_points_by_hand() -> None:
    assert farthest([[0, 0, 40, 0, 40, 30]], 40, 30) is None
    assert farthest([[], [-120, 0, 120, 0, 5, 5]], 40, 30) is None
    assert farthest([[0, 0, 121, 0, 5, 5]], 40, 30) == 121
    assert farthest([[0, 0, 4, 4, 5, 5], [0, -1e9, 1, 1, 2, 2]], 40, 30) == -1e9
