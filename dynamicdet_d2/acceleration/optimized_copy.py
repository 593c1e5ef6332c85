# SPDX-License-Identifier: Apache-2.0
"""The optimised copy that a model keeps of itself, up to date with its weights."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

from torch import nn

from dynamicdet_d2.acceleration.optimize import optimize_for_inference
from dynamicdet_d2.acceleration.options import InferenceOptions
from dynamicdet_d2.parts import parts_of

_PLAIN = (bool, int, float, str)


class OptimizedCopy:
    """Makes a model's optimised copy at its first inference, and again when weights change.

    Weights are loaded, and trained, after a model was built, so nothing can be prepared then. It
    is not part of the model's state: copies and pickles of the model begin without one. Plain
    settings of the heads, such as a score threshold, are followed as they are set. What it cannot
    see is a change of weights through ``.data``; ``drop`` it then.
    """

    def __init__(self, options: InferenceOptions | None) -> None:
        """
        Args:
            options: None: the model is run as it is.
        """
        self.options = options
        self._copy: nn.Module | None = None
        self._weights: _Weights | None = None
        self._heads: list[tuple[nn.Module, nn.Module]] = []

    def of(self, model: nn.Module) -> nn.Module:
        """The copy of the model as it is now; the model itself without options."""
        if self.options is None:
            return model
        if self._copy is None or self._weights is None or self._weights.changed():
            self.drop()
            self._copy, self._weights = optimize_for_inference(model, self.options), _Weights(model)
            self._heads = _heads(model, self._copy)
        for ours, theirs in self._heads:
            theirs.__dict__.update(_settings(ours))
        return self._copy

    def drop(self) -> None:
        """Free the copy's memory; the next inference makes another one."""
        self._copy, self._weights, self._heads = None, None, []

    def __deepcopy__(self, memo: dict) -> "OptimizedCopy":
        return OptimizedCopy(self.options)

    def __reduce__(self) -> tuple:
        return OptimizedCopy, (self.options,)


def on_optimized_copy(method: Callable) -> Callable:
    """A method of a model with an ``optimized_copy`` and an operating point, run on that copy."""

    @functools.wraps(method)
    def call(self: Any, *args: object, **kwargs: object) -> Any:
        model = self.optimized_copy.of(self)
        model.operating_point = self.operating_point
        return method(model, *args, **kwargs)

    return call


def _heads(model: nn.Module, fast: nn.Module) -> list[tuple[nn.Module, nn.Module]]:
    """Modules of the model's heads beside those of the copy that were not replaced."""
    heads = zip(parts_of(model).heads, parts_of(fast).heads, strict=True)
    pairs: list[tuple[nn.Module, nn.Module]] = []
    for ours, theirs in heads:
        inside = dict(theirs.named_modules())
        for name, module in ours.named_modules():
            if name in inside and type(inside[name]) is type(module):
                pairs.append((module, inside[name]))
    return pairs


def _settings(module: nn.Module) -> dict[str, Any]:
    return {k: v for k, v in vars(module).items() if _is_plain(v) and k != "training"}


def _is_plain(value: object) -> bool:
    """A number, text, or a dataclass that holds them."""
    return isinstance(value, _PLAIN) or dataclasses.is_dataclass(value)


class _Weights:
    """A model's weights and buffers at one moment.

    They are looked at before every inference, so the walk through the modules is made once.
    """

    def __init__(self, model: nn.Module) -> None:
        modules = list(model.modules())
        self._inside = [module._modules for module in modules]
        self._tensors = [own for x in modules for own in (x._parameters, x._buffers)]
        self._found = self._look()

    def changed(self) -> bool:
        """Whether a module, a weight or a buffer was replaced since, or changed in place."""
        return self._look() != self._found

    def _look(self) -> tuple[list, list]:
        tensors = [x for own in self._tensors for x in own.values() if x is not None]
        # Tensors made in inference mode count no changes.
        versions = [(x.data_ptr(), 0 if x.is_inference() else x._version) for x in tensors]
        return versions, [module for own in self._inside for module in own.values()]
