# SPDX-License-Identifier: Apache-2.0
"""What both trainers do so that nothing of a run is lost, and nothing goes wrong in silence."""

import itertools
import logging
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode
from detectron2.engine import HookBase, TrainerBase
from detectron2.utils import comm
from detectron2.utils.file_io import PathManager

from dynamicdet_d2.checkpoint import check_finite
from dynamicdet_d2.checkpoint.learnt import learnt_by, say_copies, say_learnt_images
from dynamicdet_d2.config import Use, check
from dynamicdet_d2.data.check.findings import DatasetReport
from dynamicdet_d2.data.loading.images import training_dicts
from dynamicdet_d2.engine.alike import (
    check_same_checkpoint,
    check_same_config,
    check_same_images,
    check_same_sets,
)
from dynamicdet_d2.engine.distributed import run_seed, said_once
from dynamicdet_d2.engine.divergence import FailedStep, check_weights, diverged
from dynamicdet_d2.engine.doubtful import warn_of_doubtful_keys
from dynamicdet_d2.engine.ema import WeightAverage
from dynamicdet_d2.engine.learnt_classes import check_classes, say_begun_with
from dynamicdet_d2.engine.overridden import check_builders, check_one_schedule, checked_hooks
from dynamicdet_d2.engine.run_data import prepare_data
from dynamicdet_d2.engine.run_folder import (
    begun_anew,
    forget_metrics_from,
    keep_earlier_run,
    keep_lost_run,
    refuse_files_of_no_run,
)
from dynamicdet_d2.engine.run_state import StatefulTrainer, check_hook_states
from dynamicdet_d2.engine.saved_config import save_config
from dynamicdet_d2.utils import folder_lock, stopping
from dynamicdet_d2.utils.run_files import CONFIG
from dynamicdet_d2.utils.words import shown

logger = logging.getLogger(__name__)

# What ``enter`` builds, by the names that Detectron2's trainer has for it.
_OF_A_PHASE = ("_trainer", "model", "optimizer", "data_loader")


