# SPDX-License-Identifier: Apache-2.0
"""Images of one split that are copies of those of another, whatever they are called."""

import hashlib
from collections.abc import Callable, Collection
from pathlib import Path

from dynamicdet_d2.utils.file_samples import sampled_digest

_PIECES = 16  # of a file that is looked at


def count_copies(files: Collection[Path], others: Collection[Path]) -> int:
    """How many files have the content of one of the others, as "photo (1).jpg" has.

    Those of sizes that no other one has are not opened.

    Raises:
        OSError: a file cannot be read.
    """
    files, others = _alike(files, others, lambda file: file.stat().st_size)
    files, others = _alike(files, others, lambda file: sampled_digest(file, _PIECES))
    # Pieces of uncompressed pictures are alike where one before a still camera has moved.
    return len(_alike(files, others, _whole_digest)[0])


def _alike(
    files: Collection[Path], others: Collection[Path], of: Callable[[Path], object]
) -> tuple[list[Path], list[Path]]:
    """Those of either that have what one of the other ones has; each file is looked at once."""
    found, there = ({file: of(file) for file in each} for each in (files, others))
    shared = {*found.values()} & {*there.values()}
    kept = ([x for x, value in each.items() if value in shared] for each in (found, there))
    return next(kept), next(kept)


def _whole_digest(file: Path) -> bytes:
    with open(file, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").digest()
