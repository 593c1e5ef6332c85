# SPDX-License-Identifier: Apache-2.0
"""Images of one split that are copies of those of another, whatever they are called."""

import hashlib
from collections.abc import Collection
from filecmp import cmp
from pathlib import Path

# Of a file that is looked at, so that those of uncompressed pictures are not read as a whole.
_PIECES, _BYTES = 16, 1 << 12


def count_copies(files: Collection[Path], others: Collection[Path]) -> int:
    """How many files have the content of one of the others, as "photo (1).jpg" has.

    Those of sizes that no other one has are not opened.

    Raises:
        OSError: a file cannot be read.
    """
    sizes = {file: file.stat().st_size for file in (*files, *others)}
    shared = {sizes[file] for file in files} & {sizes[other] for other in others}
    known: dict[tuple[int, bytes], list[Path]] = {}
    for other in others:
        if sizes[other] in shared:
            known.setdefault(_content(other, sizes[other]), []).append(other)
    alike = {x: known.get(_content(x, sizes[x]), []) for x in files if sizes[x] in shared}
    # Pieces of uncompressed pictures are alike where one before a still camera has moved.
    return sum(any(cmp(x, other, shallow=False) for other in alike[x]) for x in alike)


def _content(file: Path, size: int) -> tuple[int, bytes]:
    digest = hashlib.sha256()
    with open(file, "rb") as opened:
        for start in range(0, size, max(_BYTES, size // _PIECES)):
            opened.seek(start)
            digest.update(opened.read(_BYTES))
    return size, digest.digest()
