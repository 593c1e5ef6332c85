# SPDX-License-Identifier: Apache-2.0
"""Whether the parts of a COCO annotation can be of one object: its box, its area, its mask."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from pycocotools import mask as mask_api

from dynamicdet_d2.data.check.segmentations import (
    are_polygons,
    extent_of_run_lengths,
    has_area,
)
from dynamicdet_d2.utils.plain import is_finite
from dynamicdet_d2.utils.words import shown

Box = tuple[float, float, float, float]

# Pixels of a side up to which Detectron2 leaves a box out, as one without area.
LEAST_SIDE = 1e-5
# Of the box's own, outside of which an area is none of what is in the box; of a thin object that
# lies across its box it is a hundredth.
_AREAS = (1e-3, 1.5)
# Of the union of both, below which a box and the extent of polygons are of different objects.
_OVERLAP = 0.5
# Pixels, to which tools round corners: of a small object that is most of it.
_ROUNDED = 1.0
# Of an area, by which tools round it.
_ROUNDING = 0.01


class Agreement:
    """Counts the objects whose parts contradict each other, and keeps the first of each kind."""

    def __init__(self, *, areas: bool) -> None:
        """
        Args:
            areas: are looked at.
        """
        self._looks_at_areas = areas
        self._counts = {"areas": 0, "masks": 0}
        self._areas_as_corners = self._areas_as_sides = 0
        self._first: dict[str, str] = {}

    def look(self, annotation: dict[str, Any], box: Box, size: tuple[int, int]) -> None:
        """
        Args:
            annotation: of an object, with an "id".
            box: x, y, width, height in pixels; finite.
            size: of the image: width and height in pixels.
        """
        if box[2] <= 0 or box[3] <= 0:
            return
        area = annotation.get("area")
        mask: Any = annotation.get("segmentation")
        if is_finite(area) and area > 0:
            x, y, width, height = map(float, box)
            between = max(width - x, 0.0) * max(height - y, 0.0)
            self._areas_as_corners += math.isclose(area, between, rel_tol=_ROUNDING)
            self._areas_as_sides += math.isclose(area, width * height, rel_tol=_ROUNDING)
        if self._looks_at_areas and is_finite(area):
            low, high = (share * box[2] * box[3] for share in _AREAS)
            if not low <= area <= high:
                self._note("areas", annotation, f"the area {shown(area)} in {shown(box)}")
        if isinstance(mask, dict) or are_polygons(mask):
            extent = extent_elsewhere(mask, box, size)
            if extent is not None:
                kind = "run lengths" if isinstance(mask, dict) else "polygons"
                found = f"{kind} in {shown(extent)}, its box {shown(box)}"
                self._note("masks", annotation, found)

    def _note(self, kind: str, annotation: dict[str, Any], found: str) -> None:
        self._counts[kind] += 1
        self._first.setdefault(kind, f"annotation {annotation['id']} has {found}")

    def sentences(self, objects: int) -> Iterator[tuple[str, str]]:
        """Kind and sentence of what was found.

        Args:
            objects: that there are.
        """
        if self._areas_as_corners == objects > self._areas_as_sides:
            yield (
                "corners",
                f"All {objects} objects have the area of boxes [x1, y1, x2, y2] and not of "
                "[x, y, width, height]: are theirs corners?",
            )
        for kind, what, so in (
            ("areas", "an area that no object in their box has", "AP by size goes by it"),
            ("masks", "a mask elsewhere than their box", "one of both is wrong"),
        ):
            if self._counts[kind]:
                yield (
                    f"contradictory {kind}",
                    f"{self._counts[kind]} of {objects} objects have {what}, and {so}; the first: "
                    f"{self._first[kind]}.",
                )


def extent_elsewhere(
    mask: list[list[float]] | dict[str, Any], box: Box, size: tuple[int, int]
) -> Box | None:
    """Of polygons or run lengths (x, y, width, height), where they and the box are hardly of one
    object; else None. ``size`` is the image's: width and height."""
    extent = extent_of_run_lengths(mask, *size) if isinstance(mask, dict) else _extent(mask)
    if extent is None or _is_rounded(extent, box) or _overlap(extent, box) >= _OVERLAP:
        return None
    return extent


def _is_rounded(one: Box, other: Box) -> bool:
    ends = [(x, y, x + width, y + height) for x, y, width, height in (one, other)]
    return all(abs(a - b) <= _ROUNDED for a, b in zip(*ends, strict=True))


def _extent(polygons: list[list[float]]) -> Box | None:
    """Of all polygons that Detectron2 draws; None where there is none."""
    drawn = [polygon for polygon in polygons if has_area(polygon)]
    if not drawn:
        return None
    xs, ys = [polygon[::2] for polygon in drawn], [polygon[1::2] for polygon in drawn]
    left, top = min(map(min, xs)), min(map(min, ys))
    return left, top, max(map(max, xs)) - left, max(map(max, ys)) - top


def _overlap(one: Box, other: Box) -> float:
    """Intersection over union, of sides of at least a pixel: polygons may be lines."""
    wide = [[(x, y, max(w, 1.0), max(h, 1.0))] for x, y, w, h in (one, other)]
    return float(mask_api.iou(*np.array(wide, dtype=np.float64), [False])[0, 0])
