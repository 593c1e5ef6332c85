# SPDX-License-Identifier: Apache-2.0
"""The columns of the loss table, and the pass over the training images that measures them.

A further column is one more function of an ``Observed`` and its entry in ``COLUMNS``; the inputs of
the model's router are columns, too, each by its name.

B: images of a batch; N: training images.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from detectron2.structures import Instances
from detectron2.utils import comm
from torch import Tensor

from dynamicdet_d2.data.loading.corrupt import ImageLoader
from dynamicdet_d2.engine.loss_table.table import LossTable
from dynamicdet_d2.evaluation.coco.matched_sweep import as_rows
from dynamicdet_d2.evaluation.coco.set_gains import Boxes, MatchedImage, match_image, set_gains
from dynamicdet_d2.evaluation.exit_records import EXITS
from dynamicdet_d2.evaluation.image_ap import ap_gain
from dynamicdet_d2.modeling.dynamic_detector import DynamicDetector
from dynamicdet_d2.utils.progress import Progress
from dynamicdet_d2.utils.words import named_image, shown


class Observed:
    """A batch of the pass: what the model says of it is computed once, when a column asks."""

    def __init__(self, model: DynamicDetector, images: list[dict]) -> None:
        """
        Args:
            model: in evaluation mode.
            images: with ``"instances"``, whose boxes are in pixels of the network's input.
        """
        self._model, self.images = model, images

    @cached_property
    def inputs_and_losses(self) -> tuple[dict[str, Tensor], Tensor]:
        """The router's inputs, by name (B, count), and losses (B, 2), on the CPU."""
        numbers, losses = self._model.router_inputs_and_losses(self.images)
        counts = self._model.router.counts
        by_input = numbers.cpu().split(list(counts.values()), dim=1)
        return dict(zip(counts, by_input, strict=True)), losses.cpu()

    @cached_property
    def exits(self) -> list[dict]:
        """``model.exits``, with boxes in the ground truth's scale and not in the file's."""
        sizes = [image["image"].shape[-2:] for image in self.images]
        return self._model.exits(
            [
                {**image, "height": height, "width": width}
                for image, (height, width) in zip(self.images, sizes, strict=True)
            ]
        )

    @cached_property
    def matched(self) -> list[MatchedImage]:
        """Both exits' boxes, matched to the objects."""
        return [
            match_image(
                [_boxes(exits[name], "pred_boxes", "pred_classes", "scores") for name in EXITS],
                _boxes(image["instances"], "gt_boxes", "gt_classes", "gt_classes"),
            )
            for exits, image in zip(self.exits, self.images, strict=True)
        ]


@dataclass(frozen=True)
class Column:
    """How a column is measured.

    Attributes:
        measure: a batch -> B entries, small and without tensors: they are sent between processes,
            and a pickled slice of a tensor drags its whole batch along.
        gather: the N entries of all processes, in the data set's order -> float32, (N, ...)
            unless the column says otherwise.
    """

    measure: Callable[[Observed], Iterable[Any]]
    gather: Callable[[Sequence[Any]], Tensor]


def _stacked(rows: Sequence[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(rows))


def _input(name: str) -> Column:
    """(N, count), what the router sees, not standardised."""
    return Column(lambda batch: batch.inputs_and_losses[0][name].numpy(), _stacked)


def _losses(batch: Observed) -> Iterable[np.ndarray]:
    return batch.inputs_and_losses[1].numpy()


def _ap(batch: Observed) -> list[float]:
    pairs = zip(batch.exits, batch.images, strict=True)
    return [ap_gain(exits, image["instances"]) for exits, image in pairs]


def _gain(images: Sequence[MatchedImage]) -> Tensor:
    # By the number of images, or the gains of a larger set would be smaller throughout.
    return torch.from_numpy(len(images) * set_gains(images)).float()


def _boxes(instances: Instances, boxes: str, label: str, score: str) -> Boxes:
    corners = instances.get(boxes).tensor.cpu().double().numpy()
    return Boxes(
        boxes=np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1),
        label=instances.get(label).cpu().numpy().astype(np.int64),
        score=instances.get(score).cpu().double().numpy(),
    )


