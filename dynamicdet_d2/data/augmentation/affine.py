# SPDX-License-Identifier: Apache-2.0
"""A random affine (or perspective) view of a canvas, and which boxes are kept behind it."""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from dynamicdet_d2.data.augmentation.picture import (
    Annotation,
    Picture,
    clipped,
    moved,
    transformed_image,
    translation,
)
from dynamicdet_d2.data.augmentation.polygons import area


@dataclass(frozen=True)
class AffineRanges:
    """From which an affine is drawn, uniformly.

    Attributes:
        translate: of the canvas' centre from the view's, both ways, as a share of the view's side.
        scale: least and largest.
        degrees: of rotation, both ways.
        shear: angle of either axis in degrees, both ways.
        perspective: by which share the far edges of the canvas shrink or grow, both ways, < 0.5.
    """

    translate: float
    scale: tuple[float, float]
    degrees: float
    shear: float
    perspective: float


@dataclass(frozen=True)
class BoxRules:
    """Which boxes are kept.

    Attributes:
        min_side: both sides are longer, in pixels.
        max_aspect: longer side by shorter side is less.
        min_share: more of the box's area is still in view.
        min_share_outlined: the same of objects that have a polygon or mask.
    """

    min_side: float
    max_aspect: float
    min_share: float
    min_share_outlined: float


def draw_affine(
    rng: np.random.RandomState, ranges: AffineRanges, canvas: int, size: int
) -> np.ndarray:
    """``affine_matrix`` with everything drawn from its range."""

    def both_ways(limit: float, count: int) -> np.ndarray:
        return rng.uniform(-limit, limit, count)

    return affine_matrix(
        canvas,
        size,
        perspective=both_ways(ranges.perspective, 2),
        degrees=float(both_ways(ranges.degrees, 1)[0]),
        scale=rng.uniform(*ranges.scale),
        shear=both_ways(ranges.shear, 2),
        translate=both_ways(ranges.translate, 2),
    )


def affine_matrix(
    canvas: int,
    size: int,
    *,
    perspective: np.ndarray | tuple[float, float] = (0.0, 0.0),
    degrees: float = 0.0,
    scale: float = 1.0,
    shear: np.ndarray | tuple[float, float] = (0.0, 0.0),
    translate: np.ndarray | tuple[float, float] = (0.0, 0.0),
) -> np.ndarray:
    """The view of a canvas about its centre: perspective, rotation and scale, shear, translation.

    Args:
        canvas: side of the canvas in pixels.
        size: side of the view in pixels.
        perspective, degrees, scale, shear, translate: as in ``AffineRanges``, x before y; a
            positive angle turns clockwise on the screen.

    Returns:
        (3, 3), from the canvas' coordinates to the view's.
    """
    tilt = np.eye(3)
    tilt[2, :2] = np.asarray(perspective) / (canvas / 2)
    cosine, sine = (scale * f(math.radians(degrees)) for f in (math.cos, math.sin))
    turn = np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])
    slant_x, slant_y = np.tan(np.radians(shear))
    slant = np.array([[1, slant_x, 0], [slant_y, 1, 0], [0, 0, 1]])
    shift_x, shift_y = size * (0.5 + np.asarray(translate))
    centred = translation(-canvas / 2, -canvas / 2)
    return translation(shift_x, shift_y) @ slant @ turn @ tilt @ centred


def viewed(picture: Picture, matrix: np.ndarray, size: int, fill: int, rules: BoxRules) -> Picture:
    """The size x size pixels that a matrix shows of a picture."""
    image = transformed_image(picture.image, matrix, size, size, fill, cv2.INTER_LINEAR)
    found = (_in_view(a, matrix, size, rules) for a in picture.annotations)
    return Picture(image, [annotation for annotation in found if annotation is not None])


def _in_view(
    annotation: Annotation, matrix: np.ndarray, size: int, rules: BoxRules
) -> Annotation | None:
    whole = moved(annotation, matrix, size, size)
    part = clipped(whole, size, size)
    if part is None:
        return None
    outlined = "segmentation" in part
    return part if keeps(part["bbox"], whole["bbox"], outlined, rules) else None


def keeps(box: np.ndarray, whole: np.ndarray, outlined: bool, rules: BoxRules) -> bool:
    """Whether a box follows the rules.

    Args:
        box: (x0, y0, x1, y1), what is in view.
        whole: the same before it was clipped.
        outlined: whether the object has a polygon or mask.
    """
    shorter, longer = sorted((box[2] - box[0], box[3] - box[1]))
    share = rules.min_share_outlined if outlined else rules.min_share
    return bool(
        shorter > rules.min_side
        and longer < rules.max_aspect * shorter
        and area(box) > share * area(whole)
    )
