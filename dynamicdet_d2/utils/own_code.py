# SPDX-License-Identifier: Apache-2.0
"""What of a detector is a program's own: classes, and methods in the place of ours or others'."""

import functools
import inspect
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

# Whose modules are known: they keep nothing from call to call, and read maps where they say so.
_KNOWN = {"detectron2", "dynamicdet_d2", "fvcore", "torch", "torchvision"}
# But for those that quantisation is prepared with.
_OBSERVERS = "torch.ao."


def is_own(part: object) -> bool:
    """Whether its class is neither the project's nor of a library that it is built on."""
    return is_own_class(type(part))


def own_methods(part: object, names: Iterable[str]) -> list[str]:
    """Those of some methods that are not Detectron2's or ours: of a class of another package or of
    a program, or functions that a program has put in their place, in a class or in the object.

    Args:
        names: of methods that the part may have.
    """
    return [name for name in names if name in vars(part) or _is_other(type(part), name)]


@functools.cache
def is_own_file(path: str) -> bool:
    """Whether a file of code is in none of the known packages."""
    packages = [sys.modules[name].__file__ for name in _KNOWN if name in sys.modules]
    return not any(Path(path).is_relative_to(Path(file or "").parent) for file in packages)


def _is_other(kind: type, name: str) -> bool:
    giver = next((base for base in kind.__mro__ if name in vars(base)), None)
    if giver is None:
        return False
    return is_own_class(giver) or is_own_value(inspect.getattr_static(giver, name))


def is_own_value(value: Any) -> bool:
    """Whether a class, or a function or one that it wraps, was written by a program: a wrapper says
    the module of what it wraps."""
    if isinstance(value, type):
        return is_own_class(value)
    while value is not None:
        value = getattr(value, "__func__", getattr(value, "fget", value))
        code = getattr(value, "__code__", None)
        if code is not None and is_own_file(code.co_filename):
            return True
        value = getattr(value, "__wrapped__", None)
    return False


def is_own_class(kind: type) -> bool:
    """Whether it is of another package, or is not where it says that it is: in a file that begins
    with ``from detectron2.modeling.roi_heads import *`` even ``__name__`` is Detectron2's."""
    place: Any = sys.modules.get(kind.__module__)
    for name in kind.__qualname__.split("."):
        place = getattr(place, name, None)
    known = kind.__module__.partition(".")[0] in _KNOWN
    return not known or place is not kind or kind.__module__.startswith(_OBSERVERS)
