# SPDX-License-Identifier: Apache-2.0
"""Which predictions learn which objects: candidates, and SimOTA among them. Pure.

Candidates are near an object and of about its size (YOLOv7, arXiv 2207.02696, section 4.2);
SimOTA (YOLOX, arXiv 2107.08430, section 2.1) takes the cheapest of them. Nothing is random and
nothing depends on the order in which a device works.

M: objects of the batch, G: objects of an image, A: anchors per position, H, W: size of a level in
cells, R: rows of the grid, C: candidates of an image, K = 5 + classes.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from dynamicdet_d2.modeling.yolo.boxes import pairwise_iou
from dynamicdet_d2.modeling.yolo.grid import Grid

_LOCATION_WEIGHT = 3.0
_IOU_EPS = 1e-8
_MIN_LOG = -100.0
"""As PyTorch's binary cross entropy, which a probability of exactly 1 would make infinite."""


@dataclass(frozen=True)
class Targets:
    """Objects of a batch, image by image.

    Attributes:
        boxes: (M, 4) centre, width and height in pixels of the padded image.
        classes: (M,) int64.
        counts: objects of each image; their sum is M.
    """

    boxes: Tensor
    classes: Tensor
    counts: tuple[int, ...]

    def images(self) -> Tensor:
        """(M,) the image of each object."""
        counts = torch.tensor(self.counts, device=self.boxes.device)
        numbers = torch.arange(len(self.counts), device=self.boxes.device)
        return numbers.repeat_interleave(counts, output_size=sum(self.counts))


@dataclass(frozen=True)
class Matches:
    """Rows of the grid and the objects that they stand for; a row may come more than once.

    Attributes:
        images: (n,) which image of the batch.
        rows: (n,) which row of the grid.
        objects: (n,) which of the M objects.
    """

    images: Tensor
    rows: Tensor
    objects: Tensor


def candidates(targets: Targets, grid: Grid, max_ratio: float = 4.0, reach: float = 0.5) -> Matches:
    """Rows that an object could be matched to, level by level.

    An anchor takes part if neither its sides nor the object's are ``max_ratio`` times the
    other's. Its cells are the one with the object's centre and those beside it that are nearer
    than ``reach``: with 0.5 three as a rule, with 1.0 all four neighbours. Cells may come twice.

    Args:
        targets: objects.
        grid: of the predictions.
        max_ratio: greatest ratio of sides, exclusive; > 1.
        reach: in cells, in (0, 1].
    """
    images = targets.images()
    rows, objects = [], []
    for level, (height, width) in enumerate(grid.sizes):
        start = grid.bounds[level]
        first = slice(start, grid.bounds[level + 1], height * width)
        boxes = targets.boxes / grid.strides[start]
        anchor, cell, which = _of_level(
            boxes, grid.anchors[first], (height, width), max_ratio, reach
        )
        rows.append(start + anchor * height * width + cell[:, 1] * width + cell[:, 0])
        objects.append(which)
    all_objects = torch.cat(objects)
    return Matches(images[all_objects], torch.cat(rows), all_objects)


