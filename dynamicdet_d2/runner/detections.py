# SPDX-License-Identifier: Apache-2.0
"""What a runner says about a picture, and from the network's pixels to the picture's."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dynamicdet_d2.runner.boxes import clipped, nonempty
from dynamicdet_d2.runner.masks import pasted


@dataclass(frozen=True)
class Proposals:
    """Of one image, in pixels of the network's input, by falling objectness. P of them.

    Attributes:
        boxes: (P, 4) x1, y1, x2, y2.
        logits: (P,) of objectness.
    """

    boxes: np.ndarray
    logits: np.ndarray


@dataclass(frozen=True)
class Found:
    """Detections in pixels of the network's input, by falling score. D of them.

    Attributes:
        boxes: (D, 4) x1, y1, x2, y2.
        scores: (D,).
        classes: (D,) int64.
        masks: (D, M, M) probabilities; None without a mask head.
    """

    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray
    masks: np.ndarray | None = None


@dataclass(frozen=True)
class Detections:
    """Detections in a picture, by falling score. D of them.

    Attributes:
        boxes: (D, 4) float32 x1, y1, x2, y2 in pixels of the picture.
        scores: (D,) float32 in (0, 1].
        classes: (D,) int64, from 0.
        masks: (D, height, width) bool; None without a mask head.
        difficulty: in (0, 1), 1 = hard; None of a static detector.
        route: "easy" or "hard"; None of a static detector.
    """

    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray
    masks: np.ndarray | None = None
    difficulty: float | None = None
    route: str | None = None

    def __len__(self) -> int:
        return len(self.scores)


def in_picture(
    found: Found,
    size: Sequence[int],
    original: tuple[int, int],
    difficulty: float | None,
    route: str | None,
) -> Detections:
    """As Detectron2's ``detector_postprocess``: scaled, clipped, without what is empty then.

    Args:
        size: height and width of the network's input, without padding.
        original: of the picture.
    """
    scale = np.array([original[1] / size[1], original[0] / size[0]], dtype=np.float32)
    boxes = clipped(found.boxes * np.tile(scale, 2), original)
    kept = nonempty(boxes)
    masks = None
    if found.masks is not None:
        masks = pasted(found.masks[kept], boxes[kept], original)
    return Detections(
        boxes[kept], found.scores[kept], found.classes[kept], masks, difficulty, route
    )
