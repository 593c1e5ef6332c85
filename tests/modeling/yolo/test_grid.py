# SPDX-License-Identifier: Apache-2.0
"""Decoding, IoU and CIoU, by hand."""

import math

import pytest
import torch
from torch import Tensor

from dynamicdet_d2.modeling.yolo.boxes import complete_iou, corners, pairwise_iou
from dynamicdet_d2.modeling.yolo.grid import AnchorGrid, Grid, flattened

ANCHORS = [[[8, 16], [24, 8]], [[32, 32], [48, 64]]]


def two_levels(classes: int = 1) -> tuple[list[Tensor], AnchorGrid]:
    """Zero logits of an image of 16 x 32 pixels with strides 8 and 16, two anchors each."""
    shapes = [(1, 2, 2, 4, 5 + classes), (1, 2, 1, 2, 5 + classes)]
    return [torch.zeros(*shape) for shape in shapes], AnchorGrid(ANCHORS, [8, 16]).double()


def logit(probability: float) -> float:
    return math.log(probability / (1 - probability))


def test_rows_go_by_level_anchor_row_and_column() -> None:
    logits, anchors = two_levels()
    grid = anchors(logits)
    assert (grid.sizes, grid.bounds) == (((2, 4), (1, 2)), (0, 16, 20))
    # Row 13: level 0, second anchor (8..15), second row (12..15), second column.
    assert grid.cells[13].tolist() == [1, 1]
    assert grid.anchors[13].tolist() == [3, 1]
    assert (grid.strides[13].item(), grid.levels[13].item()) == (8, 0)
    # Row 17: level 1, first anchor, its only row, second column.
    assert grid.cells[17].tolist() == [1, 0]
    assert grid.anchors[17].tolist() == [2, 2]
    assert (grid.strides[17].item(), grid.levels[17].item()) == (16, 1)


def test_flattened_rows_are_the_grids() -> None:
    logits, anchors = two_levels()
    logits[0][0, 1, 1, 1, 4], logits[1][0, 0, 0, 1, 4] = 3.0, 7.0
    rows = flattened(logits)
    assert rows.shape == (1, 20, 6)
    assert rows[0, :, 4].nonzero().squeeze(1).tolist() == [13, 17]
    assert rows[0, [13, 17], 4].tolist() == [3.0, 7.0]
    assert len(anchors(logits).cells) == rows.shape[1]


def test_decoding_by_hand() -> None:
    """Cell (3, 1) of stride 8, anchor 24 x 8; t = 0.75, 0.25, 0.25, 1: (2 t - 0.5 + cell) 8.

    x = (1 + 3) 8 = 32, y = (0 + 1) 8 = 8, w = 0.5^2 24 = 6, h = 2^2 8 = 32.
    """
    logits, anchors = two_levels()
    t = torch.tensor([logit(0.75), logit(0.25), logit(0.25), 50.0], dtype=torch.float64)
    grid, row = anchors(logits), torch.tensor([8 + 4 + 3])
    expected = torch.tensor([[32.0, 8.0, 6.0, 32.0]], dtype=torch.float64)
    torch.testing.assert_close(grid.boxes(t[None], row), expected)
    relative = torch.tensor([[1.0, 0.0, 0.75, 4.0]], dtype=torch.float64)
    torch.testing.assert_close(grid.relative_boxes(t[None], row), relative)


def test_everything_decoded() -> None:
    """Logits of 0 are boxes of the anchors' size in the middle of their cells, and halves."""
    logits, anchors = two_levels(classes=2)
    decoded = anchors(logits).decoded(flattened(logits).double())
    assert decoded.shape == (1, 20, 7)
    assert decoded[0, 13].tolist() == [12, 12, 24, 8, 0.5, 0.5, 0.5]
    assert decoded[0, 17].tolist() == [24, 8, 32, 32, 0.5, 0.5, 0.5]


