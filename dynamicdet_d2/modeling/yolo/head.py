# SPDX-License-Identifier: Apache-2.0
"""YOLOv7's detection head, and its auxiliary one.

N: images, A: anchors per position, H, W: height and width of a level in positions,
K = 5 + classes: x, y, w, h, objectness and class logits of one anchor, all before the sigmoid.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from detectron2.layers import Conv2d, ShapeSpec
from torch import Tensor, nn

from dynamicdet_d2.modeling.backbone.elan_blocks import conv_block
from dynamicdet_d2.modeling.yolo.blocks import ImplicitConv, RepConv
from dynamicdet_d2.parts import Part

NUM_BOX_LOGITS = 5
"""x, y, w, h and objectness."""


@dataclass(frozen=True)
class HeadSize:
    """Widths of a head.

    Attributes:
        channels: of the convolution before the predictions on each level, fine to coarse.
        rep_conv: whether that convolution is a ``RepConv``.
        auxiliary: channels as above of an auxiliary head; empty: the model has none.
    """

    channels: tuple[int, ...]
    rep_conv: bool
    auxiliary: tuple[int, ...] = ()


class YOLOHead(nn.Module):
    """A convolution and a prediction on each level, which nothing is shared between."""

    def __init__(
        self,
        input_shape: Mapping[str, ShapeSpec],
        *,
        channels: Sequence[int],
        num_classes: int,
        num_anchors: int = 3,
        rep_conv: bool = False,
        implicit: bool = True,
        norm: str = "BN",
    ) -> None:
        """
        Args:
            input_shape: of the maps that it reads, fine to coarse.
            channels: of the convolution on each level.
            num_classes: at least 1.
            num_anchors: A, per level.
            rep_conv: see ``HeadSize``.
            implicit: whether predictions have implicit vectors (auxiliary heads have none).
            norm: one of ``elan_blocks.NORMS``.
        """
        super().__init__()
        self.in_features = tuple(input_shape)
        self.num_anchors, self.num_classes = num_anchors, num_classes
        outputs = num_anchors * (NUM_BOX_LOGITS + num_classes)
        self.convs, self.predictors = nn.ModuleDict(), nn.ModuleDict()
        for (name, shape), width in zip(input_shape.items(), channels, strict=True):
            block = RepConv(shape.channels, width, norm) if rep_conv else None
            self.convs[name] = block or conv_block(shape.channels, width, 3, norm=norm)
            predictor: Any = ImplicitConv(width, outputs) if implicit else Conv2d(width, outputs, 1)
            self.predictors[name] = predictor
            bias = predictor.conv.bias if implicit else predictor.bias
            add_prior(bias.data, shape.stride, num_anchors, num_classes)

    def forward(self, features: Mapping[str, Tensor]) -> list[Tensor]:
        """
        Args:
            features: name -> (N, C, H, W), with at least ``in_features``.

        Returns:
            logits (N, A, H, W, K) of each level, fine to coarse.
        """
        return [
            self._by_anchor(self.predictors[name](self.convs[name](features[name])))
            for name in self.in_features
        ]

    def _by_anchor(self, x: Tensor) -> Tensor:
        images, _, height, width = x.shape
        x = x.view(images, self.num_anchors, NUM_BOX_LOGITS + self.num_classes, height, width)
        return x.permute(0, 1, 3, 4, 2)


def head_part(name: str, head: YOLOHead, routes: tuple[str, ...]) -> Part:
    """A head as a part of a detector.

    Its predictions are exact: boxes are up to four anchors wide, and scores must not tie.
    """
    exact = tuple(f"predictors.{level}" for level in head.in_features)
    return Part(name, head, routes=routes, exact=exact)


def add_prior(bias: Tensor, stride: int, num_anchors: int, num_classes: int) -> None:
    """Let a new head expect few objects, in place: 8 in an image of 640 x 640 pixels.

    Args:
        bias: (A K,), random; the logarithms of what is expected are added to it.
        stride: of the level, in pixels.
        num_anchors: A.
        num_classes: at least 1.
    """
    by_anchor = bias.view(num_anchors, NUM_BOX_LOGITS + num_classes)
    by_anchor[:, 4] += math.log(8 / (640 / stride) ** 2)
    by_anchor[:, NUM_BOX_LOGITS:] += math.log(0.6 / (num_classes - 0.99))
