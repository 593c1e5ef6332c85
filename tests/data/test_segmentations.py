# SPDX-License-Identifier: Apache-2.0
"""Run lengths and polygons of COCO files, beside pycocotools' own."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pycocotools import mask

from dynamicdet_d2.data.check.agreement import extent_elsewhere
from dynamicdet_d2.data.check.segmentations import (
    are_run_lengths,
    extent_of_run_lengths,
    farthest,
    what_is_lost,
)

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


@given(pictures)
def test_the_extent_is_that_of_pycocotools(picture: np.ndarray) -> None:
    height, width = picture.shape
    encoded = mask.encode(np.asfortranarray(picture, dtype=np.uint8))
    text = {"size": [height, width], "counts": encoded["counts"].decode()}
    found = extent_of_run_lengths(text, width, height)
    assert found == (tuple(mask.toBbox(encoded)) if picture.any() else None)


def test_extents_by_hand() -> None:
    """Of 2 x 3 pixels, which run down the columns: 0 1 / 2 3 / 4 5."""
    assert extent_of_run_lengths({"size": [2, 3], "counts": [3, 1, 2]}, 3, 2) == (1, 1, 1, 1)
    assert extent_of_run_lengths({"size": [2, 3], "counts": [1, 2, 3]}, 3, 2) == (0, 0, 2, 2)
    assert extent_of_run_lengths({"size": [2, 3], "counts": [0, 1, 1, 1, 3]}, 3, 2) == (0, 0, 2, 1)
    assert extent_of_run_lengths({"size": [2, 3], "counts": [6]}, 3, 2) is None
    assert extent_of_run_lengths({"size": [2, 3], "counts": [3, 1]}, 3, 2) is None
    assert extent_of_run_lengths({"size": [3, 2], "counts": [3, 1, 2]}, 3, 2) is None


def test_what_is_lost_by_hand() -> None:
    whole, line = [0, 0, 4, 0, 4, 4], [0, 0, 4, 0]
    assert what_is_lost([whole]) is None and what_is_lost([whole, line]) is None
    assert what_is_lost([line]) is not None and what_is_lost([[]]) is not None
    odd = "has a polygon of 7 numbers, two a point; Detectron2 leaves it out"
    assert what_is_lost([whole, [*whole, 5]]) == what_is_lost([[*whole, 5]]) == odd


def test_a_box_that_is_rounded_to_pixels_is_not_elsewhere() -> None:
    """Around 0.8 x 0.8 pixels, of which a box of 2 x 2 has a quarter's overlap with one."""
    polygons = [[10.6, 10.6, 11.4, 10.6, 11.4, 11.4, 10.6, 11.4]]
    assert extent_elsewhere(polygons, (10, 10, 2, 2), (40, 30)) is None
    assert extent_elsewhere(polygons, (9.5, 10, 2.5, 2), (40, 30)) is not None
