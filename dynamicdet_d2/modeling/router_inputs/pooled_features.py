# SPDX-License-Identifier: Apache-2.0
"""Router input "features": the pooled features of backbone 1, as in the paper."""

from collections.abc import Mapping

import torch
from detectron2.layers import ShapeSpec
from torch import Tensor

from dynamicdet_d2.modeling.router_inputs.router_input import RouterInput
from dynamicdet_d2.utils.precision import at_least_float32


class PooledFeatures(RouterInput):
    """The mean of each channel of F1, by level, concatenated (eq. 7).

    With F1 at level l of C_l channels and H_l x W_l positions, the number of channel c is

        1 / (H_l W_l) sum_x F1_l(c, x),

    and there are d = sum_l C_l of them.
    """

    def __init__(self, input_shape: Mapping[str, ShapeSpec]) -> None:
        """
        Args:
            input_shape: backbone 1's output shapes; levels are pooled in this order.
        """
        super().__init__()
        self.in_features = tuple(input_shape)
        self.count = sum(shape.channels for shape in input_shape.values())

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        """Level name -> (N, C, H, W), of any precision -> (N, d), float32 at least."""
        pooled = [at_least_float32(features[name]).mean(dim=(2, 3)) for name in self.in_features]
        return torch.cat(pooled, dim=1)
