# SPDX-License-Identifier: Apache-2.0
"""Settings of a model's modules, which a program may set after the optimised copy was made.

Plain ones of the model, its lists too, its router and its heads are handed on to the copy, as they
are set from call to call. All else that modules keep decides how the copy was made; where it
changes, the copy is made anew.
"""

import copy
import dataclasses
from collections.abc import Sequence
from itertools import chain
from operator import attrgetter, is_, itemgetter
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dynamicdet_d2.acceleration.held import PLAIN, Place, is_compared_by_value, names_of, places
from dynamicdet_d2.parts import parts_of

_VERSION = attrgetter("_version")
# Values of a tensor beyond which changes through ``.data`` are not looked for.
_FEW = 4096
_OF_NUMPY = (torch.float16, torch.float32, torch.float64, torch.int32, torch.int64, torch.bool)

Handed = tuple[dict[str, Any], dict[str, Any], Sequence[str]]
"""Attributes of a module, of its counterpart in the copy, and the names that are settings."""


class HandedSettings:
    """Those of the model, its router and its heads, where the copy has the module as it is."""

    def __init__(self, model: nn.Module, fast: nn.Module) -> None:
        # A model's own lists may grow with every call, as a record of them does.
        own = {name for name, value in vars(model).items() if is_compared_by_value(value)}
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
        for place, inside in places(model):
            names = [name for name in names_of(place) if (id(place), name) not in passed_over]
            by_value = {name: is_compared_by_value(place[name]) for name in names}
            self._values.add(place, [name for name in names if by_value[name]])
            if inside:
                self._objects.add(place, [name for name in names if not by_value[name]])
        self._before = copy.deepcopy(self._values.read())  # lists can be changed in place
        self._same = self._objects.read()
        tensors = [x for x in self._same if isinstance(x, Tensor)]
        # Tensors made in inference mode count no changes.
        self._tensors = [x for x in tensors if not x.is_inference()]
        self._versions = list(map(_VERSION, self._tensors))
        self._arrays = [x for x in self._same if isinstance(x, np.ndarray)]
        self._arrays += [x.detach().numpy() for x in tensors if _is_small(x)]
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
        except (AttributeError, LookupError, RuntimeError, ValueError):
            return True


class _Kept:
    """Some names of some places, read by functions that loop in C."""

    def __init__(self) -> None:
        self._places, self._getters = list[Place](), list[itemgetter]()

    def add(self, place: Place, names: Sequence[Any]) -> None:
        if names:
            self._places.append(place)
            self._getters.append(itemgetter(*names, names[0]))  # of one name alone no tuple

    def read(self) -> list[Any]:
        found = [get(place) for get, place in zip(self._getters, self._places, strict=True)]
        return list(chain.from_iterable(found))


def _is_small(tensor: Tensor) -> bool:
    """Whether its values can be compared at each call, by numpy."""
    here = tensor.layout is torch.strided and tensor.device.type == "cpu"
    return here and tensor.numel() <= _FEW and tensor.dtype in _OF_NUMPY


def _decisive(model: nn.Module) -> list[nn.Module]:
    router = getattr(model, "router", None)
    return [*([] if router is None else [router]), *parts_of(model).heads]


def _settings(module: nn.Module) -> list[str]:
    """None among them: it may become a number."""
    return [k for k, v in vars(module).items() if k != "training" and (v is None or _is_plain(v))]


def _is_plain(value: object) -> bool:
    """A number, text, or a dataclass or dict of them, as RPNs have of numbers of proposals."""
    if isinstance(value, dict):
        return bool(value) and all(isinstance(x, PLAIN) for x in value.values())
    return isinstance(value, (*PLAIN, np.generic)) or dataclasses.is_dataclass(value)
