# SPDX-License-Identifier: Apache-2.0
"""First-order gains of a whole set's AP from images that are matched one at a time.

A training set's detections, kept as COCO results, would fill the memory. So each image is matched
while its detections are there, and 13 bytes per detection are kept.

Letters: N detections (of both exits), G objects, I images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dynamicdet_d2.evaluation.coco.arrays import (
    Detections,
    Objects,
    rank_in_run,
    score_order,
    stable_argsort,
)
from dynamicdet_d2.evaluation.coco.gains import first_order_gains
from dynamicdet_d2.evaluation.coco.matching import (
    MAX_DETECTIONS,
    SETTING_BITS,
    Outcomes,
    match,
)
from dynamicdet_d2.evaluation.coco.ranking import RankedDetections

# The IoU thresholds at objects of every size: the ten lowest bits.
_ALL_SIZES = np.bitwise_or.reduce(SETTING_BITS[0])


@dataclass(frozen=True)
class Boxes:
    """Detections or objects of one image.

    Attributes:
        boxes: (N, 4) float64, x, y, width, height in pixels.
        label: (N,) int64, class, from 0.
        score: (N,) float64; of objects it is not read.
    """

    boxes: np.ndarray
    label: np.ndarray
    score: np.ndarray


@dataclass(frozen=True)
class MatchedImage:
    """What the gains need of one image.

    Attributes:
        exit: (N,) uint8, 0 is detector1; ascending, and by falling score within class and exit.
        label: (N,) int32.
        score: (N,) float32.
        positive, counted: (N,) uint16, bit t: at IoU threshold t the detection is a true
            positive, and a true or a false one.
        wanted: (G,) int32, the objects' classes.
    """

    exit: np.ndarray
    label: np.ndarray
    score: np.ndarray
    positive: np.ndarray
    counted: np.ndarray
    wanted: np.ndarray


def match_image(exits: Sequence[Boxes], objects: Boxes) -> MatchedImage:
    """Match the boxes of detector1 and detector2 in one image to its objects, none a crowd."""
    detections = _detections(exits)
    truth = _objects(objects)
    outcomes = match(detections, truth)
    label, exit_index = np.divmod(detections.cell, 2)
    return MatchedImage(
        exit=exit_index.astype(np.uint8),
        label=label.astype(np.int32),
        score=detections.score.astype(np.float32),
        positive=(outcomes.positive & _ALL_SIZES).astype(np.uint16),
        counted=(outcomes.counted & _ALL_SIZES).astype(np.uint16),
        wanted=truth.cell.astype(np.int32),
    )


def set_gains(images: Sequence[MatchedImage]) -> np.ndarray:
    """Derivative of the set's box AP by the share of each image that takes detector2.

    See ``gains.first_order_gains``; the images are the whole set.

    Returns:
        (I,) float64, as a share of AP (0.01 is one percent of AP).
    """
    ranked, wanted = ranked_images(images), wanted_classes(images)
    classes = 1 + max(ranked.label.max(initial=-1), wanted.max(initial=-1))
    return first_order_gains(ranked, np.bincount(wanted, minlength=classes), len(images))


def wanted_classes(images: Sequence[MatchedImage]) -> np.ndarray:
    """(G,) int32, classes of all objects, image by image."""
    return np.concatenate([image.wanted for image in images])


def ranked_images(images: Sequence[MatchedImage]) -> RankedDetections:
    """All images' detections, ranked by class as those of a whole set."""
    label = np.concatenate([image.label for image in images]).astype(np.int64)
    score = np.concatenate([image.score for image in images]).astype(np.float64)
    exit_index = np.concatenate([image.exit for image in images])
    index = np.repeat(np.arange(len(images)), [len(image.label) for image in images])
    cell = (label * len(images) + index) * 2 + exit_index
    order = stable_argsort(cell)
    detections = _by_cell(cell[order], score[order], np.zeros((len(order), 4)))
    positive, counted = (
        np.concatenate([getattr(image, name) for image in images]).astype(np.uint64)[order]
        for name in ("positive", "counted")
    )
    outcomes = Outcomes(positive, counted, np.empty((0, 1), dtype=bool))
    return RankedDetections.build(detections, outcomes, len(images))


def _detections(exits: Sequence[Boxes]) -> Detections:
    """The best of each class and exit of one image, as COCO counts them."""
    boxes, label, score = (
        np.concatenate([getattr(found, name) for found in exits])
        for name in ("boxes", "label", "score")
    )
    cell = label * 2 + np.repeat((0, 1), [len(found.label) for found in exits])
    order = np.argsort(-score, kind="stable")
    order = order[stable_argsort(cell[order])]
    order = order[rank_in_run(cell[order]) < MAX_DETECTIONS[-1]]
    return _by_cell(cell[order], score[order], boxes[order])


def _by_cell(cell: np.ndarray, score: np.ndarray, boxes: np.ndarray) -> Detections:
    return Detections(
        cell=cell,
        rank=rank_in_run(cell),
        score=score,
        score_order=score_order(score),
        area=boxes[:, 2] * boxes[:, 3],
        shapes=boxes,
    )


def _objects(objects: Boxes) -> Objects:
    order = stable_argsort(objects.label)
    boxes = objects.boxes[order]
    none = np.zeros(len(order), dtype=bool)
    return Objects(
        cell=objects.label[order],
        crowd=none,
        area=boxes[:, 2] * boxes[:, 3],
        null_id=none,
        shapes=boxes,
    )
