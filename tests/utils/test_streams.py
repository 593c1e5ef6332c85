# SPDX-License-Identifier: Apache-2.0
"""Commands whose standard output is closed, full or unread, and that a signal ends."""

import io
import logging
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dynamicdet_d2.commands.main import main
from dynamicdet_d2.utils.stopping import killed_in_order
from dynamicdet_d2.utils.streams import heard
from dynamicdet_d2.utils.whole_folder import whole_folder


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("words", [["--help"], ["doctor", "--help"]])
@pytest.mark.parametrize(
    ("reader", "says"), [(True, "No space left on device."), (False, "Broken pipe.")]
)
def test_what_cannot_be_said(
    words: list[str],
    reader: bool,
    at_once: bool,
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    if reader:
        descriptor = os.open("/dev/full", os.O_WRONLY)
    else:
        end, descriptor = os.pipe()
        os.close(end)
    raw = os.fdopen(descriptor, "wb", buffering=0)
    with io.TextIOWrapper(raw, write_through=at_once) as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        with pytest.raises(SystemExit) as stop:
            main(words)
    monkeypatch.undo()
    assert stop.value.code == 1
    said = capsys.readouterr().err
    assert said.endswith(f"error: standard output cannot be written: {says}\n")


def test_a_log_that_nobody_reads_ends_nothing_and_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with open("/dev/full", "wb", buffering=0) as raw:
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, write_through=True))
        done = []
        with pytest.raises(OSError, match="standard output cannot be written"), heard():
            handler = logging.StreamHandler(sys.stdout)
            handler.emit(logging.makeLogRecord({"msg": "lost"}))
            done.append(True)
        monkeypatch.undo()
    assert done


def test_other_failures_keep_their_words(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileNotFoundError), heard():
        open("gone")
    with pytest.raises(SystemExit) as stop, heard():
        sys.exit(3)
    assert stop.value.code == 3


def test_closed_streams_are_the_null_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    assert main(["--help"]) == 0
    assert sys.stdout.name == os.devnull
    sys.stdout.close()


@pytest.fixture
def defaults() -> Iterator[None]:
    """Signals as a terminal hands them over; under nohup SIGHUP is ignored."""
    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, signal.SIG_DFL) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


def test_what_is_ignored_stays_so(defaults: None) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with killed_in_order():
        os.kill(os.getpid(), signal.SIGHUP)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_nothing_half_written(tmp_path: Path, number: int, defaults: None) -> None:
    with pytest.raises(SystemExit) as stop, killed_in_order(), whole_folder(tmp_path / "a"):
        os.kill(os.getpid(), number)
        time.sleep(5)
    assert stop.value.code == 128 + number
    assert list(tmp_path.iterdir()) == []
    assert signal.getsignal(number) is signal.SIG_DFL
