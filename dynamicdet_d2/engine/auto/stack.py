# SPDX-License-Identifier: Apache-2.0
"""Routers side by side, so that many are trained in the time of a few.

B: images; d: numbers that a router sees; h: hidden units; L: learning rates; O: objectives.
"""

import copy
from collections.abc import Iterable, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynamicdet_d2.modeling.modes import torch_seeded
from dynamicdet_d2.modeling.router import AdaptiveRouter, open_sigmoid


class RouterStack(nn.Module):
    """L x O routers with weights of their own, the same at the start.

    Their hidden layers are one wide layer, of which each last layer sees its own part.

    Attributes:
        router: whose inputs and standardisation they share.
    """

    def __init__(
        self, router: AdaptiveRouter, rates: Sequence[float], objectives: int, seed: int
    ) -> None:
        """
        Args:
            router: of the size of all; it stays as it is.
            rates: L learning rates.
            objectives: O.
            seed: of the initial weights.
        """
        super().__init__()
        self.router = copy.deepcopy(router).requires_grad_(False)
        with torch_seeded(seed % 2**63, router.hidden.weight.device):
            self.router.hidden.reset_parameters()
            self.router.score.reset_parameters()
        layers = (self.router.hidden, self.router.score)
        start = [tensor.detach() for layer in layers for tensor in (layer.weight, layer.bias)]
        self.rates = tuple(rates)
        self.weights = nn.ModuleList(
            nn.ParameterList(x.expand(objectives, *x.shape).clone() for x in start) for _ in rates
        )

    def by_rate(self) -> dict[float, nn.ParameterList]:
        """Learning rate -> the weights that it is for."""
        own = cast(Iterable[nn.ParameterList], self.weights)
        return dict(zip(self.rates, own, strict=True))

    def forward(self, numbers: Tensor) -> Tensor:
        """(B, d) -> difficulties (L, O, B), each as ``AdaptiveRouter.difficulty`` gives it."""
        return open_sigmoid(self.logits(numbers))

    def logits(self, numbers: Tensor) -> Tensor:
        """(B, d) -> (L, O, B), each as ``AdaptiveRouter.logit`` gives it."""
        weight, bias, score, offset = map(torch.stack, zip(*self.weights, strict=True))
        seen = self.router.standardized(numbers)
        wide = torch.relu(F.linear(seen, weight.flatten(0, 2), bias.flatten()))
        own = wide.view(len(numbers), *bias.shape)  # (B, L, O, h)
        return ((own * score.squeeze(2)).sum(dim=3) + offset.squeeze(2)).permute(1, 2, 0)
