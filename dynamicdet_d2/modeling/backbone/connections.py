# SPDX-License-Identifier: Apache-2.0
"""The connections of a composite backbone (eq. 4-5): what backbone 2 sees of backbone 1.

N: images; C_i, H_i, W_i: channels and size of stage i, numbered 0..S-1 from the stem on; F1: the S
feature maps of backbone 1.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch.nn.functional as F
from detectron2.layers import ShapeSpec
from torch import Tensor, nn

from dynamicdet_d2.utils.words import shown

if TYPE_CHECKING:
    from dynamicdet_d2.modeling.backbone.composite import StagedBackbone


class Injection:
    """Adds to a stage's input the sum of its connections (eq. 4-5)."""

    def __init__(self, connections: "CompositeConnections", features1: Sequence[Tensor]) -> None:
        self.connections = connections
        self.features1 = features1

    def __call__(self, stage: int, x: Tensor) -> Tensor:
        return x + self.connections(stage, self.features1, x.shape[-2:])


class CompositeConnections(nn.Module):
    """G, dense higher-level composition: H_i = sum over j >= i of up(g_ij(f1_j)) (eq. 4).

    Each g_ij runs at its source's resolution; its output is upsampled to the target's size
    by nearest neighbour. The sum is taken from the coarsest source on, each step at the resolution
    of its own source, so that little is done at the finest one: where every size is a multiple
    of the next, as in padded images, upsampling in steps is upsampling at once.
    """

    def __init__(self, backbone: "StagedBackbone", sources: Mapping[str, ShapeSpec]) -> None:
        """
        Args:
            backbone: backbone 2: the family, and where its injections begin.
            sources: shapes of F1 by stage name.

        Raises:
            ValueError: naming the class whose connection is no module.
        """
        super().__init__()
        stages = range(len(backbone.stage_names))
        channels = [sources[name].channels for name in backbone.stage_names]
        links = {
            f"{backbone.stage_names[target]}_from_{backbone.stage_names[source]}": (
                backbone.connection(source, target, channels[source])
            )
            for target in stages[backbone.first_injected_stage :]
            for source in stages[target:]
        }
        for link in links.values():
            if not isinstance(link, nn.Module):
                raise ValueError(
                    f"connection() of {type(backbone).__name__} gives {shown(link)}; it must be a "
                    "module."
                )
        self.links = nn.ModuleDict(links)
        self.stage_names = backbone.stage_names

    def forward(self, stage: int, features1: Sequence[Tensor], size: Sequence[int]) -> Tensor:
        """H of one stage.

        Args:
            stage: i.
            features1: the S feature maps of backbone 1, (N, C_j, H_j, W_j).
            size: height and width of the stage's input.

        Returns:
            (N, injection channels of i, *size).
        """
        *finer, coarsest = range(stage, len(self.stage_names))
        total = self._linked(coarsest, stage, features1)
        for source in reversed(finer):
            part = self._linked(source, stage, features1)
            total = part + _upsampled(total, part.shape[-2:])
        return _upsampled(total, size)

    def _linked(self, source: int, target: int, features1: Sequence[Tensor]) -> Tensor:
        names = self.stage_names
        return self.links[f"{names[target]}_from_{names[source]}"](features1[source])


def _upsampled(x: Tensor, size: Sequence[int]) -> Tensor:
    same = x.shape[-2:] == tuple(size)
    return x if same else F.interpolate(x, size=tuple(size), mode="nearest")
