# SPDX-License-Identifier: Apache-2.0
"""A model folder's manifest: which files it has, and their hashes."""

import hashlib
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dynamicdet_d2.utils.files import read_json, write_json
from dynamicdet_d2.utils.paths import absent
from dynamicdet_d2.utils.plain import from_plain, to_plain

MANIFEST = "manifest.json"
WEIGHTS, CONFIG, CALIBRATION, CLASSES = (
    "model.pth",
    "config.yaml",
    "calibration.json",
    "classes.json",
)
REQUIRED, OPTIONAL = (WEIGHTS, CONFIG, CLASSES), (CALIBRATION,)
# Of the folder's form; another one is refused.
FORMAT = 1
# A manifest, config or list of names that is larger is none.
LARGEST = 1 << 24


@dataclass(frozen=True)
class FileRecord:
    """Of a file: its SHA-256 in hex digits, and its length in bytes."""

    sha256: str
    size: int


@dataclass(frozen=True)
class Manifest:
    """What a folder holds.

    Attributes:
        format: of the folder.
        files: by name, all beside the manifest.
        versions: that it was made with, by name.
        date: that it was made on.
    """

    format: int
    files: Mapping[str, FileRecord]
    versions: Mapping[str, str]
    date: str

    @classmethod
    def of(cls, folder: Path, versions: Mapping[str, str], date: str) -> "Manifest":
        """Of the files that lie in a folder."""
        present = [name for name in (*REQUIRED, *OPTIONAL) if (folder / name).exists()]
        return cls(FORMAT, {name: _record(folder / name) for name in present}, versions, date)

    def write(self, folder: Path) -> None:
        """As ``manifest.json``."""
        write_json(folder / MANIFEST, to_plain(self))


def verified(folder: Path) -> Manifest:
    """A folder's manifest, whose files are there and are what it says.

    Raises:
        ValueError: one sentence that names the file and what is wrong with it. Only the files of a
            model folder are ever opened, none of them is a link, and none lies elsewhere.
    """
    if not os.path.isdir(folder):  # which a name that no system takes is not either
        fault = "is no folder" if os.path.lexists(folder) else absent(folder)
        raise ValueError(f"{folder} is no model folder: it {fault}.")
    path = folder / MANIFEST
    if not os.path.lexists(path):
        raise ValueError(
            f"{folder} is no model folder: it has no {MANIFEST}, which 'dynamicdet package' writes."
        )
    _check_plain(path, LARGEST)
    content = read_json(path, str(path))
    if isinstance(content, dict) and content.keys() >= {"runtime", "pieces"}:
        raise ValueError(
            f"{path} is that of an exported detector, by 'dynamicdet export', which "
            "dynamicdet_d2.runner.Runner opens; a model folder is what 'dynamicdet package' writes."
        )
    try:
        manifest = from_plain(Manifest, content, "")
    except ValueError as error:
        raise ValueError(f"{path} is no manifest of a model folder: {error}.") from None
    if manifest.format != FORMAT:
        raise ValueError(
            f"{path} is of format {manifest.format}; this version reads format {FORMAT}."
        )
    unknown = sorted(manifest.files.keys() - {*REQUIRED, *OPTIONAL})
    missing = [name for name in REQUIRED if name not in manifest.files]
    if unknown or missing:
        fault = f"names {unknown[0]!r:.60}, which" if unknown else f"lacks {missing[0]}, which"
        every = "no model folder has" if unknown else "every model folder has"
        raise ValueError(f"{path} {fault} {every}.")
    for name, record in manifest.files.items():
        _check_file(folder / name, record)
    return manifest


def _check_file(path: Path, record: FileRecord) -> None:
    _check_plain(path, None if path.name == WEIGHTS else LARGEST)
    if _record(path) != record:
        raise ValueError(
            f"{path} is not the file that {MANIFEST} was written for: it is damaged or was changed."
        )


def _check_plain(path: Path, largest: int | None) -> None:
    """An ordinary file, no link that leads elsewhere."""
    try:
        status = os.lstat(path)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}.") from None
    if not stat.S_ISREG(status.st_mode):
        kind = "a link" if stat.S_ISLNK(status.st_mode) else "no ordinary file"
        raise ValueError(f"{path} is {kind}; a model folder has ordinary files alone.")
    if largest is not None and status.st_size > largest:
        raise ValueError(f"{path} has {status.st_size} bytes; it must have {largest} at most.")


def _record(path: Path) -> FileRecord:
    try:
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256")
            return FileRecord(digest.hexdigest(), file.tell())
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}.") from None
