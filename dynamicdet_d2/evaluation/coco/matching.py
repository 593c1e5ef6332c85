# SPDX-License-Identifier: Apache-2.0
"""COCO matching of the detections of both exits, all images and classes at once.

COCO matches greedily inside one *cell*, the objects of one class in one image, and no cell knows
of another. So both exits of all images are matched here in one go, for every IoU threshold and
area range; which exit an image finally takes does not change any of these matches.

Letters: N detections kept (of both exits), G objects, E edges (a detection and an object that
overlap enough), T = 10 IoU thresholds, A = 4 area ranges. What becomes of a detection in each of
the A x T settings is one bit of an unsigned 64-bit integer: bit ``a * T + t`` belongs to area
range a and IoU threshold t. Forty greedy matchings then cost as much as one.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from pycocotools import mask as mask_api
from pycocotools.cocoeval import Params

from dynamicdet_d2.evaluation.coco.arrays import Detections, Objects, rank_in_run, stable_argsort

_PARAMS = Params(iouType="bbox")
IOU_THRESHOLDS: np.ndarray = _PARAMS.iouThrs
RECALL_THRESHOLDS: np.ndarray = _PARAMS.recThrs
AREA_RANGES: np.ndarray = np.asarray(_PARAMS.areaRng, dtype=np.float64)
MAX_DETECTIONS: tuple[int, ...] = tuple(_PARAMS.maxDets)
NUM_THRESHOLDS = len(IOU_THRESHOLDS)
NUM_AREAS = len(AREA_RANGES)


# The bit of each area range and IoU threshold, (A, T).
SETTING_BITS = np.uint64(1) << np.arange(NUM_AREAS * NUM_THRESHOLDS, dtype=np.uint64).reshape(
    NUM_AREAS, NUM_THRESHOLDS
)
_NO_BITS = np.uint64(0)
_ALL_BITS = np.bitwise_or.reduce(SETTING_BITS, axis=None)
# Entry n has the bits of the n lowest IoU thresholds, in every area range; (T + 1,).
_REACHED_BITS = np.array(
    [np.bitwise_or.reduce(SETTING_BITS[:, :n], axis=None) for n in range(NUM_THRESHOLDS + 1)]
)


@dataclass(frozen=True)
class Outcomes:
    """What became of the detections, and which objects were to be found.

    Attributes:
        positive: (N,) uint64, bits of the settings in which the detection is a true positive.
        counted: (N,) uint64, bits in which it is a true or a false positive, i.e. not ignored.
        object_counted: (G, A) bool, whether the object is to be found in that area range.
    """

    positive: np.ndarray
    counted: np.ndarray
    object_counted: np.ndarray


@dataclass(frozen=True)
class _Edges:
    """Detections and objects of one cell whose IoU reaches the lowest threshold.

    Ordered by detection, then from the object that COCO prefers to the one it likes least: by
    falling IoU, and among equal ones the later object first.

    Attributes:
        detection, object: (E,) int64.
        reached: (E,) uint64, the bits of the IoU thresholds reached.
    """

    detection: np.ndarray
    object: np.ndarray
    reached: np.ndarray


def match(detections: Detections, objects: Objects) -> Outcomes:
    """Match the detections of every cell of both exits as pycocotools' ``evaluateImg`` does."""
    inside = _inside_areas(objects.area)
    object_counted = inside & ~objects.crowd[:, None]
    edges = _edges(detections, objects)
    matched, ignored = _match_greedily(edges, detections, objects, ~area_bits(object_counted))
    positive = matched & ~ignored
    within = area_bits(_inside_areas(detections.area))
    return Outcomes(positive, positive | (within & ~ignored & ~matched), object_counted)


def _inside_areas(area: np.ndarray) -> np.ndarray:
    """(N, A) bool; both bounds of a range belong to it."""
    return (area[:, None] >= AREA_RANGES[:, 0]) & (area[:, None] <= AREA_RANGES[:, 1])


def area_bits(flags: np.ndarray) -> np.ndarray:
    """(N, A) bool to (N,) uint64 with the bits of these areas at every threshold."""
    return np.bitwise_or.reduce(
        np.where(flags, np.bitwise_or.reduce(SETTING_BITS, axis=1), _NO_BITS), axis=1
    )


def _edges(detections: Detections, objects: Objects) -> _Edges:
    """Overlaps by pycocotools' own IoU: numpy's can differ in the last bit on some processors.

    Boxes of neighbouring blocks (a block: one class in one image, both exits) go through one
    call, for a call costs more than the overlaps; those between blocks are then left out.
    """
    boxes = objects.shapes.ndim == 2
    found, wanted, bounds = _shared_blocks(detections.cell // 2, objects.cell, boxes)
    parts = [(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))]
    for (d0, g0), (d1, g1) in pairwise(bounds.tolist()):
        rows, columns = found[d0:d1], wanted[g0:g1]
        left, right = detections.shapes[rows], objects.shapes[columns]
        if not boxes:
            left, right = left.tolist(), right.tolist()
        overlap = mask_api.iou(left, right, objects.crowd[columns])
        row, column = np.nonzero(overlap >= IOU_THRESHOLDS[0])
        parts.append((rows[row], columns[column], overlap[row, column]))
    detection, wanted_object, overlap = (
        np.concatenate(column) for column in zip(*parts, strict=True)
    )
    same = detections.cell[detection] // 2 == objects.cell[wanted_object]
    detection, wanted_object, overlap = detection[same], wanted_object[same], overlap[same]
    order = np.lexsort((-wanted_object, -overlap, detection))
    reached = np.searchsorted(IOU_THRESHOLDS, overlap[order], side="right")
    return _Edges(detection[order], wanted_object[order], _REACHED_BITS[reached])


