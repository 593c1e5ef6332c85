# SPDX-License-Identifier: Apache-2.0
"""The trainer: one run over joint training, loss offset and router, resumable anywhere."""

import logging
import os
import weakref

from detectron2.config import CfgNode
from detectron2.engine import AMPTrainer, DefaultTrainer, SimpleTrainer, TrainerBase, hooks
from detectron2.evaluation import DatasetEvaluator, print_csv_format
from detectron2.utils import comm
from detectron2.utils.env import seed_all_rng
from detectron2.utils.events import EventWriter, JSONWriter, TensorboardXWriter
from detectron2.utils.file_io import PathManager
from torch import nn

from dynamicdet_d2.checkpoint import DynamicCheckpointer
from dynamicdet_d2.data.loading.loaders import (
    ImageLoader,
    annotated_mapper,
    build_finite_loader,
    training_dicts,
)
from dynamicdet_d2.engine.checks import check_checkpoint, check_training_keys
from dynamicdet_d2.engine.hooks import (
    DetectorsCheckpoint,
    LearningRate,
    PhaseProgress,
    PhaseStatistics,
    PhaseSwitch,
    StepSeed,
)
from dynamicdet_d2.engine.loss_table import LossTable, LossTableFile, measure_losses
from dynamicdet_d2.engine.phases import (
    DETECTORS,
    ROUTER,
    Phase,
    Stream,
    detectors_phase,
    router_phase,
    router_steps,
    share_statistics,
)
from dynamicdet_d2.evaluation.evaluator import TradeoffEvaluator
from dynamicdet_d2.evaluation.passes import build_evaluation_loader, evaluate
from dynamicdet_d2.modeling.dynamic_detector import DynamicDetector
from dynamicdet_d2.modeling.modes import freeze

logger = logging.getLogger(__name__)

WRITE_PERIOD = 20


