# SPDX-License-Identifier: Apache-2.0
"""Draws one picture of shapes at a known difficulty.

An easy picture shows one large pointed object (square, triangle, star) of strong contrast on plain
ground. As the difficulty rises, objects become more, smaller, paler and overlap; the ground gets a
slope of colour, strokes that look like parts of objects lie behind and in front of them, and
noise grows. From a third of the way on ever more objects are round (disc, hexagon, pentagon), and
from two thirds on all: telling those apart takes the whole outline, seen through what hides it, and
with that more layers than a corner does.

Sizes are in pixels, colours in 0..255, points as (x, y).
"""

from dataclasses import dataclass

import cv2
import numpy as np

Generator = np.random.Generator
Array = np.ndarray

ROUND = ("disc", "hexagon", "pentagon")
POINTED = ("square", "triangle", "star")
CLASSES = ROUND + POINTED
_CORNERS = {"disc": 28, "hexagon": 6, "pentagon": 5, "square": 4, "triangle": 3, "star": 10}
_TRIES = 30
# Polygons are rasterised at 1/16 pixel.
_SHIFT = 4


@dataclass(frozen=True)
class Shape:
    """An object as it is annotated.

    Attributes:
        name: one of ``CLASSES``.
        polygon: (P, 2) float64, its whole outline, hidden parts included.
    """

    name: str
    polygon: Array

    @property
    def box(self) -> Array:
        """x0, y0, x1, y1."""
        return np.concatenate([self.polygon.min(axis=0), self.polygon.max(axis=0)])

    @property
    def area(self) -> float:
        """By the shoelace formula, square pixels."""
        x, y = self.polygon.T
        return float(abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2)


def draw_picture(
    rng: Generator, difficulty: float, width: int, height: int
) -> tuple[Array, list[Shape]]:
    """One picture and its objects.

    Args:
        rng: source of all randomness.
        difficulty: in [0, 1].
        width, height: of the picture.

    Returns:
        (height, width, 3) uint8, BGR; at least one shape, each wholly inside the picture.
    """
    ground = rng.uniform(60, 190, 3)
    image = _slope(rng, ground, 40 * difficulty, width, height)
    # Squared, since a little clutter hides little.
    strokes = difficulty**2
    _clutter(rng, image, ground, difficulty, count=int(30 * strokes), thickness=3)
    shapes = place_shapes(rng, difficulty, width, height)
    for shape in shapes:
        _paint(rng, image, shape, contrast=95 - 45 * difficulty)
    _clutter(rng, image, ground, difficulty, count=int(8 * strokes), thickness=2)
    noise = rng.normal(0, 2 + 12 * strokes, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8), shapes


def place_shapes(rng: Generator, difficulty: float, width: int, height: int) -> list[Shape]:
    """Objects from the back to the front: one at difficulty 0, up to seven at 1."""
    wanted = 1 + round(5 * difficulty * rng.uniform(0.6, 1.2))
    shapes: list[Shape] = []
    for _ in range(wanted):
        for _ in range(_TRIES):
            shape = _random_shape(rng, difficulty, width, height)
            if all(_apart(shape.box, other.box, 0.15 + 0.15 * difficulty) for other in shapes):
                shapes.append(shape)
                break
    return shapes


def _random_shape(rng: Generator, difficulty: float, width: int, height: int) -> Shape:
    family = ROUND if rng.uniform() < 3 * difficulty - 1 else POINTED
    name = family[rng.integers(len(family))]
    radius = min((34 - 15 * difficulty) * rng.uniform(0.85, 1.2), 0.4 * min(width, height))
    centre = rng.uniform(radius + 2, np.array([width, height]) - radius - 2)
    return Shape(
        name, outline(name, rng.uniform(0, 2 * np.pi), rng.uniform(0.8, 1)) * radius + centre
    )


def outline(name: str, angle: float, aspect: float) -> Array:
    """A shape's outline in the unit circle, (P, 2), rotated by ``angle`` and then squeezed.

    Args:
        name: one of ``CLASSES``.
        angle: radians.
        aspect: factor on y, in (0, 1].
    """
    corners = _CORNERS[name]
    angles = angle + 2 * np.pi * np.arange(corners) / corners
    points = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    if name == "star":
        points[1::2] *= 0.5
    return points * [1, aspect]


def _apart(box: Array, other: Array, overlap: float) -> bool:
    """Whether two boxes overlap by less than a share of the smaller one, in x or in y."""
    shared = np.minimum(box[2:], other[2:]) - np.maximum(box[:2], other[:2])
    smaller = np.minimum(box[2:] - box[:2], other[2:] - other[:2])
    return bool((shared < overlap * smaller).any())


def _slope(rng: Generator, ground: Array, strength: float, width: int, height: int) -> Array:
    y, x = np.mgrid[0:height, 0:width][..., None] / max(width, height)
    slopes = rng.normal(0, strength, (2, 3))
    return np.clip(ground + x * slopes[0] + y * slopes[1], 0, 255).astype(np.uint8)


def _clutter(
    rng: Generator, image: Array, ground: Array, difficulty: float, count: int, thickness: int
) -> None:
    """Strokes, ellipses and open polylines in colours near the ground's, drawn in place."""
    size = np.array(image.shape[1::-1])
    for _ in range(count):
        colour = np.clip(ground + rng.normal(0, 20 + 30 * difficulty, 3), 0, 255).tolist()
        start, end = (rng.uniform(0, 1, (2, 2)) * size).astype(int)
        kind = rng.uniform()
        if kind < 0.5:
            width = int(rng.integers(1, thickness + 1))
            cv2.line(image, start.tolist(), end.tolist(), colour, width, cv2.LINE_AA)
        elif kind < 0.75:
            axes = rng.uniform(5, 26, 2).tolist()
            ellipse = (start.tolist(), axes, float(rng.uniform(0, 180)))
            cv2.ellipse(image, ellipse, colour, int(rng.choice([-1, 2])), cv2.LINE_AA)
        else:
            points = (start + rng.uniform(-22, 22, (4, 2))).astype(np.int32)
            cv2.polylines(image, [points], False, colour, 2, cv2.LINE_AA)


def _paint(rng: Generator, image: Array, shape: Shape, contrast: float) -> None:
    """Fill the shape in a colour at some distance from the mean of what lies under its box."""
    x0, y0, x1, y1 = shape.box.astype(int)
    under = image[y0 : y1 + 1, x0 : x1 + 1].reshape(-1, 3).mean(axis=0)
    step = rng.choice([-1, 1], 3) * contrast * rng.uniform(0.7, 1.2, 3)
    colour = np.clip(under + step, 0, 255).tolist()
    points = np.round(shape.polygon * 2**_SHIFT).astype(np.int32)
    cv2.fillPoly(image, [points], colour, cv2.LINE_AA, _SHIFT)
