# SPDX-License-Identifier: Apache-2.0
"""The blocks of YOLOv7's necks and heads (YOLOv7, arXiv 2207.02696, sections 3.1 and 4).

N: images, C, O: input and output channels, H, W: height and width in positions.
"""

import torch
import torch.nn.functional as F
from detectron2.layers import Conv2d
from torch import Tensor, nn

from dynamicdet_d2.acceleration.foldable import (
    Foldable,
    affine_convolution,
    affine_of_norm,
    convolution_like,
    norm_is_fixed,
)
from dynamicdet_d2.modeling.backbone.elan_blocks import block_norm, conv_block

_IMPLICIT_STD = 0.02


class PyramidPooling(nn.Module):
    """Spatial pyramid pooling beside a 1x1 branch (SPPCSPC): (N, C, H, W) -> (N, O, H, W).

    Max pools over 5, 9 and 13 positions; the larger two are the smallest one applied twice and
    three times, which is the same for maxima.
    """

    def __init__(self, in_channels: int, out_channels: int, norm: str = "BN") -> None:
        super().__init__()
        width = out_channels
        self.before = nn.Sequential(
            conv_block(in_channels, width, 1, norm=norm),
            conv_block(width, width, 3, norm=norm),
            conv_block(width, width, 1, norm=norm),
        )
        self.after = nn.Sequential(
            conv_block(4 * width, width, 1, norm=norm), conv_block(width, width, 3, norm=norm)
        )
        self.side = conv_block(in_channels, width, 1, norm=norm)
        self.fuse = conv_block(2 * width, out_channels, 1, norm=norm)

    def forward(self, x: Tensor) -> Tensor:
        pooled = [self.before(x)]
        for _ in range(3):
            pooled.append(F.max_pool2d(pooled[-1], 5, stride=1, padding=2))
        main = self.after(torch.cat(pooled, dim=1))
        return self.fuse(torch.cat([main, self.side(x)], dim=1))


class RepConv(Foldable):
    """Parallel 3x3 and 1x1 convolutions that become one: (N, C, H, W) -> (N, O, H, W).

    Where C = O there is an identity branch too, with a norm of its own. Planned
    re-parameterisation (section 4.1) leaves that branch out behind a concatenation, which here
    follows from the channels: in no published model do they agree.
    """

    def __init__(self, in_channels: int, out_channels: int, norm: str = "BN") -> None:
        super().__init__()
        self.dense = _linear_block(in_channels, out_channels, 3, norm)
        self.pointwise = _linear_block(in_channels, out_channels, 1, norm)
        same = in_channels == out_channels
        self.identity = block_norm(norm, in_channels) if same else None
        self.activation = nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        total = self.dense(x) + self.pointwise(x)
        if self.identity is not None:
            total = total + self.identity(x)
        return self.activation(total)

    def folded(self) -> nn.Module:
        norms = (self.dense.norm, self.pointwise.norm, self.identity)
        if not all(norm_is_fixed(norm) for norm in norms):
            return self
        weight, bias = affine_convolution(self.dense)
        centre, centre_bias = affine_convolution(self.pointwise)
        weight, bias = weight + F.pad(centre, (1, 1, 1, 1)), bias + centre_bias
        if self.identity is not None:
            scale, shift = affine_of_norm(self.identity)
            identity = F.pad(scale.diag()[:, :, None, None], (1, 1, 1, 1))
            weight, bias = weight + identity, bias + shift
        conv = convolution_like(self.dense, weight, bias)
        conv.activation = self.activation
        return conv


def _linear_block(in_channels: int, out_channels: int, kernel_size: int, norm: str) -> Conv2d:
    block = conv_block(in_channels, out_channels, kernel_size, norm=norm)
    block.activation = None
    return block


class ImplicitAdd(nn.Module):
    """Adds a learned value to every channel (implicit knowledge)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.implicit = nn.Parameter(torch.empty(1, channels, 1, 1))
        nn.init.normal_(self.implicit, std=_IMPLICIT_STD)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.implicit


class ImplicitMultiply(nn.Module):
    """Multiplies every channel by a learned value, 1 or so (implicit knowledge)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.implicit = nn.Parameter(torch.empty(1, channels, 1, 1))
        nn.init.normal_(self.implicit, mean=1.0, std=_IMPLICIT_STD)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.implicit


class ImplicitConv(Foldable):
    """im (W (x + ia) + b): a 1x1 convolution with bias between two implicit vectors."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.add = ImplicitAdd(in_channels)
        self.conv = Conv2d(in_channels, out_channels, 1)
        self.multiply = ImplicitMultiply(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.multiply(self.conv(self.add(x)))

    def folded(self) -> nn.Module:
        weight, bias = affine_convolution(self.conv)
        added = self.add.implicit.detach().double().flatten()
        factor = self.multiply.implicit.detach().double().flatten()
        bias = factor * (bias + weight[:, :, 0, 0] @ added)
        return convolution_like(self.conv, factor[:, None, None, None] * weight, bias)
