# SPDX-License-Identifier: Apache-2.0
"""The exponential moving average of a detector's weights, and when it takes the model's place."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from detectron2.config import CfgNode
from detectron2.engine import HookBase
from torch import Tensor, nn

State = dict[str, Tensor]


class WeightAverage(HookBase):
    """Averages parameters and statistics after each optimizer step.

    While it averages, the model itself holds the weights that are trained. The average takes
    their place in evaluations and in the ``"model"`` of checkpoints (``in_place``), and for good
    when a phase ends (``hand_over``). A checkpoint keeps the weights that are trained in the
    hook's state, so that a run resumes bit for bit.

    Processes of one run average each for itself: parameters are the same everywhere, and of the
    statistics the main process's count, here as elsewhere.
    """

    def __init__(self, model: nn.Module, *, decay: float, tau: float) -> None:
        """
        Args:
            model: never wrapped for several processes.
            decay: the largest weight of the average so far, in [0, 1).
            tau: updates that it takes to come close to it, > 0.
        """
        self._model, self._decay, self._tau = model, decay, tau
        self._active, self._updates = False, 0
        self._average: State = {}

    @classmethod
    def from_config(cls, cfg: CfgNode, model: nn.Module) -> "WeightAverage":
        """By ``SOLVER.EMA``."""
        return cls(model, decay=cfg.SOLVER.EMA.DECAY, tau=cfg.SOLVER.EMA.TAU)

    def begin(self) -> None:
        """Average from the next step on; begins with the weights that the model then has."""
        self._active, self._updates, self._average = True, 0, {}

    def hand_over(self) -> None:
        """End averaging; the model keeps the average, if there is one."""
        if self._average:
            _copy(self._average, self._model)
        self._active, self._average = False, {}

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The model holds the average inside, if there is one, and its own weights afterwards."""
        if not self._average:
            yield
            return
        own = _clone(self._model)
        _copy(self._average, self._model)
        try:
            yield
        finally:
            _copy(own, self._model)

    def before_step(self) -> None:
        if self._active and not self._average:
            self._average = _clone(self._model)

    def after_step(self) -> None:
        if self._average:
            self._updates += 1
            weight = self._decay * (1 - math.exp(-self._updates / self._tau))
            self._update(self._average, weight)

    def after_train(self) -> None:
        if self.trainer.iter >= self.trainer.max_iter:
            self.hand_over()

    def state_dict(self) -> dict:
        """The number of updates and the weights that are trained; {} while nothing is averaged."""
        if not self._average:
            return {}
        return {"updates": self._updates, "trained": _clone(self._model)}

    def load_state_dict(self, state_dict: dict) -> None:
        """Go on from a checkpoint whose ``"model"``, the average, is loaded already.

        Where nothing is averaged any more, the weights that were trained are gone on with.
        """
        if self._active:
            self._average, self._updates = _clone(self._model), state_dict["updates"]
        _copy(state_dict["trained"], self._model)

    @torch.no_grad()
    def _update(self, averages: State, weight: float) -> None:
        for name, value in self._model.state_dict().items():
            average = averages[name]
            if value.is_floating_point():
                # Exact where both are equal already, as of what is frozen.
                average.lerp_(value, 1 - weight)
            else:
                average.copy_(value)


def _clone(model: nn.Module) -> State:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


@torch.no_grad()
def _copy(state: State, model: nn.Module) -> None:
    # In place, where the optimised copy of a model and an optimizer see it.
    for name, value in model.state_dict().items():
        value.copy_(state[name])
