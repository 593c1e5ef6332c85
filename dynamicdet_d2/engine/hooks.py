# SPDX-License-Identifier: Apache-2.0
"""Hooks of the trainer: the switch between the phases, randomness, and what is logged."""

import datetime
import logging
import statistics

import torch
from detectron2.engine import HookBase
from detectron2.utils import comm
from detectron2.utils.events import EventStorage, EventWriter, get_event_storage

from dynamicdet_d2.data.loading.stream import derived_seed
from dynamicdet_d2.engine.phases import DETECTORS, ROUTER

logger = logging.getLogger(__name__)

# What a phase's line in the log shows; everything is in metrics.json and TensorBoard.
_SHOWN = {
    DETECTORS: ("total_loss", "L1", "L2", "loss_gap", "time", "data_time"),
    ROUTER: ("loss_router", "router/difficulty_mean", "router/difficulty_std", "time"),
}


class StepSeed(HookBase):
    """Makes the random numbers of a step a function of the run's seed, the step and the process.

    Anchors and proposals are sampled at random; so a resumed run continues as if it had never
    stopped.
    """

    def before_step(self) -> None:
        seed = derived_seed(self.trainer.seed, self.trainer.iter, comm.get_rank())
        torch.manual_seed(seed % 2**63)


class LearningRate(HookBase):
    """Logs the learning rate and steps the phase's schedule.

    Detectron2's own hook keeps the optimizer that it met first; here it changes with the phase.
    """

    def after_step(self) -> None:
        phase = self.trainer.phase
        rate = phase.optimizer.param_groups[0]["lr"]
        self.trainer.storage.put_scalar("lr", rate, smoothing_hint=False)
        if phase.scheduler is not None:
            phase.scheduler.step()


class PhaseStatistics(HookBase):
    """L1, L2 and their gap in phase ``detectors``; the router's loss, mean and spread then.

    L1 and L2 are weighted by ``MODEL.DYNAMIC.LOSS_WEIGHTS``, like the losses that they are sums of.
    """

    def after_step(self) -> None:
        if not comm.is_main_process():
            return
        storage = self.trainer.storage
        latest = storage.latest()
        if self.trainer.phase.name == DETECTORS:
            loss1, loss2 = (self._total(latest, f"detector{n}/loss_") for n in (1, 2))
            storage.put_scalars(L1=loss1, L2=loss2, loss_gap=loss1 - loss2)
        else:
            recent = self._objective().recent
            # Detectron2 names a loss that is the only one by "total_loss" alone.
            storage.put_scalar("loss_router", latest["total_loss"][0])
            storage.put_scalar("router/difficulty_mean", statistics.fmean(recent))
            storage.put_scalar("router/difficulty_std", statistics.pstdev(recent))

    @staticmethod
    def _total(latest: dict, prefix: str) -> float:
        return sum(value for name, (value, _) in latest.items() if name.startswith(prefix))

    def _objective(self) -> torch.nn.Module:
        module = self.trainer.phase.module
        return getattr(module, "module", module)


class PhaseSwitch(HookBase):
    """Moves from phase ``detectors`` to phase ``router``, by the loss offset's pass.

    It must be the first hook: the others' ``before_step`` belongs to the new phase, and the pass
    to no step's time.
    """

    def before_step(self) -> None:
        trainer = self.trainer
        if trainer.phase.name == DETECTORS and trainer.iter == trainer.detectors_iters:
            trainer.enter_router_phase(step=0)


class DetectorsCheckpoint(HookBase):
    """Saves the trained detectors before the loss offset's pass, which may take long.

    A run that dies in the pass resumes there.
    """

    def after_step(self) -> None:
        trainer = self.trainer
        if trainer.iter + 1 == trainer.detectors_iters < trainer.max_iter:
            trainer.checkpointer.save("model_detectors")


class PhaseProgress(EventWriter):
    """One line in the log now and then: phase, step, losses and remaining time of the phase.

    The remaining time also goes to ``metrics.json`` and TensorBoard as ``eta_seconds``.
    """

    def __init__(self, ends: dict[str, int], window_size: int = 20) -> None:
        """
        Args:
            ends: phase -> the iteration at which it ends.
            window_size: steps that the losses and the time shown are the median of.
        """
        self.ends = ends
        self.window_size = window_size

    def write(self) -> None:
        storage = get_event_storage()
        if storage.iter >= self.ends[ROUTER]:
            return  # called once more when all is done
        phase = DETECTORS if storage.iter < self.ends[DETECTORS] else ROUTER
        shown = [f"phase {phase}  iter: {storage.iter + 1}/{self.ends[phase]}"]
        if "time" in storage.histories():
            eta = self._remaining(storage, phase)
            storage.put_scalar("eta_seconds", eta, smoothing_hint=False)
            shown.append(f"eta: {datetime.timedelta(seconds=int(eta))}")
        shown.extend(self._values(storage, phase))
        if torch.cuda.is_available():
            shown.append(f"max_mem: {torch.cuda.max_memory_allocated() / 2**20:.0f}M")
        logger.info("  ".join(shown))

    def _remaining(self, storage: EventStorage, phase: str) -> float:
        done = storage.iter + 1
        # A step of the phase before took another time.
        steps = done - (0 if phase == DETECTORS else self.ends[DETECTORS])
        seconds = storage.history("time").median(min(steps, self.window_size))
        return seconds * (self.ends[phase] - done)

    def _values(self, storage: EventStorage, phase: str) -> list[str]:
        histories = storage.histories()
        medians = [
            f"{name}: {histories[name].median(self.window_size):.4g}"
            for name in _SHOWN[phase]
            if name in histories
        ]
        rate = histories["lr"].latest() if "lr" in histories else float("nan")
        return [*medians, f"lr: {rate:.3g}"]
