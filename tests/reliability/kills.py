# SPDX-License-Identifier: Apache-2.0
"""What can befall a run: a signal, a full disk or a full memory, at a file event in OUTPUT_DIR, a
step or a time.

A ``Blow`` is armed in the process of the run, before it begins.
"""

import errno
import itertools
import os
import resource
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch
from detectron2.utils import comm
from torch import nn
from torch.nn.modules.module import register_module_forward_hook

from dynamicdet_d2.engine.reliable import ReliableTrainer
from dynamicdet_d2.utils import files

FULL, MEMORY = "full disk", "no memory"
# More than any machine has, so that the allocator itself refuses.
_TOO_MUCH = 1 << 60
# Modules that a step calls before its memory is full; a step with fewer ends without any.
_CALLS = 24
SIGNALS = {
    "SIGKILL": signal.SIGKILL,
    "SIGTERM": signal.SIGTERM,
    "SIGINT": signal.SIGINT,
    "SIGHUP": signal.SIGHUP,
}
# Functions of os that change what lies in a folder.
_EVENTS = ("fsync", "replace", "truncate", "ftruncate", "pwrite", "unlink")


@dataclass(frozen=True)
class Blow:
    """
    Attributes:
        what: one of ``SIGNALS``, ``FULL``, or ``MEMORY`` (in a step: in one of its modules, or in
            the backward pass through it).
        where: "event" (of a file), "step", "time", or "size" (no file may grow beyond it).
        number: which event or step, from 1; milliseconds; or bytes.
        folder: OUTPUT_DIR.
        rank: of the process that it befalls.
    """

    what: str
    where: str
    number: int
    folder: str
    rank: int = 0

    def __str__(self) -> str:
        return f"{self.what} at {self.where} {self.number} of rank {self.rank}"

    def arm(self) -> None:
        """Let it befall this process, or those that it forks."""
        if self.where == "event":
            watch_events(self.folder, self._at_event)
        elif self.where == "step":
            self._arm_step()
        elif self.where == "time":
            timer = threading.Timer(self.number / 1000, self._signal)
            timer.daemon = True
            timer.start()
        else:
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.number, self.number))

    def _at_event(self, number: int, name: str, torn: Callable[[], None]) -> None:
        if comm.get_rank() != self.rank:
            return
        if self.what == FULL:
            if number >= self.number and name in ("write", "pwrite"):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        elif number == self.number:
            if self.what == "SIGKILL":  # others let the writing go on
                torn()
            self._signal()

    def _arm_step(self) -> None:
        original, steps = ReliableTrainer.run_step, itertools.count(1)

        def counted(trainer: ReliableTrainer) -> None:
            if comm.get_rank() == self.rank and next(steps) == self.number:
                if self.what == MEMORY:
                    self._fill_memory(original, trainer)
                self._signal()
            original(trainer)

        ReliableTrainer.run_step = counted

    def _fill_memory(self, step: Callable, trainer: ReliableTrainer) -> None:
        """A step that does not come to its end."""
        calls, last = itertools.count(1), 1 + 7 * self.number % _CALLS

        def refused(*_: object) -> None:
            torch.empty(_TOO_MUCH, dtype=torch.uint8)

        def look(_: nn.Module, __: Any, output: Any) -> None:
            if next(calls) != last:
                return
            if self.number % 2 and isinstance(output, torch.Tensor) and output.requires_grad:
                output.register_hook(refused)
            else:
                refused()

        with register_module_forward_hook(look):
            step(trainer)
        refused()

    def _signal(self) -> None:
        os.kill(os.getpid(), SIGNALS[self.what])


def watch_events(folder: str, befall: Callable[[int, str, Callable[[], None]], None]) -> None:
    """Call ``befall`` before every file event below a folder, in this process and its forks.

    Args:
        befall: gets the event's number, from 1, its name, and a function that does half of it.
    """
    numbers: Iterator[int] = itertools.count(1)
    inside = os.path.realpath(folder)

    def event(name: str, torn: Callable[[], None] = lambda: None) -> None:
        befall(next(numbers), name, torn)

    def is_inside(target: Any) -> bool:
        if isinstance(target, int):
            target = os.readlink(f"/proc/self/fd/{target}")
        return os.path.realpath(target).startswith(inside)

    def watched(name: str, original: Callable) -> Callable:
        def call(target: Any, *rest: Any, **options: Any) -> Any:
            if not is_inside(target):
                return original(target, *rest, **options)
            event(name)
            done = original(target, *rest, **options)
            if name == "replace":
                event("replaced")
            return done

        return call

    for name in _EVENTS:
        setattr(os, name, watched(name, getattr(os, name)))
    files.open = lambda path, mode: Watched(open(path, mode), event)


class Watched:
    """A file whose every write is an event; half of one can be done."""

    def __init__(self, file: IO[bytes], event: Callable) -> None:
        self._file, self._event = file, event

    def write(self, content: Any) -> int:
        def torn() -> None:
            view = memoryview(content).cast("B")
            self._file.write(view[: len(view) // 2])
            self._file.flush()

        self._event("write", torn)
        return self._file.write(content)

    def __enter__(self) -> "Watched":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


@dataclass(frozen=True)
class CountEvents:
    """Counts the file events of a whole run, into a file beside its folder."""

    folder: str

    @property
    def file(self) -> Path:
        """Of the numbers of events, one a line and in order."""
        return Path(f"{self.folder}.events")

    def arm(self) -> None:
        self.file.write_text("")

        def note(number: int, _: str, __: Callable[[], None]) -> None:
            if comm.get_rank() == 0:
                with open(self.file, "a", encoding="utf-8") as file:
                    file.write(f"{number}\n")

        watch_events(self.folder, note)

    def count(self) -> int:
        """After the run."""
        return int(self.file.read_text().split()[-1])
