# SPDX-License-Identifier: Apache-2.0
"""ROIAlign on the CPU as weighted sums of the rows of a channels-last feature map.

Every output bin of ROIAlign is a linear combination of a few pixels: the mean of bilinear samples,
whose weights are a product of one factor along x and one along y. With the channels of a pixel
side by side in memory, a bin is one weighted sum of rows, which is what ``embedding_bag`` computes
in vector instructions and in all threads. torchvision's kernel walks channel by channel in one
thread.

R: boxes, P: bins along an axis, K: pixels that a bin touches along it.
"""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from detectron2.layers import ROIAlign
from detectron2.modeling.poolers import ROIPooler, assign_boxes_to_levels
from detectron2.structures import Boxes
from torch import Tensor, nn

# Most weights that are held at a time; 2^22 of them and their indices take 32 MB.
_MAX_WEIGHTS = 1 << 22


def replace_poolers(model: nn.Module) -> int:
    """Put a ``RowPooler`` in the place of every pooler that does ROIAlign, in place.

    Returns:
        how many were replaced.
    """
    found = [
        (parent, name, child)
        for parent in model.modules()
        for name, child in parent.named_children()
        if _does_align(child)
    ]
    for parent, name, pooler in found:
        setattr(parent, name, RowPooler(pooler))
    return len(found)


def _does_align(module: Any) -> bool:
    return type(module) is ROIPooler and all(type(x) is ROIAlign for x in module.level_poolers)


class RowPooler(nn.Module):
    """Detectron2's ``ROIPooler`` for ROIAlign: the same values to rounding, channels last.

    Pools in float32 whatever the precision of the features.
    """

    def __init__(self, pooler: ROIPooler) -> None:
        """
        Args:
            pooler: whose levels and output size are taken over.
        """
        super().__init__()
        self.pooler = pooler

    def forward(self, x: list[Tensor], box_lists: list[Boxes]) -> Tensor:
        """As ``ROIPooler``: feature maps by level, boxes by image -> (R, C, P, P) float32."""
        pooler = self.pooler
        counts = torch.tensor([len(boxes) for boxes in box_lists], dtype=torch.int64)
        sizes = int(counts.sum()), *pooler.output_size, x[0].shape[1]
        rows = torch.empty(*sizes, dtype=torch.float32)  # whatever type is torch's default
        if len(rows):
            boxes = torch.cat([boxes.tensor for boxes in box_lists]).float()
            image = torch.arange(len(counts), dtype=torch.int32).repeat_interleave(counts)
            levels = self._levels(box_lists)
            for level, (features, align) in enumerate(zip(x, pooler.level_poolers, strict=True)):
                index = (levels == level).nonzero().squeeze(1)
                for part, values in _pool(features.float(), boxes[index], image[index], align):
                    rows[index[part]] = values
        return rows.permute(0, 3, 1, 2)

    def _levels(self, box_lists: list[Boxes]) -> Tensor:
        pooler = self.pooler
        return assign_boxes_to_levels(
            box_lists,
            pooler.min_level,
            pooler.max_level,
            pooler.canonical_box_size,
            pooler.canonical_level,
        )


