# SPDX-License-Identifier: Apache-2.0
"""A hard image's detections from those of both detectors, instead of detector2's alone.

Two detectors that are about as good are right and wrong on different objects, so that their mean is
better than either. It costs a hard image detector1's tail as well.

N, M: detections of detector1 and of detector2; P: pairs of them that are one object.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from detectron2.config import CfgNode
from detectron2.structures import Boxes, Instances, pairwise_iou
from torch import Tensor

from dynamicdet_d2.config.ranges import between, integer
from dynamicdet_d2.modeling.own_fields import with_own_fields
from dynamicdet_d2.modeling.tail_results import check_detections


@dataclass(frozen=True)
class ExitMerging:
    """The mean of two sets of detections of one image.

    Attributes:
        least_iou: from which boxes of one class are one object, in (0, 1].
        limit: detections kept of an image, those of the highest scores, >= 1.
    """

    least_iou: float
    limit: int

    def __post_init__(self) -> None:
        """
        Raises:
            ValueError: a number is out of range, or none.
        """
        if not between(0, 1).number(self.least_iou, "least_iou of ExitMerging"):
            raise ValueError("least_iou of ExitMerging is 0; it must be above 0.")
        integer(at_least=1).whole(self.limit, "limit of ExitMerging")

    @classmethod
    def from_config(cls, cfg: CfgNode) -> "ExitMerging | None":
        """By ``MODEL.DYNAMIC.MERGE_EXITS_IOU``; None where it is 0."""
        least_iou = float(cfg.MODEL.DYNAMIC.MERGE_EXITS_IOU)
        return cls(least_iou, cfg.TEST.DETECTIONS_PER_IMAGE) if least_iou else None

    def __call__(self, first: Instances, second: Instances) -> Instances:
        """What both detectors say of one image.

        Of an object that both have found: the mean of the scores, and the mean of the boxes,
        weighted by the scores. Of one that only one has found: its box, and half its score, since
        the other says 0. Each detection is of one pair at most, the nearest ones first.

        Args:
            first, second: with boxes (x1, y1, x2, y2), scores in [0, 1] and classes.

        Returns:
            up to ``limit``, by descending score, with nothing else than boxes, scores and classes.
        """
        boxes, scores, classes = (
            [_values(own, name) for own in (first, second)]
            for name in ("pred_boxes", "scores", "pred_classes")
        )
        overlaps = pairwise_iou(Boxes(boxes[0]), Boxes(boxes[1]))
        overlaps = overlaps * (classes[0][:, None] == classes[1])
        pairs = _pairs(overlaps, self.least_iou)
        found = [own[index] for own, index in zip(scores, pairs, strict=True)]
        total = found[0] + found[1]
        weight = (found[0] / total.clamp(min=torch.finfo(total.dtype).tiny))[:, None]
        both = weight * boxes[0][pairs[0]] + (1 - weight) * boxes[1][pairs[1]]
        alone = [_others(index, len(own)) for own, index in zip(scores, pairs, strict=True)]
        merged_scores = torch.cat([total, *_taken(scores, alone)]) / 2
        kept = merged_scores.argsort(descending=True, stable=True)[: self.limit]
        return Instances(
            first.image_size,
            pred_boxes=Boxes(torch.cat([both, *_taken(boxes, alone)])[kept]),
            scores=merged_scores[kept],
            pred_classes=torch.cat([classes[0][pairs[0]], *_taken(classes, alone)])[kept],
        )


def hard_detections(
    merging: ExitMerging | None, first: Sequence[Instances], second: Sequence[Instances]
) -> list[Instances]:
    """What M images give on the hard route.

    Args:
        merging: of both exits; None: detector2 alone.
        first, second: detector1's and detector2's detections of each.

    Raises:
        ValueError, FloatingPointError: as ``check_detections``, of a program's own merging.
    """
    if merging is None:
        return list(second)
    sizes = [own.image_size for own in second]
    # One of a user's own may change what it is given, and detector1's count on the easy route too.
    pairs = zip(map(with_own_fields, first), map(with_own_fields, second), strict=True)
    merged = [merging(*both) for both in pairs]
    check_detections(merged, sizes, None, f"{type(merging).__name__}, the merging of both exits,")
    return merged


def _values(detections: Instances, name: str) -> Tensor:
    own = detections.get(name)
    return own.tensor if isinstance(own, Boxes) else own


def _pairs(overlaps: Tensor, least: float) -> list[Tensor]:
    """Of an (N, M) matrix, two times (P,): rows and columns, each at most once, from the largest
    overlap down."""
    rows, columns = (overlaps >= least).nonzero(as_tuple=True)
    order = overlaps[rows, columns].argsort(descending=True, stable=True)
    chosen: dict[int, int] = {}
    for row, column in zip(rows[order].tolist(), columns[order].tolist(), strict=True):
        if row not in chosen and column not in chosen.values():
            chosen[row] = column
    return [
        torch.tensor(list(x), dtype=torch.long, device=overlaps.device)
        for x in (chosen.keys(), chosen.values())
    ]


def _others(index: Tensor, count: int) -> Tensor:
    """(count,) whether a place is not in the index."""
    return torch.ones(count, dtype=torch.bool, device=index.device).index_fill(0, index, False)


def _taken(values: Sequence[Tensor], chosen: Sequence[Tensor]) -> list[Tensor]:
    return [own[places] for own, places in zip(values, chosen, strict=True)]
