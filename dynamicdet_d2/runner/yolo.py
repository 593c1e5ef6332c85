# SPDX-License-Identifier: Apache-2.0
"""From a YOLO head's logits to detections.

N: images, R: rows by level, anchor, row and column, K = 5 + classes.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dynamicdet_d2.runner.boxes import nms, sigmoid
from dynamicdet_d2.runner.detections import Found
from dynamicdet_d2.runner.runtimes import Arrays


class YoloHead:
    """YOLOv7."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        """``settings``: "heads" of the manifest."""
        self.settings = settings
        self.outputs = [f"logits_{i}" for i in range(len(settings["strides"]))]

    def __call__(
        self, outputs: Arrays, sizes: Sequence[tuple[int, int]], limits: Sequence[int]
    ) -> list[Found]:
        """N images' detections.

        Args:
            outputs: logits (N, A, H, W, K) of each level, by the names ``self.outputs``.
            sizes: N heights and widths.
            limits: candidates kept of each image; 0: as the settings say.
        """
        levels = [outputs[name] for name in self.outputs]
        grid = [self._grid(i, level.shape[1:4]) for i, level in enumerate(levels)]
        cells, anchors, strides = (np.concatenate(part) for part in zip(*grid, strict=True))
        rows = np.concatenate(
            [level.reshape(len(level), -1, level.shape[-1]) for level in levels], axis=1
        )
        return [
            self._image(own, limit, cells, anchors, strides)
            for own, limit in zip(rows, limits, strict=True)
        ]

    def _grid(self, level: int, shape: Sequence[int]) -> tuple[np.ndarray, ...]:
        """Cells, anchors in cells, and strides of a level's rows."""
        anchors, height, width = shape
        if anchors != len(self.settings["anchors"][level]):
            raise ValueError(
                f"A level of the network has {anchors} anchors, and by manifest.json "
                f"{len(self.settings['anchors'][level])}: they are not of one export."
            )
        stride = np.float32(self.settings["strides"][level])
        x, y = np.meshgrid(np.arange(width), np.arange(height))
        cells = np.stack([x, y], axis=-1).astype(np.float32)
        sides = np.array(self.settings["anchors"][level], dtype=np.float32) / stride
        full = (anchors, height, width, 2)
        return (
            np.broadcast_to(cells, full).reshape(-1, 2),
            np.broadcast_to(sides[:, None, None], full).reshape(-1, 2),
            np.full((anchors * height * width, 1), stride),
        )

    def _image(
        self,
        logits: np.ndarray,
        limit: int,
        cells: np.ndarray,
        anchors: np.ndarray,
        strides: np.ndarray,
    ) -> Found:
        own = self.settings
        rows, scores, classes = self._scored(logits)
        candidates = min(limit or own["max_candidates"], own["max_candidates"])
        best = np.argsort(-scores, kind="stable")[:candidates]
        rows, scores, classes = rows[best], scores[best], classes[best]
        x = sigmoid(logits[rows, :4])
        centres = 2 * x[:, :2] - np.float32(0.5) + cells[rows]
        half = np.square(2 * x[:, 2:]) * anchors[rows] / 2
        boxes = np.concatenate([centres - half, centres + half], axis=1) * strides[rows]
        kept = nms(boxes, scores, classes, own["nms_threshold"])[: own["max_detections"]]
        return Found(boxes[kept], scores[kept], classes[kept])

    def _scored(self, logits: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rows, scores and classes of the candidates."""
        threshold = self.settings["score_threshold"]
        rows = np.flatnonzero(sigmoid(logits[:, 4]) > threshold)
        objectness = sigmoid(logits[rows, 4:5])
        single = logits.shape[1] == 6
        scores = objectness if single else objectness * sigmoid(logits[rows, 5:])
        if self.settings["multi_label"]:
            which, classes = np.nonzero(scores > threshold)
            return rows[which], scores[which, classes], classes
        classes = scores.argmax(axis=1)
        best = scores[np.arange(len(scores)), classes]
        kept = best > threshold
        return rows[kept], best[kept], classes[kept]
