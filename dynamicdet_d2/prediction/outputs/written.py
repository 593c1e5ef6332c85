# SPDX-License-Identifier: Apache-2.0
"""Which files of a folder are of ``dynamicdet predict``, and may be replaced by it.

A list of JSON beside them, of names and sizes. It grows with each file, so that whatever ends a
run, a kill included, no name is in it of which there is no file: somebody's own file could have
that name later.
"""

import json
import os
from pathlib import Path

from dynamicdet_d2.utils.files import write_json, writing

WRITTEN = ".written_by_predict.json"
# How ``write_json`` separates and ends what is in a list.
_NEXT, _END = b",\n ", b"\n]\n"


def written_names(folder: Path) -> set[str]:
    """Names of files in a folder that earlier runs have written there, and nobody has changed."""
    return set(_written(folder))


def _written(folder: Path) -> dict[str, int | None]:
    """Name -> bytes; None: it grows, or is of a run from before sizes were noted."""
    path = folder / WRITTEN
    try:  # of names in any bytes, which ``read_json`` refuses
        entries = json.loads(path.read_bytes()) if path.is_file() else []
    except (OSError, RecursionError, ValueError):  # somebody has changed it
        return {}
    listed: dict[str, int | None] = {}
    for entry in entries if isinstance(entries, list) else []:
        name, size = entry if isinstance(entry, list) and len(entry) == 2 else (entry, None)
        if isinstance(name, str) and os.path.isfile(folder / name):
            listed[name] = size
    # A file of another size under the name is somebody's own, or was drawn into by hand.
    return {x: size for x, size in listed.items() if size in (None, os.path.getsize(folder / x))}


def list_anew(folder: Path) -> None:
    """Leave the names of files that are there, once each.

    Raises:
        OSError: the list cannot be written.
    """
    written = _written(folder)
    if written:
        write_json(folder / WRITTEN, [_entry(name, written[name]) for name in sorted(written)])
    else:
        (folder / WRITTEN).unlink(missing_ok=True)


def note_written(path: Path, *, grows: bool = False) -> None:
    """Add a file that is there now to its folder's list.

    Only the end of the list is written, since there may be very many files.

    Args:
        grows: it is not whole yet.

    Raises:
        OSError: the list cannot be written.
    """
    listing = path.parent / WRITTEN
    entry = _entry(path.name, None if grows else os.path.getsize(path))
    if not listing.exists():
        write_json(listing, [entry])
        return
    with writing(listing), open(listing, "r+b") as file:
        file.seek(-len(_END), os.SEEK_END)
        file.write(_NEXT + json.dumps(entry).encode() + _END)


def _entry(name: str, size: int | None) -> str | list[str | int]:
    return name if size is None else [name, size]
