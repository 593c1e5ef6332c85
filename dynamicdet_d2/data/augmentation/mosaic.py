# SPDX-License-Identifier: Apache-2.0
"""Mosaics: several pictures side by side on a canvas (YOLOv4, arXiv 2004.10934, section 3.3).

s: the longest side of each picture in pixels. Canvases are 2s x 2s: the affine that follows shows
s x s of them.
"""

from collections.abc import Sequence

import numpy as np

from dynamicdet_d2.data.augmentation.picture import Picture, transformed, translation

Corner = tuple[int, int]


def mosaic_of_four(pictures: Sequence[Picture], centre: Corner, size: int, fill: int) -> Picture:
    """Four pictures that touch one point with a corner each.

    Args:
        pictures: upper left, upper right, lower left and lower right of the point.
        centre: the point (x, y) on the canvas.
        size: s.
        fill: value of the canvas where no picture is, 0 to 255.
    """
    x, y = centre
    corners = [
        (x - right * picture.width, y - lower * picture.height)
        for picture, (right, lower) in zip(pictures, ((1, 1), (0, 1), (1, 0), (0, 0)), strict=True)
    ]
    return placed(pictures, corners, 2 * size, fill)


def mosaic_of_nine(pictures: Sequence[Picture], window: Corner, size: int, fill: int) -> Picture:
    """Nine pictures in three rows and columns, close together; a window shows a part of them.

    Args:
        pictures: the one in the middle, then the others around it from the upper one on,
            clockwise.
        window: upper left corner (x, y) of the 2s x 2s that are shown of 3s x 3s, 0 to s.
        size: s; the middle one's upper left corner is at (s, s).
        fill: as for ``mosaic_of_four``.
    """
    middle, up, up_right, right, down_right, down, down_left, left, up_left = pictures
    grid = [[up_left, up, up_right], [left, middle, right], [down_left, down, down_right]]
    # Outer pictures touch the middle row and column, which are as wide as their widest.
    column = size + max(row[1].width for row in grid)
    line = size + max(picture.height for picture in grid[1])
    corners = [
        (
            (size - picture.width, size, column)[x] - window[0],
            (size - picture.height, size, line)[y] - window[1],
        )
        for y, row in enumerate(grid)
        for x, picture in enumerate(row)
    ]
    return placed([picture for row in grid for picture in row], corners, 2 * size, fill)


def letterboxed(picture: Picture, size: int, fill: int) -> Picture:
    """One picture in the middle of s x s."""
    corner = (size - picture.width) // 2, (size - picture.height) // 2
    return placed([picture], [corner], size, fill)


def placed(pictures: Sequence[Picture], corners: Sequence[Corner], side: int, fill: int) -> Picture:
    """Pictures on a square canvas, later ones above earlier ones.

    Args:
        corners: (x, y) of each one's upper left corner; what lies beyond the canvas is cut off.
        side: of the canvas in pixels.
        fill: as for ``mosaic_of_four``.
    """
    canvas = np.full((side, side, 3), fill, dtype=np.uint8)
    annotations = []
    for picture, (x, y) in zip(pictures, corners, strict=True):
        left, top = max(-x, 0), max(-y, 0)
        shown = picture.image[top : max(side - y, 0), left : max(side - x, 0)]
        canvas[y + top : y + top + shown.shape[0], x + left : x + left + shown.shape[1]] = shown
        annotations += transformed(picture.annotations, translation(x, y), side, side)
    return Picture(canvas, annotations)
