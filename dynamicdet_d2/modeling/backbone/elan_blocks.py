# SPDX-License-Identifier: Apache-2.0
"""The blocks of YOLOv7's backbones (YOLOv7, arXiv 2207.02696, section 3.1).

N: images, C: channels, H, W: height and width in positions. All maps are (N, C, H, W).
"""

import torch
import torch.nn.functional as F
from detectron2.layers import Conv2d, FrozenBatchNorm2d, get_norm
from torch import Tensor, nn

NORM_EPS = 1e-3
NORM_MOMENTUM = 0.03
NORMS = ("BN", "SyncBN", "FrozenBN")


def conv_block(
    in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, norm: str = "BN"
) -> Conv2d:
    """A convolution without bias, batch norm and SiLU; H and W are divided by the stride.

    Args:
        kernel_size: odd; half of it is padded on every side.
        norm: one of ``NORMS``.
    """
    return Conv2d(
        in_channels,
        out_channels,
        kernel_size,
        stride=stride,
        padding=kernel_size // 2,
        bias=False,
        norm=block_norm(norm, out_channels),
        activation=nn.SiLU(),
    )


def block_norm(name: str, channels: int) -> nn.Module:
    """A batch norm with YOLOv7's constants, which are not PyTorch's.

    Args:
        name: one of ``NORMS``.

    Raises:
        ValueError: for another name.
    """
    if name not in NORMS:
        raise ValueError(f"MODEL.YOLO.NORM is '{name}'; it must be one of {', '.join(NORMS)}.")
    norm = get_norm(name, channels)
    norm.eps = NORM_EPS
    if not isinstance(norm, FrozenBatchNorm2d):
        norm.momentum = NORM_MOMENTUM
    return norm


class ELAN(nn.Module):
    """A chain of 3x3 convolutions whose outputs are concatenated, with two 1x1 branches.

    Every second output is kept in backbones (ELAN), every one in YOLOv7's and W6's necks
    (here: ``keep_all``).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        width: int,
        depth: int,
        chain_width: int | None = None,
        keep_all: bool = False,
        norm: str = "BN",
    ) -> None:
        """
        Args:
            width: channels of the two 1x1 branches.
            depth: 3x3 convolutions in the chain, at least 1.
            chain_width: channels of the chain; None: ``width``.
            keep_all: concatenate every output of the chain, not only the last, the last but
                two, and so on.
        """
        super().__init__()
        inner = chain_width or width
        self.side = conv_block(in_channels, width, 1, norm=norm)
        self.entry = conv_block(in_channels, width, 1, norm=norm)
        self.chain = nn.ModuleList(
            conv_block(inner if number else width, inner, 3, norm=norm) for number in range(depth)
        )
        self.kept = tuple(range(depth - 1, -1, -1 if keep_all else -2))
        joined = 2 * width + len(self.kept) * inner
        self.fuse = conv_block(joined, out_channels, 1, norm=norm)

    def forward(self, x: Tensor) -> Tensor:
        outputs = [self.entry(x)]
        for conv in self.chain:
            outputs.append(conv(outputs[-1]))
        kept = [outputs[number + 1] for number in self.kept]
        return self.fuse(torch.cat([*kept, outputs[0], self.side(x)], dim=1))


class PooledDown(nn.Module):
    """Half the resolution by a max pool and by a strided convolution, side by side: 2 c channels.

    (N, C, H, W) -> (N, 2 c, H / 2, W / 2).
    """

    def __init__(self, in_channels: int, width: int, norm: str = "BN") -> None:
        """
        Args:
            width: c.
        """
        super().__init__()
        self.pooled = conv_block(in_channels, width, 1, norm=norm)
        self.strided = nn.Sequential(
            conv_block(in_channels, width, 1, norm=norm),
            conv_block(width, width, 3, stride=2, norm=norm),
        )

    def forward(self, x: Tensor, strided_from: Tensor | None = None) -> Tensor:
        """
        Args:
            strided_from: what the strided branch reads instead of x, of the same shape.
        """
        strided = self.strided(x if strided_from is None else strided_from)
        return torch.cat([strided, self.pooled(F.max_pool2d(x, 2))], dim=1)


def space_to_depth(x: Tensor) -> Tensor:
    """Every 2 x 2 square of positions into channels: (N, C, H, W) -> (N, 4 C, H / 2, W / 2).

    Channels come as those of the top left, bottom left, top right and bottom right position.
    """
    corners = [x[..., row::2, column::2] for column in (0, 1) for row in (0, 1)]
    return torch.cat(corners, dim=1)
