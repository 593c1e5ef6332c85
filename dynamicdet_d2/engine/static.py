# SPDX-License-Identifier: Apache-2.0
"""Static detectors, the baselines of Table 2: Detectron2's own training, our measurements."""

import logging
import os
import weakref
from collections.abc import Sequence
from itertools import chain
from typing import Any

from detectron2.config import CfgNode
from detectron2.engine import HookBase
from detectron2.engine.hooks import EvalHook
from detectron2.engine.hooks import LRScheduler as LRSchedulerHook
from detectron2.evaluation import DatasetEvaluator, DatasetEvaluators
from detectron2.utils import comm
from detectron2.utils.env import seed_all_rng
from torch import nn

from dynamicdet_d2.acceleration import InferenceOptions, OptimizedCopy
from dynamicdet_d2.checkpoint import DynamicCheckpointer
from dynamicdet_d2.data.check.keypoints import num_keypoints
from dynamicdet_d2.data.loading.loaders import ImageLoader, build_test_loader
from dynamicdet_d2.engine.builders import Builders
from dynamicdet_d2.engine.checks import (
    check_optimizer,
    check_schedule,
    check_state,
    state_fits,
)
from dynamicdet_d2.engine.distributed import distributed, share_statistics
from dynamicdet_d2.engine.ema import WeightAverage
from dynamicdet_d2.engine.expected import check_expected
from dynamicdet_d2.engine.hooks import (
    Evaluation,
    KeptScalars,
    LearningRate,
    PreciseStatistics,
    StepSeed,
    StopOnSignal,
)
from dynamicdet_d2.engine.loss_table import LossTable
from dynamicdet_d2.engine.overridden import check_has, checked_evaluators, checked_hooks
from dynamicdet_d2.engine.phases.phase import Start, Stream
from dynamicdet_d2.engine.phases.solver import FIXED_KEYS, OPTIMIZER_KEYS, built
from dynamicdet_d2.engine.reliable import ReliableTrainer
from dynamicdet_d2.engine.run_data import prepare_test
from dynamicdet_d2.engine.running import KEPT, kept, normalizer_of, set_normalizer
from dynamicdet_d2.engine.step import TrainingStep
from dynamicdet_d2.evaluation.coco_evaluator import coco_evaluator
from dynamicdet_d2.evaluation.cost import RouteCost
from dynamicdet_d2.evaluation.exit_records import SpreadSample
from dynamicdet_d2.evaluation.latency import measure_latency
from dynamicdet_d2.evaluation.passes import results_folder
from dynamicdet_d2.modeling.architecture import building
from dynamicdet_d2.modeling.modes import modes_kept
from dynamicdet_d2.parts import is_described
from dynamicdet_d2.utils import stopping
from dynamicdet_d2.utils.device import device_name
from dynamicdet_d2.utils.files import write_json

logger = logging.getLogger(__name__)


