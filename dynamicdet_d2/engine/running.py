# SPDX-License-Identifier: Apache-2.0
"""Running quantities that a step's losses depend on, such as the number of positives that dense
detectors divide theirs by.

Each process takes its own from its own images, and a checkpoint has the main one's. Detectron2's
RetinaNet and FCOS keep theirs in an attribute, which no weights hold.
"""

from collections.abc import Iterable

import torch
from detectron2.layers import FrozenBatchNorm2d
from detectron2.modeling.meta_arch.dense_detector import DenseDetector
from detectron2.utils import comm
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

# Detectron2's attribute, and the name in the state of a run or a step.
KEPT = "loss_normalizer"


def running_quantities(model: nn.Module) -> Iterable[Tensor]:
    """Buffers; those of norms are left out, as no loss in training depends on them."""
    for module in model.modules():
        if not isinstance(module, (_BatchNorm, FrozenBatchNorm2d)):
            yield from module.buffers(recurse=False)


def normalizer_of(model: nn.Module) -> float | None:
    """What a dense detector of Detectron2's divides its losses by, in positives; None where it has
    made no step, and of other models."""
    return getattr(model, KEPT, None) if isinstance(model, DenseDetector) else None


def set_normalizer(model: nn.Module, value: float | None) -> None:
    """Go on with what ``normalizer_of`` gave; None: nothing changes."""
    if value is not None:
        setattr(model, KEPT, value)


def kept(normalizer: float | None) -> dict[str, float]:
    """The part of a state that holds it, {} where there is none."""
    return {} if normalizer is None else {KEPT: normalizer}


@torch.no_grad()
def share_running(model: nn.Module) -> None:
    """Give all processes the main one's, in place, after a step: so a run that resumes goes on with
    what each of them had."""
    if comm.get_world_size() == 1:
        return
    for quantity in running_quantities(model):
        if quantity.is_floating_point():
            torch.distributed.broadcast(quantity, src=0)
    if isinstance(model, DenseDetector):
        set_normalizer(model, comm.all_gather(normalizer_of(model))[0])
