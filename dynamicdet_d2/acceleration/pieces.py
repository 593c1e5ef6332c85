# SPDX-License-Identifier: Apache-2.0
"""The parts of a detector whose work is convolutions and matrix products.

They run in inference mode, in the precision that was asked for, and where asked compiled. What
lies between them (choosing proposals, ROIAlign, decoding boxes, NMS) stays as it is: float32, and
ordinary tensors that a caller may change in place.
"""

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from dynamicdet_d2.acceleration.options import InferenceOptions
from dynamicdet_d2.acceleration.precision import as_float32


@dataclass(frozen=True)
class Piece:
    """A function of a module.

    Attributes:
        owner: the module; ``getattr(owner, name)`` is the function.
        name: of the function.
        weights: the module whose weights are held in the precision that was asked for; None: the
            router's stay float32.
        fixed_shape: whether its shapes follow from the batch's alone, so that compiling it once
            a padded size is worth it.
        features: whether it gives features, which stay in the precision that they were computed
            in; predictions leave in float32.
    """

    owner: nn.Module
    name: str
    weights: nn.Module | None
    fixed_shape: bool = False
    features: bool = False

    def wrap(self, wrapper: Callable[[Callable], Callable]) -> None:
        """Let the owner's function be ``wrapper`` of what it was."""
        setattr(self.owner, self.name, wrapper(getattr(self.owner, self.name)))


def pieces_of(model: nn.Module) -> list[Piece]:
    """The pieces of a ``DynamicRCNN`` or of a ``GeneralizedRCNN``.

    Of fixed shape are backbone 1 and the router, the connections with backbone 2, and the neck and
    the RPN's head; or the static detector's backbone and RPN head.
    """
    backbone = model.backbone
    if hasattr(model, "router"):
        functions = [(backbone, "first", backbone), (model.router, "forward", None)]
        functions += [(backbone, "second", backbone), (model.neck, "forward", model.neck)]
    else:
        functions = [(backbone, "forward", backbone)]
    pieces = [Piece(*function, fixed_shape=True, features=True) for function in functions]
    rpn_head = getattr(model.proposal_generator, "rpn_head", None)
    if rpn_head is not None:
        pieces.append(Piece(rpn_head, "forward", rpn_head, fixed_shape=True))
    return pieces + _roi_pieces(model.roi_heads)


def _roi_pieces(roi_heads: nn.Module) -> list[Piece]:
    box_heads = getattr(roi_heads, "box_head", None)
    box_heads = box_heads if isinstance(box_heads, nn.ModuleList) else [box_heads]
    pieces = [Piece(head, "forward", head) for head in box_heads if head is not None]
    for name in ("mask_head", "keypoint_head"):
        head = getattr(roi_heads, name, None)
        # What Detectron2 calls the layers alone, without the choice of an output per instance.
        if hasattr(head, "layers"):
            pieces.append(Piece(head, "layers", head))
    return pieces


def in_inference_mode(
    function: Callable, options: InferenceOptions, device: torch.device, features: bool
) -> Callable:
    """The function in inference mode, under autocast where the precision is reduced.

    Args:
        function: of tensors and containers of them.
        options: with the precision.
        device: that it runs on.
        features: see ``Piece``.
    """

    @functools.wraps(function)
    def call(*args: object) -> Any:
        # In float32 a caller's own autocast goes on.
        with torch.inference_mode(), _autocast(options, device):
            result = function(*args)
            return as_float32(result) if options.reduced and not features else result

    return call


def _autocast(options: InferenceOptions, device: torch.device) -> AbstractContextManager:
    return torch.autocast(device.type, options.dtype) if options.reduced else nullcontext()
