# SPDX-License-Identifier: Apache-2.0
"""A command replaces files that it has written before, and nobody else's."""

import shutil
from collections.abc import Sequence, Set
from itertools import count
from pathlib import Path
from typing import Any

from dynamicdet_d2.utils.files import read_json, whole_file


def refuse_others(path: Path, fields: Set[str], command: str, beside: Sequence[Path] = ()) -> None:
    """Refuse to replace a file that the command has not written.

    Args:
        path: of a JSON file that will be written.
        fields: that it has on its highest level if the command wrote it.
        command: such as "dynamicdet calibrate".
        beside: files that are written with it; ones that stand there alone are somebody's own.

    Raises:
        ValueError: naming the file.
    """
    whole = _content(path.parent / "manifest.json").get("files")
    if isinstance(whole, dict) and path.name in whole:
        raise ValueError(
            f"--output would replace {path}, of which the manifest.json beside it has the hash, so "
            "that the model folder could not be read any more; choose another name."
        )
    there = [file for file in (path, *beside) if file.exists()]
    if there and not fields <= _content(path).keys():
        own = f"which '{command}' has not written"
        if there[0] != path:  # it may have, before somebody took the JSON file away
            own = f"beside which there is no {path.name} of '{command}'"
        raise ValueError(
            f"--output would replace {there[0]}, {own}; choose another name, or remove it."
        )


def kept_by_number(paths: Sequence[Path]) -> str:
    """Copy files to names with the first number that is free for all of them.

    Args:
        paths: of files that will be replaced.

    Returns:
        the new names, as "metrics_1.json and config_1.yaml"; empty of no files.
    """
    numbers = (n for n in count(1) if not any(_numbered(path, n).exists() for path in paths))
    number = next(numbers)
    for path in paths:
        with open(path, "rb") as old, whole_file(_numbered(path, number)) as new:
            shutil.copyfileobj(old, new)
    return " and ".join(_numbered(path, number).name for path in paths)


def _numbered(path: Path, number: int) -> Path:
    return path.with_name(f"{path.stem}_{number}{path.suffix}")


def _content(path: Path) -> dict[str, Any]:
    """Of a JSON file; {} where it is none, or missing."""
    try:
        content = read_json(path, str(path))
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}
