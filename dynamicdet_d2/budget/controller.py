# SPDX-License-Identifier: Apache-2.0
"""Keeps a running stream within its budget, by moving the threshold as the stream goes."""

import warnings
from collections.abc import Sequence

import numpy as np

from dynamicdet_d2.budget.difficulty_window import DifficultyWindow
from dynamicdet_d2.budget.drift import DriftMonitor
from dynamicdet_d2.budget.goals import ABOVE_0, Goal, MeanLatency, PercentileLatency, Share
from dynamicdet_d2.budget.machine_speed import MachineSpeed
from dynamicdet_d2.operating_point import Calibration
from dynamicdet_d2.operating_point.record import refuse_no_calibration
from dynamicdet_d2.operating_point.thresholds import checked_difficulties

# How far one image may move the share of hard images: from one end to the other in 50 images.
MAX_STEP = 0.02
# How far a budget must be missed before it is said that it cannot be kept.
OUT_OF_REACH = 1.1
# Of the expected time: less is no faster machine, but seconds in the place of milliseconds, and
# more no slower one.
IMPLAUSIBLE = 1 / 300, 300.0


class BudgetOutOfReachWarning(UserWarning):
    """A budget is missed by more than a tenth although every image takes the easy route."""


class ImplausibleTimeWarning(UserWarning):
    """A time is so short that it may be in seconds, or so long that it may be in microseconds."""


