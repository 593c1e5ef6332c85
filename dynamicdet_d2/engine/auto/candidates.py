# SPDX-License-Identifier: Apache-2.0
"""What "auto" tries, and the training of a router by each of them.

N: images of a loss table; B: images per step; d: numbers that the router sees; h: hidden units;
L: learning rates; O: objectives; K = L O candidates, by learning rate and then by objective.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice, product

import numpy as np
import torch
from detectron2.config import CfgNode
from numpy.typing import NDArray
from torch import Tensor

from dynamicdet_d2.engine.auto.stack import RouterStack
from dynamicdet_d2.engine.cached import CachedBatches, router_optimizer, router_steps
from dynamicdet_d2.engine.loss_table import LossTable
from dynamicdet_d2.engine.objectives import OBJECTIVES, Loss, fitted
from dynamicdet_d2.modeling.router import AdaptiveRouter

# The paper's 1e-5 moves a router of few standardised inputs hardly at all in a few hundred steps.
LEARNING_RATES = (1e-4, 1e-3, 1e-2)


@dataclass(frozen=True)
class Candidate:
    """A way to train the router.

    Attributes:
        learning_rate: constant.
        objective: of ``OBJECTIVES``.
    """

    learning_rate: float
    objective: str


CANDIDATES = tuple(Candidate(*pair) for pair in product(LEARNING_RATES, OBJECTIVES))


@dataclass(frozen=True)
class Course:
    """What all candidates have in common.

    Attributes:
        cfg: ``SOLVER.ROUTER`` says how long, and in what batches.
        router: whose inputs and size they have; it stays as it is.
        seed: of initial weights and of the order of the images.
    """

    cfg: CfgNode
    router: AdaptiveRouter
    seed: int

    def trained(self, table: LossTable, images: Sequence[int]) -> RouterStack:
        """A router of each candidate that has learnt from some images of a table.

        The steps are those of phase "router" itself, with the same batches, optimizer, and epochs
        over the images given; only that all candidates make each step at once. Medians and
        standardisation are these images' own.

        Args:
            images: places in the table, at least one.
        """
        index = torch.as_tensor(images)
        numbers = self._numbers(table)[index]
        stack = RouterStack(self.router, LEARNING_RATES, len(OBJECTIVES), self.seed)
        stack.router.set_standard(numbers)
        columns = [table[own.column][index].to(numbers.device) for own in OBJECTIVES.values()]
        losses = [fitted(*pair) for pair in zip(OBJECTIVES, columns, strict=True)]
        places = torch.arange(len(index), device=numbers.device)
        batches = CachedBatches(numbers, places, self.cfg.SOLVER.ROUTER.IMS_PER_BATCH, self.seed)
        optimizer = router_optimizer(self.cfg, stack.by_rate())
        for some, place in islice(batches, router_steps(self.cfg, len(index))):
            optimizer.zero_grad()
            difficulties = stack(some).unbind(dim=1)  # of each objective, (L, B)
            own = zip(losses, difficulties, columns, strict=True)
            parts = [_sum_over_rates(loss, x, column[place]) for loss, x, column in own]
            torch.stack(parts).sum().backward()
            optimizer.step()
        return stack

    @torch.no_grad()
    def difficulties(
        self, stack: RouterStack, table: LossTable, images: Sequence[int]
    ) -> NDArray[np.float64]:
        """What the routers of all candidates say of n images of a table: (K, n).

        In logits, as the phase's last step keeps their order (``AdaptiveRouter.tell_apart``); not
        finite where a candidate has diverged.
        """
        numbers = self._numbers(table)[torch.as_tensor(images)]
        return stack.logits(numbers).flatten(0, 1).cpu().double().numpy()

    def _numbers(self, table: LossTable) -> Tensor:
        """(N, d), what the router sees, on its device."""
        columns = [table[name] for name in self.router.counts]
        return torch.cat(columns, dim=1).to(self.router.hidden.weight.device)


def _sum_over_rates(loss: Loss, difficulty: Tensor, values: Tensor) -> Tensor:
    """An objective's loss, which is a mean over images, added up over the learning rates.

    Args:
        difficulty: (L, B).
        values: (B, ...), the objective's.
    """
    rates = len(difficulty)
    repeated = values.repeat(rates, *[1] * (values.dim() - 1))
    return rates * loss(difficulty.flatten(), repeated)
