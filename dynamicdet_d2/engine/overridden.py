# SPDX-License-Identifier: Apache-2.0
"""What a subclass of a trainer, or a program, gives it to train with, refused by name."""

import inspect
import logging
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import torch
from detectron2.engine import DefaultTrainer, HookBase
from detectron2.engine.hooks import LRScheduler as LRSchedulerHook
from detectron2.evaluation import DatasetEvaluator
from torch import nn
from torch.optim import LBFGS, Optimizer
from torch.optim.lr_scheduler import LRScheduler

from dynamicdet_d2.engine.hooks import LearningRate
from dynamicdet_d2.modeling.dynamic_detector import DynamicDetector
from dynamicdet_d2.utils.words import shown

logger = logging.getLogger(__name__)

# As difflib measures it: build_optimiser and build_optimizer have 0.93.
_CLOSE = 0.9
# Asked of the class, each with what it is called with.
_BUILDERS = {
    "build_train_loader": ("cfg",),
    "build_optimizer": ("cfg", "model"),
    "build_lr_scheduler": ("cfg", "optimizer"),
    "build_test_loader": ("cfg", "dataset_name"),
    "build_evaluator": ("cfg", "dataset_name"),
}


def check_builders(trainer: type) -> None:
    """Refuse methods that cannot be called as Detectron2's are, before a model is built.

    One whose name is nearly that of a builder is remarked on: nobody would ask it.

    Raises:
        ValueError: naming the method.
    """
    for name, arguments in _BUILDERS.items():
        method = inspect.getattr_static(trainer, name)
        try:
            inspect.signature(getattr(trainer, name)).bind(*arguments)
        except TypeError:
            is_method = not isinstance(method, (classmethod, staticmethod))
            kind = "a classmethod" if is_method else "called so"
            raise ValueError(
                f"{name} of {trainer.__name__} must be {kind}: {name}({', '.join(arguments)})."
            ) from None
    known = [name for name in dir(DefaultTrainer) if name.startswith("build_")]
    for name in set(dir(trainer)) - set(known):
        close = get_close_matches(name, known, n=1, cutoff=_CLOSE)
        if close:
            logger.warning(
                "%s of %s is asked by nothing. The nearest is %s.",
                *(name, trainer.__name__, close[0]),
            )


def checked_model(model: object, trainer: type) -> DynamicDetector:
    """What a subclass's ``build_model`` gives.

    Raises:
        ValueError: it has no two detectors, or is not in float32.
    """
    if not isinstance(model, DynamicDetector):
        raise ValueError(
            f"build_model of {trainer.__name__} returns an object of type {type(model).__name__}; "
            "it must be a DynamicDetector."
        )
    types = {x.dtype for x in model.parameters() if x.is_floating_point()} - {torch.float32}
    if types:
        raise ValueError(
            f"build_model of {trainer.__name__} returns weights of {types.pop()}; they are trained "
            "in float32, and SOLVER.AMP.ENABLED computes in less."
        )
    return model


def checked_hooks(hooks: Any, giver: str) -> list[HookBase | None]:
    """Hooks as a list.

    Args:
        giver: what gives them, as the beginning of a sentence.

    Raises:
        ValueError: they are none, or one is no hook's instance.
    """
    if hooks is None:
        raise ValueError(f"{giver} returns nothing.")
    if not isinstance(hooks, Iterable):
        raise ValueError(f"{giver} gives {shown(hooks)}; it must be a list of hooks.")
    listed = list(hooks)
    for hook in listed:
        if not (hook is None or isinstance(hook, HookBase)):
            raise ValueError(
                f"{giver} gives {shown(hook)}; it must be an instance of Detectron2's HookBase."
            )
    return listed


def check_has(
    hooks: Sequence[HookBase | None], kind: type[HookBase], without: str, trainer: type
) -> None:
    """Refuse hooks without one of a trainer's own, in whose place nothing would be done.

    Args:
        without: what is so without it, as the middle of a sentence.

    Raises:
        ValueError: it is missing.
    """
    if not any(isinstance(hook, kind) for hook in hooks):
        raise ValueError(
            f"build_hooks of {trainer.__name__} gives no {kind.__name__}, without which {without}: "
            "add to the list that super().build_hooks() gives."
        )


