# SPDX-License-Identifier: Apache-2.0
"""Blocks that train in one form and are run in a simpler one with the same values.

I, O: input and output channels, k: side of a kernel.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from detectron2.layers import Conv2d, FrozenBatchNorm2d, NaiveSyncBatchNorm
from torch import Tensor, nn

from dynamicdet_d2.acceleration.as_written import has_hooks, runs_as
from dynamicdet_d2.utils.own_code import is_own

_BATCH_NORMS = (nn.BatchNorm2d, nn.SyncBatchNorm, NaiveSyncBatchNorm, FrozenBatchNorm2d)


class Foldable(nn.Module, ABC):
    """A block for which an equivalent with fewer operations exists once its weights are fixed."""

    @abstractmethod
    def folded(self) -> nn.Module:
        """The equivalent, with weights of its own; the block itself stays as it is.

        Weights are computed in float64 and rounded once. It is the block itself where there is
        no equivalent, as with norms that look at the image.
        """


def fold_blocks(model: nn.Module) -> int:
    """Put the equivalent of every ``Foldable`` inside a model in its place, in place.

    Args:
        model: in evaluation mode; what must keep its state dict is copied before.

    Returns:
        how many blocks were replaced.
    """
    replaced = 0
    for parent, name, block in _foldable_inside(model):
        equivalent = block.folded()
        setattr(parent, name, equivalent.train(block.training))
        replaced += equivalent is not block
    return replaced


@contextmanager
def blocks_folded(model: nn.Module) -> Iterator[None]:
    """As ``fold_blocks``, inside alone; afterwards the blocks are back."""
    found = _foldable_inside(model)
    fold_blocks(model)
    try:
        yield
    finally:
        for parent, name, block in found:
            setattr(parent, name, block)


def _foldable_inside(model: nn.Module) -> list[tuple[nn.Module, str, Foldable]]:
    return [
        (parent, name, child)
        for parent in model.modules()
        for name, child in parent.named_children()
        if isinstance(child, Foldable) and _is_as_written(child)
    ]


def _is_as_written(block: Foldable) -> bool:
    """Whether it does what its equivalent was written for: a subclass may do something else."""
    written = next(kind for kind in type(block).__mro__ if "folded" in vars(kind))
    inside = [module for module in block.modules() if module is not block]
    return runs_as(block, written) and not has_hooks(block) and all(map(_is_known, inside))


def _is_known(module: nn.Module) -> bool:
    """Whether a module of a block is one of those that it was written with."""
    if is_own(module) or has_hooks(module) or "forward" in vars(module):
        return False
    if not isinstance(module, Conv2d):
        return True
    return module.activation is None and set(module.dilation) == {1} and module.groups == 1


def norm_is_fixed(norm: nn.Module | None) -> bool:
    """Whether a norm is the same affine map for every image (or is not there)."""
    if norm is None:
        return True
    return runs_as(norm, *_BATCH_NORMS) and not norm.training and norm.running_mean is not None


def affine_of_norm(norm: Any) -> tuple[Tensor, Tensor]:
    """Scale and shift of a fixed batch norm, each (C,) in float64."""
    mean, variance = norm.running_mean.double(), norm.running_var.double()
    scale = (variance + norm.eps).rsqrt()
    if norm.weight is None:
        return scale, -mean * scale
    scale = norm.weight.detach().double() * scale
    return scale, norm.bias.detach().double() - mean * scale


def affine_convolution(conv: Conv2d) -> tuple[Tensor, Tensor]:
    """Weight (O, I, k, k) and bias (O,) of a convolution and its fixed norm, in float64."""
    weight, bias = conv.weight.detach().double(), conv.bias
    bias = weight.new_zeros(len(weight)) if bias is None else bias.detach().double()
    if conv.norm is None:
        return weight, bias
    scale, shift = affine_of_norm(conv.norm)
    return weight * scale[:, None, None, None], bias * scale + shift


def convolution_like(conv: nn.Conv2d, weight: Tensor, bias: Tensor) -> Conv2d:
    """A convolution with these weights, rounded to another one's precision.

    Args:
        conv: whose stride, padding and precision it has.
        weight: (O, I, k, k) float64.
        bias: (O,) float64.
    """
    outputs, inputs, *kernel = weight.shape
    with torch.device("meta"):
        new = Conv2d(inputs, outputs, kernel, stride=conv.stride, padding=conv.padding)
    new.weight = nn.Parameter(weight.to(conv.weight.dtype), requires_grad=False)
    new.bias = nn.Parameter(bias.to(conv.weight.dtype), requires_grad=False)
    return new
