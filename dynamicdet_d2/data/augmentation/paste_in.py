# SPDX-License-Identifier: Apache-2.0
"""Objects cut out of other pictures by their masks, pasted into free places of a picture.

H, W: height and width in pixels. What is pasted hides what lies below; boxes and masks of that
stay as they were, which the limit to what may be covered makes bearable.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from detectron2.structures.masks import polygons_to_bitmask

from dynamicdet_d2.data.augmentation.picture import (
    Annotation,
    Picture,
    clipped,
    moved,
    transformed,
    translation,
)
from dynamicdet_d2.data.augmentation.polygons import area

# Largest side of each slot, as a share of the picture's.
SLOTS = (0.75,) * 2 + (0.5,) * 4 + (0.25,) * 4 + (0.125,) * 4 + (0.0625,) * 6
_SKIPPED = 0.2
# A slot may cover less than this share of each box that is there already.
_COVERED = 0.3
# Sides in pixels, more than: of a slot, and of what is pasted.
_SLOT_SIDE, _OBJECT_SIDE = 20, 10


@dataclass(frozen=True)
class Cutout:
    """An object and the rectangle around it.

    Attributes:
        image: (H, W, 3) uint8.
        mask: (H, W) uint8 of 0 and 1, not empty.
        annotation: a ``Picture``'s, in the rectangle's coordinates.
    """

    image: np.ndarray
    mask: np.ndarray
    annotation: Annotation


def draw_cutouts(picture: Picture, rng: np.random.RandomState) -> list[Cutout]:
    """Half of the picture's objects with polygon or mask, rounded up; crowds are left out."""
    outlined = [a for a in picture.annotations if "segmentation" in a and not a.get("iscrowd", 0)]
    chosen = rng.permutation(len(outlined))[: (len(outlined) + 1) // 2]
    found = (cut_out(picture, outlined[i]) for i in chosen)
    return [cutout for cutout in found if cutout is not None]


def cut_out(picture: Picture, annotation: Annotation) -> Cutout | None:
    """The object of an annotation with polygon or mask; None if it covers no pixel."""
    x0, y0 = np.floor(annotation["bbox"][:2]).astype(int).tolist()
    x1, y1 = np.ceil(annotation["bbox"][2:]).astype(int).tolist()
    width, height = x1 - x0, y1 - y0
    own = clipped(moved(annotation, translation(-x0, -y0), height, width), height, width)
    if own is None:
        return None
    mask = _mask(own["segmentation"], height, width)
    return Cutout(picture.image[y0:y1, x0:x1], mask, own) if mask.any() else None


def draw_slots(rng: np.random.RandomState, size: int) -> np.ndarray:
    """Places for objects in a square of ``size`` pixels, large ones first: (K, 4), x0 y0 x1 y1."""
    largest = size * np.array(SLOTS)[rng.uniform(size=len(SLOTS)) >= _SKIPPED, None]
    sides = rng.uniform(1, np.maximum(largest, 1), (len(largest), 2))
    corners = rng.uniform(0, size - sides)
    return np.concatenate([corners, corners + sides], axis=1)


def pasted(picture: Picture, slots: np.ndarray, cutouts: Sequence[Cutout]) -> Picture:
    """The picture with one object in each slot that is free enough.

    Args:
        slots: (K, 4) boxes in the picture.
        cutouts: K objects; they keep their shape and fill the slot in one direction.
    """
    image, annotations = picture.image.copy(), list(picture.annotations)
    for slot, cutout in zip(slots, cutouts, strict=True):
        if _is_free(slot, annotations):
            annotations += _paste(image, slot, cutout)
    return Picture(image, annotations)


def _is_free(slot: np.ndarray, annotations: Sequence[Annotation]) -> bool:
    if min(slot[2:] - slot[:2]) <= _SLOT_SIDE:
        return False
    boxes = (annotation["bbox"] for annotation in annotations)
    return all(area(_overlap(slot, box)) < _COVERED * area(box) for box in boxes)


def _overlap(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.concatenate([np.maximum(one[:2], other[:2]), np.minimum(one[2:], other[2:])])


def _paste(image: np.ndarray, slot: np.ndarray, cutout: Cutout) -> list[Annotation]:
    """Paste into the image, in place; the new annotation, or none for what gets too small."""
    height, width = cutout.mask.shape
    x0, y0 = np.ceil(slot[:2]).astype(int).tolist()
    room = np.floor(slot[2:]) - (x0, y0)
    new_width, new_height = np.floor(min(room / (width, height)) * np.array([width, height]))
    if min(new_width, new_height) <= _OBJECT_SIDE:
        return []
    shape = int(new_width), int(new_height)
    enlarged = new_width > width
    pixels = cv2.resize(
        cutout.image, shape, interpolation=cv2.INTER_LINEAR if enlarged else cv2.INTER_AREA
    )
    mask = cv2.resize(cutout.mask, shape, interpolation=cv2.INTER_NEAREST).astype(bool)
    image[y0 : y0 + shape[1], x0 : x0 + shape[0]][mask] = pixels[mask]
    matrix = translation(x0, y0) @ np.diag([shape[0] / width, shape[1] / height, 1.0])
    return transformed([cutout.annotation], matrix, *image.shape[:2])


def _mask(segmentation: np.ndarray | list[np.ndarray], height: int, width: int) -> np.ndarray:
    if isinstance(segmentation, np.ndarray):
        return segmentation
    flat = [polygon.reshape(-1) for polygon in segmentation]
    return polygons_to_bitmask(flat, height, width).astype(np.uint8)
