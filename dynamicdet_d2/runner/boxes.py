# SPDX-License-Identifier: Apache-2.0
"""Boxes in numpy: anchors, decoding, clipping, NMS. float32 throughout, as in the model.

D: boxes, A: anchors per position, H, W: height and width of a level in positions.
"""

from collections.abc import Sequence

import numpy as np

# Rows of the IoU matrix that NMS computes at a time; more leave the processor's cache.
_BLOCK = 128


def anchors_of(cell: np.ndarray, size: tuple[int, int], stride: int, offset: float) -> np.ndarray:
    """Anchors of a level as Detectron2's generator lays them out.

    Args:
        cell: (A, 4) anchors of the first position, centred on 0.
        size: H and W.
        stride: in pixels.
        offset: of the first position's centre, in strides.

    Returns:
        (H W A, 4) x1, y1, x2, y2.
    """
    y, x = (np.arange(side, dtype=np.float32) * stride + offset * stride for side in size)
    x, y = np.meshgrid(x.astype(np.float32), y.astype(np.float32))
    shifts = np.stack([x, y, x, y], axis=-1).reshape(-1, 1, 4)
    return (shifts + cell[None]).reshape(-1, 4)


def apply_deltas(
    deltas: np.ndarray, boxes: np.ndarray, weights: Sequence[float], scale_clamp: float
) -> np.ndarray:
    """R-CNN's box transform.

    Args:
        deltas: (D, 4 K).
        boxes: (D, 4).
        weights: of the four deltas.
        scale_clamp: largest logarithm of a side's scale.

    Returns:
        (D, 4 K) x1, y1, x2, y2.
    """
    size = boxes[:, 2:] - boxes[:, :2]
    centre = boxes[:, :2] + np.float32(0.5) * size
    parts = deltas.reshape(len(deltas), deltas.shape[1] // 4, 4) / np.array(
        weights, dtype=np.float32
    )
    moved = parts[..., :2] * size[:, None] + centre[:, None]
    sides = np.exp(np.minimum(parts[..., 2:], np.float32(scale_clamp))) * size[:, None]
    half = np.float32(0.5) * sides
    return np.concatenate([moved - half, moved + half], axis=-1).reshape(deltas.shape)


def apply_distances(deltas: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """FCOS' transform: (D, 4) distances to the left, top, right and bottom, by anchor sides."""
    centre = np.float32(0.5) * (boxes[:, :2] + boxes[:, 2:])
    far = np.maximum(deltas, 0) * (boxes[:, 2:3] - boxes[:, :1])
    return np.concatenate([centre - far[:, :2], centre + far[:, 2:]], axis=1)


def clipped(boxes: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """(..., 4) within an image of this height and width."""
    height, width = size
    limits = np.array([width, height, width, height], dtype=boxes.dtype)
    return np.clip(boxes, 0, limits)


def nonempty(boxes: np.ndarray, least: float = 0.0) -> np.ndarray:
    """(D,) bool, whether both sides are longer."""
    return (boxes[:, 2] - boxes[:, 0] > least) & (boxes[:, 3] - boxes[:, 1] > least)


def overlaps(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(N, M) IoU of (N, 4) boxes with (M, 4) others; 0 of what does not touch."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    common = np.maximum(high - low, 0).prod(axis=2)
    areas = [(own[:, 2:] - own[:, :2]).prod(axis=1) for own in (boxes, others)]
    union = areas[0][:, None] + areas[1] - common
    return np.divide(common, union, out=np.zeros_like(common), where=common > 0)


def best_first(scores: np.ndarray, limit: int) -> np.ndarray:
    """Places of the ``limit`` best scores, in falling order."""
    if len(scores) > 4 * limit:
        kept = np.sort(np.argpartition(-scores, limit)[:limit])
        return kept[np.argsort(-scores[kept], kind="stable")]
    return np.argsort(-scores, kind="stable")[:limit]


def nms(boxes: np.ndarray, scores: np.ndarray, groups: np.ndarray, threshold: float) -> np.ndarray:
    """Greedy non-maximum suppression within each group.

    Args:
        boxes: (D, 4).
        scores: (D,).
        groups: (D,) int, levels or classes.
        threshold: IoU above which the lower score goes.

    Returns:
        places of what is kept, by falling score.
    """
    order = np.argsort(-scores, kind="stable")
    own = groups[order]
    parts = [order[own == group] for group in np.unique(own)]
    kept = [part[_kept(boxes[part], threshold)] for part in parts]
    places = np.concatenate([*kept, np.empty(0, dtype=np.int64)]).astype(np.int64)
    return places[np.argsort(-scores[places], kind="stable")]


def _kept(boxes: np.ndarray, threshold: float) -> np.ndarray:
    """(D,) bool, of boxes by falling score."""
    sides = np.ascontiguousarray(boxes.T)
    areas = (sides[2] - sides[0]) * (sides[3] - sides[1])
    gone = np.zeros(len(boxes), dtype=bool)
    for start in range(0, len(boxes), _BLOCK):
        rows = start + np.flatnonzero(~gone[start : start + _BLOCK])
        over = _iou_above(sides, areas, rows, start, threshold)
        for row, above in zip(rows.tolist(), over, strict=True):
            if not gone[row]:
                gone[row + 1 :] |= above[row + 1 - start :]
    return ~gone


def _iou_above(
    sides: np.ndarray, areas: np.ndarray, rows: np.ndarray, start: int, threshold: float
) -> np.ndarray:
    """Whether the IoU of some boxes, (4, D) by sides, with each from ``start`` on is above it."""
    own, other = sides[:, rows, None], sides[:, None, start:]
    common = np.maximum(np.minimum(own[2], other[2]) - np.maximum(own[0], other[0]), 0)
    common *= np.maximum(np.minimum(own[3], other[3]) - np.maximum(own[1], other[1]), 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return common / (areas[rows, None] + areas[start:] - common) > threshold


def sigmoid(x: np.ndarray) -> np.ndarray:
    """The logistic function; float32 for float32."""
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-x))
