# SPDX-License-Identifier: Apache-2.0
"""A folder belongs to one run at a time."""

import multiprocessing
import os
import signal
import socket
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from dynamicdet_d2.utils import folder_lock
from dynamicdet_d2.utils.folder_lock import FolderInUseError, held

_fork = multiprocessing.get_context("fork")


def test_it_is_held_and_released(tmp_path: Path) -> None:
    folder = tmp_path / "output"
    for _ in range(2):
        with held(folder) as remark:
            assert remark == ""
            assert (folder / folder_lock.NAME).is_file()
            with pytest.raises(FolderInUseError, match="this very process"), held(folder):
                pass
        assert list(folder.iterdir()) == []


def _hold(folder: Path, ready: Connection) -> None:
    with held(folder):
        ready.send(os.getpid())
        signal.pause()


def _try(folder: Path, answer: Connection) -> None:
    try:
        with held(folder) as remark:
            answer.send(remark)
    except FolderInUseError as error:
        answer.send(error)


def test_another_process_is_named_and_a_killed_one_in_the_way_of_nobody(tmp_path: Path) -> None:
    ours, theirs = _fork.Pipe()
    holder = _fork.Process(target=_hold, args=(tmp_path, theirs))
    holder.start()
    pid = ours.recv()
    with pytest.raises(FolderInUseError) as raised, held(tmp_path):
        pass
    host = socket.gethostname()
    assert f"OUTPUT_DIR {tmp_path} is in use by process {pid} on {host}, st" in str(raised.value)
    os.kill(pid, signal.SIGKILL)
    holder.join()
    assert (tmp_path / folder_lock.NAME).is_file()
    with held(tmp_path) as remark:
        assert f"{tmp_path} was held by process {pid} on {host}, started" in remark
        assert "which ended without a word" in remark
        # And it is ours now.
        _fork.Process(target=_try, args=(tmp_path, theirs)).start()
        assert f"in use by process {os.getpid()}" in str(ours.recv())


def test_a_file_of_somebodys_own_is_left_alone(tmp_path: Path) -> None:
    own = tmp_path / folder_lock.NAME
    for content in ("my own notes\n", '{"pid": 1}', "[]"):
        own.write_text(content)
        with pytest.raises(ValueError, match="run.lock is a file of no run, which"), held(tmp_path):
            pass
        assert own.read_text() == content
    # Of a run that was killed before it wrote what is for people, or whose power was cut off.
    for nothing in (b"", bytes(90)):
        own.write_bytes(nothing)
        with held(tmp_path) as remark:
            assert remark == ""


def test_a_folder_in_the_place_of_the_lock_is_named(tmp_path: Path) -> None:
    (tmp_path / folder_lock.NAME).mkdir()
    with pytest.raises(OSError, match="run.lock cannot be written to: Is a directory."):
        with held(tmp_path):
            pass


def test_what_ends_a_run_is_said_and_not_that_its_lock_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a folder that cannot be written to, where a run that was killed has left its lock."""

    def refused(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", "run.lock")

    monkeypatch.setattr(Path, "unlink", refused)
    with pytest.raises(ValueError, match="^the reason$"), held(tmp_path):
        raise ValueError("the reason")


def test_a_folder_that_cannot_be_written_to_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refused)
    with pytest.raises(
        OSError, match=f"^OUTPUT_DIR {tmp_path} cannot be written to: Permission denied.$"
    ):
        with held(tmp_path):
            pass
