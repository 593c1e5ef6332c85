# SPDX-License-Identifier: Apache-2.0
"""Waits for the processes of a run on this machine, and leaves none behind."""

import os
import signal
import sys
import time
from collections.abc import Sequence
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from types import FrameType

from dynamicdet_d2.engine.ending import what_goes_on
from dynamicdet_d2.utils.errors import FAILED
from dynamicdet_d2.utils.stopping import ending_signals

# Seconds between looks, and until those that do not end are asked more firmly.
_LOOK, _PATIENCE = 1.0, 5.0


class Supervisor:
    """Waits until all processes have ended, and ends the others once one has failed.

    SIGTERM is passed on, and sent for a closed terminal's SIGHUP too, so that the run saves a
    checkpoint. Ctrl-C reaches the processes from the terminal; where it came here alone, they are
    told a little later.
    """

    def __init__(
        self,
        processes: Sequence[BaseProcess],
        first_rank: int,
        program: str,
        timeout: float,
        patience: float = _PATIENCE,
        eval_only: bool = False,
    ) -> None:
        """
        Args:
            processes: started, in the order of their ranks.
            first_rank: rank of the first one.
            program: how the user called it; stands before what is said.
            timeout: seconds that processes may take to end after a SIGTERM.
            patience: seconds that they may take in other cases, before the next means.
            eval_only: whether the run is an evaluation.
        """
        self._processes, self._first_rank = processes, first_rank
        self._program, self._timeout, self._patience = program, timeout, patience
        self._rest = what_goes_on(eval_only)
        self._signal = 0  # that came to this process
        self._means: list[int] = []  # signals still to be sent, one after the other
        self._due, self._between = 0.0, 0.0  # when the next one is, and seconds to the one after
        self._ended_by_us: set[int] = set()  # indices of processes that were sent a signal

    def wait(self) -> int:
        """Until all have ended.

        Returns:
            exit status of the whole: 0, 128 + a signal that came, or that of the process that
            failed first.
        """
        before = {number: signal.signal(number, self._came) for number in ending_signals()}
        failed: list[int] = []
        try:
            while alive := [p for p in self._processes if p.exitcode is None]:
                until = max(0.0, self._due - time.monotonic()) if self._means else _LOOK
                connection.wait([p.sentinel for p in alive], timeout=min(_LOOK, until))
                failed = failed or self._failed()
                if failed and not self._means and not self._signal:
                    self._plan(self._patience, signal.SIGTERM, signal.SIGKILL)
                self._use_what_is_due()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        # A process that ends shows that before its status: the last one may have had none yet.
        return self._status(failed or self._failed())

    def _failed(self) -> list[int]:
        """Indices of processes that have not ended well."""
        return [i for i, process in enumerate(self._processes) if process.exitcode]

    def _came(self, number: int, _: FrameType | None) -> None:
        if self._signal == signal.SIGINT == number:  # twice: now
            self._plan(0.0, signal.SIGKILL)
        elif number == signal.SIGINT:
            self._plan(self._patience, signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
        elif not self._signal:
            self._send(signal.SIGTERM)
            self._plan(self._timeout, signal.SIGKILL)
        self._signal = self._signal or number

    def _plan(self, patience: float, *numbers: int) -> None:
        self._means, self._between = list(numbers), patience
        self._due = time.monotonic() + patience

    def _use_what_is_due(self) -> None:
        if self._means and self._due <= time.monotonic():
            self._due += self._between
            self._send(self._means.pop(0))

    def _send(self, number: int) -> None:
        for index, process in enumerate(self._processes):
            if process.exitcode is not None or process.pid is None:
                continue
            self._ended_by_us.add(index)
            if number == signal.SIGKILL:
                stopped = _is_stopped(process.pid)
                self._say(index, "was stopped" if stopped else "did not end", "it was killed")
            os.kill(process.pid, number)

    def _status(self, failed: Sequence[int]) -> int:
        killed = [
            index
            for index, process in enumerate(self._processes)
            if (process.exitcode or 0) < 0 and index not in self._ended_by_us
        ]
        for index in killed:
            number = -(self._processes[index].exitcode or 0)
            why = ", for want of memory perhaps" if number == signal.SIGKILL else ""
            then = f"the others were ended, and {self._rest}"
            self._say(index, f"was killed by {_name(number)}{why}", then)
        if self._signal:
            return 128 + self._signal
        # Of a process that a signal ended (128 and above) rather than of those that lost it.
        codes = [self._processes[index].exitcode or 0 for index in failed]
        return FAILED if killed else max([FAILED, *codes]) if failed else 0

    def _say(self, index: int, what: str, then: str) -> None:
        rank, pid = self._first_rank + index, self._processes[index].pid
        sys.stderr.write(f"{self._program}: error: rank {rank} (process {pid}) {what}; {then}.\n")


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _is_stopped(pid: int) -> bool:
    """Whether a process is stopped (SIGSTOP, Ctrl-Z, a debugger), as far as the system says."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            state = file.read().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return False
    return state in "Tt"
