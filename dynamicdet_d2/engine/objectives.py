# SPDX-License-Identifier: Apache-2.0
"""What the router can learn (``SOLVER.ROUTER.OBJECTIVE``): which measured column, by which loss.

An objective of another kind is one more entry of ``OBJECTIVES``, and where it needs something else
measured of every image, one more column in ``loss_table/columns.py``.

N: training images; B: images per step.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dynamicdet_d2.engine.loss_table.columns import NOT_BY_IMAGE
from dynamicdet_d2.modeling.losses import (
    loss_offset,
    median,
    router_ap_loss,
    router_gain_loss,
    router_loss,
)
from dynamicdet_d2.utils.words import shown

Loss = Callable[[Tensor, Tensor], Tensor]
"""Difficulties (B,) and the entries (B, ...) of the objective's column -> a scalar."""


@dataclass(frozen=True)
class Objective:
    """One way to say which images should be hard.

    Attributes:
        column: of the loss table that it learns from.
        fit: makes the loss, given the whole column (N, ...), whose median it is balanced by.
        online: whether mode "online" can compute the column's entries anew at every step; it has
            losses alone.
    """

    column: str
    fit: Callable[[Tensor], Loss]
    online: bool

    def __post_init__(self) -> None:
        """
        Raises:
            ValueError: the column has no entry of each image, or mode "online" has none of it.
        """
        if self.column in NOT_BY_IMAGE:
            raise ValueError(
                f"An objective cannot learn from the column '{self.column}', which has no entry of "
                "each image."
            )
        if self.online and self.column != "losses":
            raise ValueError(
                f"An objective of the column '{self.column}' is online; mode 'online' has 'losses' "
                "alone."
            )


def _loss(losses: Tensor) -> Loss:
    return partial(router_loss, offset=loss_offset(losses))


def _ap(gains: Tensor) -> Loss:
    return router_ap_loss


def _gain(gains: Tensor) -> Loss:
    return partial(router_gain_loss, median=median(gains))


def _hardness(losses: Tensor) -> Loss:
    middle = median(losses[:, 0])
    return lambda difficulty, losses: router_gain_loss(difficulty, losses[:, 0], middle)


def _hardness_regression(losses: Tensor) -> Loss:
    rank = _rank_among(losses[:, 0])
    return lambda difficulty, losses: F.mse_loss(difficulty, rank(losses[:, 0].detach()))


def _gain_rank(gains: Tensor) -> Loss:
    rank = _rank_among(gains)
    middle = median(rank(gains))
    return lambda difficulty, gains: router_gain_loss(difficulty, rank(gains), middle)


def _rank_among(values: Tensor) -> Callable[[Tensor], Tensor]:
    """The share of (N,) values that others (B,) are above: (B,), in [0, 1].

    Of equal values, half counts.
    """
    ordered = values.sort().values

    def rank(others: Tensor) -> Tensor:
        places = [
            torch.searchsorted(ordered.to(others.device), others.contiguous(), right=right)
            for right in (False, True)
        ]
        return (places[0] + places[1]).to(others.dtype) / (2 * len(ordered))

    return rank


OBJECTIVES = {
    # Eq. 12: hard where L1 - L2 is above its median.
    "loss": Objective("losses", _loss, online=True),
    # The paper's ablation (section 4.4.2): hard where detector2 has the better AP on the image.
    "ap": Objective("ap", _ap, online=False),
    # Hard where L1 is above its median: what detector1 finds difficult, whatever detector2 makes
    # of it.
    "hardness": Objective("losses", _hardness, online=True),
    # How hard, and not only on which side of the median: the difficulty becomes the share of the
    # training images that have a smaller L1, by least squares.
    "hardness_regression": Objective("losses", _hardness_regression, online=True),
    # Hard where the image adds more to the whole set's AP, by detector2, than the median image.
    "gain": Objective("gain", _gain, online=False),
    # The same by the rank of the gain, so that a few images of a large one do not outweigh all.
    "gain_rank": Objective("gain", _gain_rank, online=False),
}


def fitted(name: str, column: Tensor) -> Loss:
    """The loss of an objective.

    Args:
        name: of ``OBJECTIVES``.
        column: the whole of it, (N, ...).

    Raises:
        ValueError: ``fit`` of a program's own objective gives none.
    """
    loss: Any = OBJECTIVES[name].fit(column)
    if not callable(loss):
        raise ValueError(
            f"fit of the objective '{name}' returns {shown(loss)}; it must return the loss, a "
            "function of difficulties and the column's entries."
        )
    return loss


@dataclass(frozen=True)
class Lesson:
    """What a router learns, and how fast.

    Attributes:
        objective: of ``OBJECTIVES``.
        learning_rate: constant.
        scalars: for log and metrics, beside those of the training.
    """

    objective: str
    learning_rate: float
    scalars: Mapping[str, float] = field(default_factory=dict)

    @property
    def column(self) -> str:
        """Of the loss table that it learns from."""
        return OBJECTIVES[self.objective].column
