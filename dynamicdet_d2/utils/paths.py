# SPDX-License-Identifier: Apache-2.0
"""What people and programs give in the place of a path."""

import os
import re

from dynamicdet_d2.utils.words import shown

# Of a shell, or of Windows.
_VARIABLE = re.compile(r"\$[A-Za-z_]\w*|\$\{[A-Za-z_]\w*\}|%[A-Za-z_]\w*%")
# Of which pathlib keeps one slash; a drive of Windows' has one letter.
_ADDRESS = re.compile(r"[A-Za-z][\w+.-]+:/")


def refuse_no_path(path: object, of: str = "a file or a folder") -> None:
    """
    Args:
        path: text, or an ``os.PathLike`` of text.
        of: what it should name, for the sentence.

    Raises:
        ValueError: it is of another type, empty, or has a byte 0, with which nothing has a name.
    """
    text = os.fspath(path) if isinstance(path, str | os.PathLike) else None
    if not isinstance(text, str) or not text.strip():
        said = shown(path if text is None else text)
        raise ValueError(f"{said} is no path of {of}.")
    if "\0" in text:
        raise ValueError(f"{shown(text)} has a byte 0, which no file's name can have.")


def absent(path: str | os.PathLike) -> str:
    """Why nothing was found at a path, as the end of a sentence.

    ``os.path.exists`` also says no where a folder above may not be looked into.
    """
    try:
        os.stat(path)
    except PermissionError as error:
        return f"cannot be read: {error.strerror}"
    except (OSError, ValueError):
        pass
    return "does not exist"


def no_such(kind: str, path: str | os.PathLike) -> str:
    """Why no "file" or "folder" was found at a path, as the end of a sentence."""
    return f"is no {kind}" if os.path.exists(path) else absent(path)


def is_address(text: str) -> bool:
    """As of a file elsewhere: ``s3://...``, ``https://...``."""
    return _ADDRESS.match(text) is not None


def refuse_address(place: str | os.PathLike, option: str) -> None:
    """
    Args:
        place: of what is to be written.
        option: that named it.

    Raises:
        ValueError: it would be in a folder called "s3:".
    """
    if is_address(os.fspath(place)):
        raise ValueError(f"{option} is {place}, an address; it must be a place on this machine.")


def unreplaced_variable(folder: str, said: str) -> str:
    """A sentence on a shell's variable in the name: no shell reads a config, nor what is quoted.

    Args:
        said: key or option that named it.
    """
    found = _VARIABLE.search(folder)
    if found is None:
        return ""
    return f"{said} is '{folder}': {found[0]} is part of its name, as no shell has replaced it."
