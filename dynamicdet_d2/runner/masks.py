# SPDX-License-Identifier: Apache-2.0
"""Masks of boxes into pictures, sampled bilinearly as Detectron2 does it."""

import numpy as np


def pasted(
    masks: np.ndarray, boxes: np.ndarray, size: tuple[int, int], threshold: float = 0.5
) -> np.ndarray:
    """
    Args:
        masks: (D, M, M) probabilities.
        boxes: (D, 4) in the picture.
        size: height and width of the picture.
        threshold: from which on a pixel belongs to the object.

    Returns:
        (D, height, width) bool.
    """
    whole = np.zeros((len(masks), *size), dtype=bool)
    for canvas, mask, (x0, y0, x1, y1) in zip(whole, masks, boxes, strict=True):
        rows, columns = _near(y0, y1, size[0]), _near(x0, x1, size[1])
        down = _weights(rows, y0, y1, len(mask))
        across = _weights(columns, x0, x1, len(mask))
        canvas[rows.start : rows.stop, columns.start : columns.stop] = (
            down @ mask @ across.T >= threshold
        )
    return whole


def _near(low: float, high: float, side: int) -> range:
    """Pixels that an interval reaches into, and one beyond."""
    return range(int(max(np.floor(low) - 1, 0)), int(min(np.ceil(high) + 1, side)))


def _weights(pixels: range, low: float, high: float, count: int) -> np.ndarray:
    """(pixels, M) how much of each cell of a mask over [low, high] a pixel's centre sees."""
    centres = (np.arange(pixels.start, pixels.stop, dtype=np.float32) + 0.5 - low) / (high - low)
    places = centres * count - np.float32(0.5)
    return np.maximum(1 - np.abs(places[:, None] - np.arange(count, dtype=np.float32)), 0)
