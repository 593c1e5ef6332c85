# SPDX-License-Identifier: Apache-2.0
"""Pure: the difficulties that a stream's threshold is taken from.

W: difficulties in the window.
"""

from collections import deque
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from dynamicdet_d2.operating_point import (
    realised_hard_fraction,
    threshold_for_hard_fraction,
)

# Of one over the golden ratio, whose multiples fill the unit interval evenly at every length.
_EVENLY = (5**0.5 - 1) / 2


class DifficultyWindow:
    """The last W difficulties of a stream; at its start, those of the calibration.

    The stream's own push the calibrated ones out image by image, so that a threshold moves along
    the calibrated quantiles at first, and along those of the stream once it has run for W images.
    """

    def __init__(self, grid: Sequence[float], size: int) -> None:
        """
        Args:
            grid: thresholds of the hard fractions 0 to 1, evenly spaced (``Calibration.grid``).
            size: W, >= 1.
        """
        shares = (np.arange(size) + 0.5) / size
        places = np.rint(shares * (len(grid) - 1)).astype(int)
        calibrated = np.asarray(grid, dtype=np.float64)[places]
        self._values = deque(evenly(calibrated).tolist(), maxlen=size)

    def add(self, difficulties: Iterable[float]) -> None:
        """The latest, each in [0, 1]; the oldest ones make room."""
        self._values.extend(difficulties)

    def share_above(self, threshold: float) -> float:
        """How many of the W are hard at a threshold, in [0, 1]."""
        return realised_hard_fraction(list(self._values), threshold)

    def threshold_for(self, share: float, *, at_most: bool = False) -> float:
        """The threshold at which a share of the W, in [0, 1], is hard.

        Args:
            share: equal difficulties take one route, so that the nearest share is what it may give.
            at_most: the nearest that is no larger, but for half an image of rounding.
        """
        values = list(self._values)
        nearest = threshold_for_hard_fraction(values, share)
        if not at_most or self.share_above(nearest) <= share + 0.5 / len(values):
            return nearest
        least_hard = min(value for value in values if value > nearest)
        return threshold_for_hard_fraction(values, self.share_above(least_hard))


def evenly(rising: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same (N,) values in an order of which every stretch has low and high ones alike."""
    ranks = np.argsort(np.argsort(np.arange(len(rising)) * _EVENLY % 1))
    return rising[ranks]
