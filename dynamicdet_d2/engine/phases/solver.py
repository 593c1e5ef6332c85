# SPDX-License-Identifier: Apache-2.0
"""Training of detectors by the baseline's own solver keys, for the phases that do so."""

import logging
from collections.abc import Iterable, Mapping

from detectron2.config import CfgNode
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from dynamicdet_d2.data.loading.loaders import ResumableLoader
from dynamicdet_d2.engine.distributed import distributed
from dynamicdet_d2.engine.overridden import (
    check_optimizer_trains,
    check_schedule_steps,
    checked_loader,
)
from dynamicdet_d2.engine.phases.phase import Start, Training
from dynamicdet_d2.engine.step_memory import Losses, log_step_memory
from dynamicdet_d2.modeling.dynamic_detector import DynamicDetector

logger = logging.getLogger(__name__)

# What an optimizer keeps in its state and takes back from it.
OPTIMIZER_KEYS = (
    *("SOLVER.BASE_LR", "SOLVER.BIAS_LR_FACTOR", "SOLVER.WARMUP_BIAS_LR", "SOLVER.MOMENTUM"),
    *("SOLVER.WARMUP_MOMENTUM", "SOLVER.NESTEROV", "SOLVER.WEIGHT_DECAY"),
    *("SOLVER.WEIGHT_DECAY_NORM", "SOLVER.WEIGHT_DECAY_BIAS"),
)
# Which weights there are to learn, beside the kind of the optimizer.
SHARED_KEYS = ("MODEL.COMPOSITE.SHARE_NECK", "MODEL.COMPOSITE.SHARE_HEADS")
FIXED_KEYS = ("SOLVER.OPTIMIZER", "MODEL.BACKBONE.FREEZE_AT", *SHARED_KEYS)


def by_solver_keys(cfg: CfgNode, start: Start, module: nn.Module, losses: Losses) -> Training:
    """The trainer's own loader, optimizer and schedule.

    Args:
        module: maps a batch to a dict of losses, named ``detector1/...`` and ``detector2/...``.
        losses: the same by the model in whatever modes it is.
    """
    loader, optimizer, scheduler = built(cfg, start)
    if cfg.SOLVER.MAX_ITER:
        log_step_memory(cfg, start.model, losses, optimizer)
    return Training(distributed(module), loader, optimizer, scheduler, detector_losses)


def built(cfg: CfgNode, start: Start) -> tuple[Iterable, Optimizer, LRScheduler | None]:
    """What the trainer's class gives: batches, optimizer, and schedule, of none a constant rate."""
    optimizer = start.builders.build_optimizer(cfg, start.model)
    check_optimizer_trains(optimizer, start.model, start.builders)
    loader = image_batches(cfg, start)
    # Without a step there is no schedule: Detectron2's divides by MAX_ITER.
    schedule = start.builders.build_lr_scheduler
    scheduler = schedule(cfg, optimizer) if cfg.SOLVER.MAX_ITER else None
    check_schedule_steps(scheduler, optimizer, start.builders)
    return loader, optimizer, scheduler


def image_batches(cfg: CfgNode, start: Start) -> Iterable[list[dict]]:
    """Batches of the trainer's loader; our own goes on where the phase has come to."""
    loader = checked_loader(start.builders.build_train_loader(cfg), start.builders)
    stream = start.stream
    if isinstance(loader, ResumableLoader):
        routed = isinstance(start.model, DynamicDetector) and "router" in cfg.SOLVER.PHASES
        if routed and not loader.is_configs:
            logger.warning(
                "build_train_loader gives a mapper or images of its own: a router learns from "
                "DATASETS.TRAIN, and from its images as Detectron2's mapper gives them."
            )
        return loader.starting_at(stream.begun_at, stream.seed, stream.images)
    logger.warning(
        "build_train_loader gives a loader of its own kind: a resumed run begins it anew and is "
        "not the run that was not interrupted, and a router learns from DATASETS.TRAIN."
    )
    return loader


def detector_losses(scalars: Mapping[str, float]) -> dict[str, float]:
    """L1 and L2, sums of a step's losses by name, as far as it has them, and their gap.

    They are weighted as the losses are that they are sums of.
    """
    sums = {}
    for number in (1, 2):
        prefix = f"detector{number}/loss_"
        parts = [value for name, value in scalars.items() if name.startswith(prefix)]
        if parts:
            sums[f"L{number}"] = sum(parts)
    if len(sums) == 2:
        sums["loss_gap"] = sums["L1"] - sums["L2"]
    return sums
