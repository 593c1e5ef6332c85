# SPDX-License-Identifier: Apache-2.0
"""Pure: what the two routes cost on this machine at present, learnt from the stream itself."""

from collections import deque
from collections.abc import Mapping

import numpy as np

from dynamicdet_d2.budget.difficulty_window import evenly
from dynamicdet_d2.config.ranges import above, integer
from dynamicdet_d2.operating_point.record import checked_field

ABOVE_0, _COUNT = above(0), integer(at_least=0)

# Weight of an image's time in the estimate of the machine's speed: a machine that turns 1.5 times
# as slow is known to 5 % after 75 images; times that scatter by 5 % leave 0.6 % in the estimate.
RATE = 1 / 32
# The hard route's cost relative to the easy one's is the model's affair more than the machine's.
RATIO_RATE = RATE / 4
# How far from the expected time a single image can be taken for, so that a pause of seconds does
# not send all images down the easy route for minutes.
SURPRISE = (-0.75, 2.0)
# Times that a percentile is taken over.
TIMES = 256


class MachineSpeed:
    """Milliseconds per image of either route, now: those of the calibration, times what was seen.

    A load slows both routes alike, so one factor follows it, whichever routes the images take; the
    ratio of the routes is corrected more slowly. Only images of both routes tell the two apart.
    """

    def __init__(self, latency_ms: Mapping[str, Mapping[str, float]]) -> None:
        """
        Args:
            latency_ms: "easy" and "hard" -> {"p50", "p95", "mean"} (``Calibration.latency_ms``).

        Raises:
            ValueError: they are not all numbers above 0.
        """
        latency_ms = checked_field("latency_ms", latency_ms)
        self._calibrated = latency_ms["easy"]["mean"], latency_ms["hard"]["mean"]
        self._factor, self._ratio = 1.0, 1.0
        self._spreads = tuple(_calibrated_spread(latency_ms[route]) for route in ("easy", "hard"))
        # Observed times by those expected, of either route: they take the calibration's place.
        self._relative: deque[float] = deque(maxlen=TIMES)

    @property
    def easy_ms(self) -> float:
        """Mean milliseconds per image of the easy route."""
        return self._factor * self._calibrated[0]

    @property
    def hard_ms(self) -> float:
        """Mean milliseconds per image of the hard route."""
        return self._factor * self._ratio * self._calibrated[1]

    def expected(self, easy: int, hard: int) -> float:
        """Milliseconds of a batch with so many images on either route."""
        return easy * self.easy_ms + hard * self.hard_ms

    def observe(self, easy: int, hard: int, milliseconds: float) -> None:
        """A batch has run.

        Args:
            easy, hard: its images by route, not both 0.
            milliseconds: of all of them together, > 0.

        Raises:
            ValueError: they are not; nothing is learnt then.
        """
        easy, hard = (_COUNT.whole(n, "A number of images") for n in (easy, hard))
        milliseconds = ABOVE_0.number(milliseconds, "A batch's time in milliseconds")
        if not easy + hard:
            raise ValueError("A batch has no image.")
        expected = self.expected(easy, hard)
        relative = milliseconds / expected
        surprise = float(np.clip(relative - 1, *SURPRISE))
        hard_share = hard * self.hard_ms / expected  # of the time
        # What either of the two learns leaves the other less to explain: taken apart, both would
        # explain all of a large batch.
        both = RATE + RATIO_RATE * hard_share**2
        learnt = _weight(both, easy + hard) / both * surprise
        self._factor *= 1 + RATE * learnt
        self._ratio *= 1 + RATIO_RATE * hard_share * learnt
        self._relative.append(relative)

    def shares_within(self, milliseconds: float) -> tuple[float, float]:
        """How often an image of the easy and of the hard route takes no longer, in [0, 1]."""
        seen = list(self._relative)
        easy, hard = (
            float(np.mean(np.append(spread[len(seen) :], seen) * mean <= milliseconds))
            for spread, mean in zip(self._spreads, (self.easy_ms, self.hard_ms), strict=True)
        )
        return easy, hard


def _weight(rate: float, images: int) -> float:
    """Of a batch, as if its images had come one by one."""
    return 1 - (1 - rate) ** images


def _calibrated_spread(latency: Mapping[str, float]) -> np.ndarray:
    """(TIMES,) times relative to their mean, with the calibration's 95th percentile."""
    usual, slow = latency["p50"] / latency["mean"], latency["p95"] / latency["mean"]
    return evenly(np.where(np.arange(TIMES) < 0.9 * TIMES, usual, slow))
