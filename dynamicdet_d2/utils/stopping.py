# SPDX-License-Identifier: Apache-2.0
"""What ends a run: at once where nothing is half done, else when the step is done.

Ctrl-C, SIGTERM, and the SIGHUP of a terminal that closes.

An exception out of the blue in the middle of a step would leave half a step, and can be lost in
callbacks of libraries. So a signal is a request, which the training looks at after each step; in
passes over a data set, which change nothing, it ends the pass.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import NoReturn


@dataclass
class _State:
    """Of this process.

    Attributes:
        requested: number of the first signal that came, 0: none.
        deferred: whether signals wait for someone to look.
        obeyed: number of the signal by which an end has been raised, 0: none.
    """

    requested: int = 0
    deferred: bool = False
    obeyed: int = 0


_state = _State()


def ending_signals() -> list[signal.Signals]:
    """SIGINT, SIGTERM, and SIGHUP, by which a terminal closes, but for those that are ignored.

    A job that a script runs in the background ignores the first, and nohup the last.
    """
    ending = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    return [number for number in ending if signal.getsignal(number) is not signal.SIG_IGN]


@contextmanager
def signals_heeded() -> Iterator[None]:
    """``ending_signals`` become requests inside; what was there before is put back afterwards."""
    _state.requested, _state.deferred, _state.obeyed = 0, False, 0
    if threading.current_thread() is not threading.main_thread():
        yield  # where no signal arrives
        return
    before = {number: signal.signal(number, _came) for number in ending_signals()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _state.requested = _state.obeyed = 0


@contextmanager
def killed_in_order() -> Iterator[None]:
    """SIGTERM, and a terminal that is closed, end what is inside as an error does: what is half
    written is taken away. Where somebody else heeds or ignores them they stay theirs."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGTERM, signal.SIGHUP)
    own = [number for number in numbers if signal.getsignal(number) is signal.SIG_DFL]
    for number in own:
        signal.signal(number, lambda came, _: stop(came))
    try:
        yield
    finally:
        for number in own:
            signal.signal(number, signal.SIG_DFL)


@contextmanager
def deferred() -> Iterator[None]:
    """Signals wait inside until ``requested`` is asked; a second Ctrl-C does not."""
    before, _state.deferred = _state.deferred, True
    try:
        yield
    finally:
        _state.deferred = before


@contextmanager
def at_once() -> Iterator[None]:
    """Signals end what is inside at once; one that waited already, too."""
    before, _state.deferred = _state.deferred, False
    try:
        look()
        yield
    finally:
        _state.deferred = before


def requested() -> int:
    """Number of the signal that asks this process to stop; 0: none."""
    return _state.requested


def obeyed() -> int:
    """Number of the signal by which ``stop`` has ended something; 0: none.

    A library in the middle of which that came may have made an error of its own of it.
    """
    return _state.obeyed


def request(number: int) -> None:
    """Note the signal of another process of the run as if it had come here."""
    _state.requested = _state.requested or number


def look() -> None:
    """End what runs, where a signal came and does not have to wait.

    A library can have swallowed the exception, so long passes look again at every batch.
    """
    if _state.requested and not _state.deferred:
        stop(_state.requested)


def stop(number: int) -> NoReturn:
    """End as a signal says.

    Raises:
        KeyboardInterrupt: for SIGINT.
        SystemExit: for others, with the status by which shells count them.
    """
    _state.obeyed = number
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)


def _came(number: int, _: FrameType | None) -> None:
    again = number == signal.SIGINT == _state.requested
    _state.requested = _state.requested or number
    if again or not _state.deferred:
        stop(number)
