# SPDX-License-Identifier: Apache-2.0
"""From pyramid and RPN predictions to detections, as Detectron2's RPN and ROI heads do it.

N: images, R: regions of all images, K: classes.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dynamicdet_d2.runner.boxes import (
    anchors_of,
    apply_deltas,
    best_first,
    clipped,
    nms,
    nonempty,
)
from dynamicdet_d2.runner.dense import by_position
from dynamicdet_d2.runner.detections import Found, Proposals
from dynamicdet_d2.runner.roi_align import roi_align
from dynamicdet_d2.runner.runtimes import Arrays, Piece

DAMAGED = "the weights of the exported detector are damaged"


class TwoStageHead:
    """RPN, box head and mask head."""

    def __init__(
        self,
        settings: Mapping[str, Any],
        pieces: Mapping[str, Piece],
        ending: str,
        threads: int | None = None,
    ) -> None:
        """
        Args:
            settings: "heads" of the manifest.
            pieces: "boxes", and "masks" where there is a mask head.
            ending: of these names.
            threads: to pool regions in; None: as many as there are cores.
        """
        self.settings, self.pieces, self._ending = settings, pieces, ending
        self._threads = threads
        levels = range(len(settings["rpn"]["strides"]))
        pools = [settings[name] for name in ("boxes", "masks") if settings[name] is not None]
        pyramid = dict.fromkeys(level for pool in pools for level in pool["levels"])
        predictions = [f"{kind}_{i}" for kind in ("logits", "deltas") for i in levels]
        self.outputs = [*pyramid, *predictions]
        self.needs = {f"boxes{ending}": ["scores", "box_deltas"]}
        if settings["masks"] is not None:
            self.needs[f"masks{ending}"] = ["masks"]

    def __call__(
        self,
        outputs: Arrays,
        sizes: Sequence[tuple[int, int]],
        limits: Sequence[int],
        proposals: Sequence[Proposals] | None = None,
    ) -> list[Found]:
        """N images' detections.

        Args:
            outputs: by name, of ``self.outputs``.
            sizes: N heights and widths.
            limits: candidates kept of each image; 0: as the settings say.
            proposals: of each image, where they are known already.
        """
        if proposals is None:
            proposals = self.proposals(outputs, sizes)
        kept = [own.boxes[: limit or None] for own, limit in zip(proposals, limits, strict=True)]
        regions = _regions(kept)
        predicted = self._pooled("boxes", outputs, regions, ["scores", "box_deltas"])
        found = []
        for n, (boxes, size) in enumerate(zip(kept, sizes, strict=True)):
            rows = regions[:, 0] == n
            deltas, scores = predicted["box_deltas"][rows], predicted["scores"][rows]
            found.append(self._image(boxes, deltas, scores, size))
        return found if self.settings["masks"] is None else self._with_masks(outputs, found)

    def proposals(self, outputs: Arrays, sizes: Sequence[tuple[int, int]]) -> list[Proposals]:
        """Of each image, as many as the settings say."""
        own = self.settings["rpn"]
        levels = range(len(own["strides"]))
        counts = [len(cell) for cell in own["cell_anchors"]]
        logits = [by_position(outputs[f"logits_{i}"], 1, counts[i])[..., 0] for i in levels]
        deltas = [by_position(outputs[f"deltas_{i}"], 4, counts[i]) for i in levels]
        anchors = [
            anchors_of(
                np.array(own["cell_anchors"][i], np.float32),
                outputs[f"logits_{i}"].shape[2:],
                own["strides"][i],
                own["offset"],
            )
            for i in levels
        ]
        return [
            self._proposals(
                [level[n] for level in logits], [level[n] for level in deltas], anchors, size
            )
            for n, size in enumerate(sizes)
        ]

    def _proposals(
        self,
        logits: list[np.ndarray],
        deltas: list[np.ndarray],
        anchors: list[np.ndarray],
        size: tuple[int, int],
    ) -> Proposals:
        own = self.settings["rpn"]
        found = []
        for level, (score, delta, anchor) in enumerate(zip(logits, deltas, anchors, strict=True)):
            best = best_first(score, own["pre_nms_topk"])
            boxes = apply_deltas(delta[best], anchor[best], own["weights"], own["scale_clamp"])
            found.append((boxes, score[best], np.full(len(best), level)))
        boxes, scores, level_of = (np.concatenate(part) for part in zip(*found, strict=True))
        finite = np.isfinite(boxes).all(axis=1) & np.isfinite(scores)
        boxes = clipped(boxes, size)
        kept = np.flatnonzero(finite & nonempty(boxes, own["min_box_size"]))
        best = nms(boxes[kept], scores[kept], level_of[kept], own["nms_threshold"])
        chosen = kept[best[: own["post_nms_topk"]]]
        return Proposals(boxes[chosen], scores[chosen])

    def _image(
        self, boxes: np.ndarray, deltas: np.ndarray, scores: np.ndarray, size: tuple[int, int]
    ) -> Found:
        """Detections of an image; only what can be one is decoded.

        Args:
            boxes: (R, 4), the regions.
            deltas: (R, 4 or 4 K).
            scores: (R, K + 1).
            size: height and width.
        """
        own = self.settings["boxes"]
        finite = np.isfinite(deltas).all(axis=1) & np.isfinite(scores).all(axis=1)
        if len(finite) and not finite.any():
            raise ValueError(f"No region has finite scores and a finite box: {DAMAGED}.")
        rows, classes = np.nonzero((scores[:, :-1] > own["score_threshold"]) & finite[:, None])
        of_class = deltas.reshape(len(deltas), deltas.shape[1] // 4, 4)
        moves = of_class[rows, 0 if of_class.shape[1] == 1 else classes]
        chosen = apply_deltas(moves, boxes[rows], own["weights"], own["scale_clamp"])
        chosen, values = clipped(chosen, size), scores[rows, classes]
        kept = nms(chosen, values, classes, own["nms_threshold"])[: own["max_detections"]]
        return Found(chosen[kept], values[kept], classes[kept])

    def _with_masks(self, outputs: Arrays, found: list[Found]) -> list[Found]:
        regions = _regions([own.boxes for own in found])
        logits = self._pooled("masks", outputs, regions, ["masks"])["masks"]
        if not np.isfinite(logits).all():
            raise ValueError(f"A mask is not finite: {DAMAGED}.")
        result = []
        for n, own in enumerate(found):
            rows = logits[regions[:, 0] == n]
            classes = own.classes if rows.shape[1] > 1 else np.zeros_like(own.classes)
            masks = rows[np.arange(len(rows)), classes]
            result.append(Found(own.boxes, own.scores, own.classes, masks))
        return result

    def _pooled(self, name: str, outputs: Arrays, regions: np.ndarray, wanted: list[str]) -> Arrays:
        """A head's outputs for (R, 5) regions, each pooled from the level of its size."""
        own = self.settings[name]
        # Of no region a blank one is made: runtimes refuse inputs of nothing.
        given = regions if len(regions) else np.zeros((1, 5), dtype=np.float32)
        levels = [outputs[level] for level in own["levels"]]
        rows = roi_align(levels, given, _level_of(given[:, 1:], own), own, self._threads)
        found = self.pieces[name + self._ending]({"pooled": rows}, wanted)
        return {key: value[: len(regions)] for key, value in found.items()}


def _regions(boxes: Sequence[np.ndarray]) -> np.ndarray:
    """(R, 5) number of the image and box, image after image."""
    numbers = np.repeat(np.arange(len(boxes)), [len(own) for own in boxes])
    return np.concatenate(
        [numbers[:, None].astype(np.float32), np.concatenate(boxes).reshape(-1, 4)], axis=1
    ).astype(np.float32)


def _level_of(boxes: np.ndarray, pool: Mapping[str, Any]) -> np.ndarray:
    """(R,) which level of the pooler a box is pooled from (equation 1 of the FPN paper)."""
    side = np.sqrt((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))
    scale = side / np.float32(pool["canonical_size"]) + np.float32(1e-8)
    level = np.floor(np.float32(pool["canonical_level"]) + np.log2(scale))
    first = pool["min_level"]
    last = first + len(pool["levels"]) - 1
    return np.clip(level, first, last).astype(np.int64) - first
