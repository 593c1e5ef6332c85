# SPDX-License-Identifier: Apache-2.0
"""The folder that predictions go into: of one run at a time, and nobody's own files in it."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from dynamicdet_d2.prediction.outputs.json_lines import LINES
from dynamicdet_d2.prediction.sources import Source
from dynamicdet_d2.utils import folder_lock
from dynamicdet_d2.utils.files import make_folder
from dynamicdet_d2.utils.pictures import refuse_nameless

OPTION = "--output"


def check_place(folder: Path, sources: Sequence[Source], names: Sequence[str]) -> None:
    """Refuse a folder in which files would be replaced that no earlier run has written.

    Args:
        sources: what will be predicted.
        names: of the files that will be written beside ``predictions.jsonl``.

    Raises:
        ValueError: naming the first such file.
    """
    refuse_nameless(folder, OPTION)
    for source in sources:
        written = folder / source.drawn_name
        if source.drawn_name in names and _are_one(Path(source.name), written):
            raise ValueError(
                f"{OPTION} {folder} holds images of --input, which would be replaced: {written}."
            )
    if (folder / LINES).exists():  # an earlier run's, which this one takes the place of
        return
    there = [folder / name for name in names if (folder / name).is_file()]
    if there:
        raise ValueError(
            f"{OPTION} {folder} has {there[0].name}, which would be replaced and is of no earlier "
            f"'dynamicdet predict' (there is no {LINES} beside it); choose another folder."
        )


def _are_one(one: Path, other: Path) -> bool:
    """Whether two names are of one file; links are followed."""
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False


@contextmanager
def own_folder(folder: Path) -> Iterator[None]:
    """Make the folder and hold it: two runs in one would mix their lines.

    Raises:
        OSError: it cannot be made, or another run has it; one sentence.
    """
    make_folder(folder)
    with folder_lock.held(folder, OPTION):
        yield
