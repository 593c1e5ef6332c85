# SPDX-License-Identifier: Apache-2.0
"""Images of one split that are copies of those of another, whatever they are called."""

from collections.abc import Collection
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
    known = {sampled_digest(other, _PIECES) for other in others if sizes[other] in shared}
    return sum(sampled_digest(file, _PIECES) in known for file in files if sizes[file] in shared)
