# SPDX-License-Identifier: Apache-2.0
"""COCO ground truth and results as flat arrays, ordered by cell.

A *cell* is what COCO matches on its own: the objects of one class in one image, and for
detections also one exit. Ids are replaced by indices: image 0..I-1 and label 0..K-1 in the order
of the sorted ids. Letters: G objects, N detections (of both exits together), I images, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from operator import itemgetter
from typing import Any

import numpy as np
from pycocotools import mask as mask_api
from pycocotools.coco import COCO

from dynamicdet_d2.utils.words import shown

IOU_TYPES = ("bbox", "segm")
# Masks whose areas are taken at a time. pycocotools 2.0.11 puts their number into eight bits, which
# numpy 2 refuses from 256 on.
_AREA_CHUNK = 255


class _Index(dict):
    """Index of every id; -1 for an id that is not evaluated."""

    def __missing__(self, key: Any) -> int:
        return -1


@dataclass(frozen=True)
class Vocabulary:
    """Which images and classes are evaluated, and the index of each.

    Attributes:
        images: index of every image id.
        labels: index of every category id, in the order of the sorted ids.
        known_images: every image id of the ground truth, evaluated or not.
    """

    images: dict[Any, int]
    labels: dict[Any, int]
    known_images: frozenset[Any]

    @classmethod
    def read(cls, ground_truth: COCO, image_ids: Sequence[Any]) -> Vocabulary:
        """Index the categories and the given images; image_ids must be sorted.

        Raises:
            ValueError: when there is no image or no category, or an image is given twice or is not
                in the ground truth.
        """
        known = frozenset(ground_truth.getImgIds())
        images = _Index((image, i) for i, image in enumerate(image_ids))
        if not images:
            raise ValueError("image_ids is empty: there is nothing to evaluate")
        if len(images) < len(image_ids):
            twice = next(a for a, b in pairwise(image_ids) if a == b)
            raise ValueError(f"image_ids names image {twice!r} twice")
        if unknown := [image for image in image_ids if image not in known]:
            raise ValueError(f"image_ids names image {unknown[0]!r}, which the ground truth lacks")
        labels = _Index((c, k) for k, c in enumerate(sorted(ground_truth.getCatIds())))
        if not labels:
            raise ValueError("the ground truth has no categories: there is nothing to evaluate")
        return cls(images, labels, known)


@dataclass(frozen=True)
class Objects:
    """Ground-truth objects by ascending cell; within a cell in the order of the file.

    Attributes:
        cell: (G,) int64, ``label * I + image``.
        crowd: (G,) bool.
        area: (G,) float64, the annotation's own area in square pixels.
        null_id: (G,) bool, whether the annotation's id is 0.
        shapes: (G, 4) float64 boxes as x, y, width, height, or (G,) objects, compressed RLEs.
    """

    cell: np.ndarray
    crowd: np.ndarray
    area: np.ndarray
    null_id: np.ndarray
    shapes: np.ndarray


@dataclass(frozen=True)
class Detections:
    """Detections of both exits by ascending cell, within a cell by descending score.

    Attributes:
        cell: (N,) int64, ``(label * I + image) * 2 + exit``; exit 0 is detector1.
        rank: (N,) int64, place within the cell, 0 for the best score.
        score: (N,) float64.
        score_order: (N,) int64, grows as the score falls; the same for equal scores.
        area: (N,) float64, square pixels.
        shapes: (N, 4) float64 boxes as x, y, width, height, or (N,) objects, compressed RLEs.
    """

    cell: np.ndarray
    rank: np.ndarray
    score: np.ndarray
    score_order: np.ndarray
    area: np.ndarray
    shapes: np.ndarray


def read_objects(ground_truth: COCO, vocabulary: Vocabulary, iou_type: str) -> Objects:
    """Flatten the objects of the images and classes in ``vocabulary``.

    Raises:
        ValueError: when an object lacks its area, box or mask.
    """
    annotations = [
        annotation
        for annotation in ground_truth.loadAnns(ground_truth.getAnnIds(list(vocabulary.images)))
        if annotation["category_id"] in vocabulary.labels
    ]
    if iou_type == "bbox":
        shapes = _boxes(annotations)
    else:
        shapes = np.array([mask_of(ground_truth, a) for a in annotations], dtype=object)
    image = _column(annotations, "image_id", vocabulary.images.__getitem__)
    label = _column(annotations, "category_id", vocabulary.labels.__getitem__)
    cell = label * len(vocabulary.images) + image
    order = stable_argsort(cell)
    return Objects(
        cell=cell[order],
        crowd=np.array([a.get("iscrowd", 0) for a in annotations], dtype=bool)[order],
        area=_column(annotations, "area", dtype=np.float64)[order],
        null_id=np.array([a["id"] == 0 for a in annotations], dtype=bool)[order],
        shapes=shapes[order],
    )


def mask_of(ground_truth: COCO, annotation: dict) -> dict:
    """An object's compressed RLE. By the first polygon's length alone pycocotools takes all of them
    for polygons or for boxes; those of one or two points draw nothing, and are left out: an object
    of such alone has no pixel, which nothing finds.

    Raises:
        ValueError: naming the annotation, where there is no mask.
    """
    mask = annotation.get("segmentation")
    try:
        if isinstance(mask, list):
            drawn = [polygon for polygon in mask if len(polygon) > 4]
            if mask and not drawn:
                image = ground_truth.imgs[annotation["image_id"]]
                sides = int(image["height"]), int(image["width"])
                return mask_api.encode(np.zeros(sides, dtype=np.uint8, order="F"))
            annotation = {**annotation, "segmentation": drawn}
        run_lengths: dict = COCO.annToRLE(ground_truth, annotation)
    except Exception as error:  # pycocotools raises nearly any
        raise ValueError(
            f"annotation {annotation['id']} of image {annotation['image_id']!r} has the "
            f"segmentation {shown(mask)}, of which there is no mask to evaluate; it must be a list "
            "of polygons [[x1, y1, x2, y2, ...], ...], of three points or more, or run lengths"
        ) from error
    return run_lengths


def read_detections(
    exits: Sequence[Sequence[dict]], vocabulary: Vocabulary, iou_type: str, limit: int
) -> Detections:
    """Flatten the results of both exits, keeping the ``limit`` best of each cell.

    Results of images left out and of unknown categories are dropped, as pycocotools does.

    Raises:
        ValueError: when a result lacks a key, names an image that the ground truth lacks, or has
            a score that is not finite.
    """
    results = [*exits[0], *exits[1]]
    image = _column(results, "image_id", vocabulary.images.__getitem__)
    label = _column(results, "category_id", vocabulary.labels.__getitem__)
    score = _column(results, "score", dtype=np.float64)
    _check_results(results, image, score, vocabulary)
    shapes, area = _shapes_and_areas(results, iou_type)
    exit_index = np.repeat((0, 1), (len(exits[0]), len(exits[1])))
    cell = (label * len(vocabulary.images) + image) * 2 + exit_index
    by_score = np.argsort(-score, kind="stable")
    kept = by_score[((label >= 0) & (image >= 0))[by_score]]
    kept = kept[stable_argsort(cell[kept])]
    rank = rank_in_run(cell[kept])
    kept, rank = kept[rank < limit], rank[rank < limit]
    order = score_order(score)
    return Detections(cell[kept], rank, score[kept], order[kept], area[kept], shapes[kept])


def score_order(score: np.ndarray) -> np.ndarray:
    """(N,) int64 that grows as the score falls; the same for equal scores."""
    by_score = np.argsort(-score, kind="stable")
    order = np.empty(len(score), dtype=np.int64)
    order[by_score] = np.cumsum(np.diff(score[by_score], prepend=np.inf) != 0)
    return order


def stable_argsort(keys: np.ndarray) -> np.ndarray:
    """Stable argsort of non-negative integers.

    numpy sorts 16-bit integers by radix, several times as fast as wider ones, so the sort goes
    over the keys' 16-bit digits, the lowest first.
    """
    order = np.arange(len(keys))
    for shift in range(0, int(keys.max(initial=1)).bit_length(), 16):
        digits = (keys[order] >> shift).astype(np.uint16)
        order = order[np.argsort(digits, kind="stable")]
    return order


def rank_in_run(keys: np.ndarray) -> np.ndarray:
    """Place of each entry within its run of equal neighbours, from 0; keys are not negative."""
    starts = np.flatnonzero(np.diff(keys, prepend=-1))
    return np.arange(len(keys)) - np.repeat(starts, np.diff(starts, append=len(keys)))


def _column(
    records: Sequence[dict],
    key: str,
    convert: Callable[[Any], Any] | None = None,
    dtype: type = np.int64,
) -> np.ndarray:
    """One key of all records as an array, each value passed through ``convert`` when given."""
    values: Iterable[Any] = map(itemgetter(key), records)
    try:
        return np.fromiter(map(convert, values) if convert else values, dtype, len(records))
    except KeyError as error:
        culprit = next(record for record in records if key not in record)
        where = f"image {culprit.get('image_id')!r}"
        raise ValueError(f"{where} has a record without {key!r}: {sorted(culprit)}") from error


def _check_results(
    results: Sequence[dict], image: np.ndarray, score: np.ndarray, vocabulary: Vocabulary
) -> None:
    for place in np.flatnonzero(image < 0).tolist():
        if results[place]["image_id"] not in vocabulary.known_images:
            culprit = results[place]["image_id"]
            raise ValueError(f"a result names image {culprit!r}, which the ground truth lacks")
    if not np.isfinite(score).all():
        culprit = results[int(np.argmin(np.isfinite(score)))]
        raise ValueError(f"image {culprit['image_id']!r} has a result of score {culprit['score']}")


def _boxes(records: Sequence[dict]) -> np.ndarray:
    """Boxes (N, 4) float64 as x, y, width, height."""
    lengths = _column(records, "bbox", len)
    if (lengths != 4).any():
        culprit = records[int(np.argmax(lengths != 4))]
        raise ValueError(
            f"image {culprit['image_id']!r} has the box {culprit['bbox']}; a box is 4 numbers"
        )
    values = chain.from_iterable(map(itemgetter("bbox"), records))
    return np.fromiter(values, np.float64, 4 * len(records)).reshape(-1, 4)


def _shapes_and_areas(results: Sequence[dict], iou_type: str) -> tuple[np.ndarray, np.ndarray]:
    """Boxes or RLEs of the results, and their areas as pycocotools' ``loadRes`` takes them."""
    if iou_type == "bbox":
        boxes = _boxes(results)
        return boxes, boxes[:, 2] * boxes[:, 3]
    _column(results, "segmentation", bool)
    masks = [result["segmentation"] for result in results]
    chunks = (masks[i : i + _AREA_CHUNK] for i in range(0, len(masks), _AREA_CHUNK))
    areas = [mask_api.area(chunk) for chunk in chunks]
    return np.array(masks, dtype=object), np.concatenate([np.empty(0), *areas])
