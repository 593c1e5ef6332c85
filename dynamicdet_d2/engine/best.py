# SPDX-License-Identifier: Apache-2.0
"""The best weights of a phase that trains detectors, and the end of one that gains no more."""

import logging
import math
import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.engine import HookBase
from detectron2.evaluation.testing import flatten_results_dict
from detectron2.utils import comm

from dynamicdet_d2.checkpoint.files import read_checkpoint
from dynamicdet_d2.checkpoint.learnt import in_checkpoint
from dynamicdet_d2.config.ranges import nearest
from dynamicdet_d2.engine.best_record import (
    History,
    Judged,
    Record,
    best_of,
    is_better_lower,
    measured_by,
    record_in,
    without_values,
)
from dynamicdet_d2.engine.distributed import share_weights
from dynamicdet_d2.engine.resuming import recorded
from dynamicdet_d2.utils.files import whole_file, write_json
from dynamicdet_d2.utils.plain import to_plain

logger = logging.getLogger(__name__)

METRIC = "SOLVER.BEST.METRIC"
WEIGHTS, RECORD = "model_best.pth", "best.json"
MOST_NAMED = 6


class BestWeights(HookBase):
    """Looks at every evaluation of a phase that trains detectors, and at one more at its end.

    The best weights are kept in ``model_best.pth``, and are what the phase hands over to the next
    one. Without a better value for ``patience`` evaluations the phase ends; its remaining
    iterations are passed over, so that those of the phases after it keep their numbers. What was
    seen is in ``best.json``, which a resumed run goes on with. Must come after the evaluation.
    """

    def __init__(self, cfg: CfgNode) -> None:
        """By ``SOLVER.BEST``, ``TEST.EVAL_PERIOD`` and ``OUTPUT_DIR``."""
        keys = cfg.SOLVER.BEST
        self._metric, self._patience = keys.METRIC, keys.PATIENCE
        self._period, self._folder = cfg.TEST.EVAL_PERIOD, cfg.OUTPUT_DIR
        self._record = Record(self._metric)

    def before_train(self) -> None:
        """Go on with what a run that resumes has seen; it may have died in an evaluation, or before
        it had saved what followed from one."""
        trainer = self.trainer
        self._record = Record(self._metric, trainer.run_id, measured=measured_by(trainer.cfg))
        if trainer.start_iter:
            self._record = self._read(trainer.start_iter)
        if not trainer.start_iter or not os.path.isfile(self._path(RECORD)):
            self._write()  # from the first step on, so that a resume knows whether it is lost
        trainer.plan.ended = {n: h.ended for n, h in self._record.phases.items() if h.ended}
        if not trainer.start_iter or not trainer.phase.averaged:
            return
        self._check_kept()  # and not only when the phase has ended, after days
        self._say_ended()
        if self._due(trainer.start_iter):
            if not self._seen(trainer.start_iter):
                self._judge(trainer.start_iter, trainer._evaluate())
            self._act(trainer.start_iter)

    def after_step(self) -> None:
        done = self.trainer.iter + 1
        if not self._due(done):
            return
        by_period = self._period and done % self._period == 0 and done < self.trainer.max_iter
        results = self.trainer._last_eval_results if by_period else self.trainer._evaluate()
        if not by_period:
            scalars = flatten_results_dict(results)
            self.trainer.storage.put_scalars(**scalars, smoothing_hint=False)
        self._judge(done, results)
        self._act(done)

    def _due(self, done: int) -> bool:
        trainer = self.trainer
        if not trainer.phase.averaged:  # its detectors are frozen
            return False
        at_end = done == trainer.plan.ends[trainer.phase.name]
        return at_end or bool(self._period and done % self._period == 0)

    def _history(self) -> History:
        name, phases = self.trainer.phase.name, self._record.phases
        if name not in phases:
            self._record = replace(self._record, phases={**phases, name: History()})
        return self._record.phases[name]

    def _seen(self, done: int) -> bool:
        return any(one.done == done for one in self._history().judged)

    def _judge(self, done: int, results: Mapping[str, Any]) -> None:
        """Note an evaluation, and keep the weights where it is the best."""
        value = comm.all_gather(self._value(results))[0]
        history = self._history()
        history.judged = (*history.judged, Judged(done, value))
        if self._best() == len(history.judged) - 1 and comm.is_main_process():
            with self.trainer.average.in_place(), whole_file(self._path(WEIGHTS)) as file:
                trainer = self.trainer
                own = {"model": trainer.detector.state_dict(), "done": done}
                keys, phase = recorded(trainer.cfg), trainer.phase.name
                record = in_checkpoint(trainer.learnt_images, keys, phase)
                torch.save({**own, **record}, file)
            logger.info("%s is %.4g, the best so far: %s", self._metric, value, WEIGHTS)
        if value is None and comm.is_main_process():
            logger.warning(
                "%s has no value after %d iterations, so that it says nothing of these weights: no "
                "object of the test images counts for it, perhaps.",
                *(self._metric, done),
            )

    def _value(self, results: Mapping[str, Any]) -> float | None:
        """The metric, on the main process; None where it is not a number."""
        if not comm.is_main_process():
            return None
        flat = flatten_results_dict(results)
        if self._metric not in flat:
            near = nearest(self._metric, flat.keys())
            names = sorted(name for name in flat if "/AP-" not in name)  # those are of one class
            some = ", ".join(names[:MOST_NAMED]) + (" and more" if len(flat) > MOST_NAMED else "")
            raise ValueError(
                f"SOLVER.BEST.METRIC is '{self._metric}'; an evaluation gives {some}.{near}"
            )
        value = float(flat[self._metric])
        return value if math.isfinite(value) else None

    def _best(self) -> int | None:
        return best_of(self._history().judged, is_better_lower(self._metric))

    def _act(self, done: int) -> None:
        """End the phase where it gains no more; hand the best weights over where it has ended."""
        trainer, history, best = self.trainer, self._history(), self._best()
        name = trainer.phase.name
        at_end = done == trainer.plan.ends[name]
        # A metric that never had a value has not stopped to gain.
        waited = 0 if best is None else len(history.judged) - 1 - best
        if self._patience and waited >= self._patience and not at_end:
            history.ended = trainer.plan.ended[name] = done
            logger.info(
                "Phase %s ends after %d of %d iterations: %s has not been better for %d "
                "evaluations.",
                name,
                done,
                trainer.plan.ends[name],
                self._metric,
                waited,
            )
        self._write()
        if (at_end or history.ended) and best is not None:
            self._hand_over(name, kept=best == len(history.judged) - 1 and at_end)

    def _hand_over(self, name: str, kept: bool) -> None:
        """Let the model have the best weights; ``kept``: it has them, and they are saved."""
        comm.synchronize()
        trainer = self.trainer
        trainer.average.hand_over()
        if comm.is_main_process():  # other machines may not have the file
            trainer.detector.load_state_dict(self._kept()["model"])
        share_weights(trainer.detector)
        if not kept and comm.is_main_process():
            last = trainer.plan.ends[name] == trainer.max_iter  # of those that have steps
            trainer.checkpointer.save("model_final" if last else f"model_{name}")

    def _check_kept(self) -> None:
        """Look for the best anew where the kept weights are of an evaluation that comes again.

        Raises:
            ValueError: as ``_kept``.
        """
        history, best = self._history(), self._best()
        if best is None:
            return
        of, done = self._kept().get("done"), history.judged[best].done
        if of in (None, done):  # files of before had no number
            return
        history.judged = without_values(history.judged)
        logger.warning(
            "%s has the weights after %s iterations, which are made again, and no more the best of "
            "those before, after %d: the best is looked for anew.",
            *(WEIGHTS, of, done),
        )

    def _say_ended(self) -> None:
        """A run that resumes behind the early end of its phase does not go on with it."""
        name = self.trainer.phase.name
        ended, end = self._history().ended, self.trainer.plan.ends[name]
        if ended and ended < end and comm.is_main_process():
            logger.warning(
                "Phase %s was ended after %d of %d iterations, as SOLVER.BEST.PATIENCE was then: "
                "those that remain are passed over, also by keys that differ.",
                *(name, ended, end),
            )

    def _kept(self) -> Mapping[str, Any]:
        """The best evaluation's "model", and "done".

        Raises:
            ValueError: the file is not there, is damaged, or is of another model.
        """
        path, own = self._path(WEIGHTS), self.trainer.detector.state_dict()
        content = read_checkpoint(path)
        weights = content["model"]
        shapes = {name: value.shape for name, value in weights.items()}
        wrong = [name for name, value in own.items() if shapes.get(name) != value.shape]
        if wrong or len(weights) != len(own):
            first = next(iter([*wrong, *(name for name in weights if name not in own)]))
            raise ValueError(
                f"{path} holds the weights of another model ('{first}' does not fit); "
                f"SOLVER.BEST.METRIC keeps this run's best ones there, as {RECORD} says."
            )
        return content

    def _path(self, name: str) -> str:
        return os.path.join(self._folder, name)

    def _write(self) -> None:
        if comm.is_main_process():
            write_json(self._path(RECORD), to_plain(self._record))

    def _read(self, done: int) -> Record:
        """What was seen in the first ``done`` steps of the run."""
        path = self._path(RECORD)
        if not os.path.isfile(path):
            if self.trainer.phase.averaged and self.trainer.resumed_under.get(METRIC):
                logger.warning(
                    "%s is gone, which has this run's evaluations: the best weights of the phase "
                    "are looked for anew, and will replace those in %s.",
                    *(path, WEIGHTS),
                )
            return self._record
        there = record_in(path)
        if there.run not in ("", self._record.run):  # files of before had none
            logger.warning(
                "%s is of a run that began anew here and has saved no checkpoint: the best weights "
                "of the one that is gone on with are looked for anew.",
                path,
            )
            return self._record
        if there.metric != self._metric:
            raise ValueError(
                f"SOLVER.BEST.METRIC is '{self._metric}'; the run to resume was judged by "
                f"'{there.metric}', according to {path}."
            )
        there = there.up_to(done)
        if other := there.differs_in(self._record.measured):
            logger.warning(
                "%s is not what it was at the evaluations that %s names: their %s cannot be "
                "compared with those that come, and the best of the phase is looked for anew.",
                *(other, path, self._metric),
            )
            there = there.without_values()
        return replace(there, run=self._record.run, measured=self._record.measured)
