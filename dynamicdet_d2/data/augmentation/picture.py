# SPDX-License-Identifier: Apache-2.0
"""An image with what is annotated in it, and both through a 3x3 matrix.

H, W: height and width in pixels; P: points. Coordinates are those of ``polygons.py``.
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from dynamicdet_d2.data.augmentation.polygons import (
    bounds,
    clipped_box,
    clipped_polygon,
    corners,
    through,
)

Annotation = dict[str, Any]

# An OpenCV pixel's coordinates are those of its centre.
_TO_CENTRES = np.array([[1, 0, -0.5], [0, 1, -0.5], [0, 0, 1]])
_TO_EDGES = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])


@dataclass(frozen=True)
class Picture:
    """What augmentations take and give; they change none in place.

    Attributes:
        image: (H, W, 3) uint8.
        annotations: Detectron2's dicts of the objects, with ``"bbox"`` as (4,) float64 in
            XYXY_ABS. ``"segmentation"``, where there is one, is a list of polygons, (P, 2) float64
            each, or a mask, (H, W) uint8 of 0 and 1. Other entries pass through.
    """

    image: np.ndarray
    annotations: list[Annotation]

    @property
    def height(self) -> int:
        return self.image.shape[0]

    @property
    def width(self) -> int:
        return self.image.shape[1]


def translation(dx: float, dy: float) -> np.ndarray:
    """The (3, 3) matrix that moves by (dx, dy)."""
    return np.array([[1, 0, dx], [0, 1, dy], [0, 0, 1]], dtype=np.float64)


def transformed_image(
    image: np.ndarray, matrix: np.ndarray, height: int, width: int, fill: int, interpolation: int
) -> np.ndarray:
    """What the window (height, width) shows of an image behind a matrix.

    Args:
        image: (H, W) or (H, W, 3) uint8.
        matrix: (3, 3), from the image's coordinates to the window's.
        fill: value of what the image does not cover, 0 to 255.
        interpolation: of OpenCV.
    """
    between_centres = _TO_CENTRES @ matrix @ _TO_EDGES
    is_affine = np.array_equal(matrix[2], [0, 0, 1])
    warp, rows = (cv2.warpAffine, 2) if is_affine else (cv2.warpPerspective, 3)
    return warp(
        image,
        between_centres[:rows],
        (width, height),
        flags=interpolation,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(fill, fill, fill),
    )


def moved(annotation: Annotation, matrix: np.ndarray, height: int, width: int) -> Annotation:
    """An annotation behind a matrix, not yet clipped to the window (height, width).

    The box is that around the polygons; without polygons, that around the box's own corners. A
    mask cannot reach beyond the window.
    """
    outline, found = [corners(annotation["bbox"])], dict(annotation)
    segmentation = annotation.get("segmentation")
    if isinstance(segmentation, np.ndarray):
        found["segmentation"] = transformed_image(
            segmentation, matrix, height, width, 0, cv2.INTER_NEAREST
        )
    elif segmentation:
        outline = segmentation
        found["segmentation"] = [through(polygon, matrix) for polygon in segmentation]
    found["bbox"] = bounds(through(np.concatenate(outline), matrix))
    return found


def clipped(annotation: Annotation, height: int, width: int) -> Annotation | None:
    """What of an annotation the window shows; None where that is nothing."""
    found, segmentation = dict(annotation), annotation.get("segmentation")
    if isinstance(segmentation, np.ndarray):
        rows, columns = np.nonzero(segmentation)
        if not len(rows):
            return None
        found["bbox"] = bounds(np.stack([columns, rows], axis=1)) + [0.0, 0.0, 1.0, 1.0]
    elif segmentation:
        polygons = [clipped_polygon(polygon, height, width) for polygon in segmentation]
        found["segmentation"] = [polygon for polygon in polygons if len(polygon) > 2]
        if not found["segmentation"]:
            return None
        found["bbox"] = bounds(np.concatenate(found["segmentation"]))
    else:
        found["bbox"] = clipped_box(annotation["bbox"], height, width)
    x0, y0, x1, y1 = found["bbox"]
    return found if x1 > x0 and y1 > y0 else None


def transformed(
    annotations: list[Annotation], matrix: np.ndarray, height: int, width: int
) -> list[Annotation]:
    """What the window (height, width) shows of annotations behind a matrix."""
    found = (clipped(moved(a, matrix, height, width), height, width) for a in annotations)
    return [annotation for annotation in found if annotation is not None]
