# SPDX-License-Identifier: Apache-2.0
"""Folders that are read file by file, while another may come into their place."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

# Device, number, size and time of a change; None: there is no such file.
Stamp = tuple[int, int, int, int] | None


def settled(folder: str | os.PathLike) -> Path:
    """The folder that a path leads to now, as an absolute path without links.

    What is read from it bit by bit is then of one folder, also where a link, such as ``current``
    of a deployment, leads to another one meanwhile.

    Raises:
        ValueError: the path leads nowhere, as links in a ring do and relative ones from a working
            folder that was removed.
    """
    try:
        return Path(folder).resolve()
    except FileNotFoundError:
        raise ValueError(
            f"{os.fspath(folder)} leads nowhere: the working folder was removed."
        ) from None
    except (OSError, RuntimeError):  # the latter is what Python 3.11 and 3.12 say of a ring
        raise ValueError(f"{os.fspath(folder)} leads nowhere: its links form a ring.") from None


def stamps(paths: Iterable[Path]) -> dict[Path, Stamp]:
    """Which files lie at these paths now, for ``refuse_replaced``."""
    return {path: _stamp(path) for path in paths}


def refuse_replaced(before: Mapping[Path, Stamp]) -> None:
    """
    Args:
        before: from ``stamps``, before anything was read, a hash included.

    Raises:
        ValueError: one of the files was replaced, written or taken away since. What was read is
            then part of this one and part of that one.
    """
    for path, stamp in before.items():
        if _stamp(path) != stamp:
            raise ValueError(f"{path} was replaced while its folder was read: read it again.")


def _stamp(path: Path) -> Stamp:
    try:
        status = os.stat(path)
    except (OSError, ValueError):  # the latter of a name that no file has
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
