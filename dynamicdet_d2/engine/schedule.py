# SPDX-License-Identifier: Apache-2.0
"""Schedules of the learning rate by name, and warm-ups of biases and momentum."""

import logging
from collections.abc import Callable

from detectron2.config import CfgNode
from detectron2.solver import LRMultiplier, build_lr_scheduler
from detectron2.solver.lr_scheduler import WarmupParamScheduler
from fvcore.common.param_scheduler import (
    CosineParamScheduler,
    MultiStepParamScheduler,
    ParamScheduler,
)
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from dynamicdet_d2.config.ranges import nearest
from dynamicdet_d2.utils.words import shown

logger = logging.getLogger(__name__)

# In an optimizer's group: the learning rate that its warm-up begins with.
WARMUP_LR = "warmup_lr"


def _steps(cfg: CfgNode) -> ParamScheduler:
    keys = cfg.SOLVER
    steps = [step for step in keys.STEPS if step < keys.MAX_ITER]
    values = [keys.GAMMA**count for count in range(len(steps) + 1)]
    return MultiStepParamScheduler(values, milestones=steps, num_updates=keys.MAX_ITER)


def _cosine(cfg: CfgNode) -> ParamScheduler:
    rate = cfg.SOLVER.BASE_LR
    return CosineParamScheduler(1, cfg.SOLVER.BASE_LR_END / rate if rate else 0)


# SOLVER.LR_SCHEDULER_NAME -> what BASE_LR is multiplied by, without its warm-up.
SCHEDULES: dict[str, Callable[[CfgNode], ParamScheduler]] = {
    "WarmupMultiStepLR": _steps,
    "WarmupCosineLR": _cosine,
}


def build_schedule(cfg: CfgNode, optimizer: Optimizer) -> LRScheduler:
    """By ``SOLVER.LR_SCHEDULER_NAME``; without the keys that the project adds, Detectron2's own.

    Args:
        cfg: ``SOLVER.MAX_ITER`` is at least 1.
        optimizer: of ``build_detectors_optimizer``, whose groups say which are of biases.

    Raises:
        ValueError: there is no schedule of that name.
    """
    keys = cfg.SOLVER
    if keys.WARMUP_ITERS >= keys.MAX_ITER:
        logger.warning(
            "SOLVER.WARMUP_ITERS is %d and SOLVER.MAX_ITER %d: the learning rate is warmed up to "
            "the end, and SOLVER.BASE_LR is never reached.",
            *(keys.WARMUP_ITERS, keys.MAX_ITER),
        )
    if not (keys.BASE_LR_END or _has_warmups(cfg)) or keys.LR_SCHEDULER_NAME not in SCHEDULES:
        return _by_detectron2(cfg, optimizer)
    share = min(keys.WARMUP_ITERS / keys.MAX_ITER, 1.0)
    schedule = SCHEDULES[keys.LR_SCHEDULER_NAME](cfg)
    multiplier = WarmupParamScheduler(schedule, keys.WARMUP_FACTOR, share, keys.WARMUP_METHOD)
    momentum = None
    if keys.WARMUP_MOMENTUM is not None:
        momentum = keys.WARMUP_MOMENTUM, keys.MOMENTUM
    return Warmups(optimizer, multiplier, keys.MAX_ITER, keys.WARMUP_ITERS, momentum)


def _by_detectron2(cfg: CfgNode, optimizer: Optimizer) -> LRScheduler:
    name = cfg.SOLVER.LR_SCHEDULER_NAME
    try:
        return build_lr_scheduler(cfg, optimizer)
    except ValueError:
        if name in SCHEDULES:
            raise
        raise ValueError(
            f"SOLVER.LR_SCHEDULER_NAME is {shown(name)}, which Detectron2 does not know; there are "
            f"{' and '.join(SCHEDULES)}.{nearest(name, list(SCHEDULES))}"
        ) from None


def _has_warmups(cfg: CfgNode) -> bool:
    return cfg.SOLVER.WARMUP_BIAS_LR is not None or cfg.SOLVER.WARMUP_MOMENTUM is not None


class Warmups(LRMultiplier):
    """Detectron2's multiplier of all rates, with groups and a momentum that warm up otherwise.

    A group with ``WARMUP_LR`` goes linearly from that rate to the one that the schedule has at the
    end of the warm-up. Only the position in the schedule is state.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        multiplier: ParamScheduler,
        max_iter: int,
        warmup_iters: int,
        momentum: tuple[float, float] | None = None,
    ) -> None:
        """
        Args:
            multiplier: from the share of the training that is done, in [0, 1], to what each
                group's rate is multiplied by.
            max_iter: steps of the training.
            warmup_iters: steps of the warm-up.
            momentum: at its beginning and from its end on; None: the optimizer's.
        """
        # At first use already, which is in the base's constructor.
        self._multiplied, self._max_steps = multiplier, max_iter
        self._warmup_iters, self._momentum = warmup_iters, momentum
        super().__init__(optimizer, multiplier, max_iter)

    def get_lr(self) -> list[float]:
        rates = super().get_lr()
        done = self._warmed_up()
        if done == 1:
            return rates
        end = self._multiplied(min(self._warmup_iters / self._max_steps, 1.0))
        groups = zip(self.optimizer.param_groups, self.base_lrs, rates, strict=True)
        return [
            _between(group[WARMUP_LR], base * end, done) if WARMUP_LR in group else rate
            for group, base, rate in groups
        ]

    def step(self, epoch: int | None = None) -> None:
        super().step(epoch)
        if self._momentum is not None:
            momentum = _between(*self._momentum, self._warmed_up())
            for group in self.optimizer.param_groups:
                group["momentum"] = momentum

    def _warmed_up(self) -> float:
        """The share of the warm-up that is done, in [0, 1]."""
        if self.last_epoch >= self._warmup_iters:
            return 1.0
        return self.last_epoch / self._warmup_iters


def _between(start: float, end: float, share: float) -> float:
    return start + (end - start) * share if share < 1 else end
