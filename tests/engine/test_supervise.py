# SPDX-License-Identifier: Apache-2.0
"""Waiting for the processes of a run: what is said of each end, and that none is left behind."""

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable

import pytest

from dynamicdet_d2.engine.supervise import Supervisor

_fork = multiprocessing.get_context("fork")


def ends(status: int) -> Callable[[], None]:
    return lambda: sys.exit(status)


def sleeps() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    time.sleep(60)


def saves_at_sigterm() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.pause()


def kills(number: int) -> Callable[[], None]:
    return lambda: os.kill(os.getpid(), number)


def supervised(*acts: Callable[[], None], eval_only: bool = False) -> tuple[int, list]:
    processes = [_fork.Process(target=act) for act in acts]
    for process in processes:
        process.start()
    status = Supervisor(processes, 4, "tool", timeout=5.0, patience=1.0, eval_only=eval_only).wait()
    assert all(process.exitcode is not None for process in processes)
    return status, processes


def test_a_good_end(capfd: pytest.CaptureFixture) -> None:
    assert supervised(ends(0), ends(0))[0] == 0
    assert capfd.readouterr().err == ""


def test_the_status_is_that_of_the_process_that_failed(capfd: pytest.CaptureFixture) -> None:
    assert supervised(sleeps, ends(2))[0] == 2
    assert capfd.readouterr().err == ""  # it has said why itself


class EndsLate:
    """A process that is seen to end before it has a status, as one of a busy machine can be."""

    pid = 1

    def __init__(self) -> None:
        self.sentinel, writing = os.pipe()
        os.close(writing)  # ended
        self.asked = 0

    @property
    def exitcode(self) -> int | None:
        self.asked += 1
        return 2 if self.asked > 2 else None


def test_a_status_that_comes_late_counts() -> None:
    assert Supervisor([EndsLate()], 0, "tool", timeout=5.0).wait() == 2


def test_a_killed_process_is_named(capfd: pytest.CaptureFixture) -> None:
    status, processes = supervised(sleeps, kills(signal.SIGKILL))
    assert status == 1
    assert capfd.readouterr().err == (
        f"tool: error: rank 5 (process {processes[1].pid}) was killed by SIGKILL, for want of "
        "memory perhaps; the others were ended, and --resume goes on from the last checkpoint.\n"
    )


def test_an_evaluation_is_not_told_to_resume(capfd: pytest.CaptureFixture) -> None:
    status, _ = supervised(sleeps, kills(signal.SIGKILL), eval_only=True)
    assert status == 1
    assert capfd.readouterr().err.endswith(
        "the others were ended, and an evaluation begins anew.\n"
    )


def test_a_stopped_process_is_killed_and_named(capfd: pytest.CaptureFixture) -> None:
    status, processes = supervised(ends(1), kills(signal.SIGSTOP))
    assert status == 1
    said = f"tool: error: rank 5 (process {processes[1].pid}) was stopped; it was killed.\n"
    assert capfd.readouterr().err == said


@pytest.mark.parametrize(
    ("number", "status", "act"),
    [
        (signal.SIGTERM, 143, saves_at_sigterm),
        (signal.SIGHUP, 129, saves_at_sigterm),
        (signal.SIGINT, 130, sleeps),
    ],
)
def test_a_signal_reaches_the_processes(number: int, status: int, act: Callable) -> None:
    timer = threading.Timer(0.5, os.kill, (os.getpid(), number))
    timer.start()
    before = signal.getsignal(number)
    found, processes = supervised(act, act)
    assert found == status
    assert {process.exitcode for process in processes} <= {143, -number}
    assert signal.getsignal(number) is before
