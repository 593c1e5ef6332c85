# SPDX-License-Identifier: Apache-2.0
"""Standard output and error that are closed, full, or that nobody reads any more."""

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO, TypeVar

from dynamicdet_d2.utils.files import UnwrittenFileError

Result = TypeVar("Result")

_STREAMS = {"stdin": "r", "stdout": "w", "stderr": "w"}


def open_closed() -> None:
    """Put the null device in the place of streams that a shell has closed, such as by ``>&-``.

    The next file that is opened would have a closed stream's number, and get the messages of
    libraries between its own bytes.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) < len(_STREAMS):
        pass
    os.close(descriptor)
    for name, mode in _STREAMS.items():
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))


@contextmanager
def heard() -> Iterator[None]:
    """What is printed inside is written at the end, and said where it cannot be.

    Log records that a stream does not take are lost without a page about each.

    Raises:
        UnwrittenFileError: naming standard output, on a full disk or without a reader.
    """
    logging.raiseExceptions = False
    before, named = sys.stdout, _Named(sys.stdout)
    sys.stdout = named
    try:
        yield
        named.finish()
    except SystemExit as stop:
        if not stop.code:  # after --help
            named.finish()
        raise
    finally:
        sys.stdout = before


class _Named:
    """Standard output, whose complaints do not say whose they are."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._fault: UnwrittenFileError | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        return self._tried(lambda: self._stream.write(text))

    def flush(self) -> None:
        self._tried(self._stream.flush)

    def finish(self) -> None:
        """Write what is left, and say what was lost, such as lines of the log."""
        self.flush()
        if self._fault is not None:
            raise self._fault

    def _tried(self, act: Callable[[], Result]) -> Result:
        try:
            return act()
        except OSError as error:
            with suppress(OSError, ValueError):  # Python is not to try it again at its end
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, self._stream.fileno())
                os.close(null)
            self._fault = UnwrittenFileError("standard output", error)
            raise self._fault from None
