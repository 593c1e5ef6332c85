# SPDX-License-Identifier: Apache-2.0
"""Refuse what cannot be resumed, before hours are spent in it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from detectron2.config import CfgNode
from torch import Tensor
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LRScheduler

from dynamicdet_d2.config.checking import value_of
from dynamicdet_d2.config.ranges import above, integer, number
from dynamicdet_d2.engine.plan import Plan
from dynamicdet_d2.utils.words import in_words, shown

# Of the libraries that a state is loaded into, which take for granted that it is one.
_REFUSALS = (AttributeError, LookupError, RuntimeError, TypeError, ValueError)


def _is_plan(value: Any) -> bool:
    return isinstance(value, dict) and all(
        type(name) is str and integer(at_least=0).holds(steps) for name, steps in value.items()
    )


# What a state may have, each with what it must be.
_PARTS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "iteration": (integer(at_least=-1).holds, "a whole number, at least -1"),
    "seed": (integer(at_least=0).holds, "a whole number, at least 0"),
    "batches": (integer(at_least=0).holds, "a whole number, at least 0"),
    "phase": (lambda x: type(x) is str, "the name of a phase"),
    "plan": (_is_plan, "the steps of each phase by its name"),
    "config": (lambda x: isinstance(x, dict), "keys and their values"),
    "_trainer": (lambda x: isinstance(x, dict), "the state of a training step"),
    "scheduler": (lambda x: isinstance(x, dict), "the state of a schedule"),
    "hooks": (lambda x: isinstance(x, dict), "the state of hooks"),
    "loss_normalizer": (above(0).holds, "a number above 0"),
}


def check_state(state: Any, cfg: CfgNode, needed: tuple[str, ...]) -> None:
    """Refuse what is no trainer's state, before anything is taken from it.

    Args:
        state: whatever the checkpoint has in the place of one.
        cfg: of the run that resumes.
        needed: names of what must be there.

    Raises:
        ValueError: naming what is missing or malformed.
    """
    where = f"The last checkpoint in OUTPUT_DIR {cfg.OUTPUT_DIR}"
    if not isinstance(state, Mapping) or "_trainer" not in state or "iteration" not in state:
        raise ValueError(
            f"{where} has no state of a run and cannot be resumed; without --resume, "
            "MODEL.WEIGHTS takes its weights."
        )
    for name in needed:
        if name not in state:
            raise ValueError(
                f"{where} is of another trainer (its state has no '{name}') and cannot be "
                "resumed; without --resume, MODEL.WEIGHTS takes its weights."
            )
    for name, (holds, must) in _PARTS.items():
        if name in state and not holds(state[name]):
            raise ValueError(
                f"{where} cannot be resumed: it has {shown(state[name])} for '{name}', which must "
                f"be {must}."
            )


@contextmanager
def state_fits(cfg: CfgNode) -> Iterator[None]:
    """The state of optimizer, schedule and hooks is loaded, and looked at, inside.

    Args:
        cfg: of the run that resumes.

    Raises:
        ValueError: it is not that of this run.
    """
    try:
        yield
    except _REFUSALS as error:
        raise ValueError(
            f"The last checkpoint in OUTPUT_DIR {cfg.OUTPUT_DIR} cannot be resumed: the state of "
            f"optimizer, schedule and hooks in it is none of this run ({in_words(error)})."
        ) from error


def check_optimizer(optimizer: Optimizer) -> None:
    """Refuse a state that is no state of the optimizer's parameters, which takes any.

    Raises:
        ValueError: what is wrong, without an end.
    """
    for group in optimizer.param_groups:
        for name in {"lr", "weight_decay", "momentum"} & group.keys():
            if not number(at_least=0).holds(_as_plain(group[name])):
                raise ValueError(f"{name} is {shown(group[name])}")
    by_element = isinstance(optimizer, (SGD, AdamW))  # others may keep anything
    for parameter, kept in optimizer.state.items():
        tensors = {name: value for name, value in kept.items() if isinstance(value, Tensor)}
        for name, value in tensors.items():
            if by_element and value.numel() != 1 and value.shape != parameter.shape:
                shapes = f"{tuple(value.shape)} of a parameter {tuple(parameter.shape)}"
                raise ValueError(f"{name} has shape {shapes}")
            if not torch.isfinite(value).all():
                raise ValueError(f"{name} is not finite")


def _as_plain(value: Any) -> Any:
    """torch takes a tensor of one number for a learning rate, too."""
    return value.item() if isinstance(value, Tensor) and value.numel() == 1 else value


def check_schedule(scheduler: LRScheduler, done: int) -> None:
    """Refuse a state of another schedule, or of another step, which it takes in silence.

    Args:
        done: steps of the phase.

    Raises:
        ValueError: what is wrong, without an end.
    """
    groups, rates = len(scheduler.optimizer.param_groups), getattr(scheduler, "base_lrs", None)
    step = getattr(scheduler, "last_epoch", done)  # one that is made of others may have neither
    if step != done:
        raise ValueError(f"the schedule is at step {shown(step)}, not at {done}")
    if rates is not None and len(rates) != groups:
        raise ValueError(f"the schedule has {len(rates)} learning rates, not {groups}")


def check_checkpoint(state: dict, plan: Plan, cfg: CfgNode) -> None:
    """Refuse to resume a run whose phases were others.

    Args:
        state: of the trainer, as the checkpoint has it.
        plan: of the run that resumes.
        cfg: of the run that resumes.

    Raises:
        ValueError: naming what differs.
    """
    phase, recorded = state["phase"], state["plan"]
    if phase not in recorded:
        raise ValueError(
            f"The last checkpoint in OUTPUT_DIR {cfg.OUTPUT_DIR} cannot be resumed: it is in phase "
            f"{shown(phase)}, which its plan {shown(list(recorded))} has not."
        )
    reached = list(recorded)[: list(recorded).index(phase) + 1]
    if list(plan.steps)[: len(reached)] != reached:
        raise ValueError(
            f"SOLVER.PHASES is {list(plan.steps)}; the run to resume is in phase {phase}: "
            f"SOLVER.PHASES must begin with {reached}."
        )
    for name in reached[:-1]:
        if recorded[name] != plan.steps[name]:
            raise ValueError(
                f"{_asked(plan, name, cfg)}; the run to resume is in phase {phase}, after "
                f"{recorded[name]} iterations of phase {name}: it must stay {recorded[name]}."
            )
    done = state["iteration"] + 1 - plan.start(phase)
    if done < 0:
        raise ValueError(
            f"The last checkpoint in OUTPUT_DIR {cfg.OUTPUT_DIR} cannot be resumed: it is in phase "
            f"{phase}, which its iteration {state['iteration']} lies before."
        )
    if done > plan.steps[phase]:
        raise ValueError(
            f"{_asked(plan, phase, cfg)}; the run to resume has done {done} iterations of phase "
            f"{phase}, so that at least {done} must be asked for.{_other_count(state, plan)}"
        )


def _other_count(state: dict, plan: Plan) -> str:
    """A sentence where the training images, which iterations follow from, are not as many."""
    record = state.get("images")
    before = record.get("count") if isinstance(record, Mapping) else None
    if before in (None, plan.num_images):
        return ""
    return f" DATASETS.TRAIN had {before} images then, and has {plan.num_images} now."


def _asked(plan: Plan, name: str, cfg: CfgNode) -> str:
    """What the config asks of a phase, as the beginning of a sentence."""
    key, steps = plan.named(name).steps_key, plan.steps[name]
    value = value_of(cfg, key)
    said = f"{key} is {value}"
    return said if key == "SOLVER.MAX_ITER" else f"{said}, {steps} iterations of DATASETS.TRAIN"
