# SPDX-License-Identifier: Apache-2.0
"""The folder of an exported detector: a file per piece, and ``manifest.json`` about them."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dynamicdet_d2.utils.files import read_json

MANIFEST = "manifest.json"
FORMAT = 1

# Of every manifest, with their types.
_KEYS: dict[str, type | tuple[type, ...]] = {
    "runtime": str,
    "dynamic": bool,
    "shared_tail": bool,
    "pieces": dict,
    "levels": list,
    "sides": (list, type(None)),
    "input": dict,
    "heads": dict,
    "class_names": list,
    "easy_proposals": int,
    "threshold": (float, int, type(None)),
    "calibration": (dict, type(None)),
    "fingerprint": dict,
}


@dataclass(frozen=True)
class Folder:
    """An exported detector as it lies on the disk.

    Attributes:
        path: of the folder.
        manifest: its content; ``export/manifest.py`` says what its keys mean.
    """

    path: Path
    manifest: dict[str, Any]

    @classmethod
    def read(cls, path: str | Path) -> "Folder":
        """Read a manifest, and make sure that the pieces are those that it was written with.

        Raises:
            ValueError: one sentence naming the file that is missing, changed, or of a kind that
                this version does not know.
        """
        path = Path(path)
        name = str(path / MANIFEST)
        content = read_json(path / MANIFEST, name)
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise ValueError(f"{name} is no manifest of format {FORMAT}, which this version reads.")
        for key, kind in _KEYS.items():
            if key not in content or not isinstance(content[key], kind):
                raise ValueError(f"{name} has no usable '{key}'.")
        folder = cls(path, content)
        for called, piece in content["pieces"].items():
            if not isinstance(piece, dict) or not isinstance(piece.get("files"), dict):
                raise ValueError(f"{name} has no usable 'files' of the piece '{called}'.")
            for file, digest in piece["files"].items():
                _check(path, file, digest)
        return folder

    def open(self, name: str, opener: Callable[[Path], Any]) -> Any:
        """A piece by its name, opened by a runtime's function of a path."""
        files = self.manifest["pieces"][name]["files"]
        return opener(self.path / next(iter(files)))


def sha256(path: Path) -> str:
    """Of a file's bytes, in hex."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _check(folder: Path, file: str, digest: str) -> None:
    path = folder / file
    if Path(file).name != file or not path.is_file():
        raise ValueError(f"{path}, which the manifest names, is no file of the folder.")
    if sha256(path) != digest:
        raise ValueError(f"{path} is not the file that the manifest was written with.")
