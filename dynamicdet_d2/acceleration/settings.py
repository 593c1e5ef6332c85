# SPDX-License-Identifier: Apache-2.0
"""Settings of a model's modules, which a program may set after the optimised copy was made.

Plain ones of the model, its lists too, its router and its heads are handed on to the copy, as they
are set from call to call. All else that modules keep decides how the copy was made; where it
changes, the copy is made anew.
"""

import copy
import dataclasses
import logging
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from operator import attrgetter, is_, itemgetter
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

import numpy as np
from torch import Tensor, nn

from dynamicdet_d2.parts import parts_of

# Of a detector, what is set for each call, and what the copy is kept by.
_ITS_OWN = ("operating_point", "optimized_copy")
# What torch itself keeps in each module; hooks, weights and modes are looked at elsewhere.
_OF_TORCH = frozenset(vars(nn.Module()))
_PLAIN = (bool, int, float, str)
_LISTS = (tuple, list, set, frozenset, deque)
# What copies share with the model, or what is looked at for itself.
_NOT_OPENED = (
    *(type, FunctionType, BuiltinFunctionType, MethodType, logging.Logger),
    *(nn.Module, Tensor, np.ndarray),
)
_VERSION = attrgetter("_version")

Handed = tuple[dict[str, Any], dict[str, Any], Sequence[str]]
"""Attributes of a module, of its counterpart in the copy, and the names that are settings."""


class HandedSettings:
    """Those of the model, its router and its heads, where the copy has the module as it is."""

    def __init__(self, model: nn.Module, fast: nn.Module) -> None:
        # A model's own lists may grow with every call, as a record of them does.
        own = {name for name, value in vars(model).items() if _is_compared_by_value(value)}
        own |= {*_settings(model)}
        found: list[Handed] = [(vars(model), vars(fast), sorted(own - {"training"}))]
        for ours, theirs in zip(_decisive(model), _decisive(fast), strict=True):
            inside = dict(theirs.named_modules())
            for name, module in ours.named_modules():
                if name in inside and type(inside[name]) is type(module):
                    found.append((module.__dict__, inside[name].__dict__, _settings(module)))
        self._handed = [settings for settings in found if settings[2]]

    def hand_on(self) -> None:
        """Set those of the copy as the model has them now, whatever they have become: a threshold
        may be a number of numpy's or a tensor by then."""
        for ours, theirs, names in self._handed:
            theirs.update({name: ours[name] for name in names if name in ours})

    def names(self) -> set[tuple[int, str]]:
        """The id of the attributes of the model's own module, and the setting's name."""
        return {(id(ours), name) for ours, _, names in self._handed for name in names}


class LayerSettings:
    """What else modules keep, and the objects of theirs that are no modules, at one moment.

    Numbers, text, and lists, tuples, sets and dicts of them, such as ``eps``, ``stride`` or the
    ``weights`` of a ``box2box_transform``, are compared by value, also within the objects; all
    else, such as functions and tensors that are no buffers, by whether it is the same, and what a
    tensor or an array holds. Of the model itself it is left out: methods of its own may keep there
    what they have seen last.
    """

    def __init__(self, model: nn.Module, handed: HandedSettings) -> None:
        passed_over = handed.names()
        self._values, self._objects = _Kept(), _Kept()
        for owner, inside in _owners(model):
            names = [
                name
                for name in owner
                if name not in _OF_TORCH and (id(owner), name) not in passed_over
            ]
            by_value = [name for name in names if _is_compared_by_value(owner[name])]
            self._values.add(owner, by_value)
            if inside:
                self._objects.add(owner, [name for name in names if name not in by_value])
        self._before = copy.deepcopy(self._values.read())  # lists can be changed in place
        self._same = self._objects.read()
        # Tensors made in inference mode count no changes.
        self._tensors = [x for x in self._same if isinstance(x, Tensor) and not x.is_inference()]
        self._versions = list(map(_VERSION, self._tensors))
        self._arrays = [x for x in self._same if isinstance(x, np.ndarray)]
        self._bytes = [x.tobytes() for x in self._arrays]

    def changed(self) -> bool:
        try:
            return (
                self._values.read() != self._before
                or not all(map(is_, self._objects.read(), self._same))
                or list(map(_VERSION, self._tensors)) != self._versions
                or [x.tobytes() for x in self._arrays] != self._bytes
            )
        # One is gone, or has become an array.
        except (AttributeError, KeyError, RuntimeError, ValueError):
            return True


