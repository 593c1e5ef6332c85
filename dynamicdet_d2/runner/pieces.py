# SPDX-License-Identifier: Apache-2.0
"""The opened pieces of a detector, found by the padded size of a batch where they are of one."""

from collections.abc import Mapping, Sequence

import numpy as np

from dynamicdet_d2.runner.images import Batch
from dynamicdet_d2.runner.runtimes import Arrays, Piece


class Pieces:
    """Runs a piece by its name.

    Attributes:
        opened: by the names in the manifest.
    """

    def __init__(self, opened: Mapping[str, Piece], sides: Sequence | None) -> None:
        """``sides``: "sides" of the manifest."""
        self.opened, self._sides = opened, sides

    def run(
        self, batch: Batch, name: str, inputs: Mapping[str, np.ndarray], wanted: Sequence[str]
    ) -> Arrays:
        """The outputs that are wanted of the piece for the batch's size."""
        return self.opened[name + ending(self._sides, batch.tensor.shape[2:])](inputs, wanted)


def ending(sides: Sequence | None, side: Sequence[int]) -> str:
    """Of the name of a piece for a padded height and width; "" where pieces are for all."""
    return "" if sides is None else f"@{side[0]}x{side[1]}"