class BudgetController:
    """From the times and difficulties of the images so far to the threshold of the next ones.

    Three things can move away from a calibration while a stream runs, and each has its part here:
    what the routes cost (``MachineSpeed``), which share of hard images the budget then allows
    (``Goal``), and which threshold gives that share (``DifficultyWindow``). The share moves in
    bounded steps, and only when it has left what is wanted by more than a tolerance, so that a
    steady stream keeps one threshold.

    The logic is pure: the same images and times give the same thresholds. ::

        controller = BudgetController(calibration, target_ms=40)
        for image in stream:
            model.threshold = controller.threshold
            start = time.perf_counter()
            (output,) = model([image])
            controller.observe([output["difficulty"]], 1000 * (time.perf_counter() - start))

    Attributes:
        threshold: for the next images, in [0, 1]; one is hard iff its difficulty is above it.
        hard_fraction: share of hard images that the threshold is meant to give, in [0, 1].
        speed: what the routes cost now.
        drift: whether the stream's difficulties still are the calibration's.
    """

    # Nothing else can be set: another budget is another controller.
    __slots__ = (
        "_drift",
        "_goal",
        "_hard_fraction",
        "_implausible",
        "_moving",
        "_out_of_reach",
        "_speed",
        "_threshold",
        "_window",
    )

    def __init__(
        self,
        calibration: Calibration,
        *,
        target_ms: float | None = None,
        fps: float | None = None,
        hard_fraction: float | None = None,
        percentile: float | None = None,
    ) -> None:
        """
        Args:
            calibration: where the stream begins.
            target_ms: milliseconds per image to keep.
            fps: images per second to keep, which is 1000 / fps milliseconds each.
            hard_fraction: share of hard images to keep, in [0, 1], however difficulties drift.
            percentile: of the images that are to keep ``target_ms`` or ``fps``, in [1, 100), such
                as 95; None: their mean keeps it.

        Raises:
            ValueError: not exactly one target, or one that is out of range; no calibration.
        """
        refuse_no_calibration(calibration)
        self._goal = _goal(target_ms, fps, hard_fraction, percentile)
        self._speed = MachineSpeed(calibration.latency_ms)
        self._drift = DriftMonitor(calibration.grid, calibration.num_images)
        self._window = DifficultyWindow(calibration.grid, self._goal.window)
        self._hard_fraction = self._goal.hard_fraction(self._speed)
        self._threshold = calibration.threshold(self._hard_fraction)
        self._moving = self._out_of_reach = self._implausible = False

    @property
    def threshold(self) -> float:
        """For the next images."""
        return self._threshold

    @property
    def hard_fraction(self) -> float:
        """Share of hard images that the threshold is meant to give."""
        return self._hard_fraction

    @property
    def speed(self) -> MachineSpeed:
        """What the routes cost now."""
        return self._speed

    @property
    def drift(self) -> DriftMonitor:
        """Whether the stream's difficulties still are the calibration's."""
        return self._drift

    def observe(self, difficulties: Sequence[float], milliseconds: float | None = None) -> None:
        """Images have been run at ``threshold``.

        Args:
            difficulties: of a batch's images, each in [0, 1].
            milliseconds: that the batch took, > 0; None: not known (a first batch that compiled),
                or of no matter (``hard_fraction``).

        Raises:
            ValueError: no images, or a difficulty or time that is out of range.
            ValueError: several images with a ``percentile``, whose times nobody could tell apart.

        Warns:
            DifficultyDriftWarning: the stream's difficulties have left the calibration's.
            BudgetOutOfReachWarning: the budget is missed by more than a tenth even with every
                image easy.
            ImplausibleTimeWarning: the time is less than 1/300 of what the images should take, or
                more than 300 times as much.
        """
        values = checked_difficulties(difficulties)
        if len(values) > 1 and isinstance(self._goal, PercentileLatency):
            raise ValueError(
                f"A percentile of the images' times needs them one by one; a batch has "
                f"{len(values)}."
            )
        if milliseconds is not None:
            hard = int(np.count_nonzero(values > self._threshold))
            expected = self._speed.expected(len(values) - hard, hard)
            self._speed.observe(len(values) - hard, hard, milliseconds)
            self._say_implausible(expected, float(milliseconds))
        self._window.add(values.tolist())
        self._drift.observe(values.tolist())
        self._move(self._goal.hard_fraction(self._speed), MAX_STEP * len(values))
        self._say_out_of_reach()

    def _move(self, wanted: float, most: float) -> None:
        """Towards a share of hard images, by at most so much."""
        tolerance = self._goal.tolerance(self._speed)
        error = wanted - self._hard_fraction
        # Once it moves it goes all the way, or it would stop at the tolerance's edge each time.
        self._moving = self._moving or abs(error) > tolerance
        if self._moving:
            arrives = abs(error) <= most
            step = float(np.clip(error, -most, most))
            self._hard_fraction = wanted if arrives else self._hard_fraction + step
            self._moving = not arrives
        realised = self._window.share_above(self._threshold)
        # The ends hold for all images, whatever the window has.
        if abs(realised - self._hard_fraction) > tolerance or self._hard_fraction in (0, 1):
            self._threshold = self._window.threshold_for(
                self._hard_fraction, at_most=self._goal.is_limit
            )

    def _say_implausible(self, expected: float, milliseconds: float) -> None:
        """Once."""
        least, most = (share * expected for share in IMPLAUSIBLE)
        if self._implausible or least <= milliseconds <= most:
            return
        self._implausible = True
        may_be = (
            "these may be seconds"
            if milliseconds < least
            else "these may be microseconds. Where a first batch was slow because something was "
            "compiled, give None for its milliseconds"
        )
        warnings.warn(
            f"{milliseconds:g} milliseconds were observed where {expected:.3g} are expected: "
            f"observe takes milliseconds, and {may_be}.",
            ImplausibleTimeWarning,
            stacklevel=3,
        )

    def _say_out_of_reach(self) -> None:
        """Once, until the budget can be kept again."""
        excess = self._goal.excess(self._speed)
        before = self._out_of_reach
        self._out_of_reach = excess > (1.0 if before else OUT_OF_REACH)
        if self._out_of_reach and not before:
            complaint = self._goal.complaint(self._speed)
            warnings.warn(complaint, BudgetOutOfReachWarning, stacklevel=3)


def _goal(
    target_ms: float | None,
    fps: float | None,
    hard_fraction: float | None,
    percentile: float | None,
) -> Goal:
    """What was asked for, checked."""
    given = {"target_ms": target_ms, "fps": fps, "hard_fraction": hard_fraction}
    named = {name: value for name, value in given.items() if value is not None}
    if len(named) != 1:
        found = ", ".join(named) or "none"
        raise ValueError(f"A budget is one of target_ms, fps and hard_fraction; found {found}.")
    ((name, value),) = named.items()
    if name == "hard_fraction":
        if percentile is not None:
            raise ValueError("A percentile is one of times; hard_fraction has none.")
        return Share(value)
    milliseconds = value if name == "target_ms" else 1000 / ABOVE_0.number(value, name)
    if percentile is None:
        return MeanLatency(milliseconds)
    return PercentileLatency(milliseconds, percentile)
