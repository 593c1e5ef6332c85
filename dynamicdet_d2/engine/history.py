# SPDX-License-Identifier: Apache-2.0
"""Histories of scalars whose smoothed values are of one phase."""

from detectron2.utils.events import EventStorage
from fvcore.common.history_buffer import HistoryBuffer


class PhaseHistory(HistoryBuffer):
    """Has all values of a run, and smooths over those of the phase that is trained alone."""

    def __init__(self, before: HistoryBuffer) -> None:
        """
        Args:
            before: with the values of the phases before.
        """
        super().__init__()
        for value, iteration in before.values():
            self.update(value, iteration)
        self._before = len(before.values())

    def median(self, window_size: int) -> float:
        """Of the phase's last values, at most so many."""
        return float(super().median(self._own(window_size)))

    def avg(self, window_size: int) -> float:
        """As ``median``."""
        return float(super().avg(self._own(window_size)))

    def _own(self, window_size: int) -> int:
        return min(window_size, max(1, len(self.values()) - self._before))


def begin_phase(storage: EventStorage) -> None:
    """From here on smoothed values are of values that come."""
    histories = storage.histories()
    histories.update({name: PhaseHistory(history) for name, history in histories.items()})
