# SPDX-License-Identifier: Apache-2.0
"""Pure: what a budget asks for -> the share of hard images that keeps it."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from dynamicdet_d2.budget.machine_speed import ABOVE_0, MachineSpeed
from dynamicdet_d2.config.ranges import number
from dynamicdet_d2.operating_point.thresholds import SHARE

# The hysteresis: what a threshold may be off by without being moved, of a mean budget, of the share
# of images that are late, and of a share of hard images; of the latter at most.
MEAN_TOLERANCE, LATE_TOLERANCE, SHARE_TOLERANCE = 0.02, 0.005, 0.01
LARGEST_TOLERANCE = 0.25
_PERCENTILE = number(at_least=1, below=100)


class Goal(ABC):
    """What a stream is kept to.

    Values that are no numbers, or out of range, are met with a ValueError.

    Attributes:
        window: images that its threshold is taken from. More would follow a stream more slowly: in
            simulation the mean of 100 images was then further from the budget after every change,
            and no closer without one.
        is_limit: whether more hard images than asked for break the budget, and fewer do not.
    """

    window: ClassVar[int] = 64
    is_limit: ClassVar[bool] = True

    @abstractmethod
    def hard_fraction(self, speed: MachineSpeed) -> float:
        """The largest share of hard images, in [0, 1], that keeps the budget; 0 where none does."""

    def tolerance(self, speed: MachineSpeed) -> float:
        """Shares of hard images this close to each other are as good as equal; in (0, 0.25]."""
        return SHARE_TOLERANCE

    def excess(self, speed: MachineSpeed) -> float:
        """How far the budget is missed on the cheaper route: above 1 it cannot be kept."""
        return 0.0

    def complaint(self, speed: MachineSpeed) -> str:
        """Why the budget cannot be kept."""
        return "The budget cannot be kept."


@dataclass(frozen=True)
class Share(Goal):
    """A share of hard images itself, whatever it costs; ``value`` in [0, 1]."""

    is_limit: ClassVar[bool] = False

    value: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", SHARE.number(self.value, "hard_fraction"))

    def hard_fraction(self, speed: MachineSpeed) -> float:
        return self.value


@dataclass(frozen=True)
class MeanLatency(Goal):
    """Mean milliseconds per image: eq. 14 with the routes' costs as they are now."""

    target_ms: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "target_ms", ABOVE_0.number(self.target_ms, "target_ms"))

    def hard_fraction(self, speed: MachineSpeed) -> float:
        room, step = self.target_ms - speed.easy_ms, speed.hard_ms - speed.easy_ms
        if step <= 0:  # the hard route costs nothing more
            return float(speed.hard_ms <= self.target_ms)
        return float(np.clip(room / step, 0, 1))

    def tolerance(self, speed: MachineSpeed) -> float:
        step = speed.hard_ms - speed.easy_ms
        if step <= 0:
            return LARGEST_TOLERANCE
        return min(MEAN_TOLERANCE * self.target_ms / step, LARGEST_TOLERANCE)

    def excess(self, speed: MachineSpeed) -> float:
        return min(speed.easy_ms, speed.hard_ms) / self.target_ms

    def complaint(self, speed: MachineSpeed) -> str:
        ms, route = min((speed.easy_ms, "easy"), (speed.hard_ms, "hard"))
        return (
            f"{self.target_ms:g} ms per image are out of reach: the {route} route alone takes "
            f"{ms:.3g} ms, by the calibration and the images so far."
        )


@dataclass(frozen=True)
class PercentileLatency(Goal):
    """Milliseconds that ``percentile`` % of the images do not exceed, in [1, 100).

    With F_e and F_h the shares of easy and of hard images within the target, a share k of hard
    images has (1 - k) F_e + k F_h within it, which falls with k; the largest k that leaves
    ``percentile`` % is what is asked for. Of it the tolerance is taken off, since the percentile of
    two routes jumps where it passes from one to the other.
    """

    # Of 64 images three are one of twenty, too few to tell it by.
    window: ClassVar[int] = 256

    target_ms: float
    percentile: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "target_ms", ABOVE_0.number(self.target_ms, "target_ms"))
        object.__setattr__(self, "percentile", _PERCENTILE.number(self.percentile, "percentile"))

    def hard_fraction(self, speed: MachineSpeed) -> float:
        wanted, easy, hard = self.percentile / 100, *speed.shares_within(self.target_ms)
        if hard >= wanted:
            return 1.0
        if easy <= wanted:
            return 0.0
        return max((easy - wanted) / (easy - hard) - self.tolerance(speed), 0.0)

    def tolerance(self, speed: MachineSpeed) -> float:
        easy, hard = speed.shares_within(self.target_ms)
        return min(LATE_TOLERANCE / max(easy - hard, LATE_TOLERANCE), LARGEST_TOLERANCE)

    def excess(self, speed: MachineSpeed) -> float:
        return (1 - max(speed.shares_within(self.target_ms))) / (1 - self.percentile / 100)

    def complaint(self, speed: MachineSpeed) -> str:
        easy, hard = speed.shares_within(self.target_ms)
        route = "hard" if hard > easy else "easy"
        return (
            f"{self.target_ms:g} ms for {self.percentile:g} % of the images are out of reach: of "
            f"those on the {route} route {100 * max(easy, hard):.0f} % keep them, by the "
            "calibration and the images so far."
        )
