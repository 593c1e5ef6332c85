# SPDX-License-Identifier: Apache-2.0
"""Counts a stream: images by route, their rate, and what of the time the detector took."""

from collections import Counter, deque
from collections.abc import Callable

# Images that the rate and the share of hard images in the log are taken over.
RECENT = 100


class Tally:
    """What has been done so far.

    Attributes:
        routes: images by ``"easy"`` and ``"hard"``; ``"without routes"`` of a static detector.
        left_out: images that could not be read.
        detector_seconds: of them all, from resizing to detections in memory.
        stopped: the user has ended the stream.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        """
        Args:
            clock: gives seconds; from now on.
        """
        self.routes: Counter[str] = Counter()
        self.left_out = 0
        self.detector_seconds = 0.0
        self.stopped = False
        self._clock = clock
        self._start = clock()
        self._recent: deque[tuple[float, bool]] = deque(maxlen=RECENT)

    def add(self, route: str | None) -> None:
        """An image is done; None: it had no route."""
        self.routes[route or "without routes"] += 1
        self._recent.append((self._clock(), route == "hard"))

    def recently(self) -> str:
        """Rate, and share of hard images, of the last hundred."""
        seconds = self._recent[-1][0] - self._recent[0][0]
        rate = f"{(len(self._recent) - 1) / seconds:.1f} FPS" if seconds > 0 else "rate unknown"
        if "without routes" in self.routes:
            return rate
        hard = sum(hard for _, hard in self._recent) / len(self._recent)
        return f"{rate}, {100 * hard:.0f} % hard"

    def summary(self) -> str:
        """One line about the whole stream."""
        images = self.routes.total()
        taken = "".join(f", {count} {route}" for route, count in sorted(self.routes.items()))
        seconds = self._clock() - self._start
        parts = [f"{images} images{taken}"]
        if images and seconds > 0 and self.detector_seconds > 0:
            alone = images / self.detector_seconds
            parts.append(f"{images / seconds:.1f} FPS ({alone:.1f} of the detector alone)")
        if self.left_out:
            parts.append(f"{self.left_out} left out")
        return "; ".join(parts)
