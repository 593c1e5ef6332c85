# SPDX-License-Identifier: Apache-2.0
"""What a model's modules hold beside weights and layers: each place where a program may change it.

A place is a mapping that is read again later: the attributes of a module or an object, the entries
of a list or a dict.
"""

import logging
from array import array
from collections import deque
from collections.abc import Hashable, Iterable, Iterator, Mapping
from functools import partial
from itertools import chain
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

import numpy as np
from torch import Tensor, nn

PLAIN = (bool, int, float, str)
LISTS = (tuple, list, set, frozenset, deque)
Place = Mapping[Any, Any]

# Of a detector, what is set for each call, and what the copy is kept by.
_ITS_OWN = ("operating_point", "optimized_copy")
# What torch itself keeps in each module; hooks, weights and modes are looked at elsewhere.
_OF_TORCH = frozenset(vars(nn.Module()))
# What copies share with the model, or what is looked at for itself.
_NOT_OPENED = (type, FunctionType, BuiltinFunctionType, logging.Logger, Tensor)


def places(model: nn.Module) -> Iterator[tuple[Place, bool]]:
    """Those of modules inside and, each once, of what modules hold; and whether the module is one
    inside the model. Of the model's own lists and dicts none: they may grow with every call."""
    registered = {id(module) for module in model.modules()}
    seen = set[int]()
    for module in model.modules():
        inside = module is not model
        if inside:
            yield vars(module), True
        left_out = _OF_TORCH if inside else {*_OF_TORCH, *_ITS_OWN}
        held = [value for name, value in vars(module).items() if name not in left_out]
        for place in _opened(held, seen, registered):
            if inside or not isinstance(place, _Entries):
                yield place, inside


def names_of(place: Place) -> list[Hashable]:
    """What is looked at in it: of a module's attributes not those of torch's."""
    left_out = _OF_TORCH if isinstance(place, dict) and "_parameters" in place else ()
    return [name for name in place if name not in left_out]


def is_compared_by_value(value: object) -> bool:
    """Whether it is a number or text, or has nothing else in it."""
    if isinstance(value, LISTS):
        return all(map(is_compared_by_value, value))
    if isinstance(value, dict):
        return all(map(is_compared_by_value, value.values()))
    return value is None or isinstance(value, (*PLAIN, np.generic, array, bytearray))


def _opened(values: Iterable[object], seen: set[int], registered: set[int]) -> Iterator[Place]:
    """Places of some values, and of what these hold.

    Args:
        seen: ids of what was opened before; more are added.
        registered: ids of the model's modules, which are looked at for themselves.
    """
    waiting = list(values)
    while waiting:
        value = waiting.pop()
        known = id(value) in seen or id(value) in registered
        if known or isinstance(value, (*PLAIN, *_NOT_OPENED)):
            continue
        seen.add(id(value))
        for place in _places_of(value):
            yield place
            waiting.extend(place[name] for name in names_of(place))


def _places_of(value: Any) -> Iterator[Place]:
    if isinstance(value, MethodType):
        yield {"self": value.__self__}
    elif isinstance(value, np.ndarray):
        if value.dtype == object:
            yield dict(enumerate(value.ravel().tolist()))
    elif isinstance(value, (*LISTS, dict)):
        if not is_compared_by_value(value):
            yield _Entries(value)
    else:
        if hasattr(value, "__dict__"):
            yield vars(value)
        if isinstance(value, partial):
            yield {"function": value.func, "arguments": value.args}
            yield _Entries(value.keywords)
        # One that is registered nowhere; a traced one has no dicts.
        if isinstance(value, nn.Module):
            inside = (value._parameters, value._buffers, value._modules)
            yield from (_Entries(x) for x in inside if isinstance(x, dict))
        yield _Slots(value)


class _Entries(Mapping[Any, Any]):
    """Entries of a list, by their numbers, of a dict, by their keys, or of a set; and how many."""

    _NUMBER = object()

    def __init__(self, value: Any) -> None:
        self._value = value

    def __getitem__(self, name: Any) -> Any:
        if name is self._NUMBER:
            return len(self._value)
        is_set = isinstance(self._value, set | frozenset)
        return sorted(self._value, key=id)[name] if is_set else self._value[name]

    def __iter__(self) -> Iterator[Any]:
        keys = self._value if isinstance(self._value, dict) else range(len(self._value))
        return chain([self._NUMBER], keys)

    def __len__(self) -> int:
        return 1 + len(self._value)


class _Slots(Mapping[str, Any]):
    """Attributes that an object has in slots, read as those in its ``__dict__`` are."""

    def __init__(self, value: object) -> None:
        self._value = value
        self._names = [x for kind in type(value).__mro__ for x in _slots_of(kind)]
        self._names = [name for name in self._names if hasattr(value, name)]

    def __getitem__(self, name: str) -> Any:
        return getattr(self._value, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _slots_of(kind: type) -> Iterator[str]:
    """Names of the attributes; private ones as Python calls them."""
    declared = vars(kind).get("__slots__", ())
    for name in [declared] if isinstance(declared, str) else declared:
        if not name.startswith("__"):
            yield name
        elif not name.endswith("__"):
            yield f"_{kind.__name__.lstrip('_')}{name}"