def _pool(
    features: Tensor, boxes: Tensor, image: Tensor, align: ROIAlign
) -> Iterator[tuple[Tensor, Tensor]]:
    """ROIAlign of boxes on one feature map, some boxes of a similar shape at a time.

    Args:
        features: (N, C, H, W) float32; no copy is made where it is channels-last.
        boxes: (R, 4) float32, corners in pixels of the input image.
        image: (R,) int32, which of the N images each box lies in.
        align: scale, output size, sampling ratio and alignment.

    Yields:
        which boxes, (r,), and their values, (r, P_y, P_x, C).
    """
    _, channels, height, width = features.shape
    table = features.permute(0, 2, 3, 1).reshape(-1, channels)
    bins_y, bins_x = align.output_size
    corners = boxes * align.spatial_scale - (0.5 if align.aligned else 0.0)
    for part in _alike(corners, align.output_size):
        x1, y1, x2, y2 = corners[part].unbind(dim=1)
        y, weight_y = _axis(y1, y2, bins_y, height, align)
        x, weight_x = _axis(x1, x2, bins_x, width, align)
        y = y + image[part, None, None] * height
        # (r, P_y, P_x, K_y, K_x)
        rows = y[:, :, None, :, None] * width + x[:, None, :, None, :]
        weights = weight_y[:, :, None, :, None] * weight_x[:, None, :, None, :]
        pooled = F.embedding_bag(
            rows.flatten(0, 2).flatten(1),
            table,
            per_sample_weights=weights.flatten(0, 2).flatten(1),
            mode="sum",
        )
        yield part, pooled.view(len(part), bins_y, bins_x, channels)


def _alike(corners: Tensor, bins: tuple[int, int]) -> list[Tensor]:
    """Indices of the boxes in parts, so that no part's weights are too many.

    All boxes of a part are given as many pixels a bin as the one that needs most along each axis,
    so long flat boxes and tall narrow ones must not meet.

    Args:
        corners: (R, 4), in pixels of the feature map.
        bins: along y and x.
    """
    sides = corners[:, 2:] - corners[:, :2]
    reach_x = (sides[:, 0] / bins[1]).clamp(min=0.0).ceil() + 2
    reach_y = (sides[:, 1] / bins[0]).clamp(min=0.0).ceil() + 2
    shape = (reach_x > 2 * reach_y).int() - (reach_y > 2 * reach_x).int()
    parts = []
    for kind in (0, 1, -1):
        index = (shape == kind).nonzero().squeeze(1)
        if len(index):
            weights = float(reach_x[index].max() * reach_y[index].max()) * bins[0] * bins[1]
            parts += index.split(max(int(_MAX_WEIGHTS / weights), 1))
    return parts


def _axis(
    start: Tensor, end: Tensor, bins: int, size: int, align: ROIAlign
) -> tuple[Tensor, Tensor]:
    """Pixels that the bins of boxes touch along one axis, and the weight of each.

    A sample at t gives the pixel j the weight max(0, 1 - |t - j|). Arithmetic goes in the order
    of torchvision's kernel, so that samples fall on the same spots to the last bit.

    Args:
        start, end: (R,) in pixels of the map.
        bins: P.
        size: pixels of the map along this axis.

    Returns:
        pixels (R, P, K) int32 in 0..size - 1, and weights (R, P, K) float32.
    """
    length = end - start if align.aligned else (end - start).clamp(min=1.0)
    bin_size = length / bins
    ratio = align.sampling_ratio
    samples = torch.full_like(length, ratio) if ratio > 0 else bin_size.ceil()
    divisor = samples.clamp(min=1.0)[:, None]
    number = torch.arange(max(int(samples.max()), 1), dtype=torch.float32)
    in_bin = (number + 0.5) * bin_size[:, None] / divisor
    first_of_bin = start[:, None] + torch.arange(bins) * bin_size[:, None]
    t = first_of_bin[:, :, None] + in_bin[:, None, :]  # (R, P, samples)
    # Samples more than a pixel outside the map count as zeros; others move to its border.
    counted = (number < samples[:, None])[:, None, :] & (t >= -1) & (t <= size)
    t = t.clamp(0, size - 1)
    first = t[..., :1].floor()
    reach = torch.where(counted, t - first, 0.0).max()
    pixels = first + torch.arange(int(reach) + 2)  # (R, P, K)
    hats = (1 - (t[:, :, None, :] - pixels[..., None]).abs()).clamp(min=0.0)
    weights = (hats * counted[:, :, None, :]).sum(dim=3) / divisor[:, :, None]
    return pixels.clamp(max=size - 1).int(), weights
