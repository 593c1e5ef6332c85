# SPDX-License-Identifier: Apache-2.0
"""The sweep over images that were matched one at a time, and such images as rows of numbers.

Letters: I images, R rows: detections and objects.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from dynamicdet_d2.evaluation.coco.matching import NUM_AREAS
from dynamicdet_d2.evaluation.coco.set_gains import MatchedImage, ranked_images, wanted_classes
from dynamicdet_d2.evaluation.coco.sweep import CocoSweep

# In the place of a detection's exit.
_OBJECT = 2


class MatchedSweep(CocoSweep):
    """Figures over objects of all sizes: AP, AP50, AP75 and recalls; those of a size are NaN.

    Attributes:
        image_ids: 0 to I - 1, the places of the images.
        category_ids: classes as the model counts them.
    """

    def __init__(self, images: Sequence[MatchedImage]) -> None:
        """
        Args:
            images: I, at least one.
        """
        count = len(images)
        self.image_ids = tuple(range(count))
        self._sorted = np.arange(count)
        ranked, wanted = ranked_images(images), wanted_classes(images).astype(np.int64)
        classes = 1 + max(ranked.label.max(initial=-1), wanted.max(initial=-1))
        self.category_ids = tuple(range(classes))
        image = np.repeat(np.arange(count), [len(image.wanted) for image in images])
        counted = np.zeros((len(wanted), NUM_AREAS), dtype=bool)
        counted[:, 0] = True
        self._rank(ranked, wanted * count + image, counted)

    def image_gains(self) -> np.ndarray:
        """As ``CocoSweep``; computed once, since many scores are judged by them."""
        return self._gains

    @cached_property
    def _gains(self) -> np.ndarray:
        return super().image_gains()


def as_rows(images: Sequence[MatchedImage]) -> np.ndarray:
    """(R, 6) float32: image, exit, class, score, and the bits of true and of counted detections.

    An object has the exit 2, and nothing after its class. All numbers are small enough to be
    exact.
    """
    return np.concatenate([_rows(place, image) for place, image in enumerate(images)])


def from_rows(rows: np.ndarray, num_images: int) -> list[MatchedImage]:
    """The images that ``as_rows`` was given."""
    starts = np.searchsorted(rows[:, 0], np.arange(1, num_images))
    return [_image(part) for part in np.split(rows, starts)]


def _rows(place: int, image: MatchedImage) -> np.ndarray:
    detections = np.stack(
        [image.exit, image.label, image.score, image.positive, image.counted], axis=1
    )
    objects = np.zeros((len(image.wanted), detections.shape[1]))
    objects[:, 0], objects[:, 1] = _OBJECT, image.wanted
    both = np.concatenate([detections, objects])
    return np.insert(both, 0, place, axis=1).astype(np.float32)


def _image(rows: np.ndarray) -> MatchedImage:
    is_object = rows[:, 1] == _OBJECT
    _, exit_index, label, score, positive, counted = rows[~is_object].T
    return MatchedImage(
        exit=exit_index.astype(np.uint8),
        label=label.astype(np.int32),
        score=score,
        positive=positive.astype(np.uint16),
        counted=counted.astype(np.uint16),
        wanted=rows[is_object, 2].astype(np.int32),
    )
