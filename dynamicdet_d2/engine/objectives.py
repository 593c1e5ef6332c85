# SPDX-License-Identifier: Apache-2.0
"""What the router can learn (``SOLVER.ROUTER.OBJECTIVE``): which measured column, by which loss.

An objective of another kind is one more entry of ``OBJECTIVES``, and where it needs something else
measured of every image, one more column in ``loss_table/columns.py``.

N: training images; B: images per step.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import Tensor

from dynamicdet_d2.modeling.losses import (
    loss_offset,
    median,
    router_ap_loss,
    router_gain_loss,
    router_loss,
)

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


def _loss(losses: Tensor) -> Loss:
    return partial(router_loss, offset=loss_offset(losses))


def _ap(gains: Tensor) -> Loss:
    return router_ap_loss


def _gain(gains: Tensor) -> Loss:
    return partial(router_gain_loss, median=median(gains))


def _hardness(losses: Tensor) -> Loss:
    middle = median(losses[:, 0])
    return lambda difficulty, losses: router_gain_loss(difficulty, losses[:, 0], middle)


OBJECTIVES = {
    # Eq. 12: hard where L1 - L2 is above its median.
    "loss": Objective("losses", _loss, online=True),
    # The paper's ablation (section 4.4.2): hard where detector2 has the better AP on the image.
    "ap": Objective("ap", _ap, online=False),
    # Hard where L1 is above its median: what detector1 finds difficult, whatever detector2 makes
    # of it.
    "hardness": Objective("losses", _hardness, online=True),
    # Hard where the image adds more to the whole set's AP, by detector2, than the median image.
    "gain": Objective("gain", _gain, online=False),
}
