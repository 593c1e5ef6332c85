# SPDX-License-Identifier: Apache-2.0
"""The target of a latency that all but few images keep within."""

import numpy as np

from dynamicdet_d2.calibration.target import FRACTIONS, Choice, Measured, Promise, Target
from dynamicdet_d2.operating_point.guarantee import (
    check_number,
    images_needed,
    leading,
    share_is_below,
    share_upper_bound,
)
from dynamicdet_d2.utils.words import rounded_inward

# Of the images, those that may take longer.
LATE = 0.05


class LatencyP95(Target):
    """95th percentile of the latency per image on this machine.

    Each timed image has its milliseconds on both routes, and takes one of them by the threshold.
    An image that is late on the easy route counts as late on the hard one too, so that more hard
    images are never fewer late ones.
    """

    name = "latency_p95_ms"
    option = "--target-p95-latency-ms"
    metavar = "MS"
    help = "milliseconds per image on this machine that 95 of 100 images keep within"
    promises = ("finite",)
    share = LATE

    def choose(self, measured: Measured) -> Choice:
        easy, hard = (np.array(measured.latencies[r].samples) for r in ("easy", "hard"))
        late = np.stack([easy > self.value, np.maximum(easy, hard) > self.value])
        difficulty = _difficulties_of_sample(measured)
        thresholds = map(measured.calibration.threshold, FRACTIONS)
        counts = [int(np.where(difficulty > t, late[1], late[0]).sum()) for t in thresholds]
        number = len(easy)
        fixed = leading(count <= LATE * number for count in counts)
        if not fixed:
            # The least milliseconds that leave few enough images late; no percentile, which may lie
            # between two images.
            last = number - 1 - int(LATE * number)
            least = np.sort(easy)[last]
            raise ValueError(
                f"The target p95 latency of {self.value:g} ms cannot be reached; "
                f"{rounded_inward(least, least)[0]} ms or more can."
            )
        if self.guarantee is None:
            return Choice(FRACTIONS[fixed - 1])
        needed = images_needed(LATE, self.guarantee.confidence)
        check_number(number, needed, _timed(number, len(measured.observation.records)))
        return self._promised(counts, number, FRACTIONS[fixed - 1], self.guarantee.confidence)

    def _promised(self, counts: list[int], number: int, fixed: float, confidence: float) -> Choice:
        """The last hard fraction of a walk from all easy that is shown to have few late images."""
        passed = leading(share_is_below(count, number, LATE, confidence) for count in counts)
        if not passed:
            raise ValueError(
                f"{counts[0]} of {number} timed images take more than {self.value:g} ms on the "
                f"easy route, too many to say with confidence {confidence:g} that at most "
                f"{LATE:g} of all do; a longer latency can be promised."
            )
        seen = counts[passed - 1]
        bound = share_upper_bound(seen, number, confidence)
        promise = Promise(
            mode="finite",
            confidence=confidence,
            share=LATE,
            estimate=seen / number,
            bound=bound,
            hard_fraction_without=fixed,
            says=f"with confidence {confidence:g}, at most {LATE:g} of images like these take "
            f"more than {self.value:g} ms: {seen} of {number} timed images do, {bound:.3f} at most",
        )
        return Choice(FRACTIONS[passed - 1], promise)


def _timed(number: int, images: int) -> str:
    """What there are ``number`` of: more of the images can be timed, or all of them are."""
    return "timed images (TEST.DYNAMIC.LATENCY_IMAGES)" if number < images else "images, all timed,"


def _difficulties_of_sample(measured: Measured) -> np.ndarray:
    """(S,) of the timed images."""
    known = {record.image_id: record.difficulty for record in measured.observation.records}
    return np.array([known[image["image_id"]] for image in measured.observation.sample])
