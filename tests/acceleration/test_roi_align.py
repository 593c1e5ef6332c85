# SPDX-License-Identifier: Apache-2.0
"""ROIAlign as weighted sums of rows: by hand, and against torchvision's by Detectron2's pooler."""

import pytest
import torch
from detectron2.modeling.poolers import ROIPooler
from detectron2.structures import Boxes
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from dynamicdet_d2.acceleration import roi_align
from dynamicdet_d2.acceleration.roi_align import RowPooler, replace_poolers

# Images of 64 x 96 pixels; levels of strides 4, 8 and 16.
SCALES = (1 / 4, 1 / 8, 1 / 16)
CHANNELS = 5

Box = tuple[float, float, float, float]


def pixels(low: float, high: float) -> st.SearchStrategy[float]:
    """Whole numbers fall on borders, where samples begin to count."""
    return st.floats(low, high, width=32) | st.integers(int(low), int(high)).map(float)


def boxes(
    corner: tuple[int, int], width: tuple[int, int], height: tuple[int, int]
) -> st.SearchStrategy[Box]:
    return st.tuples(pixels(*corner), pixels(*corner), pixels(*width), pixels(*height)).map(
        lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
    )


any_box = st.one_of(
    boxes((0, 30), (1, 33), (1, 33)),  # inside
    boxes((-80, 80), (0, 150), (0, 150)),  # partly outside
    boxes((200, 400), (0, 50), (0, 50)),  # wholly outside
    boxes((-400, -200), (0, 50), (0, 50)),
    boxes((-10, 70), (0, 0), (0, 0)),  # a point
    boxes((-20, 60), (100, 400), (0, 3)),  # flat
    boxes((-20, 60), (0, 3), (100, 400)),  # tall
)
box_lists = st.lists(any_box, max_size=6)


def as_boxes(corners: list[Box]) -> Boxes:
    return Boxes(torch.tensor(corners, dtype=torch.float32).view(-1, 4))


def pyramid(levels: int = 3, images: int = 2) -> list[Tensor]:
    """Random features in [-1, 1), not channels-last."""
    generator = torch.Generator().manual_seed(0)
    sizes = [(images, CHANNELS, 16 >> i, 24 >> i) for i in range(levels)]
    return [2 * torch.rand(size, generator=generator) - 1 for size in sizes]


def stock_pooler(
    levels: int = 3, size: int | tuple[int, int] = 7, ratio: int = 0, name: str = "ROIAlignV2"
) -> ROIPooler:
    """With so small canonical boxes that small images use all levels."""
    keys = {"canonical_box_size": 32, "canonical_level": 3}
    return ROIPooler(size, SCALES[:levels], ratio, name, **keys)


def pooled_ramp(box: Box, aligned: bool, ratio: int) -> list[list[float]]:
    """2 x 2 bins of a map of 4 x 4 pixels whose value is x + 10 y."""
    ramp = torch.arange(4.0)[None, :] + 10 * torch.arange(4.0)[:, None]
    pooler = ROIPooler(2, [1.0], ratio, "ROIAlignV2" if aligned else "ROIAlign")
    bins = RowPooler(pooler)([ramp.view(1, 1, 4, 4)], [Boxes(torch.tensor([box]))])
    assert bins.shape == (1, 1, 2, 2)
    return bins[0, 0].tolist()


# By hand


@pytest.mark.parametrize("ratio", [0, 2])  # bins are 2 pixels wide: two samples either way
def test_the_whole_map_by_hand(ratio: int) -> None:
    # Samples at 0, 1 | 2, 3: means 0.5 and 2.5 along each axis.
    assert pooled_ramp((0, 0, 4, 4), True, ratio) == [[5.5, 7.5], [25.5, 27.5]]


def test_legacy_alignment_by_hand() -> None:
    # Samples at 0.5, 1.5 | 2.5, 3.5, the last moved to 3: means 1 and 2.75.
    assert pooled_ramp((0, 0, 4, 4), False, 0) == [[11.0, 12.75], [28.5, 30.25]]


