# SPDX-License-Identifier: Apache-2.0
"""What each phase trains: its module, its data, its optimizer.

A phase is built from the config and the model at the step that it starts or resumes at; the
trainer runs whatever it is given.
"""

import itertools
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetMapper
from detectron2.solver import build_lr_scheduler
from detectron2.utils import comm
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from dynamicdet_d2.data.loading.loaders import build_training_loader
from dynamicdet_d2.data.loading.stream import epoch_order
from dynamicdet_d2.engine.loss_table import LossTable
from dynamicdet_d2.engine.optimizer import build_detectors_optimizer
from dynamicdet_d2.modeling.dynamic_rcnn import DynamicRCNN
from dynamicdet_d2.modeling.losses import router_ap_loss, router_loss
from dynamicdet_d2.modeling.modes import freeze

DETECTORS, ROUTER = "detectors", "router"
RECENT_IMAGES = 1000


@dataclass(frozen=True)
class Phase:
    """What is trained, on what, by what.

    Attributes:
        name: ``"detectors"`` or ``"router"``.
        module: maps a batch to a dict of losses; wrapped for several processes where it has to be.
        loader: batches from the step that the phase was built at.
        optimizer: of the module's parameters that train.
        scheduler: stepped after every step; None: a constant learning rate.
    """

    name: str
    module: nn.Module
    loader: Iterable
    optimizer: Optimizer
    scheduler: LRScheduler | None


@dataclass(frozen=True)
class Stream:
    """Where a phase's images come from.

    Attributes:
        images: the training set in Detectron2's format.
        seed: of the run.
        step: batches of this phase that are already trained on.
    """

    images: Sequence[dict]
    seed: int
    step: int


def detectors_phase(cfg: CfgNode, model: DynamicRCNN, stream: Stream) -> Phase:
    """Joint training of both detectors (eq. 9) by the baseline's own solver keys."""
    model.router.requires_grad_(False)
    optimizer = build_detectors_optimizer(cfg, model)
    loader = _image_loader(cfg, stream, cfg.SOLVER.IMS_PER_BATCH)
    # Without a step there is no schedule: Detectron2's divides by MAX_ITER.
    scheduler = build_lr_scheduler(cfg, optimizer) if cfg.SOLVER.MAX_ITER else None
    return Phase(DETECTORS, distributed(model), loader, optimizer, scheduler)


def router_phase(
    cfg: CfgNode, model: DynamicRCNN, stream: Stream, table: LossTable | None
) -> Phase:
    """Training of the router alone (eq. 12) with frozen detectors.

    Args:
        cfg: config.
        model: with its loss offset measured.
        stream: its step counts from the start of this phase.
        table: of the loss offset's pass; needed where ``SOLVER.ROUTER.MODE`` is "cached".
    """
    freeze(model)
    model.router.requires_grad_(True)
    keys = cfg.SOLVER.ROUTER
    optimizer = torch.optim.AdamW(
        model.router.parameters(), lr=keys.BASE_LR, weight_decay=keys.WEIGHT_DECAY
    )
    if keys.MODE == "cached":
        by_ap = keys.OBJECTIVE == "ap"
        module: nn.Module = CachedRouterObjective(model, by_ap)
        measured = table.gains if by_ap else table.losses
        loader: Iterable = CachedBatches(table.pooled, measured, keys.IMS_PER_BATCH, stream)
    else:
        module = distributed(OnlineRouterObjective(model))
        loader = _image_loader(cfg, stream, keys.IMS_PER_BATCH)
    return Phase(ROUTER, module, loader, optimizer, None)


def _image_loader(cfg: CfgNode, stream: Stream, batch_size: int) -> Iterable[list[dict]]:
    return build_training_loader(
        cfg,
        DatasetMapper(cfg, is_train=True),
        seed=stream.seed,
        start_iter=stream.step,
        total_batch_size=batch_size,
        dataset_dicts=stream.images,
    )


