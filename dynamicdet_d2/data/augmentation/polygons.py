# SPDX-License-Identifier: Apache-2.0
"""Points, boxes and polygons through a 3x3 matrix, and what of them lies in a window.

Coordinates are in pixels, (0, 0) is the image's upper left corner: pixel i covers [i, i + 1].
P: points; homogeneous coordinates, so that a matrix may be a perspective.
"""

import numpy as np

Array = np.ndarray


def through(points: Array, matrix: Array) -> Array:
    """(P, 2) points and a (3, 3) matrix -> (P, 2)."""
    x, y, w = matrix @ np.column_stack([points, np.ones(len(points))]).T
    return np.stack([x / w, y / w], axis=1)


def corners(box: Array) -> Array:
    """A box (x0, y0, x1, y1) as its four corners: (4, 2)."""
    x0, y0, x1, y1 = box
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], dtype=np.float64)


def bounds(points: Array) -> Array:
    """The smallest box (x0, y0, x1, y1) around (P, 2) points, P >= 1."""
    return np.concatenate([points.min(axis=0), points.max(axis=0)])


def area(box: Array) -> float:
    """Of a box (x0, y0, x1, y1); 0 where it has no inside."""
    return float(max(box[2] - box[0], 0) * max(box[3] - box[1], 0))


def clipped_box(box: Array, height: int, width: int) -> Array:
    """What of a box lies in the window; without an inside where nothing does."""
    return np.clip(box, 0, [width, height, width, height])


def clipped_polygon(polygon: Array, height: int, width: int) -> Array:
    """What of a polygon (P, 2) lies in the window: (Q, 2), Q = 0 where nothing does.

    Half plane after half plane (Sutherland and Hodgman, 1974). Parts that a concave polygon falls
    into stay joined along the window's edge, which changes neither bounds nor area.
    """
    window = np.array([width, height])
    if (polygon >= 0).all() and (polygon <= window).all():  # as most are, and much faster
        return polygon
    for axis, high in enumerate(window):
        polygon = _clipped_at(polygon, polygon[:, axis])
        polygon = _clipped_at(polygon, high - polygon[:, axis])
    return np.clip(polygon, 0, window)  # to the last bit


def _clipped_at(polygon: Array, depth: Array) -> Array:
    """The part where ``depth``, a linear function of the points given at each, is >= 0."""
    inside = depth >= 0
    following, depth_there = np.roll(polygon, -1, axis=0), np.roll(depth, -1)
    crosses = inside != np.roll(inside, -1)
    share = np.divide(depth, depth - depth_there, out=np.zeros_like(depth), where=crosses)
    crossings = polygon + share[:, None] * (following - polygon)
    # Each point where it is inside, and behind it the crossing on the way to the next one.
    both = np.stack([polygon, crossings], axis=1).reshape(-1, 2)
    return both[np.stack([inside, crosses], axis=1).reshape(-1)]