def test_a_box_partly_outside_by_hand() -> None:
    # Along x samples at -4, -3, -2, -1 | 0, 1, 2, 3: of the first bin only -1 counts, as x = 0.
    assert pooled_ramp((-4, 0, 4, 4), True, 0) == [[1.25, 6.5], [6.25, 26.5]]


def test_a_sample_a_pixel_outside_counts_by_hand() -> None:
    # Along x samples at 4 | 5, of which 4 counts, as x = 3.
    assert pooled_ramp((4, 0, 6, 4), True, 0) == [[8.0, 0.0], [28.0, 0.0]]


def test_a_box_wholly_outside_is_zero() -> None:
    assert pooled_ramp((10, 0, 14, 4), True, 0) == [[0.0, 0.0], [0.0, 0.0]]


def test_a_point_by_hand() -> None:
    # Aligned, without length: no samples of its own choice; two fixed ones lie on (1.5, 0.5).
    assert pooled_ramp((2, 1, 2, 1), True, 0) == [[0.0, 0.0], [0.0, 0.0]]
    assert pooled_ramp((2, 1, 2, 1), True, 2) == [[6.5, 6.5], [6.5, 6.5]]
    # Legacy boxes are at least a pixel long: samples at 2.25 | 2.75 and 1.25 | 1.75.
    assert pooled_ramp((2, 1, 2, 1), False, 0) == [[14.75, 15.25], [19.75, 20.25]]


# Against torchvision


@settings(max_examples=150)
@given(
    first=box_lists,
    second=st.just([]) | box_lists,
    name=st.sampled_from(["ROIAlign", "ROIAlignV2"]),
    ratio=st.sampled_from([0, 2]),
    levels=st.sampled_from([1, 3]),
    size=st.sampled_from([1, 2, 7]),
)
def test_values_are_torchvisions(
    first: list[Box], second: list[Box], name: str, ratio: int, levels: int, size: int
) -> None:
    stock = stock_pooler(levels, size, ratio, name)
    features, given_boxes = pyramid(levels), [as_boxes(first), as_boxes(second)]
    expected = stock(features, given_boxes)
    torch.testing.assert_close(
        RowPooler(stock)(features, given_boxes), expected, atol=1e-5, rtol=1e-5
    )


BOXES = [
    as_boxes([(2, 2, 20, 12), (0, 0, 90, 60), (-30, 10, 40, 13)]),
    as_boxes([]),
    as_boxes([(40, 1, 41, 70), (8, 8, 8, 8)]),
]


def test_images_without_boxes_between_others() -> None:
    stock = stock_pooler()
    features = pyramid(images=3)
    expected = stock(features, BOXES)
    assert expected.flatten(1).any(dim=1).sum() == 4  # all but the point
    torch.testing.assert_close(RowPooler(stock)(features, BOXES), expected, atol=1e-5, rtol=1e-5)


def test_bins_need_not_be_square() -> None:
    stock = stock_pooler(levels=1, size=(2, 5))
    features = pyramid(1, images=3)
    found = RowPooler(stock)(features, BOXES)
    assert found.shape == (5, CHANNELS, 2, 5)
    torch.testing.assert_close(found, stock(features, BOXES), atol=1e-5, rtol=1e-5)


def test_memory_format_does_not_matter() -> None:
    features = pyramid(images=3)
    last = [level.contiguous(memory_format=torch.channels_last) for level in features]
    pooler = RowPooler(stock_pooler())
    found = pooler(features, BOXES)
    assert torch.equal(found, pooler(last, BOXES))
    assert found.is_contiguous(memory_format=torch.channels_last)


def test_torchs_default_type_does_not_matter() -> None:
    features, pooler = pyramid(images=3), RowPooler(stock_pooler())
    expected = pooler(features, BOXES)
    torch.set_default_dtype(torch.float64)
    try:
        found = pooler(features, BOXES)
    finally:
        torch.set_default_dtype(torch.float32)
    assert found.dtype == torch.float32 and torch.equal(found, expected)


