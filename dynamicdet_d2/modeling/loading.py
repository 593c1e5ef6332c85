# SPDX-License-Identifier: Apache-2.0
"""A module that takes weights by other names than its own, where it is asked not to be strict."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

Reader = Callable[[nn.Module, Mapping[str, Tensor]], Any]
"""Loads weights by any names that it knows; gives missing and unexpected names, or None where the
weights are by the module's own."""

_readers: list[Reader] = []


def read_by(reader: Reader) -> Reader:
    """Let modules of this kind ask a reader; as a decorator."""
    _readers.append(reader)
    return reader


class TakesOtherNames(nn.Module):
    """Detectron2's own checkpointer, which ``DefaultPredictor`` uses, loads what it has read with
    ``strict=False``: names that a model does not have would be passed over."""

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """As torch's. With ``strict=False``, other names are translated (``read_by``)."""
        for reader in () if strict else _readers:
            found = reader(self, state_dict)
            if found is not None:
                return found
        return super().load_state_dict(state_dict, strict, assign)
