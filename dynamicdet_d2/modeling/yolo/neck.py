# SPDX-License-Identifier: Apache-2.0
"""YOLOv7's neck: a top-down and a bottom-up path over the backbone's levels.

t3, t4, ... are the maps of the top-down path, n3, n4, ... those of the bottom-up path, which the
heads read; ti and ni have the resolution of the backbone's pi.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from detectron2.layers import ShapeSpec
from torch import Tensor, nn

from dynamicdet_d2.modeling.backbone.elan_blocks import ELAN, PooledDown, conv_block
from dynamicdet_d2.modeling.yolo.blocks import PyramidPooling


@dataclass(frozen=True)
class NeckSize:
    """Widths and depths of a neck.

    Attributes:
        channels: of its maps on each level, fine to coarse; even where ``down`` is "pool".
        widths: of the ELAN blocks on each level; even with ``keep_all``.
        depth: 3x3 convolutions in a block's chain.
        keep_all: blocks of YOLOv7's and W6's necks: half as wide in the chain, every output of
            which is kept. False: the backbone's kind (X).
        down: how the bottom-up path halves the resolution: "pool" or "conv".
    """

    channels: tuple[int, ...]
    widths: tuple[int, ...]
    depth: int
    keep_all: bool
    down: str


class YOLONeck(nn.Module):
    """Maps the backbone's coarsest levels to as many levels for the heads.

    Modules are named by the level whose map they help to make.
    """

    def __init__(
        self, input_shape: Mapping[str, ShapeSpec], size: NeckSize, norm: str = "BN"
    ) -> None:
        """
        Args:
            input_shape: the backbone's output shapes, fine to coarse; the last ones are read, as
                many as ``size`` has.
            size: widths and depths.
            norm: one of ``elan_blocks.NORMS``.
        """
        super().__init__()
        channels = size.channels
        self.in_features = tuple(input_shape)[-len(channels) :]
        self._levels = tuple(name.removeprefix("p") for name in self.in_features)
        self._shapes = {
            level: ShapeSpec(channels=c, stride=input_shape[name].stride)
            for level, c, name in zip(self._levels, channels, self.in_features, strict=True)
        }
        inputs = [input_shape[name].channels for name in self.in_features]
        self.pooling = PyramidPooling(inputs[-1], channels[-1], norm)
        self.reduce, self.lateral, self.top_down = (nn.ModuleDict() for _ in range(3))
        self.down, self.bottom_up = nn.ModuleDict(), nn.ModuleDict()
        for i in reversed(range(len(channels) - 1)):
            name = f"t{self._levels[i]}"
            self.reduce[name] = conv_block(channels[i + 1], channels[i], 1, norm=norm)
            self.lateral[name] = conv_block(inputs[i], channels[i], 1, norm=norm)
            self.top_down[name] = _block(2 * channels[i], size, i, norm)
        for i in range(1, len(channels)):
            name = f"n{self._levels[i]}"
            self.down[name] = _down(channels[i - 1], channels[i], size.down, norm)
            self.bottom_up[name] = _block(2 * channels[i], size, i, norm)

    def output_shape(self) -> dict[str, ShapeSpec]:
        """Of the bottom-up maps, which the detection head reads, fine to coarse."""
        return {f"n{level}": shape for level, shape in self._shapes.items()}

    def top_down_shape(self) -> dict[str, ShapeSpec]:
        """Of the top-down maps, which auxiliary heads read, fine to coarse."""
        return {f"t{level}": shape for level, shape in self._shapes.items()}

    def forward(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """
        Args:
            features: level name -> (N, C, H, W), with at least ``in_features``.

        Returns:
            name -> (N, C, H, W), of both paths.
        """
        top_down = self._top_down(features)
        first, *others = self._levels
        outputs = {**top_down, f"n{first}": top_down[f"t{first}"]}
        x = top_down[f"t{first}"]
        for level in others:
            joined = torch.cat([self.down[f"n{level}"](x), top_down[f"t{level}"]], dim=1)
            x = outputs[f"n{level}"] = self.bottom_up[f"n{level}"](joined)
        return outputs

    def _top_down(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        *others, last = self._levels
        x = self.pooling(features[f"p{last}"])
        outputs = {f"t{last}": x}
        for level in reversed(others):
            name = f"t{level}"
            lateral = self.lateral[name](features[f"p{level}"])
            above = F.interpolate(self.reduce[name](x), scale_factor=2.0, mode="nearest")
            x = outputs[name] = self.top_down[name](torch.cat([lateral, above], dim=1))
        return outputs


def _block(in_channels: int, size: NeckSize, level: int, norm: str) -> ELAN:
    width = size.widths[level]
    return ELAN(
        in_channels,
        size.channels[level],
        width=width,
        depth=size.depth,
        chain_width=width // 2 if size.keep_all else width,
        keep_all=size.keep_all,
        norm=norm,
    )


def _down(in_channels: int, out_channels: int, kind: str, norm: str) -> nn.Module:
    if kind == "pool":
        return PooledDown(in_channels, out_channels // 2, norm)
    return conv_block(in_channels, out_channels, 3, stride=2, norm=norm)
