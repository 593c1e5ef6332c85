# SPDX-License-Identifier: Apache-2.0
"""What can be the path of a file or a folder, before the system is asked."""

import os

from dynamicdet_d2.utils.words import shown


def refuse_no_path(path: object) -> None:
    """Refuse a number, which is an open file to the system, nothing, and the like.

    Raises:
        ValueError: one sentence with what was given.
    """
    if not isinstance(path, str | os.PathLike) or not os.fspath(path):
        raise ValueError(
            f"The path of a file is {shown(path)}; it must be a Path, or text that is not empty."
        )
    if "\0" in os.fspath(path):
        raise ValueError(f"{shown(os.fspath(path))} has a byte 0, which no file's name can have.")
