# SPDX-License-Identifier: Apache-2.0
"""The trainer: one run over all phases of its plan, resumable anywhere."""

import logging
import os
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

from detectron2.config import CfgNode
from detectron2.engine import hooks
from detectron2.utils import comm
from detectron2.utils.env import seed_all_rng
from detectron2.utils.events import EventWriter, JSONWriter, TensorboardXWriter
from detectron2.utils.file_io import PathManager

from dynamicdet_d2.checkpoint import DynamicCheckpointer
from dynamicdet_d2.engine import checks, doubtful, overridden
from dynamicdet_d2.engine.best import BestWeights
from dynamicdet_d2.engine.builders import Builders
from dynamicdet_d2.engine.cached import CachedBatches
from dynamicdet_d2.engine.distributed import share_statistics
from dynamicdet_d2.engine.ema import WeightAverage
from dynamicdet_d2.engine.expected import check_expected
from dynamicdet_d2.engine.hooks import (
    Evaluation,
    KeptScalars,
    LearningRate,
    PhaseCheckpoint,
    PhaseProgress,
    PhaseStatistics,
    PhaseSwitch,
    StepSeed,
    StepTimer,
    StopOnSignal,
)
from dynamicdet_d2.engine.loss_table import LossTable, obtain_table
from dynamicdet_d2.engine.phases import Phase
from dynamicdet_d2.engine.phases.phase import Start, Stream, Training
from dynamicdet_d2.engine.plan import Plan, planned_phases
from dynamicdet_d2.engine.reliable import ReliableTrainer
from dynamicdet_d2.engine.statistics import measure_statistics
from dynamicdet_d2.engine.step import TrainingStep
from dynamicdet_d2.engine.tester import TradeoffTester
from dynamicdet_d2.engine.whole_model import WholeModelTrainer
from dynamicdet_d2.modeling.architecture import building
from dynamicdet_d2.modeling.dynamic_detector import DynamicDetector
from dynamicdet_d2.modeling.modes import freeze, modes_kept
from dynamicdet_d2.utils import stopping

logger = logging.getLogger(__name__)


