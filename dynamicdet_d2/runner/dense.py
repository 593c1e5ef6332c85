# SPDX-License-Identifier: Apache-2.0
"""From a dense head's predictions to detections: RetinaNet and FCOS, as Detectron2 does it.

N: images, A: anchors per position, K: classes, D: boxes.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dynamicdet_d2.runner.boxes import (
    anchors_of,
    apply_deltas,
    apply_distances,
    best_first,
    nms,
    sigmoid,
)
from dynamicdet_d2.runner.detections import Found
from dynamicdet_d2.runner.runtimes import Arrays


def by_position(level: np.ndarray, channels: int, anchors: int) -> np.ndarray:
    """(N, A channels, H, W) -> (N, H W A, channels).

    Args:
        anchors: A, as the manifest has it.

    Raises:
        ValueError: the network has another number.
    """
    images, found, height, width = level.shape
    if found != anchors * channels:
        raise ValueError(
            f"A level of the network has {found} channels, and by manifest.json {anchors} anchors "
            f"of {channels} numbers: they are not of one export."
        )
    level = level.reshape(images, -1, channels, height, width)
    return level.transpose(0, 3, 4, 1, 2).reshape(images, -1, channels)


class DenseHead:
    """RetinaNet or FCOS."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        """``settings``: "heads" of the manifest."""
        self.settings = settings
        self.levels = len(settings["strides"])
        kinds = ("logits", "deltas", "centerness")
        self.kinds = kinds if settings["kind"] == "fcos" else kinds[:2]
        self.outputs = [f"{kind}_{i}" for kind in self.kinds for i in range(self.levels)]

    def __call__(
        self, outputs: Arrays, sizes: Sequence[tuple[int, int]], limits: Sequence[int]
    ) -> list[Found]:
        """N images' detections.

        Args:
            outputs: by name, of ``self.outputs``.
            sizes: N heights and widths.
            limits: candidates kept of each image; 0: as the settings say.
        """
        own = self.settings
        channels = {"logits": own["num_classes"], "deltas": 4, "centerness": 1}
        parts = {
            kind: [
                by_position(outputs[f"{kind}_{i}"], channels[kind], len(cell))
                for i, cell in enumerate(own["cell_anchors"])
            ]
            for kind in self.kinds
        }
        anchors = [
            anchors_of(
                np.array(cell, np.float32), outputs[f"deltas_{i}"].shape[2:], stride, own["offset"]
            )
            for i, (cell, stride) in enumerate(
                zip(own["cell_anchors"], own["strides"], strict=True)
            )
        ]
        return [
            self._image(
                {kind: [level[n] for level in parts[kind]] for kind in parts}, anchors, limit
            )
            for n, limit in enumerate(limits)
        ]

    def _image(self, parts: Mapping[str, list], anchors: list[np.ndarray], limit: int) -> Found:
        own, found = self.settings, []
        candidates = min(limit or own["max_candidates"], own["max_candidates"])
        for i in range(self.levels):
            scores = sigmoid(parts["logits"][i])
            if "centerness" in parts:
                scores = np.sqrt(scores * sigmoid(parts["centerness"][i]))
            places, classes = np.nonzero(scores > own["score_threshold"])
            values = scores[places, classes]
            best = best_first(values, candidates)
            places, classes, values = places[best], classes[best], values[best]
            deltas, own_anchors = parts["deltas"][i][places], anchors[i][places]
            if "centerness" in parts:
                boxes = apply_distances(deltas, own_anchors)
            else:
                boxes = apply_deltas(deltas, own_anchors, own["weights"], own["scale_clamp"])
            found.append((boxes, values, classes))
        boxes, scores, labels = (np.concatenate(part) for part in zip(*found, strict=True))
        kept = nms(boxes, scores, labels, own["nms_threshold"])[: own["max_detections"]]
        return Found(boxes[kept], scores[kept], labels[kept])
