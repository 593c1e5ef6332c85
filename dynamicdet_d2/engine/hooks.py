# SPDX-License-Identifier: Apache-2.0
"""Hooks of the trainer: the switch between the phases, randomness, stopping, what is logged."""

import datetime
import logging
import signal
from collections.abc import Iterable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import torch
from detectron2.engine import HookBase
from detectron2.engine.hooks import EvalHook, IterationTimer, PeriodicWriter, PreciseBN
from detectron2.utils import comm
from detectron2.utils.events import EventStorage, EventWriter, get_event_storage

from dynamicdet_d2.engine.history import begin_phase
from dynamicdet_d2.engine.running import normalizer_of, set_normalizer
from dynamicdet_d2.engine.step_seed import seed_step
from dynamicdet_d2.utils import stopping
from dynamicdet_d2.utils.memory import peak_memory

logger = logging.getLogger(__name__)

WRITE_PERIOD = 20  # steps, as Detectron2's


class StepSeed(HookBase):
    """Makes the random numbers of a step a function of the run's seed, the step and the process.

    Anchors and proposals are sampled at random; so a resumed run continues as if it had never
    stopped.
    """

    def before_step(self) -> None:
        seed_step(self.trainer.seed, self.trainer.iter, comm.get_rank())


class StepTimer(IterationTimer):
    """Detectron2's, whose speed is of the steps that were made, where a phase has ended early."""

    def after_train(self) -> None:
        trainer = self.trainer
        start = trainer.start_iter + trainer.plan.passed_over(trainer.start_iter)
        self.trainer: Any = SimpleNamespace(storage=trainer.storage, start_iter=start)
        super().after_train()
        self.trainer = trainer


class LearningRate(HookBase):
    """Logs the learning rate and steps the phase's schedule.

    Detectron2's own hook keeps the optimizer that it met first; here it changes with the phase.
    """

    def after_step(self) -> None:
        rate = self.trainer.optimizer.param_groups[0]["lr"]
        self.trainer.storage.put_scalar("lr", rate, smoothing_hint=False)
        if self.trainer.scheduler is not None:
            self.trainer.scheduler.step()


class PhaseStatistics(HookBase):
    """Further scalars of a step, as the phase makes them from the step's own."""

    def after_step(self) -> None:
        if comm.is_main_process():
            storage = self.trainer.storage
            latest = storage.latest().items()
            scalars = {name: value for name, (value, at) in latest if at == self.trainer.iter}
            storage.put_scalars(**self.trainer.training.statistics(scalars))


class PhaseSwitch(HookBase):
    """Ends phases of the plan, and moves from one to the next.

    It must be the first hook: the others' ``before_step`` belongs to the new phase, and the pass
    that measures what it learns from to no step's time; their ``after_step`` saves what a phase has
    made of its end.
    """

    def before_step(self) -> None:
        trainer = self.trainer
        phase = trainer.plan.at(trainer.iter)
        if phase is not trainer.phase:
            begin_phase(trainer.storage)
        if phase is not trainer.phase or trainer.training is None:
            with stopping.at_once():  # what it may begin with is a pass over all images
                trainer.enter(phase, step=0)

    def after_step(self) -> None:
        trainer = self.trainer
        finish = trainer.training.finish
        if finish is not None and trainer.iter + 1 == trainer.plan.ends[trainer.phase.name]:
            finish()


class PhaseCheckpoint(HookBase):
    """Saves what a phase has trained, as ``model_<phase>.pth``, before the next one begins.

    The next may begin with a pass over all images; a run that dies in it resumes there.
    """

    def after_step(self) -> None:
        trainer = self.trainer
        done = trainer.iter + 1
        if done == trainer.plan.ends[trainer.phase.name] < trainer.max_iter:
            trainer.checkpointer.save(f"model_{trainer.phase.name}")


class StopOnSignal(HookBase):
    """Ends the run after a step where a signal asks for it; all but Ctrl-C leave a checkpoint.

    Its place is behind all that changes state or saves it, and before evaluations.
    """

    def __init__(self) -> None:
        self._whole = -1  # the last iteration that is done with all that belongs to it

    def after_step(self) -> None:
        self._whole = self.trainer.iter
        # All processes in the same step: one that left alone would take its last one from others.
        wanted = max(comm.all_gather(stopping.requested()))
        if wanted:
            stopping.request(wanted)
            stopping.stop(wanted)

    def after_train(self) -> None:
        number, done = stopping.requested(), self.trainer.iter
        if not number or done >= self.trainer.max_iter:
            return
        there = self.trainer.checkpointer.has_checkpoint()
        kept = f"--resume {'goes on from the last checkpoint' if there else 'begins anew'}"
        is_last = done == self.trainer.max_iter - 1  # saved already, under another name
        if number != signal.SIGINT and self._whole == done and not is_last:
            if comm.is_main_process():
                self.trainer.checkpointer.save(f"model_{done:07d}", iteration=done)
            kept = f"--resume goes on from model_{done:07d}.pth"
        name = signal.Signals(number).name
        logger.warning("Stopped by %s in iteration %d: %s.", name, done, kept)


