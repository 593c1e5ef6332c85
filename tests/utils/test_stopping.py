# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C, SIGTERM and SIGHUP: at once, or when somebody looks."""

import os
import signal
from collections.abc import Iterator

import pytest

from dynamicdet_d2.utils import stopping

STATUS = {signal.SIGINT: None, signal.SIGTERM: 143, signal.SIGHUP: 129}


@pytest.fixture(autouse=True)
def _heeded() -> Iterator[None]:
    with stopping.signals_heeded():
        yield


def come(number: int) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", STATUS)
def test_outside_of_a_step_it_is_at_once(number: int) -> None:
    with pytest.raises((KeyboardInterrupt, SystemExit)) as raised:
        come(number)
    assert getattr(raised.value, "code", None) == STATUS[number]


@pytest.mark.parametrize("number", STATUS)
def test_in_a_step_it_waits(number: int) -> None:
    with stopping.deferred():
        come(number)
        stopping.look()
        assert stopping.requested() == number
        # A pass over a data set, which changes nothing, does not begin any more.
        with pytest.raises((KeyboardInterrupt, SystemExit)), stopping.at_once():
            raise AssertionError
        stopping.look()
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        stopping.look()


def test_a_pass_ends_at_once_and_what_follows_waits_again() -> None:
    with stopping.deferred():
        with pytest.raises(SystemExit), stopping.at_once():
            come(signal.SIGTERM)
        come(signal.SIGTERM)


def test_the_second_ctrl_c_does_not_wait() -> None:
    with stopping.deferred():
        come(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            come(signal.SIGINT)


def test_a_swallowed_exception_comes_again() -> None:
    with stopping.at_once():
        try:
            come(signal.SIGINT)
        except KeyboardInterrupt:
            pass
        with pytest.raises(KeyboardInterrupt):
            stopping.look()


def test_the_first_signal_counts() -> None:
    with stopping.deferred():
        come(signal.SIGINT)
        come(signal.SIGTERM)
        assert stopping.requested() == signal.SIGINT


def test_handlers_are_put_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with stopping.signals_heeded():
        assert stopping.requested() == 0
    assert signal.getsignal(signal.SIGTERM) is before


def test_what_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with stopping.signals_heeded():
            come(signal.SIGINT)
            assert stopping.requested() == 0
    finally:
        signal.signal(signal.SIGINT, before)


def test_under_nohup_a_closed_terminal_ends_nothing() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stopping.signals_heeded():
            come(signal.SIGHUP)
            assert stopping.requested() == 0
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
