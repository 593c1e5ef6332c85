# SPDX-License-Identifier: Apache-2.0
"""What an output is."""

from abc import ABC, abstractmethod
from typing import Any, Self

from dynamicdet_d2.prediction.sources import Frame


class Output(ABC):
    """Takes predictions in the order of their frames; a context that completes its files."""

    @abstractmethod
    def write(self, frame: Frame, prediction: dict[str, Any]) -> None:
        """One frame's: ``"instances"`` on the CPU, ``"difficulty"`` and ``"route"`` if there are."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abstractmethod
    def close(self) -> None:
        """Complete what was begun, also when the stream was interrupted."""
