# SPDX-License-Identifier: Apache-2.0
"""What programs give in the place of a path."""

import os

from dynamicdet_d2.utils.words import shown


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
