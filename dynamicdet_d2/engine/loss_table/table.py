# SPDX-License-Identifier: Apache-2.0
"""The loss table: named columns with an entry for every training image."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from dynamicdet_d2.modeling.losses import loss_gap, loss_offset


@dataclass(frozen=True)
class LossTable:
    """What was measured of every training image, in the order of the data set.

    N: training images.

    Attributes:
        columns: name, as in ``columns.COLUMNS`` -> (N, ...), or of the shape that is said there.
            ``"losses"``, (N, 2), L1 and L2, is always among them.
    """

    columns: Mapping[str, Tensor]

    def __getitem__(self, name: str) -> Tensor:
        """The column of that name, (N, ...)."""
        return self.columns[name]

    def __len__(self) -> int:
        """N."""
        return len(self["losses"])

    @property
    def offset(self) -> float:
        """Delta of eq. 12."""
        return loss_offset(self["losses"])

    def summary(self) -> dict[str, float]:
        """Median and quartiles of the gap L1 - L2, means of both losses, number of images."""
        losses = self["losses"].double()
        low, high = loss_gap(losses).quantile(torch.tensor([0.25, 0.75]).double())
        mean1, mean2 = losses.mean(dim=0).tolist()
        return {
            "loss_offset/median": self.offset,
            "loss_offset/quartile1": float(low),
            "loss_offset/quartile3": float(high),
            "loss_offset/L1": mean1,
            "loss_offset/L2": mean2,
            "loss_offset/num_images": float(len(self)),
        }
