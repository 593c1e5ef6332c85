# SPDX-License-Identifier: Apache-2.0
"""Plain settings of a model's modules, which a program may set after the optimised copy was made.

Those of the model, its lists too, its router and its heads are handed on to the copy, as they are
set from call to call. Those of layers, and lists of heads, decide how the copy was made; where one
changes, it is made anew.
"""

import copy
import dataclasses
from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import Any

import numpy as np
from torch import Tensor, nn

from dynamicdet_d2.parts import parts_of

# Of a detector, what is set for each call, and what the copy is kept by.
_ITS_OWN = ("operating_point", "optimized_copy")
_PLAIN = (bool, int, float, str)
_ARRAYS = (Tensor, np.ndarray)

Handed = tuple[dict[str, Any], dict[str, Any], Sequence[str]]
"""Attributes of a module, of its counterpart in the copy, and the names that are settings."""


class HandedSettings:
    """Those of the model, its router and its heads, where the copy has the module as it is."""

    def __init__(self, model: nn.Module, fast: nn.Module) -> None:
        # A model's own lists may grow with every call, as a record of them does.
        own = [name for name, value in vars(model).items() if _is_handed(value)]
        found: list[Handed] = [(vars(model), vars(fast), [x for x in own if x != "training"])]
        for ours, theirs in zip(_decisive(model), _decisive(fast), strict=True):
            inside = dict(theirs.named_modules())
            for name, module in ours.named_modules():
                if name in inside and type(inside[name]) is type(module):
                    found.append((module.__dict__, inside[name].__dict__, _settings(module)))
        self._handed = [settings for settings in found if settings[2]]

    def hand_on(self) -> None:
        """Set those of the copy as the model has them now."""
        for ours, theirs, names in self._handed:
            theirs.update({k: ours[k] for k in names if k in ours and _is_handed(ours[k])})

    def outgrown(self) -> bool:
        """Whether one has become what cannot be handed on, as a tensor in the place of None."""
        return any(
            not _is_handed(ours[name])
            for ours, _, names in self._handed
            for name in names
            if name in ours
        )

    def names(self) -> set[tuple[int, str]]:
        """The id of the attributes of the model's own module, and the setting's name."""
        return {(id(ours), name) for ours, _, names in self._handed for name in names}


class LayerSettings:
    """Those of all other modules, and of what modules keep that is no module, at one moment.

    These are numbers, text, and tuples and lists of them, such as ``eps``, ``stride`` or the
    ``weights`` of a ``box2box_transform``; and tensors and arrays that are no buffers, such as
    a threshold of each class.
    """

    def __init__(self, model: nn.Module, handed: HandedSettings) -> None:
        self._handed, passed_over = handed, handed.names()
        self._owners, self._getters = list[dict[str, Any]](), list[itemgetter]()
        self._arrays = list[tuple[dict[str, Any], str]]()
        for owner in _owners(model):
            self._arrays += [(owner, k) for k, v in owner.items() if isinstance(v, _ARRAYS)]
            names = [
                name
                for name, value in owner.items()
                if not name.startswith("_")
                and name != "training"
                and (id(owner), name) not in passed_over
                and _is_watched(value)
            ]
            if names:
                self._owners.append(owner)
                self._getters.append(itemgetter(*names))
        self._values = copy.deepcopy(self._read())  # lists can be changed in place
        # With the arrays themselves: what follows one that is gone could have its place.
        self._stamps = [(owner[name], _stamp(owner[name])) for owner, name in self._arrays]

    def changed(self) -> bool:
        try:
            stamps = [_stamp(owner[name]) for owner, name in self._arrays]
            return (
                self._read() != self._values
                or stamps != [stamp for _, stamp in self._stamps]
                or self._handed.outgrown()
            )
        except KeyError:  # one is gone
            return True

    def _read(self) -> list[Any]:
        return [get(owner) for get, owner in zip(self._getters, self._owners, strict=True)]


def _decisive(model: nn.Module) -> list[nn.Module]:
    router = getattr(model, "router", None)
    return [*([] if router is None else [router]), *parts_of(model).heads]


def _settings(module: nn.Module) -> list[str]:
    """None among them: it may become a number."""
    return [k for k, v in vars(module).items() if k != "training" and _may_be_set(v)]


def _is_handed(value: object) -> bool:
    return _may_be_set(value) or _is_list(value)


def _may_be_set(value: object) -> bool:
    return value is None or _is_plain(value)


def _is_plain(value: object) -> bool:
    """A number, text, or a dataclass or dict of them, as RPNs have of numbers of proposals."""
    if isinstance(value, dict):
        return bool(value) and all(isinstance(x, _PLAIN) for x in value.values())
    return isinstance(value, _PLAIN) or dataclasses.is_dataclass(value)


def _owners(model: nn.Module) -> Iterator[dict[str, Any]]:
    """Attributes of modules inside and, each once, of plain objects that they keep."""
    seen = set[int]()
    for module in model.modules():
        if module is not model:
            yield vars(module)
        for name, kept in vars(module).items():
            if module is model and name in _ITS_OWN:
                continue
            is_plain_object = hasattr(kept, "__dict__") and not isinstance(kept, type | nn.Module)
            if is_plain_object and not callable(kept) and id(kept) not in seen:
                seen.add(id(kept))
                yield vars(kept)


def _stamp(value: Any) -> tuple[int, object]:
    """What tells an array or a tensor from another one, and from itself before a change."""
    if isinstance(value, np.ndarray):
        return id(value), value.tobytes()
    is_counted = isinstance(value, Tensor) and not value.is_inference()
    return id(value), value._version if is_counted else None


def _is_watched(value: object) -> bool:
    return value is None or isinstance(value, _PLAIN) or _is_list(value)


def _is_list(value: object) -> bool:
    return isinstance(value, tuple | list) and all(map(_is_watched, value))
