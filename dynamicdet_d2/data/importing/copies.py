# SPDX-License-Identifier: Apache-2.0
"""Images of one split that are copies of those of another, whatever they are called."""

from collections.abc import Collection
from filecmp import cmp
from pathlib import Path

from dynamicdet_d2.utils.file_samples import sampled_digest

_PIECES = 16  # of a file that is looked at


def count_copies(files: Collection[Path], others: Collection[Path]) -> int:
    """How many files have the content of one of the others, as "photo (1).jpg" has.

    Those of sizes that no other one has are not opened.

    Raises:
        OSError: a file cannot be read.
    """
    sizes = {file: file.stat().st_size for file in (*files, *others)}
    shared = {sizes[file] for file in files} & {sizes[other] for other in others}
    known: dict[bytes, list[Path]] = {}
    for other in others:
        if sizes[other] in shared:
            known.setdefault(sampled_digest(other, _PIECES), []).append(other)
    alike = {x: known.get(sampled_digest(x, _PIECES), []) for x in files if sizes[x] in shared}
    # Pieces of uncompressed pictures are alike where one before a still camera has moved.
    return sum(any(cmp(x, other, shallow=False) for other in alike[x]) for x in alike)
