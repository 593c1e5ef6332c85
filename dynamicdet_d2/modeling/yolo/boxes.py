# SPDX-License-Identifier: Apache-2.0
"""Overlaps of boxes given by centre, width and height. Pure.

G, C: boxes, or none. Units are those of the boxes throughout.
"""

import math

import torch
from torch import Tensor

_EPS = 1e-7


def corners(boxes: Tensor) -> Tensor:
    """(..., 4) centre, width, height -> x1, y1, x2, y2."""
    half = boxes[..., 2:] / 2
    return torch.cat([boxes[..., :2] - half, boxes[..., :2] + half], dim=-1)


def pairwise_iou(first: Tensor, second: Tensor) -> Tensor:
    """IoU of every box of one kind with every one of another, in [0, 1].

    Args:
        first: (G, 4) centre, width, height.
        second: (C, 4).

    Returns:
        (G, C); 0 for two boxes without area.
    """
    a, b = corners(first)[:, None], corners(second)[None]
    sides = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(0)
    common = sides.prod(dim=-1)
    areas = (a[..., 2:] - a[..., :2]).prod(dim=-1) + (b[..., 2:] - b[..., :2]).prod(dim=-1)
    union = areas - common
    return torch.where(union > 0, common / union, 0.0)


def complete_iou(first: Tensor, second: Tensor) -> Tensor:
    """Complete IoU (CIoU) of boxes in pairs: IoU - rho^2 / c^2 - alpha v, in (-1.5, 1].

    rho is the distance of the centres, c the diagonal of the box around both, v compares the
    aspect ratios, and alpha, which no gradient flows through, weighs v where the boxes overlap.
    The small constant is added where YOLOv7 adds it, to the heights among others.

    Args:
        first, second: (C, 4) centre, width, height.

    Returns:
        (C,).
    """
    a, b = corners(first), corners(second)
    sides = (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).clamp(0)
    common = sides.prod(dim=1)
    width1, height1 = a[:, 2] - a[:, 0], a[:, 3] - a[:, 1] + _EPS
    width2, height2 = b[:, 2] - b[:, 0], b[:, 3] - b[:, 1] + _EPS
    iou = common / (width1 * height1 + width2 * height2 - common + _EPS)
    around = torch.maximum(a[:, 2:], b[:, 2:]) - torch.minimum(a[:, :2], b[:, :2])
    diagonal = around.square().sum(dim=1) + _EPS
    distance = (first[:, :2] - second[:, :2]).square().sum(dim=1)
    angles = torch.atan(width2 / (height2 + _EPS)) - torch.atan(width1 / (height1 + _EPS))
    v = 4 / math.pi**2 * angles.square()
    with torch.no_grad():
        alpha = v / (v - iou + 1 + _EPS)
    return iou - distance / diagonal - alpha * v