COLUMNS = {
    # (N, 2), L1 and L2.
    "losses": Column(_losses, _stacked),
    # (N,), the image's own box AP under detector2 less that under detector1, in percent.
    "ap": Column(_ap, torch.tensor),
    # (N,), first-order gain of the set's box AP by detector2, as a share of AP that the set would
    # gain if every image gained as much. Regions of crowds count as background.
    "gain": Column(lambda batch: batch.matched, _gain),
    # (R, 6), both exits' detections and the objects as ``matched_sweep.as_rows`` puts them, from
    # which the set's AP under any routing follows.
    "matched": Column(lambda batch: batch.matched, lambda x: torch.from_numpy(as_rows(x))),
}


# Columns whose entries are not one an image.
NOT_BY_IMAGE = ("matched",)


def check_columns(names: Iterable[str], inputs: Iterable[str]) -> None:
    """Refuse columns that cannot be measured, as of an objective of a program's own.

    Args:
        inputs: names of the router's, each a column.

    Raises:
        ValueError: naming the first.
    """
    seen = list(inputs)
    both = [name for name in seen if name in COLUMNS]
    if both:
        raise ValueError(
            f"An input of the router is registered as '{both[0]}', which another column of the "
            "loss table is called; it needs another name."
        )
    for name in names:
        if name not in COLUMNS and name not in seen:
            raise ValueError(
                f"The loss table has no column {shown(name)}, which is to be learnt from: it has "
                f"{', '.join(COLUMNS)} and the router's inputs (MODEL.ROUTER.INPUTS), "
                f"{', '.join(seen)}."
            )


def measure_losses(
    model: DynamicDetector,
    loader: ImageLoader | Sequence[list[dict]],
    columns: Sequence[str] = ("features", "losses"),
) -> LossTable:
    """Go once over the training images, split over the processes; detectors are left as they are.

    Args:
        model: in evaluation mode.
        loader: batches of this process's images, each with its ``"dataset_index"``.
        columns: names of ``COLUMNS``, ``"losses"`` among them, or of the router's inputs.

    Returns:
        the table of all processes' images, the same in every process.

    Raises:
        ValueError: if there is no image, or as ``check_columns``.
        FloatingPointError: naming an image on which losses are not finite.
    """
    check_columns(columns, model.router.counts)
    rows: list[tuple] = []
    chosen = [COLUMNS.get(name) or _input(name) for name in columns]
    progress = Progress(len(loader), "Loss offset")
    for images in loader:
        batch = Observed(model, images)
        _check_losses(batch)
        entries = (column.measure(batch) for column in chosen)
        rows.extend(zip([x["dataset_index"] for x in images], *entries, strict=True))
        progress.step()
    everyone = sorted((row for part in comm.all_gather(rows) for row in part), key=lambda r: r[0])
    if not everyone:
        raise ValueError("No training image is left to measure the loss offset on.")
    _, *by_column = zip(*everyone, strict=True)
    gathered = zip(columns, chosen, by_column, strict=True)
    return LossTable({name: column.gather(entries) for name, column, entries in gathered})


def _check_losses(batch: Observed) -> None:
    """
    Raises:
        FloatingPointError: naming the first image on which a loss is not finite.
    """
    try:
        finite = torch.isfinite(batch.inputs_and_losses[1]).all(dim=1).tolist()
    except FloatingPointError:  # Detectron2's, of boxes, which does not say of which image
        finite = [False]
    if not all(finite):
        place = finite.index(False)
        image = named_image(batch.images[place], f"Image {place} of a batch")
        others = " or one beside it" if len(finite) < len(batch.images) else ""
        raise FloatingPointError(
            f"{image}{others}: the detectors' losses are not finite, so that no loss offset can be "
            "measured. They have diverged in a phase before, which a lower SOLVER.BASE_LR may "
            "prevent, or MODEL.WEIGHTS are at fault."
        )