class ReliableTrainer(StatefulTrainer):
    """Detectron2's default trainer, with an end that is said whatever it is.

    Signals end it after a step, a step that is not finite is explained and kept, weights that are
    not finite do not become a checkpoint, and a run that resumes says under which keys.

    Attributes:
        reports: of its data sets; none where ``DATASETS.CHECK`` is False.
        average: of the weights.
    """

    reports: Sequence[DatasetReport] = ()
    average: WeightAverage
    _resumed = False
    _asked_for_weights = False
    _begins = True
    _has_trained = False

    def _begin(self, cfg: CfgNode) -> CfgNode:
        """What comes before a model is built: keys and data are checked, the seed is drawn.

        In the place of Detectron2's own beginning, which wraps the model for several processes in a
        way that a CPU refuses.

        Returns:
            the config for this number of processes.
        """
        TrainerBase.__init__(self)
        with said_once():
            check(cfg, Use.TRAIN)
            self.cfg = cfg = self.auto_scale_workers(cfg, comm.get_world_size())
            check(cfg, Use.TRAIN)  # as it is scaled
            check_builders(type(self))
        check_same_config(cfg)
        self.seed = run_seed(cfg)
        self.run_id = comm.all_gather(secrets.token_hex(8))[0]
        self.reports = prepare_data(cfg)
        with said_once():
            self.images = training_dicts(cfg)
            check_classes(cfg, self.images)
        check_same_images("DATASETS.TRAIN", cfg.DATASETS.TRAIN, self.images)
        check_same_sets("DATASETS.TEST", cfg.DATASETS.TEST)
        check_same_sets("SOLVER.ROUTER.VALIDATION", [cfg.SOLVER.ROUTER.VALIDATION])
        warn_of_doubtful_keys(cfg)
        return cfg

    def __getattr__(self, name: str) -> Any:
        """Of what is not there yet, which Python would call unknown."""
        if "_hooks" not in self.__dict__ and not name.startswith("__"):
            own = type(self).__name__
            raise AttributeError(f"{own} has no {name} yet: super().__init__(cfg) comes first.")
        if name in _OF_A_PHASE:
            raise AttributeError(
                f"There is no {name} yet: the first phase measures the training images before it "
                "builds what it trains with, when train() enters it; the model is 'detector'."
            )
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")

    def register_hooks(self, hooks: list[HookBase | None]) -> None:
        """As Detectron2's.

        Raises:
            ValueError: what is given is no list of hooks.
        """
        super().register_hooks(checked_hooks(hooks, "register_hooks"))

    def resume_or_load(self, resume: bool = True) -> None:
        """As Detectron2's.

        Raises:
            ValueError: weights that it loads are not finite: training would end with them. Or
                ``resume`` names something, or not all processes have the checkpoint to resume.
        """
        if not isinstance(resume, (bool, int)):
            raise ValueError(
                f"resume_or_load is given {shown(resume)}; it must be True or False: MODEL.WEIGHTS "
                "names weights, and OUTPUT_DIR the run to resume."
            )
        self._asked_for_weights, self._begins = True, not resume
        if resume:
            check_same_checkpoint(self.checkpointer)
        super().resume_or_load(resume=resume)
        check_finite(self.checkpointer)
        # Where a checkpoint has no trainer's state the run begins anew, with its weights.
        there = self.checkpointer.has_checkpoint()
        self._resumed = resume and (self.start_iter > 0 or not there)
        self._note_learnt()
        if resume and there and not self._resumed:
            folder = Path(self.cfg.OUTPUT_DIR)
            logger.warning(
                "%s has weights and no state of a run: this one begins anew with them.%s",
                self.checkpointer.get_checkpoint_file(),
                begun_anew(folder) if comm.is_main_process() else "",
            )
        if self._resumed and self.start_iter >= self.max_iter:
            logger.warning(
                "The run has made all its %d iterations: nothing is left to train, also by keys "
                "that differ%s.",
                self.max_iter,
                ", and it is evaluated" if self.cfg.DATASETS.TEST else "",
            )
        elif resume and comm.is_main_process() and Path(self.cfg.OUTPUT_DIR, CONFIG).is_file():
            save_config(self.cfg)  # with the keys that hold from here on

    def _note_learnt(self) -> None:
        """What the weights have learnt stays on record, and is said where it is measured."""
        loaded = [x for x in (self.checkpointer.report, self.checkpointer.report2) if x is not None]
        if not self._resumed:  # where its own record is compared
            say_begun_with(self.cfg, loaded)
        self._learnt_before = [learnt_by(weights.path) for weights in loaded]
        names = (*self.cfg.DATASETS.TEST, self.cfg.SOLVER.ROUTER.VALIDATION)
        judged = [report for report in self.reports if report.name in names]
        if comm.is_main_process():
            own = self._images  # looks into files, for which a checkpoint by SIGTERM has no time
            for report in [] if self._resumed else judged:  # which its own weights know
                say_copies(own, report.name, report.files)
        for report, weights in itertools.product(judged, loaded):
            say_learnt_images(weights.path, report.name, report.files)

    def train(self) -> Any:
        """As Detectron2's, once; signals that come in a step wait for its end.

        Raises:
            ValueError: it has trained before, whose writers are closed; or, in a program of a
                user's own, as ``refuse_files_of_no_run``.
        """
        if self._has_trained:
            raise ValueError(
                f"This {type(self).__name__} has trained, to the end or not; a new one goes on "
                "where it ended, by resume_or_load(resume=True)."
            )
        check_one_schedule(self._hooks)
        self._has_trained = True
        with said_once():
            if comm.is_main_process():
                self._prepare_folder()
        if self.cfg.MODEL.WEIGHTS and not self._asked_for_weights:
            logger.warning(
                "resume_or_load was not called, so that nothing of MODEL.WEIGHTS %s is loaded by "
                "this trainer: the training begins with the weights that the model has.",
                self.cfg.MODEL.WEIGHTS,
            )
        if self._resumed and comm.is_main_process():
            forget_metrics_from(self.cfg.OUTPUT_DIR, self.start_iter)
        with stopping.deferred():
            return super().train()

    def _prepare_folder(self) -> None:
        """
        Raises:
            ValueError: as ``refuse_files_of_no_run``.
        """
        folder = Path(self.cfg.OUTPUT_DIR)
        PathManager.mkdirs(str(folder))  # writers of a user's own may not have made it
        if folder_lock.is_held(folder):  # by a command, which has done the rest
            return
        if self._begins:
            refuse_files_of_no_run(folder)
        said = keep_earlier_run(folder) if self._begins else keep_lost_run(folder)
        if said:
            logger.warning(said)

    def before_train(self) -> None:
        """As Detectron2's.

        Behind the steps it counts one on, also where none is left to make: a run that resumes for
        its evaluation alone would log that under an iteration of its own.

        Raises:
            ValueError: as ``check_hook_states``.
        """
        self._save_what_is_missing()
        super().before_train()
        check_hook_states(self._hooks)
        if self.start_iter >= self.max_iter:
            self.iter = self.start_iter - 1

    def _save_what_is_missing(self) -> None:
        """A run may have died behind its last step, before it wrote what commands look for; there
        may be an earlier run's."""
        ended = self._resumed and self.start_iter >= self.max_iter
        if not ended or not comm.is_main_process():
            return
        last = Path(self.checkpointer.get_checkpoint_file())
        if last.name != "model_final.pth" or not last.exists():
            self.checkpointer.save("model_final", iteration=self.max_iter - 1)

    def run_step(self) -> None:
        """As Detectron2's.

        Raises:
            ValueError: a subclass keeps its hooks from running.
            FloatingPointError: where losses, boxes or gradients are not finite, with iteration,
                losses, learning rate, images, and the file that repeats the step.
        """
        storage = getattr(self, "storage", None)
        if storage is not None and storage.iter != self.iter:  # where TrainerBase counts
            raise ValueError(
                f"before_step of {type(self).__name__} does not call super().before_step(), "
                "without which no hook runs before a step, and no phase follows the first."
            )
        try:
            super().run_step()
        except FloatingPointError as error:
            # What follows is a dict of all losses.
            fault = str(error).partition("\n")[0].rstrip(".!")
            raise diverged(self._failed_step(), fault) from error

    @contextmanager
    def as_saved(self) -> Iterator[None]:
        """The model has the weights that a checkpoint keeps.

        Raises:
            FloatingPointError: they are not finite; the checkpoints before it stay.
        """
        with self.average.in_place():
            try:
                check_weights(self.plain_model)
            except FloatingPointError as error:
                raise FloatingPointError(
                    f"Training diverged by iteration {self.iter}: {error}, so no checkpoint is "
                    "written. The one before it is the last good one."
                ) from error
            yield

    def phase_of_step(self) -> tuple[str, Mapping[str, Any]]:
        """Name of the phase and what its module is built from; ("", {}) of a static detector."""
        return "", {}

    def image_ids(self, batch: Any) -> tuple[object, ...]:
        """Ids of a batch's images, where they are known."""
        if not isinstance(batch, list) or not all(isinstance(image, dict) for image in batch):
            return ()
        return tuple(image.get("image_id", image.get("file_name")) for image in batch)

    def _failed_step(self) -> FailedStep:
        phase, kept = self.phase_of_step()
        return FailedStep(
            cfg=self.cfg,
            seed=self.seed,
            iteration=self.iter,
            phase=phase,
            kept=kept,
            model=self.plain_model,
            step=self._trainer,
            images=self.image_ids(self._trainer.batch),
        )
