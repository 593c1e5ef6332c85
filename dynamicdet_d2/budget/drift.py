# SPDX-License-Identifier: Apache-2.0
"""Pure: does a stream's difficulty still look like the calibration's? A two-sample test.

The test is Kolmogorov's and Smirnov's: D is the largest difference between the shares of hard
images that a threshold gives on the one set and on the other. It asks nothing of the distributions,
and D says at once by how much a calibrated hard fraction can be off.
"""

import math
import warnings
from collections.abc import Sequence
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from dynamicdet_d2.config.ranges import integer
from dynamicdet_d2.operating_point.record import checked_field
from dynamicdet_d2.operating_point.thresholds import checked_difficulties

# Images that are tested together, each once.
WINDOW = 256
# How often such a window is taken for drift where there is none.
FALSE_ALARMS = 1e-4


class DifficultyDriftWarning(UserWarning):
    """A stream's difficulties have left those of the calibration."""


class DriftMonitor:
    """Tests a stream window by window against the calibration, and warns when it leaves it.

    Consecutive frames of a video resemble each other: of these the warning says that the last
    ten seconds differ from the calibration, which a long scene may as well.

    Attributes:
        drifted: whether the last complete window differed.
    """

    def __init__(self, grid: Sequence[float], num_images: int, size: int = WINDOW) -> None:
        """
        Args:
            grid: thresholds of the hard fractions 0 to 1, evenly spaced (``Calibration.grid``).
            num_images: that the grid was taken from, >= 1.
            size: images in a window, >= 1.

        Raises:
            ValueError: they are not.
        """
        size = integer(at_least=1).whole(size, "size")
        num_images = checked_field("num_images", num_images)
        grid = checked_field("grid", grid)
        self._thresholds, self._least, self._most = runs(grid)
        # 0 stands for all images, whatever was seen: difficulties of exactly 0 are not above it.
        self._least[self._thresholds == 0] = 0
        self._critical = critical_distance(size, num_images)
        self._size = size
        self._window: list[float] = []
        self.drifted = False

    def observe(self, difficulties: Sequence[float]) -> None:
        """The latest images' difficulties, each in [0, 1].

        Raises:
            ValueError: there is none, or one is out of range.

        Warns:
            DifficultyDriftWarning: a window differs from the calibration, and the one before did
                not.
        """
        for difficulty in checked_difficulties(difficulties).tolist():
            self._window.append(difficulty)
            if len(self._window) == self._size:
                self._test(np.array(self._window))
                self._window.clear()

    def _test(self, window: NDArray[np.float64]) -> None:
        shares = 1 - np.searchsorted(np.sort(window), self._thresholds, "right") / len(window)
        above, below = shares - self._most, self._least - shares
        distance = float(np.maximum(above, below).max())
        before, self.drifted = self.drifted, distance > self._critical
        if self.drifted and not before:
            more = "harder" if above.max() >= below.max() else "easier"
            warnings.warn(
                f"The last {self._size} images are {more} than those of the calibration: the "
                f"share of hard images at a threshold differs by up to {distance:.2f}, where "
                f"{self._critical:.2f} is chance. Calibrate on images of this stream.",
                DifficultyDriftWarning,
                stacklevel=3,
            )


def runs(
    grid: Sequence[float],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """The distinct thresholds of a grid, and between which shares each one's own lies.

    With few images, or equal difficulties, one threshold stands for many hard fractions: those
    that it is the closest to, with its own among them.

    Returns:
        thresholds (T,) falling, and the least and the largest share (T,) of each, in [0, 1].
    """
    step = 1 / (len(grid) - 1)
    found = []
    for threshold, places in groupby(range(len(grid)), key=grid.__getitem__):
        run = list(places)
        # A share between two of the grid's is at most half a step away from the closer one.
        found.append((threshold, (run[0] - 0.5) * step, (run[-1] + 0.5) * step))
    thresholds, least, most = np.array(found).T
    return thresholds, least.clip(0), most.clip(max=1)


def critical_distance(images: int, calibrated: int, false_alarms: float = FALSE_ALARMS) -> float:
    """D that two sets of one distribution exceed with a probability of ``false_alarms`` at most.

    By the bound 2 exp(-2 D^2 n m / (n + m)) of its distribution, which is close for small
    probabilities.

    Args:
        images, calibrated: n and m.
        false_alarms: in (0, 1).
    """
    return math.sqrt(-math.log(false_alarms / 2) / 2 * (images + calibrated) / images / calibrated)
