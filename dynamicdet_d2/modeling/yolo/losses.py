# SPDX-License-Identifier: Apache-2.0
"""The loss of one YOLO detector (YOLOv7, arXiv 2207.02696, section 4.3).

Every loss is a mean over what it compares, so it does not depend on the number of images: of the
order of 0.1 for an image with objects, 0.01 for one without. The published training multiplies
it by the images of the batch; with this mean the same SGD has the learning rate times the images
of the batch, and the weight decay divided by them.

N: images, L: levels, R: rows of the grid, n: matches, K = 5 + classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from detectron2.structures import Instances
from torch import Tensor, nn

from dynamicdet_d2.modeling.yolo.assignment import Matches, Targets, candidates, sim_ota
from dynamicdet_d2.modeling.yolo.boxes import complete_iou
from dynamicdet_d2.modeling.yolo.grid import AnchorGrid, Grid, flattened
from dynamicdet_d2.utils.precision import at_least_float32

Losses = dict[str, Tensor]

LEAD_REACH = 0.5
COARSE_REACH = 1.0
"""In cells, see ``candidates``: of a detection head, and of an auxiliary one (section 4.3)."""

_REFERENCE_SIZE = 640
_REFERENCE_CLASSES = 80
_REFERENCE_LEVELS = 3
_BALANCE = {3: (4.0, 1.0, 0.4), 4: (4.0, 1.0, 0.25, 0.06)}


@dataclass(frozen=True)
class LossSettings:
    """Weights of the parts and rules of the matching; the defaults are those of YOLOv7.

    Attributes:
        box_gain, objectness_gain, class_gain: weights for three levels, 80 classes, and training
            images of 640 x 640; ``gains`` says how they change with these.
        balance: weights of the objectness on each level, fine to coarse; empty: the published
            ones of three and four levels.
        train_size: side in pixels of the training images.
        max_ratio: of an object's and an anchor's sides, > 1.
        top_k: see ``sim_ota``.
        auxiliary_gain: weight of an auxiliary head's loss.
    """

    box_gain: float = 0.05
    objectness_gain: float = 0.7
    class_gain: float = 0.3
    balance: tuple[float, ...] = ()
    train_size: int = 640
    max_ratio: float = 4.0
    top_k: int = 10
    auxiliary_gain: float = 0.25

    def gains(self, levels: int, num_classes: int) -> tuple[float, float, float]:
        """Weights of the sums over the levels: of boxes, objectness and classes.

        More levels, smaller images and fewer classes make each of them smaller.
        """
        share = _REFERENCE_LEVELS / levels
        area = (self.train_size / _REFERENCE_SIZE) ** 2
        return (
            self.box_gain * share,
            self.objectness_gain * share * area,
            self.class_gain * share * num_classes / _REFERENCE_CLASSES,
        )

    def level_balance(self, levels: int) -> tuple[float, ...]:
        """``balance``, or the published one.

        Raises:
            ValueError: for another number of levels.
        """
        balance = self.balance or _BALANCE.get(levels, ())
        if len(balance) != levels:
            raise ValueError(
                f"MODEL.YOLO.LOSS.BALANCE is {list(self.balance)}; the model has {levels} levels "
                "and needs as many weights (empty: the published ones of 3 or 4 levels)."
            )
        return balance


class YOLOLoss(nn.Module):
    """The loss of given logits and objects; it holds no weights."""

    def __init__(self, grid: AnchorGrid, settings: LossSettings, num_classes: int) -> None:
        """
        Args:
            grid: of the detector's logits.
            settings: weights and rules.
            num_classes: at least 1; with one, there is no loss of classes.

        Raises:
            ValueError: if there are no balance weights for the grid's levels.
        """
        super().__init__()
        self.grid, self.settings, self.num_classes = grid, settings, num_classes
        self.gains = settings.gains(len(grid.strides), num_classes)
        self.balance = settings.level_balance(len(grid.strides))

    def forward(
        self, logits: Sequence[Tensor], targets: Targets, auxiliary: Sequence[Tensor] | None = None
    ) -> Losses:
        """
        Args:
            logits: (N, A, H, W, K) of each level.
            targets: objects of the N images.
            auxiliary: logits of the auxiliary head, of the same shapes.

        Returns:
            ``loss_box``, ``loss_obj``, ``loss_cls``, scalars whose sum is the loss; with
            ``auxiliary`` its share is in them.
        """
        grid = self.grid(logits)
        lead = at_least_float32(flattened(logits))
        losses = self._of_matches(lead, targets, grid, self.match(lead, targets, grid, LEAD_REACH))
        if auxiliary is None:
            return losses
        # The auxiliary head learns what the lead head would, but of more candidates.
        matches = self.match(lead, targets, grid, COARSE_REACH)
        others = at_least_float32(flattened(auxiliary))
        extra = self._of_matches(others, targets, grid, matches)
        return {k: loss + self.settings.auxiliary_gain * extra[k] for k, loss in losses.items()}

    def match(self, lead: Tensor, targets: Targets, grid: Grid, reach: float) -> Matches:
        """Which predictions learn which objects: candidates, and of them those of SimOTA.

        Args:
            lead: logits that the costs are of, (N, P, K), float32 or wider.
            targets: objects of the N images.
            grid: of the logits.
            reach: how far from an object's centre a candidate's cell may be, in cells.
        """
        among = candidates(targets, grid, self.settings.max_ratio, reach)
        return sim_ota(lead, targets, grid, among, self.settings.top_k)

    def _of_matches(self, logits: Tensor, targets: Targets, grid: Grid, matches: Matches) -> Losses:
        parts = matched_losses(logits, targets, grid, matches, self.balance)
        names = ("loss_box", "loss_obj", "loss_cls")
        return {k: gain * x for k, gain, x in zip(names, self.gains, parts, strict=True)}


def matched_losses(
    logits: Tensor, targets: Targets, grid: Grid, matches: Matches, balance: Sequence[float]
) -> tuple[Tensor, Tensor, Tensor]:
    """Losses of boxes, objectness and classes of given matches, before their gains.

    Args:
        logits: (N, R, K).
        targets: objects.
        grid: of the logits.
        matches: which rows stand for which objects.
        balance: weights of the objectness on each of L levels.

    Returns:
        three scalars: 1 - CIoU, summed over the levels' means; cross entropy of the objectness
        with the detached CIoU at matches and 0 elsewhere, a weighted sum of the levels' means;
        cross entropy of the classes, summed over the levels' means, 0 for a single class.
    """
    rows, levels = matches.rows, grid.levels[matches.rows]
    own = logits[matches.images, rows]
    overlap = complete_iou(
        grid.relative_boxes(own[:, :4], rows), _relative_targets(targets, matches, grid)
    )
    target = objectness_target(overlap.detach(), matches, logits.shape[:2])
    box = _sum_of_means(1 - overlap, levels, len(grid.sizes))
    entropy = F.binary_cross_entropy_with_logits(logits[..., 4], target, reduction="none")
    spans = zip(balance, grid.bounds[:-1], grid.bounds[1:], strict=True)
    means = (weight * entropy[:, start:end].mean() for weight, start, end in spans)
    objectness = sum(means, start=entropy.new_zeros(()))
    classes = _class_losses(own[:, 5:], targets.classes[matches.objects])
    return box, objectness, _sum_of_means(classes, levels, len(grid.sizes))


def objectness_target(overlap: Tensor, matches: Matches, shape: Sequence[int]) -> Tensor:
    """max(CIoU, 0) where an object was matched, else 0.

    Where a row was matched more than once the last match counts, on every device.

    Args:
        overlap: (n,) CIoU.
        shape: N and R.

    Returns:
        (N, R).
    """
    place = matches.images * shape[1] + matches.rows
    last = place.new_full((shape[0] * shape[1],), -1)
    number = torch.arange(len(place), device=place.device)
    last = last.scatter_reduce(0, place, number, reduce="amax")
    values = torch.cat([overlap.clamp(min=0), overlap.new_zeros(1)])  # -1 is the zero
    return values[last].view(*shape)


def _relative_targets(targets: Targets, matches: Matches, grid: Grid) -> Tensor:
    """(n, 4) matched objects in cells, with centres relative to the row's own cell."""
    boxes = targets.boxes[matches.objects] / grid.strides[matches.rows]
    return torch.cat([boxes[:, :2] - grid.cells[matches.rows], boxes[:, 2:]], dim=1)


def _class_losses(logits: Tensor, classes: Tensor) -> Tensor:
    """(n,) mean over the classes of the cross entropy with one-hot classes."""
    if logits.shape[1] == 1:
        return logits[:, 0] * 0.0
    target = F.one_hot(classes, logits.shape[1]).to(logits.dtype)
    return F.binary_cross_entropy_with_logits(logits, target, reduction="none").mean(dim=1)


def _sum_of_means(values: Tensor, levels: Tensor, count: int) -> Tensor:
    """Means over the matches of each level, summed; a level without any adds 0."""
    own = levels[None] == torch.arange(count, device=levels.device)[:, None]
    sums = torch.where(own, values[None], 0.0).sum(dim=1)
    return (sums / own.sum(dim=1).clamp(min=1)).sum()


def targets_of(instances: Sequence[Instances]) -> Targets:
    """Ground truth as targets: per image ``gt_boxes`` in pixels and ``gt_classes``."""
    boxes = torch.cat([x.gt_boxes.tensor for x in instances])
    centred = torch.cat([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], dim=1)
    classes = torch.cat([x.gt_classes for x in instances])
    return Targets(centred, classes, tuple(len(x) for x in instances))
