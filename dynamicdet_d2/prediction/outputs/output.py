# SPDX-License-Identifier: Apache-2.0
"""What an output is."""

from abc import ABC, abstractmethod
from typing import Any, Self

from dynamicdet_d2.prediction.sources import Frame


class Output(ABC):
    """Takes predictions in the order of their frames; a context that completes its files.

    An error inside leaves no file that looks complete and is not.
    """

    @abstractmethod
    def write(self, frame: Frame, prediction: dict[str, Any]) -> None:
        """Of one frame: ``"instances"`` on the CPU, and of two routes, difficulty and route."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        if error is None:
            self.close()
        else:
            self.abandon()

    def stop(self) -> None:  # noqa: B027 (most have nothing to do)
        """The user ends the stream where it is; ``close`` follows."""

    @abstractmethod
    def close(self) -> None:
        """Complete what was begun, also where the user has ended the stream early."""

    def abandon(self) -> None:
        """Something went wrong: leave nothing that looks complete."""
        self.close()
