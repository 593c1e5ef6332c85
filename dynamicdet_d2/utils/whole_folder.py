# SPDX-License-Identifier: Apache-2.0
"""Folders that have their name only when they are complete."""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dynamicdet_d2.utils.files import UnwrittenFileError, make_folder


@contextmanager
def whole_folder(path: str | os.PathLike) -> Iterator[Path]:
    """A folder to write into that has its name only when it is complete.

    It lies beside ``path``, under a name of its own, so that it can be moved there in one step.

    Args:
        path: of a folder that is not there, or is empty.

    Raises:
        UnwrittenFileError: where the system refuses; ``path`` is as it was.
    """
    target = Path(os.path.abspath(path))
    make_folder(target.parent)
    unfinished = target.parent / f".unfinished-{secrets.token_hex(8)}"
    with _replacing(target):
        unfinished.mkdir()  # with the rights that the user's umask and the folder above give
        if target.is_dir():
            shutil.copymode(target, unfinished)
    try:
        yield unfinished
        with _replacing(target):
            os.replace(unfinished, target)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


@contextmanager
def _replacing(target: Path) -> Iterator[None]:
    """As ``writing``; an empty folder that a disk is mounted on cannot be replaced."""
    try:
        yield
    except OSError as error:
        if target.is_dir() and not os.listdir(target):
            why = f"{error.strerror}; another folder takes its place, so name a new one inside it"
            error = OSError(error.errno, why)
        raise UnwrittenFileError(target, error) from error
