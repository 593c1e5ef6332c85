# SPDX-License-Identifier: Apache-2.0
"""What both trainers build alike, and what a subclass of either can override."""

from detectron2.config import CfgNode
from detectron2.engine import DefaultTrainer
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from dynamicdet_d2.config.checking import check_rules_of
from dynamicdet_d2.data.loading.loaders import ResumableLoader
from dynamicdet_d2.engine.optimizer import build_detectors_optimizer
from dynamicdet_d2.engine.schedule import build_schedule


class Builders(DefaultTrainer):
    """Loader, optimizer and schedule of the training of detectors."""

    @staticmethod
    def auto_scale_workers(cfg: CfgNode, num_workers: int) -> CfgNode:
        """As Detectron2's, by ``SOLVER.REFERENCE_WORLD_SIZE``, with the steps without mosaics too.

        ``SOLVER.EMA``, by updates, and the router's batches stay. Periods are rounded to no step
        less than one, where 0 would mean never.
        """
        scaled: CfgNode = DefaultTrainer.auto_scale_workers(cfg, num_workers)
        if scaled is not cfg:
            frozen, scale = scaled.is_frozen(), num_workers / cfg.SOLVER.REFERENCE_WORLD_SIZE
            scaled.defrost()
            scaled.INPUT.MOSAIC.OFF_LAST_STEPS = round(cfg.INPUT.MOSAIC.OFF_LAST_STEPS / scale)
            for own, given, name in (
                (scaled.SOLVER, cfg.SOLVER, "CHECKPOINT_PERIOD"),
                (scaled.TEST, cfg.TEST, "EVAL_PERIOD"),
            ):
                own[name] = max(own[name], min(given[name], 1))
            if frozen:
                scaled.freeze()
        return scaled

    @classmethod
    def build_train_loader(cls, cfg: CfgNode) -> ResumableLoader:
        """Batches of the phases that train on images; any iterable of them may take its place.

        Raises:
            ValueError: keys contradict ``INPUT.MOSAIC.ENABLED``, of a config that nothing checked.
        """
        check_rules_of("INPUT.MOSAIC.ENABLED", cfg)
        return ResumableLoader(cfg)

    @classmethod
    def build_optimizer(cls, cfg: CfgNode, model: nn.Module) -> Optimizer:
        """Of the phases that train detectors; what a phase does not train needs no gradient."""
        return build_detectors_optimizer(cfg, model)

    @classmethod
    def build_lr_scheduler(cls, cfg: CfgNode, optimizer: Optimizer) -> LRScheduler:
        """Of the phases that train detectors, each with the whole schedule."""
        return build_schedule(cfg, optimizer)
