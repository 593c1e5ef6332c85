# SPDX-License-Identifier: Apache-2.0
"""Convolutions and matrix products in a reduced precision, and all else in float32."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from detectron2.modeling.poolers import ROIPooler
from torch import Tensor, nn

from dynamicdet_d2.parts import undescribed

_WITH_WEIGHTS = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)


def hold_weights(root: nn.Module, dtype: torch.dtype, exact: Sequence[str] = ()) -> None:
    """Keep weights in the precision that they are used in, in place.

    Autocast alone would round them at every call.

    Args:
        root: whose convolutions and linear layers are meant.
        dtype: of the weights.
        exact: names of layers in it that are computed in float32 all the same.
    """
    for name, module in root.named_modules():
        if name in exact:
            weight = next(module.parameters())
            module.forward = _in_float32(module.forward, weight.device)
        elif name.startswith(tuple(f"{own}." for own in exact)):
            continue  # of layers that a program has put in the place of one
        elif isinstance(module, _WITH_WEIGHTS):
            for own in module.parameters(recurse=False):  # not those of its norm
                own.data = own.data.to(dtype)


def pool_in_float32(model: nn.Module) -> None:
    """Let every pooler see its features in float32, in place."""
    for module in model.modules():
        if isinstance(module, ROIPooler):
            module.register_forward_pre_hook(_features_in_float32)


def rest_in_float32(model: nn.Module) -> None:
    """Let what no part describes, and runs as it is, see its features in float32, in place.

    So of a semantic head beside the others, or proposal generators of a program's own.
    """
    for name in undescribed(model):
        module = model.get_submodule(name)
        module.register_forward_pre_hook(_inputs_in_float32, with_kwargs=True)


def as_float32(value: Any) -> Any:
    """Floating point tensors of any precision, or lists, tuples and dicts of them, in float32."""
    if isinstance(value, Tensor):
        return value.float() if value.is_floating_point() else value
    if isinstance(value, list | tuple):
        return type(value)(as_float32(part) for part in value)
    if isinstance(value, dict):
        return {name: as_float32(part) for name, part in value.items()}
    return value


def _features_in_float32(pooler: ROIPooler, args: tuple) -> tuple:
    features, *boxes = args
    return as_float32(features), *boxes


def _inputs_in_float32(module: nn.Module, args: tuple, named: dict) -> tuple[tuple, dict]:
    return as_float32(args), as_float32(named)


def _in_float32(function: Callable[[Tensor], Tensor], device: torch.device) -> Callable:
    @functools.wraps(function)
    def call(x: Tensor) -> Tensor:
        with torch.autocast(device.type, enabled=False):
            return function(x.float())

    return call
