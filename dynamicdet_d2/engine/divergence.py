# SPDX-License-Identifier: Apache-2.0
"""A step that is not finite: what it consisted of, and a file by which it can be repeated."""

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.utils import comm
from torch import nn

from dynamicdet_d2.checkpoint.complete import not_finite
from dynamicdet_d2.checkpoint.files import plain
from dynamicdet_d2.engine.batch_file import encoded
from dynamicdet_d2.engine.step import TrainingStep, check_finite, losses_of
from dynamicdet_d2.engine.step_seed import seed_step
from dynamicdet_d2.utils.files import whole_file

logger = logging.getLogger(__name__)

_NAMED_IMAGES = 8


@dataclass(frozen=True)
class FailedStep:
    """All that a step's losses follow from.

    Attributes:
        cfg, seed, iteration: of the run, and the step.
        phase: name of the phase; "": of a static detector.
        kept: what the phase's module is built from beside the model.
        model: never wrapped, with its weights as they were when the step began.
        step: that failed.
        images: ids of its images, where they are known.
    """

    cfg: CfgNode
    seed: int
    iteration: int
    phase: str
    kept: Mapping[str, Any]
    model: nn.Module
    step: TrainingStep
    images: tuple[object, ...]


def diverged(failed: FailedStep, fault: str) -> FloatingPointError:
    """The error of a step that failed, with all that can be said of it, and its file written.

    Args:
        fault: what was found, as the middle of a sentence.
    """
    where = f"iteration {failed.iteration}"
    if failed.phase:
        where += f", in phase {failed.phase}"
    file = _written(failed)
    finite_in_float32 = _float32_losses(failed)
    if finite_in_float32 is None:
        verdict = f"Training diverged at {where}: {fault}"
    else:
        verdict = (
            f"Mixed precision overflowed at {where}, training did not diverge: {fault}, and in "
            f"float32 the losses are {_shown(finite_in_float32)}; SOLVER.AMP.ENABLED False goes on "
            "from the last checkpoint"
        )
    rate = failed.step.optimizer.param_groups[0]["lr"]
    losses = _shown({name: loss.item() for name, loss in failed.step.losses.items()})
    return FloatingPointError(
        f"{verdict}. Losses: {losses or 'none, the step did not come so far'}; learning rate "
        f"{rate:g}; images: {_ids(failed.images)}. {file}"
    )


def _written(failed: FailedStep) -> str:
    """Write the file; what there is to say about it."""
    rank = comm.get_rank()
    name = f"diverged_{failed.iteration:07d}{f'_rank{rank}' if rank else ''}.pth"
    path = os.path.join(failed.cfg.OUTPUT_DIR, name)
    try:
        with whole_file(path) as file:
            torch.save(dump(failed), file)
    except (OSError, ValueError) as error:
        return f"No file of the step: {error}"
    return f"'python -m dynamicdet_d2 replay {path}' repeats the step."


def dump(failed: FailedStep) -> dict[str, Any]:
    """The step in tensors and plain types; ``engine/replay.py`` reads it."""
    step = failed.step
    state = {
        name: step.buffers.get(id(value), value).detach()
        for name, value in failed.model.state_dict(keep_vars=True).items()
    }
    content = {
        "config": failed.cfg.dump(),
        "seed": failed.seed,
        "rank": comm.get_rank(),
        "iteration": failed.iteration,
        "phase": failed.phase,
        "kept": dict(failed.kept),
        "mixed_precision": step.scaler is not None,
        "losses": {name: loss.item() for name, loss in step.losses.items()},
        "learning_rates": [group["lr"] for group in step.optimizer.param_groups],
        "images": list(failed.images),
    }
    return {
        **{name: plain(value, name) for name, value in content.items()},
        "batch": encoded(step.batch),
        "model": state,
    }


def _float32_losses(failed: FailedStep) -> dict[str, float] | None:
    """The step's losses once more in float32; None where they are no more finite than they were."""
    step = failed.step
    if step.scaler is None:
        return None
    seed_step(failed.seed, failed.iteration, comm.get_rank())
    # By itself, without the other processes.
    module: Any = getattr(step.model, "module", step.model)
    try:
        with torch.no_grad():
            losses = losses_of(module, step.batch)
        check_finite(losses)
    except FloatingPointError:
        return None
    return {name: loss.item() for name, loss in losses.items()}


def _shown(losses: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in losses.items())


def _ids(images: tuple[object, ...]) -> str:
    if not images:
        return "not known"
    more = len(images) - _NAMED_IMAGES
    return ", ".join(map(str, images[:_NAMED_IMAGES])) + (f" and {more} more" if more > 0 else "")


def check_weights(model: nn.Module, left_out: tuple[str, ...] = ("loss_offset",)) -> None:
    """Refuse weights that are NaN or infinite.

    Args:
        left_out: names of buffers that need not be finite.

    Raises:
        FloatingPointError: naming the first, in the middle of a sentence.
    """
    bad = not_finite(model, apart=left_out)
    if bad:
        more = f" and of {len(bad) - 1} tensors more" if len(bad) > 1 else ""
        raise FloatingPointError(f"the weights of {bad[0]}{more} are not finite")
