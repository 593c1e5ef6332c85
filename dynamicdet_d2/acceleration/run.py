# SPDX-License-Identifier: Apache-2.0
"""How the dense parts of an optimised copy are run.

They run without gradients, in the precision that was asked for. What lies between them (choosing
proposals, ROIAlign, decoding boxes, NMS) stays as it is, in float32. All tensors are ordinary ones,
which methods of a program's own may change in place; in torch's inference mode they would not be.
"""

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from dynamicdet_d2.acceleration.options import InferenceOptions
from dynamicdet_d2.acceleration.precision import as_float32
from dynamicdet_d2.parts import Part


def for_inference(
    function: Callable, part: Part, options: InferenceOptions, device: torch.device
) -> Callable:
    """The function without gradients, under autocast where the precision is reduced.

    Args:
        function: of tensors and containers of them.
        part: whose function it is.
        options: with the precision.
        device: that it runs on.
    """

    @functools.wraps(function)
    def call(*args: object, **named: object) -> Any:
        # In float32 a caller's own autocast goes on.
        with torch.no_grad(), _autocast(options, device):
            result = function(*args, **named)
            return as_float32(result) if options.reduced and not part.features else result

    return call


def _autocast(options: InferenceOptions, device: torch.device) -> AbstractContextManager:
    return torch.autocast(device.type, options.dtype) if options.reduced else nullcontext()
