# SPDX-License-Identifier: Apache-2.0
"""Writing files that are whole or not there, and reading files of unknown worth."""

import json
import os
import re
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, TypeGuard

from dynamicdet_d2.utils.paths import refuse_no_path
from dynamicdet_d2.utils.words import is_whole, shown

_ENDING = re.compile(r"\.(\d+)-[0-9a-f]{8}\.tmp$")
# In bytes, on every file system in use.
_LONGEST_NAME = 255
_LONGEST_PATH = 4096
# Of errors in errors: more than any library chains.
_MAX_CHAIN = 20


class UnwrittenFileError(OSError):
    """A file that could not be written: full disk, no permission, no such folder.

    Args:
        path: of the file.
        cause: the system's complaint.
    """

    def __init__(self, path: str | os.PathLike, cause: OSError) -> None:
        super().__init__(cause.errno, cause.strerror, os.fspath(path))

    def __reduce__(self) -> tuple[type, tuple[str, OSError]]:
        # OSError's own would call this class as OSError is called.
        return type(self), (self.filename, OSError(self.errno, self.strerror))

    def __str__(self) -> str:
        return f"{self.filename} cannot be written: {self.strerror}."


class UnmadeFolderError(UnwrittenFileError):
    """A folder that could not be made."""

    def __str__(self) -> str:
        return f"{self.filename} cannot be made a folder: {self.strerror}."


def make_folder(path: str | os.PathLike) -> None:
    """Make a folder, and those above it, unless it is there.

    Raises:
        UnmadeFolderError: where the system refuses, or something else has the name.
        ValueError: it can be that of no folder.
    """
    refuse_no_path(path)
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        if os.path.islink(path) and not os.path.exists(path):
            error = OSError(error.errno, "it is a link that leads nowhere")
        raise UnmadeFolderError(path, error) from None


@contextmanager
def writing(path: str | os.PathLike) -> Iterator[None]:
    """Name the file in the system's complaints: those of a full disk name none.

    Raises:
        UnwrittenFileError: in the place of an OSError.
    """
    try:
        yield
    except OSError as error:
        raise UnwrittenFileError(path, error) from error


@contextmanager
def whole_file(path: str | os.PathLike, *, durable: bool = True) -> Iterator[IO[bytes]]:
    """A file to write into that appears under its name only when it is complete.

    Whatever ends the writing, a kill included, ``path`` is the old file or the whole new one. Two
    writers of one path do not meet: the later one's file stays.

    Args:
        durable: also if the machine loses its power; costs a wait for the disk.

    Raises:
        UnwrittenFileError: where the system refuses; the old file is as it was.
        ValueError: it can be that of no file, or is a pipe or a device, which a file would replace.
    """
    refuse_pipes(path, f"{path!s:.300}")
    temporary = _temporary(os.fspath(path))
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            if durable:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with suppress(OSError):
            os.remove(temporary)
        cause = _refusal(error, temporary)
        if cause is not None:
            raise UnwrittenFileError(path, cause) from error
        raise


def _temporary(path: str) -> str:
    """A name beside the file's, of it where that leaves room: no name is longer than 255 bytes."""
    ending = f".{_host()}.{os.getpid()}-{secrets.token_hex(4)}.tmp"
    folder, name = os.path.split(path)
    room = _LONGEST_NAME - len(os.fsencode(ending))
    return os.path.join(folder, os.fsdecode(os.fsencode(name)[:room]) + ending)


def _refusal(error: BaseException, temporary: str) -> OSError | None:
    """The system's complaint about the file, behind whatever a library made of it."""
    found: BaseException | None = error
    for _ in range(_MAX_CHAIN):
        # A failed write names no file.
        if isinstance(found, OSError) and found.errno and found.filename in (None, temporary):
            return found
        found = found and (found.__cause__ or found.__context__)
    return None


def remove_temporaries(folder: str | os.PathLike) -> list[str]:
    """Remove what writers of this machine left in a folder when they were killed.

    Returns:
        names of the files that are gone.
    """
    gone = []
    for name in os.listdir(folder):
        ending = _ENDING.search(name)
        if not ending or not name[: ending.start()].endswith(f".{_host()}"):
            continue
        if not is_alive(int(ending[1])):
            with suppress(OSError):
                os.remove(os.path.join(folder, name))
                gone.append(name)
    return gone