class _Kept:
    """Some attributes of some owners, read by functions that loop in C."""

    def __init__(self) -> None:
        self._owners, self._getters = list[Mapping[str, Any]](), list[itemgetter]()

    def add(self, owner: Mapping[str, Any], names: Sequence[str]) -> None:
        if names:
            self._owners.append(owner)
            self._getters.append(itemgetter(*names, names[0]))  # of one name alone no tuple

    def read(self) -> list[Any]:
        found = [get(owner) for get, owner in zip(self._getters, self._owners, strict=True)]
        return list(chain.from_iterable(found))


def _decisive(model: nn.Module) -> list[nn.Module]:
    router = getattr(model, "router", None)
    return [*([] if router is None else [router]), *parts_of(model).heads]


def _settings(module: nn.Module) -> list[str]:
    """None among them: it may become a number."""
    return [k for k, v in vars(module).items() if k != "training" and (v is None or _is_plain(v))]


def _is_plain(value: object) -> bool:
    """A number, text, or a dataclass or dict of them, as RPNs have of numbers of proposals."""
    if isinstance(value, dict):
        return bool(value) and all(isinstance(x, _PLAIN) for x in value.values())
    return isinstance(value, (*_PLAIN, np.generic)) or dataclasses.is_dataclass(value)


def _owners(model: nn.Module) -> Iterator[tuple[Mapping[str, Any], bool]]:
    """Attributes of modules inside and, each once, of objects that modules keep; and whether the
    module is one inside the model."""
    seen = set[int]()
    for module in model.modules():
        if module is not model:
            yield vars(module), True
        left_out = (*_OF_TORCH, *(_ITS_OWN if module is model else ()))
        kept = [value for name, value in vars(module).items() if name not in left_out]
        for owner in _opened(kept, seen):
            yield owner, module is not model


def _opened(values: Iterable[object], seen: set[int]) -> Iterator[Mapping[str, Any]]:
    """Attributes of the objects among some values, and of those that these, lists and dicts hold.

    Args:
        seen: ids of what was opened before; more are added.
    """
    waiting = list(values)
    while waiting:
        value = waiting.pop()
        if id(value) in seen or isinstance(value, (*_PLAIN, *_NOT_OPENED)):
            continue
        seen.add(id(value))
        if isinstance(value, _LISTS):
            waiting.extend(value)
        elif isinstance(value, dict):
            waiting.extend(value.values())
        else:
            for owner in _attributes(value):
                yield owner
                waiting.extend(owner[name] for name in owner)


def _attributes(value: object) -> Iterator[Mapping[str, Any]]:
    if hasattr(value, "__dict__"):
        yield vars(value)
    if slots := _Slots(value):
        yield slots


class _Slots(Mapping[str, Any]):
    """Attributes that an object has in slots, read as those in its ``__dict__`` are."""

    def __init__(self, value: object) -> None:
        self._value = value
        declared = [getattr(kind, "__slots__", ()) for kind in type(value).__mro__]
        names = chain.from_iterable([x] if isinstance(x, str) else x for x in declared)
        self._names = [x for x in names if not x.startswith("__") and hasattr(value, x)]

    def __getitem__(self, name: str) -> Any:
        return getattr(self._value, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _is_compared_by_value(value: object) -> bool:
    if isinstance(value, _LISTS):
        return all(map(_is_compared_by_value, value))
    if isinstance(value, dict):
        return all(map(_is_compared_by_value, value.values()))
    return value is None or isinstance(value, (*_PLAIN, np.generic))
