# SPDX-License-Identifier: Apache-2.0
"""Phase "router": the router alone is trained (section 3.3), by what was measured of each image.

N: training images; B: images per step; d: numbers that the router sees.
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from statistics import fmean, pstdev
from typing import Any

import torch
from detectron2.config import CfgNode
from torch import Tensor, nn

from dynamicdet_d2.engine import auto
from dynamicdet_d2.engine.cached import CachedBatches, router_optimizer, router_steps
from dynamicdet_d2.engine.distributed import distributed
from dynamicdet_d2.engine.loss_table.columns import check_columns
from dynamicdet_d2.engine.objectives import OBJECTIVES, Lesson, Loss, fitted
from dynamicdet_d2.engine.phases.collapse import CollapseWatch
from dynamicdet_d2.engine.phases.own_parts import check_router
from dynamicdet_d2.engine.phases.phase import Phase, Start, Training
from dynamicdet_d2.engine.phases.solver import SHARED_KEYS, image_batches
from dynamicdet_d2.engine.teaching import teach_map
from dynamicdet_d2.modeling.dynamic_detector import DynamicDetector
from dynamicdet_d2.modeling.losses import router_loss

RECENT_IMAGES = 1000


class RouterPhase(Phase):
    """In mode "cached" no exit is computed any more, in mode "online" both are in every step."""

    name = "router"
    steps_key = "SOLVER.ROUTER.EPOCHS"
    shown = ("loss_router", "router/difficulty_mean", "router/difficulty_std", "time")
    constant_rate = True
    optimizer_keys = ("SOLVER.ROUTER.BASE_LR", "SOLVER.ROUTER.WEIGHT_DECAY")
    # What the numbers are taken by is measured before the first step, on these detectors.
    fixed_keys = ("MODEL.ROUTER.STANDARDIZE", *SHARED_KEYS)

    @property
    def columns(self) -> tuple[str, ...]:
        """The losses that the offset is the median of, and the objective's own."""
        name = self.cfg.SOLVER.ROUTER.OBJECTIVE
        own = auto.COLUMNS if name == auto.NAME else (OBJECTIVES[name].column,)
        return tuple(dict.fromkeys(("losses", *own)))

    def steps(self, num_images: int) -> int:
        """``SOLVER.ROUTER.EPOCHS`` over the training images, the last step rounded up."""
        return router_steps(self.cfg, num_images)

    def check(self, model: DynamicDetector) -> None:
        check_router(model, self.cfg.SOLVER.ROUTER.OBJECTIVE == auto.NAME)
        check_columns(self.columns, model.router.counts)

    def prepare(self, model: DynamicDetector, images: Sequence[dict]) -> None:
        """The router's objectness map learns, where it has one."""
        teach_map(self.cfg, model, images)

    def trained(self, model: DynamicDetector) -> list[nn.Module]:
        return [model.router]

    def build(self, start: Start) -> Training:
        keys, table, router = self.cfg.SOLVER.ROUTER, start.table, start.model.router
        numbers = torch.cat([table[name] for name in router.counts], dim=1)
        if not start.stream.step:
            router.set_standard(numbers)
        lesson = self._lesson(start)
        values = table[lesson.column]
        kept = {"objective": lesson.objective, "values": values}
        module, stream = self.module(start.model, kept), start.stream
        module.watch = CollapseWatch(min(RECENT_IMAGES, len(numbers)))
        if keys.MODE == "cached":
            wrapped: nn.Module = module
            loader: Iterable = CachedBatches(
                numbers, values, keys.IMS_PER_BATCH, stream.seed, stream.step
            )
        else:
            wrapped = distributed(module)
            loader = image_batches(_online(self.cfg), start)
        optimizer = router_optimizer(self.cfg, {lesson.learning_rate: router.parameters()})

        def statistics(scalars: Mapping[str, float]) -> dict[str, float]:
            return {**module.statistics(scalars), **lesson.scalars}

        finish = partial(router.tell_apart, numbers)
        return Training(wrapped, loader, optimizer, None, statistics, kept, finish)

    def module(self, model: DynamicDetector, kept: Mapping[str, Any]) -> "RouterObjective":
        """
        Args:
            kept: the name of the objective, and the column that it learns from, (N, ...).
        """
        kind: type[RouterObjective] = CachedRouterObjective
        if self.cfg.SOLVER.ROUTER.MODE == "online":
            kind = OnlineRouterObjective
        return kind(model, fitted(kept["objective"], kept["values"]))

    def _lesson(self, start: Start) -> Lesson:
        keys = self.cfg.SOLVER.ROUTER
        if keys.OBJECTIVE == auto.NAME:
            seed, resumed = start.stream.seed, start.stream.step > 0
            return auto.chosen_lesson(self.cfg, start.model, start.table, seed, resumed)
        return Lesson(keys.OBJECTIVE, keys.BASE_LR)


