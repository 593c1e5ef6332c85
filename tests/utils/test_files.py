# SPDX-License-Identifier: Apache-2.0
"""Files that are whole or not there, and what a machine can do to them."""

import errno
import multiprocessing
import os
import resource
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from dynamicdet_d2.utils.files import UnwrittenFileError, remove_temporaries, whole_file


def test_two_writers_of_one_file_do_not_meet(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    with whole_file(path) as first, whole_file(path) as second:
        first.write(b"first")
        second.write(b"second")
        assert not path.exists()
        assert len(list(tmp_path.iterdir())) == 2
    # The one that is finished last, which is the outer one.
    assert path.read_bytes() == b"first"
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Writing more than ``size`` bytes into one file fails as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_names_the_file_and_keeps_the_old_one(tmp_path: Path) -> None:
    """By torch.save, which makes an error of its own of the system's."""
    path = tmp_path / "model.pth"
    path.write_bytes(b"old")
    with largest_file(20_000), pytest.raises(UnwrittenFileError) as raised:
        with whole_file(path) as file:
            torch.save(torch.zeros(10_000), file)
    assert str(raised.value) == f"{path} cannot be written: {os.strerror(errno.EFBIG)}."
    assert raised.value.errno == errno.EFBIG
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["model.pth"]


def test_a_pipe_or_a_device_is_not_replaced(tmp_path: Path) -> None:
    """A link to one neither: whoever may write to /dev would take the machine's own away."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/dev/null")
    for path in (tmp_path / "pipe", tmp_path / "link"):
        with pytest.raises(ValueError, match=f"^{path} is a pipe or a device; it must be a file.$"):
            with whole_file(path):
                pass
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link", "pipe"]
    assert (tmp_path / "pipe").is_fifo() and (tmp_path / "link").is_symlink()


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = tmp_path / "gone" / "a.json"
    with pytest.raises(UnwrittenFileError, match=f"{path} cannot be written: No such file"):
        with whole_file(path):
            pass


def test_errors_of_other_files_keep_their_names(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="other.txt"):
        with whole_file(tmp_path / "a.json"):
            (tmp_path / "other.txt").read_text()
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_writer_left_is_removed_and_a_living_ones_is_not(tmp_path: Path) -> None:
    dead = multiprocessing.get_context("fork").Process()
    dead.start()
    dead.join()
    host = socket.gethostname()
    left = f"model.pth.{host}.{dead.pid}-0123abcd.tmp"
    kept = [
        f"model.pth.{host}.{os.getpid()}-0123abcd.tmp",
        f"model.pth.elsewhere.{dead.pid}-0123abcd.tmp",
        "of_the_user.tmp",
    ]
    for name in (left, *kept):
        (tmp_path / name).touch()
    assert remove_temporaries(tmp_path) == [left]
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(kept)