def check_one_schedule(hooks: Sequence[HookBase]) -> None:
    """Refuse two hooks that step the schedule: it would be over after half of the steps.

    Raises:
        ValueError: naming them.
    """
    found = [hook for hook in hooks if isinstance(hook, (LearningRate, LRSchedulerHook))]
    if len(found) > 1:
        names = " and ".join(type(hook).__name__ for hook in found)
        raise ValueError(
            f"The hooks {names} each step the schedule, which would be over too early: leave out "
            f"{type(found[-1]).__name__}."
        )


def checked_writers(writers: Any, trainer: type) -> list:
    """What a subclass's ``build_writers`` gives.

    Raises:
        ValueError: it is no list of them.
    """
    listed = list(writers) if isinstance(writers, Iterable) else [writers]
    for writer in listed:
        if not hasattr(writer, "write"):
            raise ValueError(
                f"build_writers of {trainer.__name__} gives {shown(writer)}; it must be a list of "
                "Detectron2's EventWriters, [] for none."
            )
    return listed


def check_optimizer_trains(optimizer: Any, model: nn.Module, trainer: type) -> None:
    """Refuse an optimizer by which nothing would be learnt; that of a part of it is one.

    Args:
        model: with gradients for what trains.

    Raises:
        ValueError: naming the trainer.
    """
    name = f"build_optimizer of {trainer.__name__}"
    if not isinstance(optimizer, Optimizer):
        raise ValueError(f"{name} returns {shown(optimizer)}; it must be a torch.optim.Optimizer.")
    if isinstance(optimizer, LBFGS):
        raise ValueError(f"{name} returns LBFGS, which computes losses several times in a step.")
    own = {id(parameter) for parameter in model.parameters() if parameter.requires_grad}
    held = (p for group in optimizer.param_groups for p in group["params"])
    if own.isdisjoint(map(id, held)):
        raise ValueError(
            f"{name} gives one of other parameters than those of the model that train: it learns "
            "none."
        )


def check_schedule_steps(schedule: Any, optimizer: Optimizer, trainer: type) -> None:
    """Refuse what is no schedule of the optimizer's learning rates; None is a constant rate.

    Raises:
        ValueError: naming the trainer.
    """
    name = f"build_lr_scheduler of {trainer.__name__}"
    if schedule is None:
        return
    if not isinstance(schedule, LRScheduler) or _asks_for_more(schedule.step):
        raise ValueError(
            f"{name} returns {shown(schedule)}; it must be a schedule of torch.optim.lr_scheduler "
            "that is stepped without a metric, or None."
        )
    if schedule.optimizer is not optimizer:
        raise ValueError(f"{name} gives one of another optimizer, whose rates nothing reads.")


def _asks_for_more(step: Any) -> bool:
    try:
        inspect.signature(step).bind()
    except TypeError:
        return True
    return False


def checked_loader(loader: Any, trainer: type) -> Iterable[list[dict]]:
    """What a subclass's ``build_train_loader`` gives.

    Raises:
        ValueError: it gives no batches.
    """
    name = f"build_train_loader of {trainer.__name__}"
    if not isinstance(loader, Iterable):
        given = "nothing" if loader is None else shown(loader)
        raise ValueError(f"{name} returns {given}; it must be an iterable of batches.")
    return loader


def checked_evaluators(evaluators: Any, names: Sequence[str]) -> list[DatasetEvaluator]:
    """The evaluators of ``test`` as a list; of one data set it may be the evaluator itself.

    Args:
        names: of the data sets.

    Raises:
        ValueError: there are not as many as data sets.
    """
    listed = [evaluators] if isinstance(evaluators, DatasetEvaluator) else evaluators
    if not isinstance(listed, (list, tuple)) or len(listed) != len(names):
        found = len(listed) if isinstance(listed, (list, tuple)) else shown(evaluators)
        raise ValueError(
            f"test is given {found} for its evaluators; it must be a list of {len(names)}, one for "
            "each data set of DATASETS.TEST."
        )
    return list(listed)


def check_trains(trained: Mapping[str, Sequence[nn.Module]], trainer: type) -> None:
    """Refuse a phase of which all is frozen, before those that come first.

    Args:
        trained: name of each phase -> what it is for, as the model was built.

    Raises:
        ValueError: naming the phase.
    """
    for phase, parts in trained.items():
        if not any(weight.requires_grad for part in parts for weight in part.parameters()):
            raise ValueError(
                f"Phase {phase} has nothing to train: build_model of {trainer.__name__} gives a "
                "model in which all that it is for is frozen."
            )
