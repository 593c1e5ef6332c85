# SPDX-License-Identifier: Apache-2.0
"""Where the line between the routes lies: a threshold, from a share of hard images or a cost."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from dynamicdet_d2.utils.words import shown

STATIC = "A static detector has one route and no threshold."
_NUMBERS = (int, float, np.integer, np.floating)


class Budget:
    """The threshold of an exported detector.

    Attributes:
        threshold: in [0, 1]; None of a static detector.
    """

    def __init__(
        self, threshold: float | None, calibration: Mapping[str, Any] | None, dynamic: bool
    ) -> None:
        """
        Args:
            threshold: of the export.
            calibration: of the manifest: ``"grid"`` has the thresholds of the hard fractions from
                0 to 1 in equal steps; None: none was exported.
            dynamic: whether there are routes.
        """
        self.threshold = threshold
        self._calibration, self._dynamic = calibration, dynamic

    def set(self, value: float) -> None:
        """Another threshold.

        Raises:
            ValueError: outside [0, 1], or of a static detector.
        """
        if not self._dynamic:
            raise ValueError(STATIC)
        if not _is_share(value):
            raise ValueError(f"The threshold must be a number in [0, 1], not {shown(value)}.")
        self.threshold = float(value)

    def threshold_for(self, hard_fraction: float) -> float:
        """Of a share of hard images in [0, 1].

        Raises:
            ValueError: outside [0, 1], without a calibration, or of a static detector.
        """
        if not self._dynamic:
            raise ValueError(STATIC)
        if self._calibration is None:
            raise ValueError(
                "The detector was exported without a calibration, so a share of hard images "
                "cannot be set; 'dynamicdet export --calibration FILE' takes one along."
            )
        if not _is_share(hard_fraction):
            raise ValueError(
                f"The hard fraction must be a number in [0, 1], not {shown(hard_fraction)}."
            )
        grid = self._calibration["grid"]
        return grid[round(hard_fraction * (len(grid) - 1))]

    def check_milliseconds(self, target: float) -> None:
        """Refuse a target before the routes are timed, which takes long.

        Raises:
            ValueError: it is no number above 0, or there is no calibration.
        """
        if self._dynamic:
            self.threshold_for(0.0)  # which refuses where there is no calibration
        good = isinstance(target, _NUMBERS) and not isinstance(target, bool)
        if not (good and 0 < target < float("inf")):
            raise ValueError(f"The milliseconds must be a number above 0, not {shown(target)}.")

    def threshold_for_cost(self, easy: float, hard: float, target: float) -> float:
        """Of a mean cost per image, such as milliseconds (eq. 14).

        Args:
            easy, hard: mean cost of the two routes.
            target: between them; ``check_milliseconds`` has seen it.

        Raises:
            ValueError: out of reach.
        """
        if hard <= easy:
            raise ValueError(
                f"The hard route took {hard:.2f} ms per picture and the easy one {easy:.2f}, so "
                "that no threshold gives other milliseconds; measure on more pictures."
            )
        if not easy <= target <= hard:
            raise ValueError(
                f"{target:g} ms per picture cannot be reached; {easy:.2f} (all easy) to "
                f"{hard:.2f} ms (all hard) can."
            )
        return self.threshold_for((target - easy) / (hard - easy))


def _is_share(value: object) -> bool:
    return isinstance(value, _NUMBERS) and not isinstance(value, bool) and bool(0 <= value <= 1)
