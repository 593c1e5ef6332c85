# SPDX-License-Identifier: Apache-2.0
"""How the dense parts of an optimised copy are run.

They run in inference mode, in the precision that was asked for. What lies between them (choosing
proposals, ROIAlign, decoding boxes, NMS) stays as it is: float32, and ordinary tensors that a
caller may change in place.
"""

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from dynamicdet_d2.acceleration.options import InferenceOptions
from dynamicdet_d2.acceleration.precision import as_float32
from dynamicdet_d2.parts import Part


def in_inference_mode(
    function: Callable, part: Part, options: InferenceOptions, device: torch.device
) -> Callable:
    """The function in inference mode, under autocast where the precision is reduced.

    Args:
        function: of tensors and containers of them.
        part: whose function it is.
        options: with the precision.
        device: that it runs on.
    """

    @functools.wraps(function)
    def call(*args: object) -> Any:
        # In float32 a caller's own autocast goes on.
        with torch.inference_mode(), _autocast(options, device):
            result = function(*args)
            result = as_float32(result) if options.reduced and not part.features else result
        return _ordinary(result) if part.changed_in_place else result

    return call


def _autocast(options: InferenceOptions, device: torch.device) -> AbstractContextManager:
    return torch.autocast(device.type, options.dtype) if options.reduced else nullcontext()


def _ordinary(value: Any) -> Any:
    """Copies of tensors, or of lists and tuples of them, that know nothing of inference mode."""
    if isinstance(value, Tensor):
        return value.clone()
    if isinstance(value, list | tuple):
        return type(value)(_ordinary(part) for part in value)
    return value
