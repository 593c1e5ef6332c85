# SPDX-License-Identifier: Apache-2.0
"""The folder of an exported detector: a file per piece, and ``manifest.json`` about them."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dynamicdet_d2.runner.manifest import check_manifest
from dynamicdet_d2.runner.runtimes import Arrays, Opener, Piece
from dynamicdet_d2.utils.files import read_json
from dynamicdet_d2.utils.paths import refuse_no_path
from dynamicdet_d2.utils.replacing import Stamp, refuse_replaced, settled, stamps
from dynamicdet_d2.utils.words import in_words, shown

MANIFEST = "manifest.json"
FORMAT = 3
# Key of a manifest's own hash.
SEAL = "checksum"


@dataclass(frozen=True)
class Folder:
    """An exported detector as it lies on the disk.

    Attributes:
        path: of the folder.
        manifest: its content; ``export/manifest.py`` says what its keys mean.
        before: which files it and its pieces were when they were read, for ``check_unreplaced``.
    """

    path: Path
    manifest: dict[str, Any]
    before: Mapping[Path, Stamp]

    @classmethod
    def read(cls, path: str | Path) -> "Folder":
        """Read a manifest, and make sure that the pieces are those that it was written with.

        Raises:
            ValueError: one sentence naming the file that is missing, changed, or of a kind that
                this version does not know.
        """
        refuse_no_path(path, "a folder that 'dynamicdet export' wrote")
        path = settled(path)
        if path.is_file():
            raise ValueError(f"{path} is a file; what 'dynamicdet export' writes is a folder.")
        name = str(path / MANIFEST)
        before = stamps([path / MANIFEST])
        content = read_json(path / MANIFEST, name)
        if isinstance(content, dict) and content.keys() >= {"format", "files"}:
            raise ValueError(
                f"{name} is that of a model folder, by 'dynamicdet package'; the runner opens what "
                "'dynamicdet export' writes."
            )
        found = content.get("format") if isinstance(content, dict) else None
        if type(found) is not int or not 1 <= found <= FORMAT:
            raise ValueError(f"{name} is no manifest of format {FORMAT}, which this version reads.")
        if found < FORMAT:
            raise ValueError(
                f"{name} is of format {found}, and this version reads format {FORMAT}; export the "
                "detector anew."
            )
        try:
            check_manifest(content)
        except ValueError as error:
            raise ValueError(f"{name} is no manifest of an exported detector: {error}.") from None
        if content.get(SEAL, sealed(content)[SEAL]) != sealed(content)[SEAL]:
            raise ValueError(
                f"{name} was changed after it was written; thresholds are given to the runner, and "
                "for everything else the detector is exported anew."
            )
        files = [item for piece in content["pieces"].values() for item in piece["files"].items()]
        before |= stamps(path / file for file, _ in files)
        for file, digest in files:
            _check(path, file, digest)
        return cls(path, content, before)

    def check_unreplaced(self) -> None:
        """Once the pieces are open: of two exports they would be one detector that is neither.

        Raises:
            ValueError: one of the files was replaced since ``read``.
        """
        refuse_replaced(self.before)

    def require(self, name: str, outputs: Iterable[str]) -> None:
        """
        Raises:
            ValueError: the manifest has no piece of that name with these outputs.
        """
        manifest, piece = self.path / MANIFEST, self.manifest["pieces"].get(name)
        if piece is None:
            raise ValueError(f"{manifest} has no piece '{name}', which the detector needs.")
        missing = [output for output in outputs if output not in piece["outputs"]]
        if missing:
            raise ValueError(
                f"{manifest}: the piece '{name}' has no output '{missing[0]}', which is needed."
            )

    def open(self, name: str, opener: Opener) -> Piece:
        """A piece by its name, opened by a runtime's function of a path.

        Raises:
            ValueError: naming the file that the runtime cannot open or, later, run.
        """
        path = self.path / next(iter(self.manifest["pieces"][name]["files"]))
        with _named(f"{path} cannot be opened"):
            piece = opener(path)

        def run(inputs: Mapping[str, np.ndarray], wanted: Sequence[str]) -> Arrays:
            with _named(f"{path} cannot be run"):
                found = piece(inputs, wanted)
            _check_arrays(path, found, wanted)
            return found

        return run


def _check_arrays(path: Path, found: Any, wanted: Sequence[str]) -> None:
    """What an opener of a program's own gives.

    Raises:
        ValueError: naming the piece, which gives no arrays by name, or lacks one.
    """
    if not isinstance(found, Mapping):
        raise ValueError(
            f"The piece {path} gives an object of type {type(found).__name__}; it must be a dict "
            "of numpy arrays by output."
        )
    for name in wanted:
        if name not in found:
            raise ValueError(f"The piece {path} gives no output '{name}', which is wanted of it.")
        if not isinstance(found[name], np.ndarray):
            raise ValueError(
                f"The piece {path} gives '{name}' as an object of type "
                f"{type(found[name]).__name__}; it must be a numpy array."
            )


def sealed(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """A manifest with its own hash: other numbers in it would be other detections in silence."""
    own = {key: value for key, value in manifest.items() if key != SEAL}
    text = json.dumps(own, sort_keys=True)
    return {**own, SEAL: hashlib.sha256(text.encode()).hexdigest()}


@contextmanager
def _named(said: str) -> Iterator[None]:
    """Runtimes raise errors of their own, some of them pages long."""
    try:
        yield
    except (MemoryError, TimeoutError):  # the latter of a program that waits no longer, by a signal
        raise
    except Exception as error:
        words = in_words(error)
        raise ValueError(f"{said}: {words[:300]}{'...' * (len(words) > 300)}.") from error


def sha256(path: Path) -> str:
    """Of a file's bytes, in hex."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _check(folder: Path, file: str, digest: str) -> None:
    path = folder / file
    elsewhere = Path(file).name != file or not path.is_file()
    if elsewhere or path.is_symlink():
        kind = "no file of the folder" if elsewhere else "a link; its files are ordinary ones"
        raise ValueError(f"{folder / MANIFEST} names {shown(file)}, which is {kind}.")
    if sha256(path) != digest:
        raise ValueError(f"{path} is not the file that the manifest was written with.")