class Evaluation(EvalHook):
    """Detectron2's, but not after a training that failed or was stopped in its last step."""

    def after_train(self) -> None:
        if self.trainer.iter >= self.trainer.max_iter:
            super().after_train()


class PreciseStatistics(PreciseBN):
    """Detectron2's, by the same images each time, as a run that resumes begins with those again;
    and what the losses of a dense detector are divided by stays that of the steps."""

    @classmethod
    def in_place_of(cls, hook: Any) -> HookBase:
        """This one, where a hook is Detectron2's, and else the hook."""
        if type(hook) is not PreciseBN or hook._disabled:
            return hook
        return cls(hook._period, hook._model, hook._data_loader, hook._num_iter)

    def update_stats(self) -> None:
        model = self.trainer.plain_model
        before, self._data_iter = normalizer_of(model), None
        super().update_stats()
        set_normalizer(model, before)


class KeptScalars(PeriodicWriter):
    """Detectron2's, which also writes what a run that resumes would not measure again: the scalars
    of the steps before a checkpoint, of every evaluation, and of the end of a phase."""

    def __init__(
        self, writers: list[EventWriter], periods: Iterable[int], ends: Iterable[int] = ()
    ) -> None:
        """
        Args:
            periods: further ones, in steps, after which is written; 0: none.
            ends: numbers of steps after which phases end.
        """
        super().__init__(writers, WRITE_PERIOD)
        self._periods, self._ends = tuple(filter(None, periods)), frozenset(ends)

    @classmethod
    def in_place_of(cls, hook: Any, periods: Iterable[int]) -> HookBase:
        """This one, where a hook is Detectron2's, and else the hook."""
        return cls(hook._writers, periods) if type(hook) is PeriodicWriter else hook

    def after_step(self) -> None:
        done = self.trainer.iter + 1
        if done in self._ends or not all(done % period for period in self._periods):
            for writer in self._writers:
                writer.write()
        else:
            super().after_step()


class PhaseProgress(EventWriter):
    """One line in the log now and then: phase, step, losses and remaining time of the phase.

    The remaining time also goes to ``metrics.json`` and TensorBoard as ``eta_seconds``.
    """

    def __init__(
        self,
        ends: Mapping[str, int],
        shown: Mapping[str, Sequence[str]] | None = None,
        window_size: int = 20,
    ) -> None:
        """
        Args:
            ends: phase -> the iteration at which it ends, in order.
            shown: phase -> the scalars that its lines show.
            window_size: steps that the losses and the time shown are the median of.
        """
        self.ends, self.shown = dict(ends), dict(shown or {})
        self.window_size = window_size

    def write(self) -> None:
        storage = get_event_storage()
        phase = next((name for name, end in self.ends.items() if storage.iter < end), None)
        if phase is None:
            return  # called once more when all is done
        shown = [f"phase {phase}  iter: {storage.iter + 1}/{self.ends[phase]}"]
        if "time" in storage.histories():
            eta = self._remaining(storage, phase)
            storage.put_scalar("eta_seconds", eta, smoothing_hint=False)
            shown.append(f"eta: {datetime.timedelta(seconds=int(eta))}")
        shown.extend(self._values(storage, phase))
        on_gpu = torch.cuda.is_available()
        peak = torch.cuda.max_memory_allocated() if on_gpu else peak_memory()
        shown.append(f"max_mem: {peak / 2**20:.0f}M")
        logger.info("  ".join(shown))

    def _remaining(self, storage: EventStorage, phase: str) -> float:
        seconds = storage.history("time").median(self.window_size)
        return seconds * (self.ends[phase] - storage.iter - 1)

    def _values(self, storage: EventStorage, phase: str) -> list[str]:
        histories = storage.histories()
        medians = [
            f"{name}: {histories[name].median(self.window_size):.4g}"
            for name in self.shown.get(phase, ())
            if name in histories
        ]
        rate = histories["lr"].latest() if "lr" in histories else float("nan")
        return [*medians, f"lr: {rate:.3g}"]
