# SPDX-License-Identifier: Apache-2.0
"""The optimised copy that a model keeps of itself, up to date with its weights."""

import dataclasses
import functools
import operator
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

from torch import Tensor, nn

from dynamicdet_d2.acceleration.optimize import optimize_for_inference
from dynamicdet_d2.acceleration.options import InferenceOptions
from dynamicdet_d2.parts import parts_of

_PLAIN = (bool, int, float, str)
_VERSION = operator.attrgetter("_version")


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
        self._heads: list[_Settings] = []

    def of(self, model: nn.Module) -> nn.Module:
        """The copy of the model as it is now; the model itself without options."""
        if self.options is None:
            return model
        if self._copy is None or self._weights is None or self._weights.changed():
            self.drop()
            self._copy, self._weights = optimize_for_inference(model, self.options), _Weights(model)
            self._heads = _heads(model, self._copy)
        for ours, theirs, names in self._heads:
            theirs.update({k: ours[k] for k in names if _is_plain(ours.get(k))})
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


_Settings = tuple[dict[str, Any], dict[str, Any], Sequence[str]]
"""Attributes of a module, of its counterpart in the copy, and the names that are settings."""


def _heads(model: nn.Module, fast: nn.Module) -> list[_Settings]:
    """Of the model's heads, those modules that the copy has as they are."""
    heads = zip(parts_of(model).heads, parts_of(fast).heads, strict=True)
    found: list[_Settings] = []
    for ours, theirs in heads:
        inside = dict(theirs.named_modules())
        for name, module in ours.named_modules():
            if name in inside and type(inside[name]) is type(module):
                found.append((module.__dict__, inside[name].__dict__, _settings(module)))
    return [settings for settings in found if settings[2]]


def _settings(module: nn.Module) -> list[str]:
    """None among them: it may become a number."""
    return [k for k, v in vars(module).items() if v is None or (_is_plain(v) and k != "training")]


def _is_plain(value: object) -> bool:
    """A number, text, or a dataclass that holds them."""
    return isinstance(value, _PLAIN) or dataclasses.is_dataclass(value)


class _Weights:
    """A model's weights and buffers at one moment.

    They are looked at before every inference, of a thousand tensors and more: the walk through the
    modules is made once, and what is left is done by functions that loop in C.
    """

    def __init__(self, model: nn.Module) -> None:
        modules = list(model.modules())
        self._contents: list[dict[str, Any]] = [
            own for x in modules for own in (x._modules, x._parameters, x._buffers)
        ]
        self._counts = list(map(len, self._contents))
        # Most modules have nothing inside and no tensors of their own.
        self._filled = [own for own in self._contents if own]
        self._inside = self._look()
        self._tensors = [x for x in self._inside if isinstance(x, Tensor)]
        # Tensors made in inference mode count no changes.
        self._counted = [x for x in self._tensors if not x.is_inference()]
        self._state = self._read()

    def changed(self) -> bool:
        """Whether a module, a weight or a buffer was replaced since, or changed in place."""
        return (
            list(map(len, self._contents)) != self._counts
            or not all(map(operator.is_, self._look(), self._inside))
            or self._read() != self._state
        )

    def _look(self) -> list[Any]:
        return list(chain.from_iterable(map(dict.values, self._filled)))

    def _read(self) -> tuple[list[int], list[int]]:
        """Where each tensor lies, and how often it was changed in place."""
        return list(map(Tensor.data_ptr, self._tensors)), list(map(_VERSION, self._counted))