def is_alive(pid: int) -> bool:
    """Whether a process of that number runs on this machine."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    return True


def _host() -> str:
    return socket.gethostname()


def refuse_pipes(path: str | os.PathLike, name: str) -> None:
    """Refuse what could be read for ever.

    Args:
        path: of a file; one that is missing, and a folder, are let through.
        name: of it in messages.

    Raises:
        ValueError: it is a pipe, a socket or a device, or can be no file's name.
    """
    refuse_no_path(path)
    if os.path.exists(path) and not (os.path.isfile(path) or os.path.isdir(path)):
        raise ValueError(f"{name} is a pipe or a device; it must be a file.")


def refuse_links(path: str | os.PathLike, name: str) -> None:
    """Refuse a link, whose target would be written to: somebody's own file.

    Args:
        path: of a file that will be written.
        name: of it in messages.

    Raises:
        ValueError: it is a link.
    """
    if os.path.islink(path):
        raise ValueError(f"{name} is a link; it must be an ordinary file.")


def write_json(path: str | os.PathLike, content: Any, *, allow_nan: bool = True) -> None:
    """Write plain types as a JSON file that appears when it is complete.

    Raises:
        UnwrittenFileError: as ``whole_file``.
        ValueError: without ``allow_nan``, a number is not finite.
    """
    text = json.dumps(content, indent=1, allow_nan=allow_nan)
    with whole_file(path) as file:
        file.write(f"{text}\n".encode())


def names_a_file(name: object) -> TypeGuard[str]:
    """Whether it is text that a file system can take as the name of a file."""
    if not isinstance(name, str) or not is_whole(name):
        return False
    if name in ("", "-") or name.endswith("/") or "\0" in name:  # "-" is a stream by custom
        return False
    return not too_long(name)


def too_long(name: str) -> str:
    """What to say behind "names no file" of a path that no file system takes; empty: it is not."""
    path = name.encode("utf-8", "replace")
    if max(map(len, path.split(b"/"))) <= _LONGEST_NAME and len(path) < _LONGEST_PATH:
        return ""
    return f": it is longer than the {_LONGEST_NAME} bytes of a name, or {_LONGEST_PATH} of a path"


def read_lines(path: str | os.PathLike, name: str) -> list[str]:
    """Lines of a text file: UTF-8, with or without the mark of it at the beginning.

    Args:
        path: of the file.
        name: of it in messages.

    Raises:
        ValueError: the file cannot be read, or is no such text.
    """
    refuse_pipes(path, name)
    try:
        return Path(path).read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise ValueError(f"{name} cannot be read: {error.strerror}.") from None
    except ValueError:
        raise ValueError(f"{name} is no text file in UTF-8.") from None


class RepeatedKeyError(ValueError):
    """An object of a JSON text has a key twice, of which readers would take the last."""


def once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of a JSON text: the ``object_pairs_hook`` of ``json.loads``.

    Raises:
        RepeatedKeyError: it has a key twice.
    """
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in content if names.count(name) > 1)
        raise RepeatedKeyError(f"has the key {shown(twice)} twice in one object")
    return content


def read_json(path: str | os.PathLike, name: str) -> Any:
    """Content of a JSON file.

    Args:
        path: of the file, in UTF-8 or another of JSON's encodings, with its mark or without.
        name: of it in messages.

    Raises:
        ValueError: the file cannot be read, is no JSON, has a key twice, or text that no other
            file could take.
    """
    refuse_pipes(path, name)
    try:
        content = json.loads(Path(path).read_bytes(), object_pairs_hook=once_each)
        whole = is_whole(json.dumps(content, ensure_ascii=False))
    except RepeatedKeyError as error:
        raise ValueError(f"{name} {error}.") from None
    except OSError as error:
        raise ValueError(f"{name} cannot be read: {error.strerror}.") from None
    except RecursionError:
        raise ValueError(f"{name} is nested too deeply.") from None
    except ValueError as error:
        raise ValueError(f"{name} is not a JSON file: {error}.") from None
    if not whole:
        raise ValueError(f"{name} has half of a character (a lone surrogate) in its text.")
    return content
