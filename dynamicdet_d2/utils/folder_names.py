# SPDX-License-Identifier: Apache-2.0
"""A command that writes a folder does not call it as a file is called."""

import os
from pathlib import Path

from dynamicdet_d2.utils.files import names_a_file
from dynamicdet_d2.utils.paths import refuse_no_path
from dynamicdet_d2.utils.words import shown

_FILES = frozenset(
    (
        *(".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"),
        *(".avi", ".mkv", ".mov", ".mp4", ".webm"),
        *(".bin", ".onnx", ".pkl", ".pt", ".pth", ".tar", ".gz", ".torchscript", ".xml", ".zip"),
        *(".csv", ".html", ".json", ".jsonl", ".txt", ".yaml", ".yml"),
    )
)


def refuse_file_name(folder: str | os.PathLike, option: str) -> None:
    """
    Args:
        folder: to be made, or that is there.
        option: that named it.

    Raises:
        ValueError: it can be the name of no folder; or it is that of a file, which whoever gave it
            would look for in vain.
    """
    refuse_no_path(folder, f"a folder, for {option}")
    if not names_a_file(os.fspath(folder).rstrip("/") or "/."):
        raise ValueError(f"{option} {shown(os.fspath(folder))} names no folder.")
    ending = Path(folder).suffix.lower()
    if ending in _FILES and not os.path.isdir(folder):
        raise ValueError(
            f"{option} {folder} has the name of a file ({ending}), and a folder is written."
        )