def _online(cfg: CfgNode) -> CfgNode:
    """The config by which the router's images are loaded: its own batches, each image as often.

    Images stand alone: what is measured is the gap of one image, not of a mosaic.
    """
    cfg = cfg.clone()
    cfg.defrost()
    cfg.SOLVER.IMS_PER_BATCH = cfg.SOLVER.ROUTER.IMS_PER_BATCH
    cfg.DATALOADER.SAMPLER_TRAIN = "TrainingSampler"
    cfg.INPUT.MOSAIC.PROBABILITY = cfg.INPUT.PASTE_IN.PROBABILITY = 0.0
    cfg.INPUT.MOSAIC.OFF_LAST_STEPS = 0
    cfg.freeze()
    return cfg


def loss_by_offset(model: DynamicDetector) -> Loss:
    """Eq. 12 with the loss offset that the model has, as it was measured."""
    return partial(router_loss, offset=float(model.loss_offset))


class RouterObjective(nn.Module):
    """The router's loss on its inputs and what was measured of each image.

    The detectors stay in evaluation mode.

    Attributes:
        recent: difficulties of the last thousand images, for the log.
        watch: says that they have collapsed.
    """

    def __init__(self, model: DynamicDetector, loss: Loss) -> None:
        """
        Args:
            loss: of an objective (``fitted``), or ``loss_by_offset`` of the model.
        """
        super().__init__()
        self.router, self.loss = model.router, loss
        self.recent: deque[float] = deque(maxlen=RECENT_IMAGES)
        self.watch = CollapseWatch(RECENT_IMAGES)

    def objective(self, numbers: Tensor, values: Tensor) -> dict[str, Tensor]:
        """(B, d), and the entries (B, ...) of the objective's column -> the loss, a scalar."""
        difficulty = self.router.difficulty(numbers)
        self.recent.extend(difficulty.tolist())
        return {"loss_router": self.loss(difficulty, values)}

    def statistics(self, scalars: Mapping[str, float]) -> dict[str, float]:
        """The loss under its own name, and mean and spread of the recent difficulties."""
        self.watch.look(self.recent)
        return {
            # Detectron2 names a loss that is the only one by "total_loss" alone.
            "loss_router": scalars["total_loss"],
            "router/difficulty_mean": fmean(self.recent),
            "router/difficulty_std": pstdev(self.recent),
        }


class CachedRouterObjective(RouterObjective):
    """On entries of the loss table."""

    def forward(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        numbers, values = batch
        device = next(self.router.parameters()).device
        return self.objective(numbers.to(device), values.to(device))


class OnlineRouterObjective(RouterObjective):
    """On images, as the paper does: features and losses are computed anew at every step."""

    def __init__(self, model: DynamicDetector, loss: Loss) -> None:
        super().__init__(model, loss)
        self.model = model

    def train(self, mode: bool = True) -> "OnlineRouterObjective":
        """Training mode ends here: the frozen detectors' statistics must not move."""
        self.training = mode
        return self

    def forward(self, batched_inputs: list[dict]) -> dict[str, Tensor]:
        return self.objective(*self.model.router_inputs_and_losses(batched_inputs))
