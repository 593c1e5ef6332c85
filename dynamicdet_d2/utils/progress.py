# SPDX-License-Identifier: Apache-2.0
"""Remaining time in the log, for work that may take long."""

import datetime
import logging
import time
from collections.abc import Callable

logger = logging.getLogger(__name__)

# Work that ends before is not worth a line.
INTERVAL = 10.0


class Progress:
    """Logs how much is done and the remaining time, every ten seconds or so."""

    def __init__(
        self, total: int | None, what: str, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        """
        Args:
            total: steps in all; None: not known.
            what: begins the line.
            clock: gives seconds; from now on.
        """
        self._total, self._what, self._clock = total, what, clock
        self._done = 0
        self._start = self._last = clock()

    def step(self, note: Callable[[], str] | None = None) -> None:
        """One step of the total is done.

        Args:
            note: gives what else the line says; asked only where there is one.
        """
        self._done += 1
        now = self._clock()
        if now - self._last < INTERVAL:
            return
        self._last = now
        ending = f", {note()}" if note else ""
        if self._total is None:
            logger.info("%s: %d%s", self._what, self._done, ending)
            return
        seconds = (now - self._start) / self._done * max(self._total - self._done, 0)
        remaining = datetime.timedelta(seconds=round(seconds))
        logger.info(
            "%s: %d/%d, remaining time %s%s",
            self._what,
            self._done,
            self._total,
            remaining,
            ending,
        )
