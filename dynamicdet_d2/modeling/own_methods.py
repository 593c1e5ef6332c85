# SPDX-License-Identifier: Apache-2.0
"""Methods that a user's own code gives a detector in the place of ours or Detectron2's."""

import inspect
from collections.abc import Iterable

_KNOWN = {"detectron2", "dynamicdet_d2", "torch"}


def own_methods(part: object, names: Iterable[str]) -> list[str]:
    """Those of some methods that are not Detectron2's or ours: of a class of another package or of
    a program, or functions that a program has put in their place, in a class or in the object.

    Args:
        names: of methods that the part may have.
    """
    return [name for name in names if name in vars(part) or _is_other(type(part), name)]


def _is_other(kind: type, name: str) -> bool:
    written = getattr(inspect.getattr_static(kind, name, None), "__module__", None)
    return written is not None and written.partition(".")[0] not in _KNOWN