@pytest.mark.parametrize(
    ("anchors", "message"),
    [
        ([[[8, 16]]], "for each of 2 levels"),
        ([[[8, 16]], [[8, 16], [9, 9]]], "for each of 2 levels"),
        ([[[8]], [[8]]], "for each of 2 levels"),
        ([8, 16], "for each of 2 levels"),
        ([[[8, 16]], [[8, 0]]], "sides > 0"),
        ([[], []], "for each of 2 levels"),
    ],
)
def test_wrong_anchors_are_refused(anchors: list, message: str) -> None:
    with pytest.raises(ValueError, match=f"MODEL.YOLO.ANCHORS must have .*{message}"):
        AnchorGrid(anchors, [8, 16])


# Overlaps


def boxes(*rows: tuple) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64).view(-1, 4)


def test_corners_by_hand() -> None:
    assert corners(boxes((10, 20, 4, 6))).tolist() == [[8, 17, 12, 23]]


def test_pairwise_iou_by_hand() -> None:
    """A 4 x 4 box and itself, a quarter of it, a shifted one (8 of 24), a far one, a point."""
    first = boxes((2, 2, 4, 4), (0, 0, 0, 0))
    second = boxes((2, 2, 4, 4), (1, 1, 2, 2), (4, 2, 4, 4), (9, 9, 2, 2), (0, 0, 0, 0))
    expected = torch.tensor([[1, 1 / 4, 1 / 3, 0, 0], [0, 0, 0, 0, 0]]).double()
    torch.testing.assert_close(pairwise_iou(first, second), expected)
    assert pairwise_iou(first[:0], second).shape == (0, 5)
    assert pairwise_iou(first, second[:0]).shape == (2, 0)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ((3, 3, 2, 2), (3, 3, 2, 2), 1.0),
        # Equal squares 2 apart: no overlap, rho^2 = 4, c^2 = 4^2 + 2^2 = 20.
        ((1, 1, 2, 2), (3, 1, 2, 2), -4 / 20),
        # A square in the middle of one of four times its area: IoU alone.
        ((2, 2, 2, 2), (2, 2, 4, 4), 0.25),
        # 2 x 4 and 4 x 2, one centre: IoU 4 / 12; v = 4 / pi^2 (atan 2 - atan 1/2)^2.
        ((2, 2, 2, 4), (2, 2, 4, 2), None),
    ],
)
def test_complete_iou_by_hand(first: tuple, second: tuple, expected: float | None) -> None:
    if expected is None:
        v = 4 / math.pi**2 * (math.atan(2) - math.atan(0.5)) ** 2
        expected = 1 / 3 - v / (v - 1 / 3 + 1) * v
    found = complete_iou(boxes(first), boxes(second))
    assert found.item() == pytest.approx(expected, abs=1e-6)
    swapped = complete_iou(boxes(second), boxes(first))
    assert swapped.item() == pytest.approx(expected, abs=1e-6)


def test_complete_iou_has_no_gradient_through_its_weight() -> None:
    """The derivative of v alone, times the weight as it is: the rest is the IoU's."""
    first = boxes((2, 2, 2, 4)).requires_grad_()
    second = boxes((2, 2, 4, 2))
    complete_iou(first, second).sum().backward()
    angle = math.atan(2) - math.atan(0.5)
    v = 4 / math.pi**2 * angle**2
    alpha = v / (v - 1 / 3 + 1)
    # d atan(w / h) / dw = h / (w^2 + h^2); the first box's angle is subtracted.
    slope_v = 8 / math.pi**2 * angle * -(4 / 20)
    # Wider by dw: common area 2 dw, union 4 dw - 2 dw; IoU = 4 / 12.
    slope_iou = (2 * 12 - 4 * 2) / 12**2
    assert first.grad[0, 2].item() == pytest.approx(slope_iou - alpha * slope_v, abs=1e-6)


def test_no_boxes_at_all() -> None:
    assert complete_iou(boxes(), boxes()).shape == (0,)


def test_grid_is_of_one_precision() -> None:
    logits, anchors = two_levels()
    grid: Grid = anchors.float()(logits)
    assert {grid.cells.dtype, grid.anchors.dtype, grid.strides.dtype} == {torch.float32}