def _shared_blocks(
    detection_block: np.ndarray, object_block: np.ndarray, group: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Detections and objects of the blocks that have both, and where to cut them into groups.

    Args:
        detection_block, object_block: ascending.
        group: put neighbouring blocks together, up to about 128 detections, or each on its own.

    Returns:
        indices of detections, indices of objects, and (groups + 1, 2) places in both.
    """
    blocks, wanted_first, wanted_count = np.unique(
        object_block, return_index=True, return_counts=True
    )
    found_first = np.searchsorted(detection_block, blocks)
    found_count = np.searchsorted(detection_block, blocks, side="right") - found_first
    shared = found_count > 0
    found_first, found_count = found_first[shared], found_count[shared]
    wanted_first, wanted_count = wanted_first[shared], wanted_count[shared]
    ends = np.cumsum(np.stack([found_count, wanted_count], axis=1), axis=0)
    last = np.diff(ends[:, 0] // 128, append=-1) != 0 if group else slice(None)
    bounds = np.concatenate([np.zeros((1, 2), dtype=np.int64), ends[last]])
    return _ranges(found_first, found_count), _ranges(wanted_first, wanted_count), bounds


def _ranges(first: np.ndarray, count: np.ndarray) -> np.ndarray:
    """The integers ``first[i] .. first[i] + count[i] - 1`` of all i, one after the other."""
    skipped = first - (np.cumsum(count) - count)
    return np.arange(count.sum()) + np.repeat(skipped, count)


def _match_greedily(
    edges: _Edges, detections: Detections, objects: Objects, optional: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Settings in which each detection is matched, and is matched to an ``optional`` object.

    The detections of one rank take their objects together, in all cells at once: a cell has only
    one of each rank. Detections without an edge cannot take anything and are not ranked.

    Args:
        optional: (G,) uint64, bits of the settings in which the object need not be found.

    Returns:
        Two arrays (N,) of uint64 bits.
    """
    detection, first, count = np.unique(edges.detection, return_index=True, return_counts=True)
    # An object can be taken once by each exit; its place in ``free`` is 2 * object + exit.
    free = np.full(2 * len(optional), _ALL_BITS)
    matched = np.zeros(len(detections.cell), dtype=np.uint64)
    to_optional = np.zeros(len(detections.cell), dtype=np.uint64)
    rank = rank_in_run(detections.cell[detection])
    for same_rank in np.split(stable_argsort(rank), np.cumsum(np.bincount(rank))):
        rows = same_rank[np.argsort(-count[same_rank], kind="stable")]
        takers = detection[rows]
        matched[takers], to_optional[takers] = _take(
            _choices(edges, first[rows], count[rows]),
            detections.cell[takers] % 2,
            objects,
            optional,
            free,
        )
    return matched, to_optional


def _choices(
    edges: _Edges, first: np.ndarray, count: np.ndarray
) -> list[tuple[np.ndarray, np.ndarray]]:
    """The detections' first choices, then their second ones, and so on.

    Args:
        first, count: (n,) the first edge of each detection and how many follow it, falling.

    Returns:
        For every choice the objects and the IoU bits of those detections that have one: these
        come first, so that the arrays get shorter.
    """
    choices = []
    for place in range(count.max(initial=0)):
        edge = first[: np.count_nonzero(count > place)] + place
        choices.append((edges.object[edge], edges.reached[edge]))
    return choices


def _take(
    choices: list[tuple[np.ndarray, np.ndarray]],
    exit_index: np.ndarray,
    objects: Objects,
    optional: np.ndarray,
    free: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Let n detections of n cells each take the first free object of their choices.

    An object that must be found goes before any optional one, whatever their IoU. ``free`` is
    updated; a crowd region stays free.
    """
    matched, required, spare = np.zeros((3, len(exit_index)), dtype=np.uint64)
    offers = []
    for wanted, reached in choices:
        n = len(wanted)
        open_bits = free[2 * wanted + exit_index[:n]] & reached
        as_required = open_bits & ~optional[wanted] & ~required[:n]
        as_spare = open_bits & optional[wanted] & ~spare[:n]
        offers.append((as_required, as_spare))
        required[:n] |= as_required
        spare[:n] |= as_spare
    for (wanted, _), (as_required, as_spare) in zip(choices, offers, strict=True):
        n = len(wanted)
        taken = as_required | (as_spare & ~required[:n])
        free[2 * wanted + exit_index[:n]] &= ~np.where(objects.crowd[wanted], _NO_BITS, taken)
        # pycocotools marks a match by the object's id, so that a match with id 0 is none.
        matched[:n] |= np.where(objects.null_id[wanted], _NO_BITS, taken)
    return matched, spare & ~required
