# SPDX-License-Identifier: Apache-2.0
"""Methods that a user's own class gives a detector in the place of ours or Detectron2's."""

import inspect
from collections.abc import Iterable

from torch import nn

_KNOWN = {"detectron2", "dynamicdet_d2"}


def own_methods(model: nn.Module, names: Iterable[str]) -> list[str]:
    """Those of some methods that a class of another package, or of a program, defines.

    Args:
        names: of methods that the model may have.
    """
    classes = type(model).__mro__
    definers = {name: next((x for x in classes if name in vars(x)), None) for name in names}
    return [
        name
        for name, definer in definers.items()
        if definer is not None and definer.__module__.partition(".")[0] not in _KNOWN
    ]


def replaced_methods(part: object, names: Iterable[str]) -> list[str]:
    """Those of some methods that are not Detectron2's or ours: of a class as in ``own_methods``, or
    functions that a program has put in their place, in a class or in the object itself.

    Args:
        names: of methods that the part may have.
    """
    return [name for name in names if name in vars(part) or _is_other(type(part), name)]


def _is_other(kind: type, name: str) -> bool:
    written = getattr(inspect.getattr_static(kind, name, None), "__module__", None)
    return written is not None and written.partition(".")[0] not in {*_KNOWN, "torch"}
