# SPDX-License-Identifier: Apache-2.0
"""Pure: whether a segmentation of a COCO json is polygons or run lengths of its image."""

import itertools
import math
from collections.abc import Iterator
from typing import Any

# pycocotools walks along a polygon's edges pixel by pixel, so that a point far out costs its
# distance in memory. Up to so many images' lengths outside is carelessness, not harm.
_LENGTHS_OUTSIDE = 2


def are_polygons(segmentation: Any) -> bool:
    """Whether this is a list of lists of finite numbers; ``sum`` looks at all of them quickly."""
    try:
        return isinstance(segmentation, list) and all(
            isinstance(polygon, list) and math.isfinite(sum(polygon)) for polygon in segmentation
        )
    except (TypeError, OverflowError):
        return False


def has_area(shape: list[float] | dict[str, Any]) -> bool:
    """Whether a polygon has three points or more, or run lengths a pixel: of every second run.
    Detectron2 leaves others out."""
    if isinstance(shape, dict):
        return any(_counts(shape)[1::2])
    return len(shape) >= 6 and len(shape) % 2 == 0


def farthest(polygons: list[list[float]], width: int, height: int) -> float | None:
    """A coordinate that lies so far outside of its image that drawing the polygon would take
    gigabytes; None where there is none."""
    limit = (1 + _LENGTHS_OUTSIDE) * max(width, height)
    for polygon in filter(None, polygons):
        for coordinate in (min(polygon), max(polygon)):
            if abs(coordinate) > limit:
                return coordinate
    return None


def what_is_lost(mask: list[list[float]] | dict[str, Any]) -> str | None:
    """What Detectron2 leaves out of polygons or run lengths without a word, as the end of a
    sentence; None where nothing of the object is lost: one or two points have no area anyway."""
    if isinstance(mask, dict):
        lacks = None if has_area(mask) else "run lengths without a pixel of the object"
    else:
        for polygon in mask:
            if (count := len(polygon)) % 2:
                return f"has a polygon of {count} numbers, two a point; Detectron2 leaves it out"
        lacks = None if any(map(has_area, mask)) else "no polygon of three points or more"
    return f"has {lacks}; Detectron2 leaves such an object out" if lacks else None


def are_run_lengths(segmentation: dict[str, Any], width: int, height: int) -> bool:
    """Run lengths of the image's size, as a list or compressed, that add up to it."""
    return _fitting(segmentation, width, height) is not None


def extent_of_run_lengths(
    segmentation: dict[str, Any], width: int, height: int
) -> tuple[float, float, float, float] | None:
    """(x, y, width, height) of the object's pixels, which run down the columns; None where there
    are none, or these are no run lengths of the image's size."""
    counts = _fitting(segmentation, width, height) or []
    ends = itertools.accumulate(counts)
    runs = [(end - n, end - 1) for end, n in zip(ends, counts, strict=True)][1::2]
    runs = [(first, last) for first, last in runs if first <= last]
    if not runs:
        return None
    left, right = runs[0][0] // height, runs[-1][1] // height
    top, bottom = 0, height - 1
    if all(first // height == last // height for first, last in runs):
        top = min(first % height for first, _ in runs)
        bottom = max(last % height for _, last in runs)
    return left, top, right - left + 1, bottom - top + 1


def _fitting(segmentation: dict[str, Any], width: int, height: int) -> list[int] | None:
    counts = _counts(segmentation)
    fits = (
        segmentation.get("size") == [height, width]
        and isinstance(counts, list)
        and all(type(count) is int and count >= 0 for count in counts)
        and sum(counts) == width * height
    )
    return counts if fits else None


def _counts(segmentation: dict[str, Any]) -> Any:
    counts = segmentation.get("counts")
    return list(_decompressed(counts)) if isinstance(counts, str) else counts


def _decompressed(text: str) -> Iterator[int]:
    """Counts out of COCO's text: groups of five bits, the lowest first, in characters from 48 on;
    32 says that another group follows. From the fourth count on they are differences to the
    count before the last.

    A text that is none gives a count of -1.
    """
    counts: list[int] = []
    value = shift = 0
    for character in text:
        group = ord(character) - 48
        if not 0 <= group < 64 or shift > 60:
            yield -1
            return
        value |= (group & 31) << shift
        shift += 5
        if group & 32:
            continue
        if group & 16:  # the highest bit of the last group is the sign
            value -= 1 << shift
        counts.append(value + counts[-2] if len(counts) > 2 else value)
        yield counts[-1]
        value = shift = 0
    if shift:
        yield -1
