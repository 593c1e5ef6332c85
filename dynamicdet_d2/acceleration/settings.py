# SPDX-License-Identifier: Apache-2.0
"""Attributes of a model's modules, which a program may set after the optimised copy was made.

Those of the model, its router and its heads are handed on to the copy, as they are set from call to
call. All others decide how the copy was made; where one of them changes, the copy is made anew.
"""

from collections.abc import Iterator
from itertools import chain
from operator import is_, itemgetter
from typing import Any

import numpy as np
from torch import nn

from dynamicdet_d2.acceleration.in_common import attributes, copied, entries
from dynamicdet_d2.parts import parts_of

_NUMBERS_AND_TEXT = (bool, int, float, str, np.generic)
_NOTHING = object()

Attributes = dict[str, Any]


class HandedSettings:
    """Those of which the copy's own module has the same, between calls."""

    def __init__(self, model: nn.Module, fast: nn.Module) -> None:
        decisive = {id(model), *(id(x) for head in _decisive(model) for x in head.modules())}
        self._handed = [
            _Handed(attributes(ours, model), vars(ours), vars(theirs))
            for ours, theirs in _alike(model, fast)
            if id(ours) in decisive
        ]

    def hand_on(self) -> None:
        """Set those of the copy as the model has them now."""
        for handed in self._handed:
            handed.hand_on()

    def gone(self) -> bool:
        """Whether the model lacks one by now."""
        return any(handed.gone() for handed in self._handed)

    def names(self) -> set[tuple[int, str]]:
        """The id of a module's attributes, and a setting's name."""
        return {(id(handed.ours), name) for handed in self._handed for name in handed.names}


class LayerSettings:
    """All others, at one moment: numbers and text, which are compared by value, and objects, by
    whether they are the same; and the lists that lead to layers, by what is in them."""

    def __init__(self, model: nn.Module, handed: HandedSettings) -> None:
        passed_over = handed.names()
        self._numbers, self._objects = _Kept(), _Kept()
        for module in model.modules():
            place, found = vars(module), attributes(module, model)
            watched = [name for name in found if (id(place), name) not in passed_over]
            numbers = [x for x in watched if isinstance(found[x], _NUMBERS_AND_TEXT)]
            self._numbers.add(place, numbers)
            self._objects.add(place, [x for x in watched if x not in numbers])
        self._lists = copied(model)
        self._before = self._numbers.read()
        self._same = [*self._objects.read(), *self._entries()]

    def changed(self) -> bool:
        try:
            now = [*self._objects.read(), *self._entries()]
            same = len(now) == len(self._same) and all(map(is_, now, self._same))
            return not same or self._numbers.read() != self._before
        # One is gone, or has become an array.
        except (LookupError, RuntimeError, ValueError):
            return True

    def _entries(self) -> Iterator[Any]:
        return chain.from_iterable(map(entries, self._lists))


class _Handed:
    """Attributes of a module that its counterpart in the copy had in common when it was made."""

    def __init__(self, found: Attributes, ours: Attributes, theirs: Attributes) -> None:
        """
        Args:
            found: the module's, without torch's.
            ours, theirs: all that the two modules have.
        """
        self.ours, self._theirs = ours, theirs
        self.names = [name for name in found if theirs.get(name, _NOTHING) is found[name]]
        self._last = {name: found[name] for name in self.names}

    def hand_on(self) -> None:
        ours, last = self.ours, self._last
        for name in self.names:
            if ours[name] is not last[name]:
                self._theirs[name] = last[name] = ours[name]

    def gone(self) -> bool:
        return not self.ours.keys() >= self._last.keys()


class _Kept:
    """Some names of some modules' attributes, read by functions that loop in C."""

    def __init__(self) -> None:
        self._places, self._getters = list[Attributes](), list[itemgetter]()

    def add(self, place: Attributes, names: list[str]) -> None:
        if names:
            self._places.append(place)
            self._getters.append(itemgetter(*names, names[0]))  # of one name alone no tuple

    def read(self) -> list[Any]:
        found = [get(place) for get, place in zip(self._getters, self._places, strict=True)]
        return list(chain.from_iterable(found))


def _alike(model: nn.Module, fast: nn.Module) -> Iterator[tuple[nn.Module, nn.Module]]:
    """Modules and those of the copy that have the same place and class."""
    inside = dict(fast.named_modules(remove_duplicate=False))
    for name, ours in model.named_modules():
        theirs = inside.get(name)
        if theirs is not None and theirs.__class__ is ours.__class__:
            yield ours, theirs


def _decisive(model: nn.Module) -> list[nn.Module]:
    router = getattr(model, "router", None)
    return [*([] if router is None else [router]), *parts_of(model).heads]
