# SPDX-License-Identifier: Apache-2.0
"""Annotations that were written here, told from somebody's own, which are not replaced."""

from pathlib import Path

from dynamicdet_d2.utils.own_files import refuse_others

COMMAND = "dynamicdet import-data"
# A key on the highest level of the JSON, which COCO's readers leave alone.
MARK = {"written_by": COMMAND}


def refuse_own_annotations(file: Path, read_from: Path | None = None) -> None:
    """Refuse to replace annotations that the command has not written, or reads.

    Args:
        file: that will be written.
        read_from: what is imported.

    Raises:
        ValueError: naming the file.
    """
    refuse_others(file, MARK.keys(), COMMAND)
    if read_from is not None and file.exists() and file.samefile(read_from):
        raise ValueError(
            f"--output would replace {file}, which is imported; choose another folder."
        )
