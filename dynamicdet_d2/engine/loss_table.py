# SPDX-License-Identifier: Apache-2.0
"""The pass between the phases: both detectors' losses of every training image, once."""

import os
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from detectron2.utils import comm
from torch import Tensor, nn

from dynamicdet_d2.evaluation.coco.image_ap import ap_gains
from dynamicdet_d2.modeling.dynamic_rcnn import DynamicRCNN
from dynamicdet_d2.modeling.losses import loss_gap, loss_offset
from dynamicdet_d2.operating_point import weights_fingerprint
from dynamicdet_d2.utils.files import whole_file
from dynamicdet_d2.utils.progress import Progress


@dataclass(frozen=True)
class LossTable:
    """What the router learns from, an entry an image, in the order of the data set.

    N: training images, d: channels pooled by the router.

    Attributes:
        pooled: (N, d) float32, the router's input.
        losses: (N, 2) float32, L1 and L2.
        gains: (N,) float32, AP under detector2 less that under detector1; None: not measured.
    """

    pooled: Tensor
    losses: Tensor
    gains: Tensor | None = None

    @property
    def offset(self) -> float:
        """Delta of eq. 12."""
        return loss_offset(self.losses)

    def summary(self) -> dict[str, float]:
        """Median and quartiles of the gap L1 - L2, means of both losses, number of images."""
        low, high = loss_gap(self.losses.double()).quantile(torch.tensor([0.25, 0.75]).double())
        mean1, mean2 = self.losses.double().mean(dim=0).tolist()
        return {
            "loss_offset/median": self.offset,
            "loss_offset/quartile1": float(low),
            "loss_offset/quartile3": float(high),
            "loss_offset/L1": mean1,
            "loss_offset/L2": mean2,
            "loss_offset/num_images": float(len(self.losses)),
        }


def measure_losses(
    model: DynamicRCNN, loader: Iterable[list[dict]], with_gains: bool = False
) -> LossTable:
    """Go once over the training images, split over the processes; detectors are left as they are.

    Args:
        model: in evaluation mode.
        loader: batches of this process's images, each with its ``"dataset_index"``; has a length.
        with_gains: measure each image's gain in AP as well.

    Returns:
        the table of all processes' images, the same in every process.

    Raises:
        ValueError: if there is no image.
    """
    rows = []
    progress = Progress(len(loader), "Loss offset")
    for batch in loader:
        pooled, losses = model.router_inputs_and_losses(batch)
        gains = ap_gains(model, batch) if with_gains else [0.0] * len(batch)
        indices = [x["dataset_index"] for x in batch]
        parts = (indices, pooled.cpu().numpy(), losses.cpu().numpy(), gains)
        rows.extend(zip(*parts, strict=True))
        progress.step()
    # Numpy, since gathering pickles and a pickled slice of a tensor drags its whole batch along.
    everyone = sorted((row for part in comm.all_gather(rows) for row in part), key=lambda r: r[0])
    if not everyone:
        raise ValueError("No training image is left to measure the loss offset on.")
    pooled = torch.stack([torch.from_numpy(row[1]) for row in everyone])
    losses = torch.stack([torch.from_numpy(row[2]) for row in everyone])
    gains = torch.tensor([row[3] for row in everyone]) if with_gains else None
    return LossTable(pooled=pooled, losses=losses, gains=gains)


class LossTableFile:
    """Keeps the table beside the checkpoints, for a resumed router phase.

    A table belongs to the detectors that it was measured with; one of other weights is not used.
    """

    def __init__(self, directory: str) -> None:
        self.path = os.path.join(directory, "loss_table.pth")

    def save(self, table: LossTable, model: DynamicRCNN) -> None:
        """Write from the main process; a kill leaves the old file or the new one."""
        if not comm.is_main_process():
            return
        content = {
            "pooled": table.pooled,
            "losses": table.losses,
            "gains": table.gains,
            "detectors": detectors_fingerprint(model),
        }
        with whole_file(self.path) as file:
            torch.save(content, file)

    def load(self, model: DynamicRCNN, with_gains: bool = False) -> LossTable | None:
        """The table of these very detectors, or None; in all processes or in none."""
        table = self._read(model)
        if table is not None and with_gains and table.gains is None:
            table = None
        # Where the folder is not shared, processes without a file must not measure alone.
        return table if all(comm.all_gather(table is not None)) else None

    def _read(self, model: DynamicRCNN) -> LossTable | None:
        if not os.path.isfile(self.path):
            return None
        content = torch.load(self.path, map_location="cpu", weights_only=True)
        if content["detectors"] != detectors_fingerprint(model):
            return None
        return LossTable(content["pooled"], content["losses"], content["gains"])


def detectors(model: DynamicRCNN) -> nn.ModuleDict:
    """Everything but the router."""
    children = model.named_children()
    return nn.ModuleDict({name: child for name, child in children if child is not model.router})


def detectors_fingerprint(model: DynamicRCNN) -> str:
    """Of parameters and statistics of everything but the router."""
    return weights_fingerprint(detectors(model))
