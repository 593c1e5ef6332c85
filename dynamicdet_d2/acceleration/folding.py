# SPDX-License-Identifier: Apache-2.0
"""Frozen norms folded into the convolutions before them."""

from typing import Any

import torch
from detectron2.layers import Conv2d
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from dynamicdet_d2.acceleration.as_written import runs_as
from dynamicdet_d2.acceleration.foldable import norm_is_fixed


def fold_norms(model: nn.Module) -> int:
    """Fold every norm with fixed statistics into its convolution, in place.

    Detectron2's ``Conv2d`` carries its norm; a batch norm in evaluation mode, or a frozen one, is
    the same affine map for every image and can be part of weight and bias. The new weights are
    computed in float64 and rounded once. Norms that look at the image (GN, LN) stay, and so do
    convolutions and norms with another ``forward`` or with hooks, but for classes of convolutions
    that say of it, by ``folds_norm``, that it is Detectron2's apart from what comes before.

    Args:
        model: in evaluation mode; what must keep its state dict is copied before.

    Returns:
        how many norms were folded.
    """
    folded = 0
    for conv in model.modules():
        if isinstance(conv, Conv2d) and conv.norm is not None and _may_be_folded(conv):
            _fold(conv, conv.norm)
            conv.norm = None
            folded += 1
    return folded


def _may_be_folded(conv: Conv2d) -> bool:
    written = next((kind for kind in type(conv).__mro__ if vars(kind).get("folds_norm")), Conv2d)
    return runs_as(conv, written) and norm_is_fixed(conv.norm)


def _fold(conv: Conv2d, norm: Any) -> None:
    dtype = conv.weight.dtype
    bias = None if conv.bias is None else conv.bias.double()
    statistics = (norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias)
    exact: list[Any] = [x.double() if torch.is_tensor(x) else x for x in statistics]
    weight, bias = fuse_conv_bn_weights(conv.weight.double(), bias, *exact)
    conv.weight = nn.Parameter(weight.to(dtype), requires_grad=False)
    conv.bias = nn.Parameter(bias.to(dtype), requires_grad=False)
