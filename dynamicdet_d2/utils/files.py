# SPDX-License-Identifier: Apache-2.0
"""Writing files that are whole or not there, and reading files of unknown worth."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any


@contextmanager
def whole_file(path: str | os.PathLike) -> Iterator[IO[bytes]]:
    """A file to write into that appears under its name only when it is complete.

    Whatever ends the writing, a kill included, ``path`` is the old file or the whole new one.
    """
    temporary = f"{os.fspath(path)}.tmp"
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.remove(temporary)
        raise


def refuse_pipes(path: str | os.PathLike, name: str) -> None:
    """Refuse what could be read for ever.

    Args:
        path: of a file; one that is missing, and a folder, are let through.
        name: of it in messages.

    Raises:
        ValueError: it is a pipe, a socket or a device.
    """
    if os.path.exists(path) and not (os.path.isfile(path) or os.path.isdir(path)):
        raise ValueError(f"{name} is a pipe or a device; it must be a file.")


def read_json(path: str | os.PathLike, name: str) -> Any:
    """Content of a JSON file.

    Args:
        path: of the file.
        name: of it in messages.

    Raises:
        ValueError: the file cannot be read, or is no JSON.
    """
    refuse_pipes(path, name)
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{name} cannot be read: {error.strerror}.") from None
    except RecursionError:
        raise ValueError(f"{name} is nested too deeply.") from None
    except ValueError:
        raise ValueError(f"{name} is not a JSON file.") from None
