# SPDX-License-Identifier: Apache-2.0
"""Standard output and error that are closed, full, or that nobody reads any more."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from dynamicdet_d2.utils.files import UnwrittenFileError

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
    try:
        yield
    except (OSError, SystemExit) as error:
        fault = _fault()
        if fault is None or getattr(error, "code", None):  # something else failed already
            raise
    else:
        fault = _fault()
    if fault is not None:
        raise UnwrittenFileError("standard output", fault) from None


def _fault() -> OSError | None:
    """Why standard output does not take what is left; Python is not to try it again at its end."""
    try:
        sys.stdout.flush()
    except OSError as error:
        with suppress(OSError, ValueError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, sys.stdout.fileno())
            os.close(null)
        return error
    return None
