# SPDX-License-Identifier: Apache-2.0
"""Which files of a folder are of ``dynamicdet predict``, and may be replaced by it.

A list of JSON beside them. It grows with each file, so that whatever ends a run, a kill included,
no name is in it of which there is no file: somebody's own file could have that name later.
"""

import json
import os
from pathlib import Path

from dynamicdet_d2.utils.files import read_json, write_json, writing

WRITTEN = ".written_by_predict.json"
# How ``write_json`` separates and ends what is in a list.
_NEXT, _END = b",\n ", b"\n]\n"


def written_names(folder: Path) -> set[str]:
    """Names of files in a folder that earlier runs have written there."""
    path = folder / WRITTEN
    try:
        names = read_json(path, str(path)) if path.is_file() else []
    except ValueError:  # somebody has changed it
        return set()
    listed = {x for x in names if isinstance(x, str)} if isinstance(names, list) else set()
    return {name for name in listed if os.path.isfile(folder / name)}


def list_anew(folder: Path) -> None:
    """Leave the names of files that are there, once each.

    Raises:
        OSError: the list cannot be written.
    """
    names = sorted(written_names(folder))
    if names:
        write_json(folder / WRITTEN, names)
    else:
        (folder / WRITTEN).unlink(missing_ok=True)


def note_written(path: Path) -> None:
    """Add a file that is there now to its folder's list.

    Only the end of the list is written, since there may be very many files.

    Raises:
        OSError: the list cannot be written.
    """
    listing = path.parent / WRITTEN
    if not listing.exists():
        write_json(listing, [path.name])
        return
    with writing(listing), open(listing, "r+b") as file:
        file.seek(-len(_END), os.SEEK_END)
        file.write(_NEXT + json.dumps(path.name).encode() + _END)