def test_bfloat16_features_are_pooled_in_float32() -> None:
    features = [level.bfloat16() for level in pyramid(images=3)]
    stock = stock_pooler()
    found = RowPooler(stock)(features, BOXES)
    assert found.dtype == torch.float32
    expected = stock([level.float() for level in features], BOXES)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("levels", [1, 3])
def test_no_boxes_at_all(levels: int) -> None:
    pooler = RowPooler(stock_pooler(levels))
    assert pooler(pyramid(levels), [as_boxes([])] * 2).shape == (0, CHANNELS, 7, 7)
    assert pooler(pyramid(levels, images=0), []).shape == (0, CHANNELS, 7, 7)


# Parts of a similar shape


def test_flat_and_tall_boxes_do_not_meet() -> None:
    flat, tall, square = [0.0, 0.0, 700.0, 7.0], [0.0, 0.0, 7.0, 700.0], [0.0, 0.0, 70.0, 70.0]
    corners = torch.tensor([flat, tall, square, tall, flat])
    parts = roi_align._alike(corners, (7, 7))
    assert sorted(part.tolist() for part in parts) == [[0, 4], [1, 3], [2]]


@given(st.lists(any_box, max_size=8), st.sampled_from([(7, 7), (2, 5), (14, 14)]))
def test_every_box_is_in_one_part(corners: list[Box], bins: tuple[int, int]) -> None:
    parts = roi_align._alike(as_boxes(corners).tensor, bins)
    assert sorted(i for part in parts for i in part.tolist()) == list(range(len(corners)))
    assert all(len(part) > 0 for part in parts)


def test_parts_are_split_where_weights_would_be_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two squares of 14 pixels take 4 pixels a bin and axis each: 2 * 16 * 49 weights."""
    corners = torch.tensor([[0.0, 0.0, 14.0, 14.0]]).expand(5, 4)
    monkeypatch.setattr(roi_align, "_MAX_WEIGHTS", 2 * 16 * 49)
    assert [len(part) for part in roi_align._alike(corners, (7, 7))] == [2, 2, 1]
    monkeypatch.setattr(roi_align, "_MAX_WEIGHTS", 1)
    assert [len(part) for part in roi_align._alike(corners, (7, 7))] == [1] * 5


def test_splitting_changes_no_value(monkeypatch: pytest.MonkeyPatch) -> None:
    pooler = RowPooler(stock_pooler())
    features = pyramid(images=3)
    whole = pooler(features, BOXES)
    monkeypatch.setattr(roi_align, "_MAX_WEIGHTS", 1)
    torch.testing.assert_close(pooler(features, BOXES), whole, atol=1e-6, rtol=1e-6)


# Replacement


class OtherPooler(ROIPooler):
    """Whose forward nobody knows."""


def test_poolers_of_other_kinds_stay() -> None:
    names = ("ROIAlign", "ROIAlignV2", "ROIPool", "ROIAlignRotated")
    model = nn.ModuleDict({name: stock_pooler(name=name) for name in names})
    model["inner"] = nn.Sequential(nn.ReLU(), stock_pooler())
    model["other"] = OtherPooler(7, SCALES, 0, "ROIAlignV2")
    assert replace_poolers(model) == 3
    kinds = {name: type(child) for name, child in model.items() if name != "inner"}
    assert kinds == {
        **{"ROIAlign": RowPooler, "ROIAlignV2": RowPooler},
        **{"ROIPool": ROIPooler, "ROIAlignRotated": ROIPooler, "other": OtherPooler},
    }
    assert type(model["inner"][1]) is RowPooler


def test_a_model_without_poolers_has_nothing_to_replace() -> None:
    assert replace_poolers(nn.Sequential(nn.Conv2d(1, 1, 1))) == 0
