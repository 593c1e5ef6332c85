# SPDX-License-Identifier: Apache-2.0
"""A command that writes a folder does not call it as a file is called."""

import os
from pathlib import Path

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
        ValueError: the name is that of a file, which whoever gave it would look for in vain.
    """
    ending = Path(folder).suffix.lower()
    if ending in _FILES and not os.path.isdir(folder):
        raise ValueError(
            f"{option} {folder} has the name of a file ({ending}), and a folder is written."
        )
