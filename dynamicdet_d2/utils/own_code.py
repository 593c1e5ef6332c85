# SPDX-License-Identifier: Apache-2.0
"""What of a detector is a program's own: classes, and methods in the place of ours or others'."""

import inspect
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

# Whose modules are known: they keep nothing from call to call, and read maps where they say so.
_KNOWN = {"detectron2", "dynamicdet_d2", "fvcore", "torch", "torchvision"}


def is_own(part: object) -> bool:
    """Whether its class is neither the project's nor of a library that it is built on."""
    return _is_own_class(type(part))


def own_methods(part: object, names: Iterable[str]) -> list[str]:
    """Those of some methods that are not Detectron2's or ours: of a class of another package or of
    a program, or functions that a program has put in their place, in a class or in the object.

    Args:
        names: of methods that the part may have.
    """
    return [name for name in names if name in vars(part) or _is_other(type(part), name)]


def is_own_file(path: str) -> bool:
    """Whether a file of code is in none of the known packages."""
    packages = [Path(sys.modules[x].__file__ or "").parent for x in _KNOWN if x in sys.modules]
    return not any(Path(path).is_relative_to(package) for package in packages)


def _is_other(kind: type, name: str) -> bool:
    giver = next((base for base in kind.__mro__ if name in vars(base)), None)
    if giver is None:
        return False
    written = getattr(inspect.getattr_static(giver, name), "__module__", None)
    return _is_own_class(giver) or (written is not None and _is_elsewhere(written))


def _is_own_class(kind: type) -> bool:
    """Whether it is of another package, or is not where it says that it is: in a file that begins
    with ``from detectron2.modeling.roi_heads import *`` even ``__name__`` is Detectron2's."""
    place: Any = sys.modules.get(kind.__module__)
    for name in kind.__qualname__.split("."):
        place = getattr(place, name, None)
    return _is_elsewhere(kind.__module__) or place is not kind


def _is_elsewhere(module: str) -> bool:
    return module.partition(".")[0] not in _KNOWN
