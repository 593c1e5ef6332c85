# SPDX-License-Identifier: Apache-2.0
"""A folder belongs to one run at a time.

The lock is the system's own, on a file in the folder: it ends with the process, however that ends,
so that no lock has to be removed by hand. What is in the file is for people.
"""

import datetime
import errno
import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dynamicdet_d2.utils.files import refuse_links, refuse_pipes

NAME = "run.lock"

# Path of each lock that is held -> its process: to the system, a process never hinders itself.
_own: dict[str, int] = {}


class FolderInUseError(OSError):
    """Another run has the folder."""


@contextmanager
def held(folder: str | os.PathLike, named: str = "OUTPUT_DIR") -> Iterator[str]:
    """Hold the folder, which is made where it is missing, for this process.

    Args:
        named: the key or option that names the folder, for messages.

    Yields:
        What there is to say about it, in a sentence: a run that held it and died, or a file system
        without locks. Mostly empty.

    Raises:
        FolderInUseError: one sentence with process, machine and time.
        OSError: the folder cannot be made or written to.
        ValueError: its lock file is a pipe, a device or a link, or a file of somebody's own.
    """
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(os.path.realpath(folder), NAME)
    refuse_pipes(path, path)
    refuse_links(path, path)
    descriptor, remark = _acquired(path, f"{named} {folder}")
    _own[path] = os.getpid()
    try:
        yield remark
    finally:
        _own.pop(path, None)
        if descriptor is not None:
            # While it is held, or a run that waits for this moment would lose its own file. In a
            # folder that cannot be written to it stays, as a dead run's does.
            with suppress(OSError):
                Path(path).unlink()
            os.close(descriptor)


def is_held(folder: str | os.PathLike) -> bool:
    """Whether this process holds the folder."""
    return _own.get(os.path.join(os.path.realpath(folder), NAME)) == os.getpid()


def _acquired(path: str, folder: str) -> tuple[int | None, str]:
    if _own.get(path) == os.getpid():  # a fork holds none of its parent's
        raise FolderInUseError(_in_use(folder, "this very process"))
    while True:
        descriptor = _opened(path, folder)
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = _owner(descriptor)
            os.close(descriptor)
            if error.errno in (errno.EACCES, errno.EAGAIN):
                raise FolderInUseError(_in_use(folder, owner or "a run that just began")) from None
            return None, (
                f"The file system of {folder} has no locks ({error.strerror}): a second run in it "
                "would not be noticed."
            )
        if _is_at(descriptor, path):
            break
        os.close(descriptor)  # of a run that has just ended and taken its file along
    before = _owner(descriptor)
    # Nothing but zeros is what some file systems leave of a run that the power was cut off of.
    if not before and os.pread(descriptor, 4096, 0).strip(b"\0"):
        os.close(descriptor)
        raise ValueError(
            f"{path} is a file of no run, which would be replaced: move it away, or choose another "
            "folder."
        )
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(_this_process()).encode(), 0)
    if before:
        return descriptor, f"{folder} was held by {before}, which ended without a word."
    return descriptor, ""


def _opened(path: str, folder: str) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NONBLOCK, 0o644)
    except OSError as error:
        where = path if os.path.isdir(path) else folder
        raise OSError(f"{where} cannot be written to: {error.strerror}.") from None


def _is_at(descriptor: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def _this_process() -> dict[str, object]:
    started = datetime.datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
    return {"pid": os.getpid(), "host": socket.gethostname(), "started": started}


def _owner(descriptor: int) -> str:
    """Who wrote the lock file; empty where nobody did, or nothing that can be read."""
    try:
        content = json.loads(os.pread(descriptor, 4096, 0))
        return f"process {content['pid']} on {content['host']}, started {content['started']}"
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _in_use(folder: str, owner: str) -> str:
    return (
        f"{folder} is in use by {owner}: two runs in one folder would mix their files. "
        "Wait for that one, end it, or choose another folder."
    )
