# SPDX-License-Identifier: Apache-2.0
"""Router input "map": an objectness map of F1 itself, for little more than pooling costs.

N: images, L: levels, A: channels of the map, C: channels of F1 at a level.
"""

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from detectron2.layers import ShapeSpec
from torch import Tensor

from dynamicdet_d2.modeling.router_inputs.least_squares import WeightedLeastSquares
from dynamicdet_d2.modeling.router_inputs.router_input import RouterInput
from dynamicdet_d2.utils.precision import at_least_float32, without_autocast

NUMBERS_PER_LEVEL = 3
_PEAK = 3
# In the place of -inf: p is 1e-13, and p (1 - p) weighs nothing beside what is finite.
_NOWHERE = -30.0


class ObjectnessMap(RouterInput):
    """Where on F1 objects seem to be, by a 1x1 convolution per level, summed over the positions.

    At position x of level l, with A channels a (one per anchor of a position, so that upright and
    lying objects need not look alike),

        p_l(x) = max_a sigmoid(w_la . F1_l(x) + b_la),

    and the numbers of a level are sum_x p, the area that objects seem to take; sum_x p (1 - p),
    its uncertainty; and the sum of p over its peaks, a soft count of objects. A peak is a
    position without a larger p among its eight neighbours.

    The convolutions are no part of what the router's objective trains: thousands of weights and a
    few hundred noisy targets would not do. They learn (``teach``) what the detector's own head
    finds at every position of a training image, on the easy route.
    """

    reads = "features"

    def __init__(self, input_shape: Mapping[str, ShapeSpec], channels: int) -> None:
        """
        Args:
            input_shape: backbone 1's output shapes.
            channels: A, objectness predictions per position.
        """
        super().__init__()
        self.channels = channels
        self.strides = {name: shape.stride for name, shape in input_shape.items()}
        self.count = NUMBERS_PER_LEVEL * len(input_shape)
        for name, shape in input_shape.items():
            self.register_buffer(f"weight_{name}", torch.zeros(channels, shape.channels, 1, 1))
            self.register_buffer(f"bias_{name}", torch.zeros(channels))

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        """Level name -> (N, C, H, W), of any precision -> (N, 3 L), float32."""
        numbers = [map_numbers(self.objectness(name, features[name])) for name in self.strides]
        return torch.cat(numbers, dim=1)

    def objectness(self, name: str, level: Tensor) -> Tensor:
        """p of one level: (N, C, H, W) -> (N, H, W), in [0, 1], float32."""
        weight, bias = self.get_buffer(f"weight_{name}"), self.get_buffer(f"bias_{name}")
        with without_autocast(level):
            return F.conv2d(at_least_float32(level), weight, bias).amax(dim=1).sigmoid()

    def teach(self, fits: Mapping[str, WeightedLeastSquares]) -> None:
        """Take over what was fitted, in place.

        Args:
            fits: level name -> as ``lessons`` made it, over all images.
        """
        for name, fit in fits.items():
            solution = fit.solution()  # (C + 1, A)
            weight = self.get_buffer(f"weight_{name}")
            weight.copy_(solution[:-1].T[:, :, None, None])
            self.get_buffer(f"bias_{name}").copy_(solution[-1])

    def lessons(
        self, features: Mapping[str, Tensor], objectness: Mapping[int, Tensor]
    ) -> dict[str, WeightedLeastSquares]:
        """What some images say about the convolutions of each level.

        The convolution's output is fitted to the head's logit z by least squares, with the weight
        p (1 - p) of its p = sigmoid(z), the most of the position's A: Berkson's minimum logit
        chi-square. It is the maximum-likelihood fit as long as predictions are near z, in one
        pass and without a learning rate.

        Args:
            features: F1 by level, (N, C, H, W).
            objectness: logits by stride, (N, A, h, w). A level of F1 of another stride learns from
                the closest one, resized.
        """
        return {
            name: _lesson(features[name], objectness[closest_stride(stride, objectness)])
            for name, stride in self.strides.items()
        }

    def no_lessons(self) -> dict[str, WeightedLeastSquares]:
        """What no image at all says."""
        weights = {name: self.get_buffer(f"weight_{name}") for name in self.strides}
        return {k: WeightedLeastSquares.nothing(w.shape[1] + 1, w) for k, w in weights.items()}


def map_numbers(objectness: Tensor) -> Tensor:
    """Sum of p, of p (1 - p), and of p over its peaks: (N, H, W) -> (N, 3)."""
    highest = F.max_pool2d(objectness[:, None], _PEAK, stride=1, padding=_PEAK // 2)[:, 0]
    peaks = objectness * (objectness == highest)
    maps = (objectness, objectness * (1 - objectness), peaks)
    return torch.stack([one.sum(dim=(1, 2)) for one in maps], dim=1)


def closest_stride(stride: int, strides: Mapping[int, object]) -> int:
    """The stride by whose ratio least is lost; of two as close the finer one."""
    return min(sorted(strides), key=lambda other: max(stride, other) / min(stride, other))


def _lesson(level: Tensor, logits: Tensor) -> WeightedLeastSquares:
    logits = F.interpolate(logits.float(), size=level.shape[-2:])  # nearest
    logits = logits.masked_fill(logits == -math.inf, _NOWHERE)
    target = logits.permute(0, 2, 3, 1).flatten(0, 2)
    probability = target.amax(dim=1).sigmoid()
    inputs = level.float().permute(0, 2, 3, 1).flatten(0, 2)
    inputs = torch.cat([inputs, torch.ones_like(inputs[:, :1])], dim=1)
    return WeightedLeastSquares.of(inputs, target, probability * (1 - probability))
