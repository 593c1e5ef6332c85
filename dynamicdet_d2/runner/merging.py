# SPDX-License-Identifier: Apache-2.0
"""Both detectors' detections of a hard image as one set, as ``modeling/exit_merging.py`` does it.

N, M: detections of detector1 and of detector2; P: pairs of them that are one object.
"""

import numpy as np

from dynamicdet_d2.runner.boxes import overlaps
from dynamicdet_d2.runner.detections import Found


def merged(first: Found, second: Found, least_iou: float, limit: int) -> Found:
    """The mean of both; of what only one has found, its box and half its score.

    Args:
        first, second: without masks.
        least_iou: from which boxes of one class are one object, in (0, 1].
        limit: detections kept, those of the highest scores.
    """
    same = first.classes[:, None] == second.classes
    rows, columns = _pairs(overlaps(first.boxes, second.boxes) * same, least_iou)
    ones, others = _taken(first, rows), _taken(second, columns)
    total = ones.scores + others.scores
    weight = (ones.scores / np.maximum(total, np.finfo(total.dtype).tiny))[:, None]
    both = Found(weight * ones.boxes + (1 - weight) * others.boxes, total, ones.classes)
    parts = [both, _left(first, rows), _left(second, columns)]
    scores = np.concatenate([part.scores for part in parts]) / 2
    boxes = np.concatenate([part.boxes for part in parts])
    classes = np.concatenate([part.classes for part in parts])
    return _taken(Found(boxes, scores, classes), np.argsort(-scores, kind="stable")[:limit])


def _pairs(overlaps: np.ndarray, least: float) -> tuple[np.ndarray, np.ndarray]:
    """Of an (N, M) matrix, two times (P,): rows and columns, each at most once, from the largest
    overlap down."""
    rows, columns = np.nonzero(overlaps >= least)
    order = np.argsort(-overlaps[rows, columns], kind="stable")
    chosen: dict[int, int] = {}
    for row, column in zip(rows[order].tolist(), columns[order].tolist(), strict=True):
        if row not in chosen and column not in chosen.values():
            chosen[row] = column
    return np.array(list(chosen), dtype=int), np.array(list(chosen.values()), dtype=int)


def _taken(found: Found, places: np.ndarray) -> Found:
    return Found(found.boxes[places], found.scores[places], found.classes[places])


def _left(found: Found, places: np.ndarray) -> Found:
    """What is in other places."""
    return _taken(found, np.delete(np.arange(len(found.scores)), places))
