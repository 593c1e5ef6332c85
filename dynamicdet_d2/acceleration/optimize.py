# SPDX-License-Identifier: Apache-2.0
"""``optimize_for_inference``: a copy of a detector that gives the same results sooner."""

import copy
import functools
import logging
from typing import Any

import torch
from torch import nn

from dynamicdet_d2.acceleration.box_head import replace_fully_connected
from dynamicdet_d2.acceleration.compilation import compiled, prepare
from dynamicdet_d2.acceleration.foldable import fold_blocks
from dynamicdet_d2.acceleration.folding import fold_norms
from dynamicdet_d2.acceleration.options import InferenceOptions
from dynamicdet_d2.acceleration.padding import pad_to_multiple
from dynamicdet_d2.acceleration.precision import hold_weights, pool_in_float32, rest_in_float32
from dynamicdet_d2.acceleration.roi_align import replace_poolers
from dynamicdet_d2.acceleration.run import for_inference
from dynamicdet_d2.parts import Part, Takes, parts_of
from dynamicdet_d2.utils.memory import keep_memory
from dynamicdet_d2.utils.words import shown

logger = logging.getLogger(__name__)

_AS_IT_IS = InferenceOptions()
# Attribute that tells a copy from a model.
_COPY = "_made_by_optimize_for_inference"


def optimize_for_inference(
    model: nn.Module,
    options: InferenceOptions = _AS_IT_IS,
    in_common: dict[int, Any] | None = None,
) -> nn.Module:
    """A copy of a detector for inference; the detector itself stays as it is.

    Always: blocks and norms with fixed statistics are folded, weights lie channels-last, dense
    parts run without gradients. On the CPU also: ROIAlign and the box head's layers in a faster
    form, and the process keeps the memory that it has once had (``keep_memory``). In float32 the
    results are the model's own to rounding (relative errors of some 1e-6).

    Args:
        model: a detector that ``parts_of`` knows, dynamic or not, with its weights loaded. Heads
            of other kinds than Detectron2's own run as they are.
        options: precision, compilation, padding.
        in_common: what the copy is to have in common with the model (``in_common.py``), id ->
            object; None: nothing.

    Returns:
        the copy, in evaluation mode. Its weights are for no checkpoint, and later changes of the
        model do not reach it, as what layers of a program's own keep there does not reach the
        model; for another one, call this again instead of ``copy.deepcopy``.

    Raises:
        TypeError: for options of another type.
        ValueError: for options that the machine or the backbone cannot serve, for a detector
            whose parts are not described, for a copy that this function has made, and where the
            threshold comes from a calibration of another model.
    """
    _check(model, options)
    device = next(model.parameters()).device
    fast = plain_copy(model, in_common).eval().requires_grad_(False)
    setattr(fast, _COPY, True)
    blocks, norms = fold_blocks(fast), fold_norms(fast)
    if device.type == "cpu":
        keep_memory()
        replace_fully_connected(fast)  # asks the pooler for its output size
        replace_poolers(fast)
    if options.reduced:
        pool_in_float32(fast)
        rest_in_float32(fast)
    fast = fast.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    pad_to_multiple(fast, options.size_multiple)
    if options.compile:
        prepare(fast, device)
    for part in parts_of(fast).parts:
        if part.dense:
            _optimize(part, options, device)
    logger.debug(
        "Optimised for inference: %d blocks and %d norms folded, %s", blocks, norms, options
    )
    return fast


def is_copy(model: nn.Module) -> bool:
    """Whether ``optimize_for_inference`` has made it."""
    return _COPY in vars(model)


@functools.singledispatch
def plain_copy(model: nn.Module, in_common: dict[int, Any] | None = None) -> nn.Module:
    """A copy that is run as it is, for a kind of detector to register its own."""
    return copy.deepcopy(model, in_common)


def _check(model: nn.Module, options: InferenceOptions) -> None:
    if not isinstance(options, InferenceOptions):
        raise TypeError(f"options are {shown(options)}; they must be InferenceOptions(...).")
    parts_of(model)  # refuses one without a description before anything is asked of it
    if is_copy(model):
        raise ValueError(
            "The model is a copy that optimize_for_inference has made, with layers that are folded "
            "already; for other options, give it the model that the copy is of."
        )
    if next(model.parameters()).device.type == "cpu" and options.precision == "float16":
        raise ValueError(
            "MODEL.INFERENCE.PRECISION is 'float16', which is for GPUs; on the CPU it must be "
            "'bfloat16' or 'float32'."
        )


def _optimize(part: Part, options: InferenceOptions, device: torch.device) -> None:
    if options.reduced:
        hold_weights(part.owner, options.dtype, part.exact)
    if options.compile and part.takes is Takes.IMAGE:
        part.wrap(functools.partial(compiled, device=device))
    part.wrap(functools.partial(for_inference, part=part, options=options, device=device))
