# SPDX-License-Identifier: Apache-2.0
"""A piece: a part of a detector without a decision in it, which can be traced."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

Tensors = dict[str, Tensor]
Function = Callable[[Tensors], Tensors]

# Axes of an input that are of another length in another batch, by name.
IMAGES_AXES = {0: "images", 2: "height", 3: "width"}


@dataclass(frozen=True)
class Piece:
    """A function of named tensors, with an example of what it is called with.

    Attributes:
        name: of the file, without its ending.
        module: takes the example's tensors in order and gives a tuple.
        example: input by name.
        outputs: names of the results.
        axes: of each input, the axes whose length may change.
    """

    name: str
    module: nn.Module
    example: Tensors
    outputs: tuple[str, ...]
    axes: Mapping[str, Mapping[int, str]]

    @classmethod
    def of(
        cls,
        name: str,
        owner: nn.Module,
        function: Function,
        example: Tensors,
        axes: Mapping[str, Mapping[int, str]],
    ) -> "Piece":
        """The piece of a function.

        Args:
            owner: the module whose weights the function uses.
            function: of tensors by name.
            example: what it is called with.
            axes: see above.
        """
        outputs = tuple(run(function, {name: x.clone() for name, x in example.items()}))
        return cls(name, _Named(owner, function, tuple(example), outputs), example, outputs, axes)

    def __call__(self, inputs: Tensors) -> Tensors:
        """The results of other inputs of the same names."""
        with torch.no_grad():
            # A user's own part may compute in place.
            found = self.module(*(inputs[name].clone() for name in self.example))
        return dict(zip(self.outputs, found, strict=True))


class _Named(nn.Module):
    """A function of named tensors as a module of tensors in a row."""

    def __init__(
        self,
        owner: nn.Module,
        function: Function,
        inputs: Sequence[str],
        outputs: Sequence[str],
    ) -> None:
        super().__init__()
        # The exporter puts back the mode that it finds here, and would wake the owner.
        self.training = False
        self.owner = owner
        self._function, self._inputs, self._outputs = function, inputs, outputs

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        found = self._function(dict(zip(self._inputs, tensors, strict=True)))
        return tuple(found[name] for name in self._outputs)


def run(function: Function, inputs: Tensors) -> Tensors:
    """Without gradients."""
    with torch.no_grad():
        return function(inputs)