class DynamicTrainer(DefaultTrainer):
    """Detectron2's default trainer, with phases.

    ``SOLVER.MAX_ITER`` counts the steps of phase ``detectors`` (0: weights that have been through
    it are loaded); the router's steps follow. The model stays unwrapped in ``detector``; ``phase``
    holds what is trained at present. Every random choice follows from the run's seed and the step,
    so that a run that was killed and resumed ends, on the CPU, with the weights of one that was
    not.
    """

    def __init__(self, cfg: CfgNode) -> None:
        # Not DefaultTrainer's: it builds one optimizer for the whole run, and wraps the model
        # for several processes in a way that a CPU refuses.
        TrainerBase.__init__(self)
        cfg = DefaultTrainer.auto_scale_workers(cfg, comm.get_world_size())
        check_training_keys(cfg)
        self.cfg = cfg
        self.seed = _run_seed(cfg)
        self.images = training_dicts(cfg)
        self.detector = self._build_detector(cfg)
        self.detectors_iters = cfg.SOLVER.MAX_ITER
        self.max_iter = self.detectors_iters + router_steps(cfg, len(self.images))
        self.checkpointer = DynamicCheckpointer(
            self.detector,
            cfg.OUTPUT_DIR,
            weights2=cfg.MODEL.COMPOSITE.WEIGHTS2,
            trainer=weakref.proxy(self),
        )
        self.loss_table_file = LossTableFile(cfg.OUTPUT_DIR)
        # Nothing is done yet, and a checkpoint without a trainer's state leaves it so.
        self.iter = -1
        self.start_iter = 0
        self.register_hooks(self.build_hooks())
        self.phase: Phase
        self._enter_detectors_phase(step=0)

    def resume_or_load(self, resume: bool = True) -> None:
        """As Detectron2's; a resumed run continues in the phase that it was in."""
        self.checkpointer.resume_or_load(self.cfg.MODEL.WEIGHTS, resume=resume)
        if resume and self.checkpointer.has_checkpoint():
            self.start_iter = self.iter + 1

    def build_hooks(self) -> list[hooks.HookBase]:
        """In an order that matters: what saves and writes comes after what it saves and writes."""
        ret = [PhaseSwitch(), StepSeed(), hooks.IterationTimer(), LearningRate(), PhaseStatistics()]
        if comm.is_main_process():
            period = self.cfg.SOLVER.CHECKPOINT_PERIOD
            ret.append(hooks.PeriodicCheckpointer(self.checkpointer, period))
            ret.append(DetectorsCheckpoint())
        # After the checkpoint, so that a failing evaluation loses nothing.
        ret.append(hooks.EvalHook(self.cfg.TEST.EVAL_PERIOD, self._evaluate))
        if comm.is_main_process():
            ret.append(hooks.PeriodicWriter(self.build_writers(), period=WRITE_PERIOD))
        return ret

    def build_writers(self) -> list[EventWriter]:
        """The log, ``metrics.json`` and TensorBoard."""
        PathManager.mkdirs(self.cfg.OUTPUT_DIR)
        ends = {DETECTORS: self.detectors_iters, ROUTER: self.max_iter}
        return [
            PhaseProgress(ends),
            JSONWriter(os.path.join(self.cfg.OUTPUT_DIR, "metrics.json")),
            TensorboardXWriter(self.cfg.OUTPUT_DIR),
        ]

    def enter_router_phase(self, step: int) -> None:
        """Freeze the detectors, see to the loss offset and the loss table, and train the router.

        Args:
            step: of the phase; above 0 when a run resumes in it.
        """
        freeze(self.detector)
        share_statistics(self.detector)
        table = self._loss_table(step)
        self._set_phase(router_phase(self.cfg, self.detector, self._stream(step), table))

    def run_step(self) -> None:
        """As Detectron2's.

        Raises:
            FloatingPointError: naming the iteration, where losses or boxes are no longer finite.
        """
        try:
            super().run_step()
        except FloatingPointError as error:
            reason = str(error).partition("\n")[0]  # what follows is a dict of all losses
            raise FloatingPointError(
                f"Training diverged at iteration {self.iter}, in phase {self.phase.name}: {reason}"
            ) from error

    def state_dict(self) -> dict:
        """Phase, seed, optimizer and schedule beside what Detectron2's trainers keep."""
        state = super().state_dict()
        state["phase"] = self.phase.name
        state["detectors_iters"] = self.detectors_iters
        state["seed"] = self.seed
        state["_trainer"] = self._trainer.state_dict()
        if self.phase.scheduler is not None:
            state["scheduler"] = self.phase.scheduler.state_dict()
        return state

    def load_state_dict(self, state_dict: dict) -> None:
        """Enter the phase of the checkpoint, at its step, and load what belongs to it.

        Raises:
            ValueError: if the checkpoint does not fit the config's phases.
        """
        check_checkpoint(state_dict, self.cfg)
        step = state_dict["iteration"] + 1
        self.seed = state_dict["seed"]
        if state_dict["phase"] == ROUTER:
            self.enter_router_phase(step - self.detectors_iters)
        else:
            self._enter_detectors_phase(step)
        TrainerBase.load_state_dict(self, state_dict)
        self._trainer.load_state_dict(state_dict["_trainer"])
        if self.phase.scheduler is not None:
            self.phase.scheduler.load_state_dict(state_dict["scheduler"])

    @classmethod
    def build_model(cls, cfg: CfgNode) -> DynamicDetector:
        """The model of the config, on its device.

        Raises:
            ValueError: if it is no ``DynamicDetector``.
        """
        model = super().build_model(cfg)
        if not isinstance(model, DynamicDetector):
            raise ValueError(
                f"MODEL.META_ARCHITECTURE is {cfg.MODEL.META_ARCHITECTURE}; DynamicTrainer is for "
                "DynamicRCNN and other dynamic detectors."
            )
        return model

    @classmethod
    def build_test_loader(cls, cfg: CfgNode, dataset_name: str) -> ImageLoader:
        """One pass over a test set, an image at a time."""
        return build_evaluation_loader(cfg, dataset_name)

    @classmethod
    def build_evaluator(
        cls, cfg: CfgNode, dataset_name: str, output_folder: str | None = None
    ) -> DatasetEvaluator:
        """The trade-off of one data set."""
        if output_folder is None:
            output_folder = os.path.join(cfg.OUTPUT_DIR, "inference")
            if len(cfg.DATASETS.TEST) > 1:
                output_folder = os.path.join(output_folder, dataset_name)
        return TradeoffEvaluator(dataset_name, cfg, output_dir=output_folder)

    @classmethod
    def test(cls, cfg: CfgNode, model: nn.Module) -> dict:
        """Evaluate every data set of ``DATASETS.TEST`` at every operating point, in one pass each.

        Returns:
            Detectron2's nested dict of floats; by data set where there are several.
        """
        results = {}
        for name in cfg.DATASETS.TEST:
            evaluator = cls.build_evaluator(cfg, name)
            results[name] = evaluate(cfg, name, model, evaluator, cls.build_test_loader)
            if comm.is_main_process():
                print_csv_format(results[name])
        return next(iter(results.values())) if len(results) == 1 else results

    def _build_detector(self, cfg: CfgNode) -> DynamicDetector:
        # The initial weights follow from the seed, and are the same in every process.
        seed_all_rng(self.seed)
        return self.build_model(cfg)

    def _enter_detectors_phase(self, step: int) -> None:
        self._set_phase(detectors_phase(self.cfg, self.detector, self._stream(step)))

    def _set_phase(self, phase: Phase) -> None:
        self.phase = phase
        amp = self.cfg.SOLVER.AMP.ENABLED and phase.name == DETECTORS
        trainer = AMPTrainer if amp else SimpleTrainer
        self._trainer = trainer(phase.module, phase.loader, phase.optimizer)
        logger.info("Phase %s", phase.name)

    def _stream(self, step: int) -> Stream:
        return Stream(images=self.images, seed=self.seed, step=step)

    def _loss_table(self, step: int) -> LossTable | None:
        """The table; None where the offset is known and mode ``online`` needs no more.

        A resumed run takes the table that it had measured before it died; a fresh one measures,
        whatever lies in OUTPUT_DIR.
        """
        if step > 0 and self.cfg.SOLVER.ROUTER.MODE == "online":
            return None
        resumed = step > 0 or self.start_iter > 0
        table = self.loss_table_file.load(self.detector, self._by_ap) if resumed else None
        if table is None:
            table = self._measure()
            self.loss_table_file.save(table, self.detector)
        self.detector.loss_offset.fill_(table.offset)
        self._report(table)
        return table

    def _measure(self) -> LossTable:
        logger.info("Loss offset: one pass over %d training images", len(self.images))
        mapper = annotated_mapper(self.cfg)
        loader = build_finite_loader(self.cfg, mapper, dataset_dicts=self.images)
        return measure_losses(self.detector, loader, with_gains=self._by_ap)

    @property
    def _by_ap(self) -> bool:
        return self.cfg.SOLVER.ROUTER.OBJECTIVE == "ap"

    def _report(self, table: LossTable) -> None:
        summary = table.summary()
        logger.info(
            "Loss offset (median of L1 - L2) %.4f, quartiles %.4f and %.4f, over %d images",
            summary["loss_offset/median"],
            summary["loss_offset/quartile1"],
            summary["loss_offset/quartile3"],
            len(table.losses),
        )
        storage = getattr(self, "storage", None)
        if storage is not None and comm.is_main_process():
            storage.put_scalars(**summary, smoothing_hint=False)

    def _evaluate(self) -> dict:
        share_statistics(self.detector)
        self._last_eval_results = self.test(self.cfg, self.detector)
        return self._last_eval_results


def _run_seed(cfg: CfgNode) -> int:
    """SEED, or where it is negative one drawn by chance; the same in every process."""
    drawn = cfg.SEED if cfg.SEED >= 0 else int.from_bytes(os.urandom(4), "big")
    return comm.all_gather(drawn)[0]