def _of_level(
    boxes: Tensor, anchors: Tensor, size: tuple[int, int], max_ratio: float, reach: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Candidates of one level.

    Args:
        boxes: (M, 4) in cells.
        anchors: (A, 2) in cells.
        size: height and width in cells.

    Returns:
        (n,) anchors, (n, 2) columns and rows, (n,) objects; sorted by neighbour (own cell, left,
        above, right, below), anchor and object.
    """
    ratios = boxes[None, :, 2:] / anchors[:, None]
    fits = torch.maximum(ratios, 1 / ratios).amax(dim=2) < max_ratio  # (A, M)
    near, offsets = _neighbours(boxes[:, :2], size, reach)
    neighbour, anchor, which = (near[:, None] & fits[None]).nonzero(as_tuple=True)
    cells = (boxes[which, :2] + offsets[neighbour]).floor().long()
    limits = torch.tensor([size[1] - 1, size[0] - 1], device=boxes.device)
    return anchor, torch.minimum(cells.clamp(min=0), limits), which


def _neighbours(centres: Tensor, size: tuple[int, int], reach: float) -> tuple[Tensor, Tensor]:
    """Which of five cells each centre has, (5, M), and what leads to them, (5, 2) in cells."""
    extent = centres.new_tensor([size[1], size[0]])
    before = (centres % 1 < reach) & (centres > 1)
    rest = extent - centres
    behind = (rest % 1 < reach) & (rest > 1)
    own = torch.ones_like(before[:, :1])
    near = torch.cat([own, before, behind], dim=1).T
    offsets = centres.new_tensor([[0, 0], [-1, 0], [0, -1], [1, 0], [0, 1]]) * reach
    return near, offsets


@torch.no_grad()
def sim_ota(
    logits: Tensor, targets: Targets, grid: Grid, among: Matches, top_k: int = 10
) -> Matches:
    """For each image, the candidates that its objects take at least cost.

    Args:
        logits: (N, R, K) before the sigmoid.
        targets: objects of N images.
        grid: of the logits.
        among: candidates.
        top_k: how many of the largest IoUs with an object say how many candidates it takes.
    """
    matched, first = [], 0
    for image, count in enumerate(targets.counts):
        own = (among.images == image).nonzero().squeeze(1)
        rows = among.rows[own]
        here = slice(first, first + count)
        taken, which = _match_image(
            logits[image, rows], rows, targets.boxes[here], targets.classes[here], grid, top_k
        )
        matched.append((own[taken], which + first))
        first += count
    index = torch.cat([own for own, _ in matched])
    objects = torch.cat([which for _, which in matched])
    return Matches(among.images[index], among.rows[index], objects)


def _match_image(
    logits: Tensor, rows: Tensor, boxes: Tensor, classes: Tensor, grid: Grid, top_k: int
) -> tuple[Tensor, Tensor]:
    """SimOTA of one image.

    Args:
        logits: (C, K) of the candidates.
        rows: (C,) of the grid.
        boxes: (G, 4) in pixels.
        classes: (G,).

    Returns:
        which candidates are taken, (n,) ascending, and by which object, (n,).
    """
    if not len(rows):
        return rows, rows
    iou = pairwise_iou(boxes, grid.boxes(logits[:, :4], rows))
    cost = class_cost(logits[:, 4:], classes) - _LOCATION_WEIGHT * (iou + _IOU_EPS).log()
    return cheapest(cost, dynamic_k(iou, top_k))


def dynamic_k(iou: Tensor, top_k: int) -> Tensor:
    """How many candidates each object takes: the whole part of its largest IoUs' sum, >= 1.

    Args:
        iou: (G, C), C >= 1.
        top_k: how many of the largest; fewer where there are fewer.

    Returns:
        (G,) int64.
    """
    largest = iou.topk(min(top_k, iou.shape[1]), dim=1).values
    return largest.sum(dim=1).long().clamp(min=1)


def class_cost(logits: Tensor, classes: Tensor) -> Tensor:
    """Cross entropy of sqrt(class probability x objectness) with every object's class.

    It is summed over the classes; what does not depend on the object is summed once.

    Args:
        logits: (C, 1 + classes), objectness first.
        classes: (G,).

    Returns:
        (G, C).
    """
    log_probability = (F.logsigmoid(logits[:, 1:]) + F.logsigmoid(logits[:, :1])) / 2
    log_rest = torch.log1p(-log_probability.exp()).clamp(min=_MIN_LOG)  # (C, classes)
    right, wrong = log_probability.clamp(min=_MIN_LOG)[:, classes], log_rest[:, classes]
    return (wrong - right - log_rest.sum(dim=1, keepdim=True)).T


def cheapest(cost: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
    """Each object takes its k cheapest candidates; one that several take goes to the least cost.

    The least cost is that of the candidate's whole column, even of an object that had not taken
    it. Among equal costs the first candidate, or object, is taken.

    Args:
        cost: (G, C).
        k: (G,).

    Returns:
        which candidates are taken, (n,) ascending, and by which object, (n,).
    """
    order = cost.argsort(dim=1, stable=True)
    places = torch.arange(cost.shape[1], device=cost.device).expand_as(order)
    taken = torch.zeros_like(cost, dtype=torch.bool).scatter(1, order, places < k[:, None])
    takers = taken.sum(dim=0)
    least = cost.argmin(dim=0)
    owner = torch.where(takers > 1, least, taken.long().argmax(dim=0))
    index = takers.nonzero().squeeze(1)
    return index, owner[index]
