# SPDX-License-Identifier: Apache-2.0
"""ROIAlign in numpy: by hand, and beside torchvision's by Detectron2's layer."""

from typing import Any

import numpy as np
import pytest
import torch
from detectron2.layers import ROIAlign
from hypothesis import given, settings
from hypothesis import strategies as st

from dynamicdet_d2.runner.roi_align import axis_weights, roi_align

# Levels of strides 4 and 8 of two images of 64 x 96 pixels.
SCALES = (1 / 4, 1 / 8)
CHANNELS = 5


def pool(size: tuple[int, int] = (7, 7), ratio: int = 0, aligned: bool = True) -> dict[str, Any]:
    return {"scales": SCALES, "size": size, "sampling_ratio": ratio, "aligned": aligned}


def pyramid() -> list[np.ndarray]:
    """Noise, channels last."""
    generator = np.random.default_rng(0)
    sides = [(16, 24), (8, 12)]
    return [generator.normal(size=(2, *side, CHANNELS)).astype(np.float32) for side in sides]


def weights(start: float, end: float, bins: int, size: int, **keys: Any) -> list[list[float]]:
    """(bins, size) of the whole axis."""
    ends = (np.array([x], dtype=np.float32) for x in (start, end))
    found = axis_weights(*ends, bins, size, pool(**keys))
    whole = np.zeros((bins, size), dtype=np.float32)
    first, last = int(found.first[0]), int(found.end[0])
    whole[:, first:last] = found.weights[0, :, : last - first]
    assert not found.weights[0, :, last - first :].any()
    return whole.tolist()


# By hand


@pytest.mark.parametrize("ratio", [0, 2])  # bins are 2 pixels long: two samples either way
def test_weights_by_hand(ratio: int) -> None:
    # Samples at 0.25, 1.25 | 2.25, 3.25, the last moved to 3.
    assert weights(-0.25, 3.75, 2, 4, ratio=ratio) == [
        [0.375, 0.5, 0.125, 0.0],
        [0.0, 0.0, 0.375, 0.625],
    ]


def test_samples_outside_by_hand() -> None:
    # At -3, -2, -1 | 0, 1, 2: of the first bin only -1 counts, as pixel 0.
    third = float(np.float32(1 / 3))
    assert weights(-3.5, 2.5, 2, 4) == [[third, 0, 0, 0], [third, third, third, 0]]
    # At 4 | 5 of a map of 4: 4 counts, as pixel 3.
    assert weights(3.5, 5.5, 2, 4) == [[0, 0, 0, 1], [0, 0, 0, 0]]
    assert not np.any(weights(20, 24, 2, 4))


def test_no_length_by_hand() -> None:
    # No sample of its own choice; two fixed ones at 1.25; one of a pixel's length in old boxes.
    assert weights(1.25, 1.25, 1, 4) == [[0, 0, 0, 0]]
    assert weights(1.25, 1.25, 1, 4, ratio=2) == [[0, 0.75, 0.25, 0]]
    assert weights(1.25, 1.25, 1, 4, aligned=False) == [[0, 0.25, 0.75, 0]]


def test_a_region_by_hand() -> None:
    # The value is x + 10 y, of the second image; samples at 0, 1 | 2, 3 along each axis.
    ramp = np.arange(4.0)[None, :] + 10 * np.arange(4.0)[:, None]
    level = np.stack([np.zeros((4, 4)), ramp])[..., None].astype(np.float32)
    region = np.array([[1, 0, 0, 4, 4]], dtype=np.float32)
    found = roi_align([level], region, np.zeros(1, dtype=int), {**pool((2, 2)), "scales": [1.0]})
    assert found[..., 0].tolist() == [[[5.5, 7.5], [25.5, 27.5]]]


# Beside torchvision

corner = st.integers(-80, 160).map(float) | st.floats(-80, 160, width=32)
side = st.integers(0, 120).map(float) | st.floats(0, 200, width=32)
region = st.tuples(st.integers(0, 1), corner, corner, side, side, st.integers(0, 1))


def expected(regions: np.ndarray, level_of: np.ndarray, own: dict[str, Any]) -> np.ndarray:
    rows = np.zeros((len(regions), *own["size"], CHANNELS), dtype=np.float32)
    for number, (level, scale) in enumerate(zip(pyramid(), SCALES, strict=True)):
        align = ROIAlign(own["size"], scale, own["sampling_ratio"], own["aligned"])
        chosen = level_of == number
        found = align(
            torch.from_numpy(level).permute(0, 3, 1, 2).contiguous(),
            torch.from_numpy(regions[chosen]),
        )
        rows[chosen] = found.permute(0, 2, 3, 1).numpy()
    return rows


@settings(max_examples=100, deadline=None)
@given(
    drawn=st.lists(region, max_size=8),
    size=st.sampled_from([(7, 7), (3, 5)]),
    ratio=st.sampled_from([0, 2]),
    aligned=st.booleans(),
)
def test_it_is_torchvisions(drawn: list, size: tuple[int, int], ratio: int, aligned: bool) -> None:
    given_ = np.array(drawn, dtype=np.float32).reshape(-1, 6)
    given_[:, 3:5] += given_[:, 1:3]
    regions, level_of = np.ascontiguousarray(given_[:, :5]), given_[:, 5].astype(int)
    own = pool(size, ratio, aligned)
    found = roi_align(pyramid(), regions, level_of, own)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected(regions, level_of, own), atol=2e-6)


def many() -> tuple[np.ndarray, np.ndarray]:
    """300 regions of two images and levels, and past the borders; more than a thread takes."""
    generator = np.random.default_rng(1)
    start, sides = generator.uniform(-10, 80, (300, 2)), generator.uniform(0, 60, (300, 2))
    images, level_of = generator.integers(0, 2, (2, 300))
    boxes = np.concatenate([start, start + sides], axis=1)
    return np.column_stack([images, boxes]).astype(np.float32), level_of


def test_a_batch_is_one_by_one_in_any_number_of_threads() -> None:
    regions, level_of = many()
    whole = roi_align(pyramid(), regions, level_of, pool(), threads=3)
    np.testing.assert_array_equal(whole, roi_align(pyramid(), regions, level_of, pool(), 1))
    for i in range(0, 300, 7):
        one = roi_align(pyramid(), regions[i : i + 1], level_of[i : i + 1], pool())
        np.testing.assert_allclose(one[0], whole[i], atol=1e-6)
    np.testing.assert_allclose(whole, expected(regions, level_of, pool()), atol=2e-6)


def test_levels_may_lie_in_memory_in_any_order() -> None:
    regions, level_of = many()
    turned = [np.asfortranarray(level) for level in pyramid()]
    np.testing.assert_array_equal(
        roi_align(turned, regions, level_of, pool()),
        roi_align(pyramid(), regions, level_of, pool()),
    )


def test_no_region() -> None:
    found = roi_align(pyramid(), np.zeros((0, 5), np.float32), np.zeros(0, int), pool())
    assert found.shape == (0, 7, 7, CHANNELS)