class DynamicTrainer(WholeModelTrainer, ReliableTrainer, TradeoffTester, Builders):
    """Detectron2's default trainer, for the phases of a plan (``SOLVER.PHASES``).

    Extended as Detectron2's: a subclass's ``build_model``, ``build_train_loader``,
    ``build_optimizer`` and ``build_lr_scheduler`` (of the phases that train detectors),
    ``build_test_loader``, ``build_evaluator``, ``build_hooks`` and ``build_writers`` are asked, and
    its ``run_step`` in phase "detectors".
    Every random choice follows from the run's seed and the step, so that a run that was killed and
    resumed ends, on the CPU, with the weights of one that was not.

    Attributes:
        detector: the model, never wrapped. ``model`` is it too, in every phase, or its wrapper.
        plan: the phases and their iterations.
        average: of the weights, where ``SOLVER.EMA`` asks for one.
        phase, training: what is trained at present; ``training`` is None until the first phase is
            entered. ``scheduler`` is its schedule, or None.
        seed: of the run.
    """

    def __init__(self, cfg: CfgNode) -> None:
        # Not DefaultTrainer's beginning, which builds one optimizer for the whole run.
        cfg = self._begin(cfg)
        self.detector = self._build_detector(cfg)
        self._trainable = [p for p in self.detector.parameters() if p.requires_grad]
        self.plan = Plan(planned_phases(cfg), len(self.images))
        trained = {phase.name: phase.trained(self.detector) for phase in self.plan.phases}
        overridden.check_trains(trained, type(self))
        for phase in self.plan.phases:
            phase.check(self.detector)
        self.max_iter = self.plan.max_iter
        self.average = WeightAverage.from_config(cfg, self.detector)
        own = weakref.proxy(self)
        self.checkpointer = DynamicCheckpointer(
            self.detector,
            cfg.OUTPUT_DIR,
            weights2=cfg.MODEL.COMPOSITE.WEIGHTS2,
            as_saved=lambda: own.as_saved(),
            trainer=own,
        )
        # Nothing is done yet, and a checkpoint without a trainer's state leaves it so.
        self.iter = -1
        self.start_iter = 0
        self.phase = self.plan.phases[0]
        self.training: Training | None = None
        if not self.phase.columns:  # else weights have to be loaded, and measured, first
            self.enter(self.phase, step=0)
        own_hooks = overridden.checked_hooks(
            self.build_hooks(), f"build_hooks of {type(self).__name__}"
        )
        without = "no phase follows the first"
        overridden.check_has(own_hooks, PhaseSwitch, without, type(self))
        self.register_hooks(own_hooks)

    def resume_or_load(self, resume: bool = True) -> None:
        """As Detectron2's; a resumed run continues in the phase that it was in."""
        super().resume_or_load(resume=resume)
        if not self.start_iter:  # also of a checkpoint that has weights alone
            reports = self.checkpointer.report, self.checkpointer.report2
            doubtful.warn_of_random_detectors(self.checkpointer.report, self.cfg)
            trained = self._names_trained()
            doubtful.warn_of_untrained(reports, trained, self.cfg)
            measure_statistics(self.cfg, self.detector, self.images, trained)

    def build_hooks(self) -> list[hooks.HookBase]:
        """In an order that matters: what saves and writes comes after what it saves and writes."""
        ret = [PhaseSwitch(), StepSeed(), StepTimer(), self.average]
        ret += [LearningRate(), PhaseStatistics()]
        if comm.is_main_process():
            period = self.cfg.SOLVER.CHECKPOINT_PERIOD
            ret.append(hooks.PeriodicCheckpointer(self.checkpointer, period))
            ret.append(PhaseCheckpoint())
        # After the checkpoint, so that a failing evaluation loses nothing.
        ret += [StopOnSignal(), Evaluation(self.cfg.TEST.EVAL_PERIOD, self._evaluate)]
        if self.cfg.SOLVER.BEST.METRIC:
            ret.append(BestWeights(self.cfg))
        if comm.is_main_process():
            writers = overridden.checked_writers(self.build_writers(), type(self))
            periods = self.cfg.SOLVER.CHECKPOINT_PERIOD, self.cfg.TEST.EVAL_PERIOD
            ret.append(KeptScalars(writers, periods, self.plan.ends.values()))
        return ret

    def build_writers(self) -> list[EventWriter]:
        """The log, ``metrics.json`` and TensorBoard."""
        PathManager.mkdirs(self.cfg.OUTPUT_DIR)
        shown = {phase.name: phase.shown for phase in self.plan.phases}
        return [
            PhaseProgress(self.plan.ends, shown),
            JSONWriter(os.path.join(self.cfg.OUTPUT_DIR, "metrics.json")),
            TensorboardXWriter(self.cfg.OUTPUT_DIR),
        ]

    def enter(self, phase: Phase, step: int, batches: int | None = None) -> None:
        """Freeze what the phase does not train, measure what it asks for, and train it.

        Args:
            phase: of the plan.
            step: of the phase; above 0 when a run resumes in it.
            batches: that these steps have taken; None: one each.
        """
        self.average.hand_over()
        freeze(self.detector)
        share_statistics(self.detector)
        trained = {id(p) for part in phase.trained(self.detector) for p in part.parameters()}
        for parameter in self._trainable:
            parameter.requires_grad_(id(parameter) in trained)
        if not step:
            phase.prepare(self.detector, self.images)
        table = self._measured(phase.columns, step) if phase.columns else LossTable({})
        stream = Stream(images=self.images, seed=self.seed, step=step, batches=batches)
        training = phase.build(Start(self.detector, stream, type(self), table))
        self.phase, self.training, self.scheduler = phase, training, training.scheduler
        mixed = self.cfg.SOLVER.AMP.ENABLED and phase.mixed_precision
        self._trainer = TrainingStep(
            training.module,
            training.loader,
            training.optimizer,
            mixed_precision=mixed,
            begun_at=stream.begun_at,
        )
        self.choose_step()
        if self.cfg.SOLVER.EMA.ENABLED and phase.averaged:
            self.average.begin()
        logger.info("Phase %s", phase.name)

    @property
    def plain_model(self) -> DynamicDetector:
        """The detector."""
        return self.detector

    def phase_of_step(self) -> tuple[str, Mapping[str, Any]]:
        """Of the phase that trains."""
        return self.phase.name, {} if self.training is None else self.training.kept

    def image_ids(self, batch: Any) -> tuple[object, ...]:
        """Also of entries of the loss table, which carry none.

        Where images that cannot be read are left out of it, nobody knows whose its entries are.
        """
        loader = None if self.training is None else self.training.loader
        if not isinstance(loader, CachedBatches):
            return super().image_ids(batch)
        if len(loader.numbers) < len(self.images):
            return ()
        step = self.iter - self.plan.start(self.phase.name)
        return tuple(self.images[i].get("image_id") for i in loader.entries(step))

    def state_dict(self) -> dict:
        """Phase and plan beside what ``StatefulTrainer`` keeps."""
        # Iterations that are passed over make no step, and a phase begins behind them.
        done = max(self._made, self.plan.start(self.phase.name) - 1)
        own = {"iteration": done, "phase": self.phase.name, "plan": dict(self.plan.steps)}
        return {**super().state_dict(), **own}

    def load_state_dict(self, state_dict: dict) -> None:
        """Enter the phase of the checkpoint, at its step, and load what belongs to it.

        Raises:
            ValueError: if the checkpoint does not fit the config's phases, model or optimizer.
        """
        checks.check_state(state_dict, self.cfg, ("phase", "plan", "seed"))
        checks.check_checkpoint(state_dict, self.plan, self.cfg)
        name = state_dict["phase"]
        phase, begun = self.plan.named(name), self.plan.up_to(name)
        held = [key for one in begun for key in one.optimizer_keys]
        self.settle_keys(state_dict, held, phase.fixed_keys)
        self.seed = state_dict["seed"]
        done = state_dict["iteration"] + 1 - self.plan.start(name)
        self.enter(phase, done, state_dict.get("batches"))
        with checks.state_fits(self.cfg):
            super().load_state_dict(state_dict)
            rates = [group["lr"] for group in self.optimizer.param_groups]
            self._trainer.load_state_dict(state_dict["_trainer"])
            checks.check_optimizer(self.optimizer)
            if phase.constant_rate:
                for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
                    group["lr"] = rate
            if self.scheduler is not None:
                self.scheduler.load_state_dict(state_dict["scheduler"])
                checks.check_schedule(self.scheduler, done)

    @classmethod
    def build_model(cls, cfg: CfgNode) -> DynamicDetector:
        """The model of the config, on its device.

        Raises:
            ValueError: if it is no ``DynamicDetector``, or as ``building``.
        """
        with building():
            model = super().build_model(cfg)
        if not isinstance(model, DynamicDetector):
            raise ValueError(
                f"MODEL.META_ARCHITECTURE is {cfg.MODEL.META_ARCHITECTURE}; DynamicTrainer is for "
                "DynamicRCNN and other dynamic detectors."
            )
        return model

    def _names_trained(self) -> set[str]:
        phases = [phase for phase in self.plan.phases if self.plan.steps[phase.name]]
        parts = [part for phase in phases for part in phase.trained(self.detector)]
        own = {id(x) for part in parts for x in part.state_dict(keep_vars=True).values()}
        named = self.detector.state_dict(keep_vars=True)
        return {name for name, value in named.items() if id(value) in own}

    def _build_detector(self, cfg: CfgNode) -> DynamicDetector:
        # The initial weights follow from the seed, and are the same in every process.
        seed_all_rng(self.seed)
        return overridden.checked_model(self.build_model(cfg), type(self))

    def _measured(self, columns: Sequence[str], step: int) -> LossTable:
        resumed = step > 0 or self.start_iter > 0
        names = (*self.detector.router.counts, *columns)
        table = obtain_table(self.cfg, self.detector, self.images, names, resumed=resumed)
        self.detector.loss_offset.fill_(table.offset)
        storage = getattr(self, "storage", None)
        if storage is not None and comm.is_main_process():
            storage.put_scalars(**table.summary(), smoothing_hint=False)
        return table

    def _evaluate(self) -> dict:
        with stopping.at_once(), self.average.in_place(), modes_kept(self.detector):
            share_statistics(self.detector)
            self._last_eval_results = self.test(self.cfg, self.detector)
        check_expected(self.cfg.TEST.EXPECTED_RESULTS, self._last_eval_results)
        return self._last_eval_results