class StaticTrainer(ReliableTrainer, Builders):
    """Detectron2's default trainer for any detector of its registry.

    It trains as dynamic detectors are trained: on the same stream of images, by the same
    optimizers, schedules and averages, and so that a run that was killed and resumed ends, on the
    CPU, with the weights of one that was not. It reads weights safely, and gives average FLOPs and
    latency beside COCO's figures, by the tools that measure dynamic detectors and with the same
    optimisations (``MODEL.INFERENCE``).

    Attributes:
        average: of the weights, where ``SOLVER.EMA`` asks for one.
        seed: of the run.
    """

    def __init__(self, cfg: CfgNode) -> None:
        # Not DefaultTrainer's beginning: see `_begin`; it has no schedule without a step, either.
        cfg = self._begin(cfg)
        seed_all_rng(self.seed)  # which the initial weights follow from
        self._enter(distributed(self.build_model(cfg)), 0)
        # Nothing is done yet.
        self.iter, self.start_iter, self.max_iter = -1, 0, cfg.SOLVER.MAX_ITER
        self.average = WeightAverage.from_config(cfg, self.plain_model)
        if cfg.SOLVER.EMA.ENABLED:
            self.average.begin()
        own = weakref.proxy(self)
        self.checkpointer = DynamicCheckpointer(
            self.model,
            cfg.OUTPUT_DIR,
            as_saved=lambda: own.as_saved(),
            trainer=own,
        )
        own_hooks = checked_hooks(self.build_hooks(), f"build_hooks of {type(self).__name__}")
        check_has(own_hooks, StepSeed, "no run resumes as it was, nor has a schedule", type(self))
        self.register_hooks(own_hooks)

    @classmethod
    def build_model(cls, cfg: CfgNode) -> nn.Module:
        """The model of the config, on its device."""
        with building():
            return super().build_model(cfg)

    def build_hooks(self) -> list[HookBase]:
        """Detectron2's, with the evaluation of averaged weights."""
        found = super().build_hooks()
        place = next(i for i, hook in enumerate(found) if isinstance(hook, EvalHook))
        evaluation = Evaluation(self.cfg.TEST.EVAL_PERIOD, self._evaluate)
        found[place : place + 1] = [StopOnSignal(), evaluation]
        # Detectron2's own keeps the state of its own schedules alone.
        found = [LearningRate() if isinstance(x, LRSchedulerHook) else x for x in found]
        periods = self.cfg.SOLVER.CHECKPOINT_PERIOD, self.cfg.TEST.EVAL_PERIOD
        found = [KeptScalars.in_place_of(hook, periods) for hook in found]
        return [StepSeed(), self.average, *map(PreciseStatistics.in_place_of, found)]

    @property
    def plain_model(self) -> nn.Module:
        """The detector."""
        model: Any = self.model
        return getattr(model, "module", model)

    def state_dict(self) -> dict:
        """With what the losses of a dense detector are divided by."""
        return {**super().state_dict(), **kept(normalizer_of(self.plain_model))}

    def phase_of_step(self) -> tuple[str, dict[str, Any]]:
        """No phase, and what the step's losses were to be divided by."""
        return "", kept(self._trainer.normalizer)

    def load_state_dict(self, state_dict: dict) -> None:
        """As Detectron2's.

        Raises:
            ValueError: the checkpoint does not fit the config's steps, model or optimizer.
        """
        check_state(state_dict, self.cfg, ())
        self.settle_keys(state_dict, OPTIMIZER_KEYS, FIXED_KEYS)
        done, asked = state_dict["iteration"] + 1, self.cfg.SOLVER.MAX_ITER
        if done > asked:
            raise ValueError(
                f"SOLVER.MAX_ITER is {asked}; the run to resume has done {done} iterations, so "
                f"that at least {done} must be asked for."
            )
        self.seed = state_dict.get("seed", self.seed)
        self._enter(self.model, done, state_dict.get("batches"))  # by the keys that hold
        set_normalizer(self.plain_model, state_dict.get(KEPT))
        with state_fits(self.cfg):
            states = dict(state_dict.get("hooks", {}))
            earlier = states.pop("LRScheduler", None)  # where a schedule's state once was
            super().load_state_dict({**state_dict, "hooks": states})
            self._trainer.load_state_dict(state_dict["_trainer"])
            check_optimizer(self.optimizer)
            if self.scheduler is not None:
                self.scheduler.load_state_dict(earlier or state_dict["scheduler"])
                check_schedule(self.scheduler, done)

    @classmethod
    def build_test_loader(cls, cfg: CfgNode, dataset_name: str) -> ImageLoader:
        return build_test_loader(cfg, dataset_name)

    @classmethod
    def build_evaluator(
        cls, cfg: CfgNode, dataset_name: str, output_folder: str | None = None
    ) -> DatasetEvaluator:
        """COCO's figures, average FLOPs and latency, written to ``output_folder``.

        Args:
            output_folder: None: as ``results_folder``.
        """
        folder = output_folder or results_folder(cfg, dataset_name)
        measured = cfg.TEST.KEYPOINT_OKS_SIGMAS, num_keypoints(cfg)
        coco = coco_evaluator(dataset_name, folder, *measured)
        cost = StaticCost(cfg, os.path.join(folder, f"static_{dataset_name}.json"))
        return DatasetEvaluators([coco, cost])

    @classmethod
    def test(
        cls,
        cfg: CfgNode,
        model: nn.Module,
        evaluators: Sequence[DatasetEvaluator] | None = None,
    ) -> dict:
        """As Detectron2's, with the detector run as ``MODEL.INFERENCE`` says.

        Raises:
            ValueError: there are not as many evaluators as data sets.
        """
        prepare_test(cfg)
        given = checked_evaluators(evaluators, cfg.DATASETS.TEST) if evaluators else None
        return super().test(cfg, AsRun(cfg, getattr(model, "module", model)), given)

    def _enter(self, model: nn.Module, step: int, batches: int | None = None) -> None:
        """Train a model, wrapped for several processes or not, from a step on; batches as for
        ``Stream``."""
        plain: Any = getattr(model, "module", model)
        stream = Stream(images=self.images, seed=self.seed, step=step, batches=batches)
        start = Start(plain, stream, type(self), LossTable({}))
        loader, optimizer, self.scheduler = built(self.cfg, start)
        mixed = self.cfg.SOLVER.AMP.ENABLED
        self._trainer = TrainingStep(
            model, loader, optimizer, mixed_precision=mixed, begun_at=stream.begun_at
        )

    def _evaluate(self) -> dict:
        with stopping.at_once(), self.average.in_place(), modes_kept(self.plain_model):
            share_statistics(self.plain_model)
            self._last_eval_results = self.test(self.cfg, self.model)
        check_expected(self.cfg.TEST.EXPECTED_RESULTS, self._last_eval_results)
        return self._last_eval_results


