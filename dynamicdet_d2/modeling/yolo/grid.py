# SPDX-License-Identifier: Apache-2.0
"""Where the predictions of a YOLO head lie, and the boxes that they stand for.

N: images, A: anchors per position, H, W: height and width of a level in positions ("cells"),
R: rows, all anchors of all positions of all levels, K = 5 + classes. A cell of a level with
stride s is a square of s x s pixels; grid units are cells.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Grid:
    """One line for each of R rows, which go by level (fine to coarse), anchor, row and column.

    Attributes:
        cells: (R, 2) column and row.
        anchors: (R, 2) width and height in cells.
        strides: (R, 1) pixels per cell.
        levels: (R,) number of the level, 0 for the finest.
        sizes: (H, W) of each level.
        bounds: where each level begins, and R.
    """

    cells: Tensor
    anchors: Tensor
    strides: Tensor
    levels: Tensor
    sizes: tuple[tuple[int, int], ...]
    bounds: tuple[int, ...]

    def relative_boxes(self, box_logits: Tensor, rows: Tensor) -> Tensor:
        """Boxes in cells, with centres relative to the upper left corner of their own cell.

        Args:
            box_logits: (..., 4) x, y, w, h before the sigmoid.
            rows: (...) which rows they are of.

        Returns:
            (..., 4) centre, width, height: centres in (-0.5, 1.5), sides up to 4 anchors.
        """
        x = box_logits.sigmoid()
        sides = (2 * x[..., 2:]) ** 2 * self.anchors[rows]
        return torch.cat([2 * x[..., :2] - 0.5, sides], dim=-1)

    def boxes(self, box_logits: Tensor, rows: Tensor) -> Tensor:
        """Boxes in pixels of the padded image: (..., 4) centre, width, height; see above."""
        relative = self.relative_boxes(box_logits, rows)
        centres = relative[..., :2] + self.cells[rows]
        return torch.cat([centres, relative[..., 2:]], dim=-1) * self.strides[rows]

    def decoded(self, logits: Tensor) -> Tensor:
        """Everything that is predicted: (N, R, K) logits -> boxes in pixels, and probabilities."""
        rows = torch.arange(len(self.cells), device=logits.device)
        boxes = self.boxes(logits[..., :4], rows)
        return torch.cat([boxes, logits[..., 4:].sigmoid()], dim=-1)


class AnchorGrid(nn.Module):
    """Anchors and strides of the levels, which make the grid for an image size."""

    anchors: Tensor

    def __init__(self, anchors: Sequence, strides: Sequence[int]) -> None:
        """
        Args:
            anchors: by level and anchor, width and height in pixels.
            strides: of each level in pixels, fine to coarse.

        Raises:
            ValueError: for another number of levels, or anchors of different number or no size.
        """
        super().__init__()
        self.strides = tuple(strides)
        self.register_buffer("anchors", _anchor_tensor(anchors, len(strides)), persistent=False)

    @property
    def num_anchors(self) -> int:
        """A."""
        return self.anchors.shape[1]

    def forward(self, logits: Sequence[Tensor]) -> Grid:
        """The grid of logits (N, A, H, W, K) by level."""
        sizes = tuple((level.shape[2], level.shape[3]) for level in logits)
        counts = [self.num_anchors * height * width for height, width in sizes]
        bounds = (0, *torch.tensor(counts).cumsum(0).tolist())
        parts = [self._level(number, size) for number, size in enumerate(sizes)]
        cells, anchors, strides, levels = (torch.cat(part) for part in zip(*parts, strict=True))
        return Grid(cells, anchors, strides, levels, sizes, bounds)

    def _level(self, number: int, size: tuple[int, int]) -> tuple[Tensor, ...]:
        height, width = size
        device, stride = self.anchors.device, self.strides[number]
        shape = (self.num_anchors, height, width)
        rows, columns = torch.meshgrid(
            torch.arange(height, device=device), torch.arange(width, device=device), indexing="ij"
        )
        cells = torch.stack([columns, rows], dim=-1).to(self.anchors.dtype).expand(*shape, 2)
        anchors = (self.anchors[number] / stride)[:, None, None].expand(*shape, 2)
        strides = torch.full((*shape, 1), stride, dtype=self.anchors.dtype, device=device)
        levels = torch.full(shape, number, device=device)
        return (
            cells.reshape(-1, 2),
            anchors.reshape(-1, 2),
            strides.reshape(-1, 1),
            levels.reshape(-1),
        )


def _anchor_tensor(anchors: Sequence, levels: int) -> Tensor:
    try:
        sides: np.ndarray = np.array(anchors, dtype=np.float32)
    except (TypeError, ValueError):  # of no regular shape
        sides = np.zeros(0)
    if sides.ndim != 3 or sides.shape[0] != levels or sides.shape[2] != 2:
        raise ValueError(
            f"MODEL.YOLO.ANCHORS must have for each of {levels} levels, fine to coarse, equally "
            f"many pairs of width and height in pixels; found {anchors}."
        )
    if not sides.size or sides.min() <= 0:
        raise ValueError(f"MODEL.YOLO.ANCHORS must have sides > 0; found {anchors}.")
    return torch.tensor(sides)


def flattened(logits: Sequence[Tensor]) -> Tensor:
    """Logits of all levels as rows: [(N, A, H, W, K), ...] -> (N, R, K)."""
    return torch.cat([level.flatten(1, 3) for level in logits], dim=1)
