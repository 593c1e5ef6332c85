# SPDX-License-Identifier: Apache-2.0
"""Methods that a user's own class gives a detector in the place of ours or Detectron2's."""

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