def router_steps(cfg: CfgNode, num_images: int) -> int:
    """Steps of phase ``router``: its epochs over the training images, the last step rounded up."""
    keys = cfg.SOLVER.ROUTER
    return -(-keys.EPOCHS * num_images // keys.IMS_PER_BATCH)


class RouterObjective(nn.Module):
    """The router's loss on pooled features and what was measured of each image.

    The detectors stay in evaluation mode.

    Attributes:
        recent: difficulties of the last thousand images, for the log.
    """

    def __init__(self, model: DynamicRCNN, by_ap: bool = False) -> None:
        """
        Args:
            model: with its loss offset measured.
            by_ap: learn from gains in AP (section 4.4.2) instead of losses (eq. 12).
        """
        super().__init__()
        self.by_ap = by_ap
        self.router = model.router
        self.offset = float(model.loss_offset)
        self.recent: deque[float] = deque(maxlen=RECENT_IMAGES)

    def objective(self, pooled: Tensor, measured: Tensor) -> dict[str, Tensor]:
        """(B, d), and losses (B, 2) or gains (B,) -> {"loss_router": scalar}."""
        difficulty = self.router.difficulty(pooled)
        self.recent.extend(difficulty.tolist())
        if self.by_ap:
            return {"loss_router": router_ap_loss(difficulty, measured)}
        return {"loss_router": router_loss(difficulty, measured, self.offset)}


class CachedRouterObjective(RouterObjective):
    """On entries of the loss table."""

    def forward(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        pooled, measured = batch
        device = self.router.hidden.weight.device
        return self.objective(pooled.to(device), measured.to(device))


class OnlineRouterObjective(RouterObjective):
    """On images, as the paper does: features and losses are computed anew at every step."""

    def __init__(self, model: DynamicRCNN) -> None:
        super().__init__(model)
        self.model = model

    def train(self, mode: bool = True) -> "OnlineRouterObjective":
        """Training mode ends here: the frozen detectors' statistics must not move."""
        self.training = mode
        return self

    def forward(self, batched_inputs: list[dict]) -> dict[str, Tensor]:
        return self.objective(*self.model.router_inputs_and_losses(batched_inputs))


class CachedBatches:
    """Batches of loss table entries, reshuffled every epoch; the same in every process.

    Every process makes the same steps on the same entries, so nothing has to be exchanged.
    """

    def __init__(self, pooled: Tensor, measured: Tensor, batch_size: int, stream: Stream) -> None:
        """
        Args:
            pooled: (N, d).
            measured: (N, ...), what the router learns from.
            batch_size: entries a step.
            stream: seed, and steps done.
        """
        self.pooled, self.measured = pooled, measured
        self.batch_size, self.stream = batch_size, stream

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for step in itertools.count(self.stream.step):
            first = step * self.batch_size
            index = [self._entry(p) for p in range(first, first + self.batch_size)]
            yield self.pooled[index], self.measured[index]

    def _entry(self, position: int) -> int:
        size = len(self.pooled)
        epoch, place = divmod(position, size)
        return int(epoch_order(self.stream.seed, epoch, size)[place])


def distributed(module: nn.Module) -> nn.Module:
    """Wrapped for several processes, also on a CPU, where Detectron2's helper cannot."""
    if comm.get_world_size() == 1:
        return module
    device = next(module.parameters()).device
    ids = [device.index] if device.type == "cuda" else None
    return DistributedDataParallel(module, device_ids=ids, broadcast_buffers=False)


@torch.no_grad()
def share_statistics(module: nn.Module) -> None:
    """Give all processes the main one's buffers, in place.

    Each process's normalisation statistics come from its own images, and the main one's go into
    the checkpoint; without this, what processes measure together would be of different models.
    """
    if comm.get_world_size() > 1:
        for buffer in module.buffers():
            torch.distributed.broadcast(buffer, src=0)
