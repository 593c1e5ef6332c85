# SPDX-License-Identifier: Apache-2.0
"""From logits to detections: every class of a prediction may be a detection of its own.

R: rows of the grid, K = 5 + classes, D: candidates or detections of one image.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from detectron2.structures import Boxes, ImageList, Instances
from torch import Tensor, nn
from torchvision.ops import batched_nms

from dynamicdet_d2.modeling.yolo.boxes import corners
from dynamicdet_d2.modeling.yolo.grid import AnchorGrid, Grid, flattened
from dynamicdet_d2.modeling.yolo.padding import PlacedImages
from dynamicdet_d2.utils.precision import at_least_float32


@dataclass(frozen=True)
class DetectionSettings:
    """What becomes a detection; the defaults are those of YOLOv7's published figures.

    Attributes:
        score_threshold: objectness and score must be above it, in [0, 1).
        nms_threshold: IoU above which the lower score of a class goes, in [0, 1].
        max_candidates: best ones per image that NMS looks at.
        max_detections: per image.
        multi_label: whether every class of a prediction is a candidate; else its best one.
    """

    score_threshold: float = 0.001
    nms_threshold: float = 0.65
    max_candidates: int = 30_000
    max_detections: int = 300
    multi_label: bool = True

    def limited(self, candidates: int) -> "DetectionSettings":
        """With this many candidates at most; 0: as they are."""
        kept = min(candidates or self.max_candidates, self.max_candidates)
        return replace(self, max_candidates=kept)


class YOLODetections(nn.Module):
    """Detections of given logits; it holds no weights."""

    def __init__(self, grid: AnchorGrid, settings: DetectionSettings) -> None:
        super().__init__()
        self.grid, self.settings = grid, settings

    def forward(
        self, logits: Sequence[Tensor], images: ImageList, limits: Sequence[int] | None = None
    ) -> list[Instances]:
        """
        Args:
            logits: (N, A, H, W, K) of each level.
            images: the padded batch; of ``PlacedImages`` boxes are moved to the image's corner.
            limits: candidates kept of each image; 0: as the settings say, as without limits.

        Returns:
            per image ``pred_boxes`` in its own pixels, not clipped, ``scores`` in (0, 1] in
            descending order and ``pred_classes``.
        """
        grid = self.grid(logits)
        placed = isinstance(images, PlacedImages)
        shifts = images.shifts if placed else [(0.0, 0.0)] * len(images)
        results = []
        for own, size, shift, limit in zip(
            flattened(logits),
            images.image_sizes,
            shifts,
            [0] * len(images) if limits is None else limits,
            strict=True,
        ):
            boxes, scores, classes = detect(own, grid, self.settings.limited(limit))
            boxes = boxes - boxes.new_tensor([*shift, *shift])
            result = Instances(size, pred_boxes=Boxes(boxes), scores=scores, pred_classes=classes)
            results.append(result)
        return results


def detect(
    logits: Tensor, grid: Grid, settings: DetectionSettings
) -> tuple[Tensor, Tensor, Tensor]:
    """Detections of one image.

    Args:
        logits: (R, K).
        grid: of the logits.
        settings: what becomes a detection.

    Returns:
        boxes (D, 4) as x1, y1, x2, y2 in pixels of the padded image; scores and classes (D,).
    """
    logits = at_least_float32(logits)
    rows, scores, classes = scored(logits, settings)
    best = scores.argsort(descending=True, stable=True)[: settings.max_candidates]
    rows, scores, classes = rows[best], scores[best], classes[best]
    boxes = corners(grid.boxes(logits[rows, :4], rows))
    kept = batched_nms(boxes, scores, classes, settings.nms_threshold)
    kept = kept[: settings.max_detections]
    return boxes[kept], scores[kept], classes[kept]


def scored(logits: Tensor, settings: DetectionSettings) -> tuple[Tensor, Tensor, Tensor]:
    """Candidates of one image: their rows, scores and classes, (D,) each.

    The score is objectness times class probability; with a single class it is the objectness.

    Args:
        logits: (R, K).
    """
    threshold = settings.score_threshold
    rows = (logits[:, 4].sigmoid() > threshold).nonzero().squeeze(1)
    objectness = logits[rows, 4:5].sigmoid()
    single = logits.shape[1] == 6
    scores = objectness if single else objectness * logits[rows, 5:].sigmoid()
    if settings.multi_label:
        which, classes = (scores > threshold).nonzero(as_tuple=True)
        return rows[which], scores[which, classes], classes
    best, classes = scores.max(dim=1)
    kept = best > threshold
    return rows[kept], best[kept], classes[kept]
