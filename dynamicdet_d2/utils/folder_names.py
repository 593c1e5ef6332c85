# SPDX-License-Identifier: Apache-2.0
"""A command that writes a folder does not call it as a file or an address is called."""

import logging
import os
from pathlib import Path

from dynamicdet_d2.utils.files import names_a_file, too_long
from dynamicdet_d2.utils.paths import refuse_address, refuse_no_path, unreplaced_variable
from dynamicdet_d2.utils.words import shown

logger = logging.getLogger(__name__)

_FILES = frozenset(
    (
        *(".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"),
        *(".avi", ".mkv", ".mov", ".mp4", ".webm"),
        *(".bin", ".onnx", ".pkl", ".pt", ".pth", ".tar", ".gz", ".torchscript", ".xml", ".zip"),
        *(".csv", ".html", ".json", ".jsonl", ".txt", ".yaml", ".yml"),
    )
)


def refuse_file_name(folder: str | os.PathLike, option: str) -> None:
    """Say a shell's variable in the name, too.

    Args:
        folder: to be made, or that is there.
        option: that named it.

    Raises:
        ValueError: it can be the name of no folder; or it is that of a file or an address, where
            whoever gave it would look in vain.
    """
    refuse_no_path(folder, f"a folder, for {option}")
    if not names_a_file(os.fspath(folder).rstrip("/") or "/."):
        reason = too_long(os.fspath(folder))
        raise ValueError(f"{option} {shown(os.fspath(folder))} names no folder{reason}.")
    refuse_address(folder, option)
    variable = unreplaced_variable(os.fspath(folder), option)
    if variable:
        logger.warning(variable)
    ending = Path(folder).suffix.lower()
    if ending in _FILES and not os.path.isdir(folder):
        raise ValueError(
            f"{option} {folder} has the name of a file ({ending}), and a folder is written."
        )
