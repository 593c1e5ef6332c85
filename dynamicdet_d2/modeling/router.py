# SPDX-License-Identifier: Apache-2.0
"""The adaptive router: from backbone 1's features to a difficulty (section 3.2)."""

from contextlib import AbstractContextManager, nullcontext

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from torch import Tensor, nn

from dynamicdet_d2.utils.precision import at_least_float32


class AdaptiveRouter(nn.Module):
    """Difficulty of each image from the pooled features of every level (eq. 7-8).

    N: images, L: levels, d: sum of the levels' channels.
    """

    @configurable
    def __init__(self, *, input_shape: dict[str, ShapeSpec], reduction: int = 4) -> None:
        """
        Args:
            input_shape: backbone 1's output shapes; levels are pooled in this order.
            reduction: the hidden layer has floor(d / reduction) units.

        Raises:
            ValueError: if the hidden layer would be empty.
        """
        super().__init__()
        self.in_features = tuple(input_shape)
        channels = sum(shape.channels for shape in input_shape.values())
        if not 1 <= reduction <= channels:
            raise ValueError(
                f"MODEL.ROUTER.REDUCTION is {reduction}; it must lie in 1..{channels}, "
                "the number of pooled channels."
            )
        self.hidden = nn.Linear(channels, channels // reduction)
        self.score = nn.Linear(channels // reduction, 1)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict:
        return {"input_shape": input_shape, "reduction": cfg.MODEL.ROUTER.REDUCTION}

    def pool(self, features: dict[str, Tensor]) -> Tensor:
        """Global average pool of each level, concatenated (eq. 7).

        Args:
            features: level name -> (N, C, H, W).

        Returns:
            (N, d), float32 whatever the reduced precision of the features.
        """
        pooled = [at_least_float32(features[name]).mean(dim=(2, 3)) for name in self.in_features]
        return torch.cat(pooled, dim=1)

    def difficulty(self, pooled: Tensor) -> Tensor:
        """Two fully connected layers and a sigmoid (eq. 8), under autocast in float32 too.

        The open interval is kept where float32 would round the sigmoid to 0 or 1, so that
        threshold 0 sends every image to detector2 and threshold 1 every image to detector1.

        Args:
            pooled: (N, d).

        Returns:
            (N,), in (0, 1), 1 = hard.
        """
        with _in_float32(pooled):
            logit = self.score(torch.relu(self.hidden(pooled))).squeeze(1)
        limits = torch.finfo(logit.dtype)
        return logit.sigmoid().clamp(limits.tiny, 1 - limits.eps)

    def forward(self, features: dict[str, Tensor]) -> Tensor:
        """Difficulty of N images, (N,), from backbone 1's features."""
        return self.difficulty(self.pool(features))


def _in_float32(x: Tensor) -> AbstractContextManager:
    # On torch's meta device, where costs are counted, there is no autocast to be turned off.
    return nullcontext() if x.is_meta else torch.autocast(x.device.type, enabled=False)
