# SPDX-License-Identifier: Apache-2.0
"""The box head's fully connected layers in the form that the CPU's library runs fast."""

from typing import Any

import torch
from detectron2.modeling.roi_heads.box_head import FastRCNNConvFCHead
from torch import nn


def replace_fully_connected(model: nn.Module) -> int:
    """Turn the linear layers of Detectron2's box heads into convolutions, in place.

    A linear layer over a flattened (C, P, P) map is a P x P convolution with one output position,
    and the linear layers after it are 1x1 convolutions. The values are the same to rounding. On
    the CPU convolutions come from oneDNN, whose products in float32 are up to twice as fast as
    those of the library behind linear layers, and channels-last pooled features need no copy.

    Args:
        model: box heads are replaced wherever a ``box_pooler`` stands beside a ``box_head``, one
            or a list of them; others stay, and so do those with other layers than their own.

    Returns:
        how many layers were replaced.
    """
    replaced = 0
    for parent in model.modules():
        children: dict[str, Any] = dict(parent.named_children())
        if not {"box_pooler", "box_head"} <= children.keys():
            continue
        pooled, heads = children["box_pooler"].output_size, children["box_head"]
        for head in heads if isinstance(heads, nn.ModuleList) else [heads]:
            if type(head) is FastRCNNConvFCHead and head.fcs and _linear(head) == head.fcs:
                replaced += _replace(head, tuple(pooled))
    return replaced


def _linear(head: FastRCNNConvFCHead) -> list[nn.Module]:
    """Fewer than the head was built with where a caller has put others in their place."""
    return [child for child in head.children() if type(child) is nn.Linear]


def _replace(head: FastRCNNConvFCHead, pooled: tuple[int, int]) -> int:
    linear = [name for name, child in head.named_children() if isinstance(child, nn.Linear)]
    kernels = [pooled] + [(1, 1)] * (len(linear) - 1)
    for name, kernel in zip(linear, kernels, strict=True):
        setattr(head, name, _as_convolution(getattr(head, name), kernel))
    # The head runs its children in order; what was flattened first is now flattened last.
    head.flatten = nn.Identity()
    head.add_module("flatten_outputs", nn.Flatten())
    head.fcs.clear()  # a list beside the children, which would keep the linear layers
    return len(linear)


def _as_convolution(linear: nn.Linear, kernel: tuple[int, int]) -> nn.Conv2d:
    channels = linear.in_features // (kernel[0] * kernel[1])
    with torch.device("meta"):  # random weights would move the generator of a training around it
        conv = nn.Conv2d(channels, linear.out_features, kernel, bias=False)
    weight = linear.weight.detach().view(-1, channels, *kernel)
    conv.weight = nn.Parameter(weight, requires_grad=False)
    conv.bias = linear.bias
    return conv
