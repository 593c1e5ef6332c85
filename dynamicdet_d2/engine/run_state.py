# SPDX-License-Identifier: Apache-2.0
"""What a checkpoint has of a run beside its weights, and how a run that resumes takes it up."""

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.engine import DefaultTrainer, HookBase
from detectron2.engine.hooks import PeriodicCheckpointer
from torch import Tensor, nn

from dynamicdet_d2.checkpoint import DynamicCheckpointer, check_finite
from dynamicdet_d2.checkpoint.files import plain
from dynamicdet_d2.checkpoint.learnt import recorded_images, with_earlier
from dynamicdet_d2.config import check
from dynamicdet_d2.data.loading.corrupt import Sample
from dynamicdet_d2.engine.distributed import said_once
from dynamicdet_d2.engine.resuming import check_model, recorded, say_other_images, settle
from dynamicdet_d2.engine.running import share_running
from dynamicdet_d2.engine.step import TrainingStep

logger = logging.getLogger(__name__)


class StatefulTrainer(DefaultTrainer):
    """A trainer whose state is that of the last step made, whoever saves it and when.

    Attributes:
        cfg, seed, images: of the run; images in Detectron2's format.
        run_id: what tells it from others in its folder, over its resumptions; "" where a checkpoint
            of before knows none.
        resumed_under: the keys that a run which resumes had before, by their names.
        scheduler: of the learning rate; None: it is constant.
    """

    cfg: CfgNode
    seed: int
    run_id: str
    images: Sequence[Sample]
    checkpointer: DynamicCheckpointer
    scheduler: Any
    resumed_under: Mapping[str, Any] = {}
    _trainer: TrainingStep
    _learnt_before: Sequence[Tensor] = ()
    # Iteration of the last step made; ``iter`` is the next one's before a step and after the last.
    _made = -1

    def after_step(self) -> None:
        self._made = self.iter
        share_running(self.plain_model)
        super().after_step()

    @property
    def plain_model(self) -> nn.Module:
        """The detector, never wrapped for several processes."""
        raise NotImplementedError

    def state_dict(self) -> dict:
        """Of the last step made, the states of hooks and schedule, the seed, the config's keys."""
        state = {
            "iteration": self._made,
            "seed": self.seed,
            "run": self.run_id,
            "_trainer": self._trainer.state_dict(),
            "batches": self._trainer.taken,
            "config": recorded(self.cfg),
            "images": self.learnt_images,
        }
        states = {name: hook.state_dict() for name, hook in named_hooks(self._hooks).items()}
        states = {name: kept for name, kept in states.items() if kept}
        if states:
            state["hooks"] = states
        if self.scheduler is not None:
            state["scheduler"] = self.scheduler.state_dict()
        return state

    def load_state_dict(self, state_dict: dict) -> None:
        """The run, the step that was made last, and the states of hooks."""
        self.run_id = state_dict.get("run", "")
        self.iter = self._made = state_dict["iteration"]
        hooks = named_hooks(self._hooks)
        for name, kept in state_dict.get("hooks", {}).items():
            if name in hooks:
                hooks[name].load_state_dict(kept)
            else:
                logger.warning("There is no hook %s any more, whose state is passed over.", name)

    def settle_keys(
        self, state: Mapping[str, Any], held: Sequence[str], fixed: Sequence[str]
    ) -> None:
        """Which keys hold in a run that resumes, said.

        Args:
            state: the trainer's, from the checkpoint.
            held, fixed: as for ``resuming.settle``.

        Raises:
            ValueError: the model or a key that must stay is another one, or weights not finite.
            SystemExit: in the other processes of a run of which one says so.
        """
        self.resumed_under = record = state.get("config", {})
        with said_once():
            check_model(self.checkpointer.report, record, self.cfg)
            check_finite(self.checkpointer)  # before a phase tries a step with these weights
            say_other_images(state.get("images"), self._images)
            settle(self.cfg, record, held=("SEED", *held), fixed=fixed)
            check(self.cfg)  # what a checkpoint has for a key may be as wrong as what is typed

    @property
    def learnt_images(self) -> dict[str, object]:
        """``recorded_images`` of the run, with what the weights that it began with had learnt."""
        return with_earlier(self._images, self._learnt_before)

    @cached_property
    def _images(self) -> dict[str, object]:
        classes = MetadataCatalog.get(self.cfg.DATASETS.TRAIN[0]).get("thing_classes") or []
        return recorded_images(self.images, classes)


def named_hooks(hooks: Iterable[HookBase]) -> dict[str, HookBase]:
    """Hooks by the names of their classes, as in Detectron2's checkpoints; a second one of a class
    has its number behind the name."""
    seen: Counter[str] = Counter()
    found = {}
    for hook in hooks:
        name = type(hook).__qualname__
        seen[name] += 1
        found[name if seen[name] == 1 else f"{name} {seen[name]}"] = hook
    return found


def check_hook_states(hooks: Sequence[HookBase]) -> None:
    """Refuse a state that no checkpoint could keep, or that its hook could not take up again,
    before the steps that would be lost with it.

    One that is saved before its hook has seen the step is remarked on; one that a hook cannot give
    yet, as it has seen no step, is left to the first checkpoint.

    Args:
        hooks: in their order, behind their ``before_train``.

    Raises:
        ValueError: naming the hook and what it keeps.
    """
    saved = False
    for name, hook in named_hooks(hooks).items():
        if type(hook).state_dict is not HookBase.state_dict:
            try:
                state = hook.state_dict()
            except Exception:  # a user's own, of what comes with the steps
                state = {}
            plain(state, f"The state of hook {name}")
            if state and not hasattr(hook, "load_state_dict"):
                raise ValueError(
                    f"Hook {name} gives a state_dict() and has no load_state_dict(), without "
                    "which no run is resumed from a checkpoint that has its state."
                )
            if saved:
                logger.warning(
                    "Hook %s keeps a state and comes behind the one that saves checkpoints, which "
                    "have its state of the step before: build_hooks can give it a place earlier.",
                    name,
                )
        saved = saved or isinstance(hook, PeriodicCheckpointer)
