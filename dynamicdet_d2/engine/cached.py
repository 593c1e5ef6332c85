# SPDX-License-Identifier: Apache-2.0
"""Training of a router on entries of the loss table: the batches and the optimizer.

N: training images; B: images per step; d: numbers that the router sees.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping

import torch
from detectron2.config import CfgNode
from torch import Tensor, nn
from torch.optim import Optimizer

from dynamicdet_d2.data.loading.epochs import epoch_order


class CachedBatches:
    """Batches of loss table entries, reshuffled every epoch; the same in every process.

    Every process makes the same steps on the same entries, so nothing has to be exchanged.
    """

    def __init__(
        self, numbers: Tensor, values: Tensor, batch_size: int, seed: int, step: int = 0
    ) -> None:
        """
        Args:
            numbers: (N, d), what the router sees.
            values: (N, ...), what it learns from.
            batch_size: B.
            seed: of the run.
            step: steps done.
        """
        self.numbers, self.values, self.batch_size = numbers, values, batch_size
        self._seed, self._step = seed, step

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for step in itertools.count(self._step):
            index = self.entries(step)
            yield self.numbers[index], self.values[index]

    def entries(self, step: int) -> list[int]:
        """The places, in [0, N), of a step's entries."""
        first = step * self.batch_size
        return [self._entry(p) for p in range(first, first + self.batch_size)]

    def _entry(self, position: int) -> int:
        size = len(self.numbers)
        epoch, place = divmod(position, size)
        return int(epoch_order(self._seed, epoch, size)[place])


def router_steps(cfg: CfgNode, num_images: int) -> int:
    """``SOLVER.ROUTER.EPOCHS`` over N images, the last step rounded up."""
    keys = cfg.SOLVER.ROUTER
    return -(-keys.EPOCHS * num_images // keys.IMS_PER_BATCH)


def router_optimizer(cfg: CfgNode, weights: Mapping[float, Iterable[nn.Parameter]]) -> Optimizer:
    """AdamW at constant learning rates (section 4.1).

    Args:
        weights: learning rate -> what it is for.
    """
    groups = [{"params": list(own), "lr": rate} for rate, own in weights.items()]
    return torch.optim.AdamW(groups, weight_decay=cfg.SOLVER.ROUTER.WEIGHT_DECAY)