class AsRun(nn.Module):
    """A static detector as it is run, optimised or not; its outputs name it and its original."""

    def __init__(self, cfg: CfgNode, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.fast = OptimizedCopy(InferenceOptions.from_config(cfg), whole=True).of(model)
        # The caller puts back the mode that it finds here.
        self.training = model.training

    def forward(self, batched_inputs: list[dict]) -> list[dict]:
        """As the model's, with ``"model"`` and ``"fast"`` in each dict."""
        outputs = self.fast(batched_inputs)
        return [{**output, "model": self.model, "fast": self.fast} for output in outputs]


class StaticCost(DatasetEvaluator):
    """Average multiply-adds and latency of a static detector on a data set."""

    def __init__(self, cfg: CfgNode, path: str) -> None:
        """
        Args:
            cfg: ``TEST.DYNAMIC`` is read.
            path: of the JSON file that the figures are written to.
        """
        self._cfg, self._path = cfg, path

    def reset(self) -> None:
        self._models: tuple[nn.Module, nn.Module] | None = None
        self._sizes: list[tuple[int, int]] = []
        self._timed = SpreadSample(self._cfg.TEST.DYNAMIC.LATENCY_IMAGES)

    def process(self, inputs: Sequence[dict], outputs: Sequence[dict]) -> None:
        """Keep what is needed of a batch: Detectron2's input dicts and ``AsRun`` of them."""
        self._models = outputs[0]["model"], outputs[0]["fast"]
        for image in inputs:
            self._sizes.append(tuple(image["image"].shape[-2:]))
            self._timed.add(image)

    def evaluate(self) -> dict[str, dict[str, float]]:
        """{"static": {"gflops", "latency_ms", "p95_ms", "fps"}}, on the main process.

        GFLOPs are of all processes' images, milliseconds of some of its own. Without GFLOPs where
        nobody has described the detector's parts.
        """
        sizes = [*chain.from_iterable(comm.gather(self._sizes, dst=0))]
        if not comm.is_main_process() or self._models is None:
            return {}
        model, fast = self._models
        keys = self._cfg.TEST.DYNAMIC
        multiple = self._cfg.MODEL.INFERENCE.SIZE_MULTIPLE
        figures = {}
        if is_described(model):
            cost = RouteCost(model, keys.ATTENTION_MATMUL, size_multiple=multiple)
            figures["gflops"] = cost.average(sizes, [False] * len(sizes))
        else:
            logger.warning(
                "No GFLOPs are counted: the parts of a %s are not described "
                "(dynamicdet_d2.parts.parts_of).",
                type(model).__name__,
            )
        images = [[image] for image in self._timed.items()]
        if images:
            latency = measure_latency(fast, images, None, keys.LATENCY_WARMUP)
            figures.update(latency_ms=latency.mean, p95_ms=latency.p95, fps=1000 / latency.mean)
        content = {**figures, "device": device_name(next(model.parameters()).device)}
        write_json(self._path, content)
        return {"static": figures} if figures else {}
