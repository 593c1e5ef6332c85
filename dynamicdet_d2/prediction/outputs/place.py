# SPDX-License-Identifier: Apache-2.0
"""The folder that predictions go into: of one run at a time, and nobody's own files in it."""

import logging
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from dynamicdet_d2.prediction.outputs.coco_results import RESULTS
from dynamicdet_d2.prediction.outputs.json_lines import LINES
from dynamicdet_d2.prediction.outputs.written import WRITTEN, list_anew, written_names
from dynamicdet_d2.prediction.sources import Source
from dynamicdet_d2.utils import folder_lock
from dynamicdet_d2.utils.files import make_folder, refuse_links
from dynamicdet_d2.utils.folder_names import refuse_file_name
from dynamicdet_d2.utils.pictures import refuse_nameless

logger = logging.getLogger(__name__)

OPTION = "--output"


def check_place(folder: Path, sources: Sequence[Source], names: Sequence[str]) -> None:
    """Refuse a folder with the name of a file, or in which somebody's own files would be replaced.

    Args:
        sources: what will be predicted.
        names: of the files that will be written beside ``predictions.jsonl``.

    Raises:
        ValueError: naming the first such file.
    """
    refuse_nameless(folder, OPTION)
    refuse_file_name(folder, OPTION)
    refuse_links(folder / WRITTEN, str(folder / WRITTEN))
    drawn = set(names)  # of folders with very many images
    for source in sources:
        written = folder / source.drawn_name
        if source.drawn_name in drawn and _are_one(Path(source.name), written):
            raise ValueError(
                f"{OPTION} {folder} holds images of --input, which would be replaced: {written}."
            )
    ours = written_names(folder)
    there = [x for x in (*names, LINES) if os.path.lexists(folder / x) and x not in ours]
    if there:
        raise ValueError(
            f"{OPTION} {folder} has {there[0]}, which would be replaced and is of no earlier "
            "'dynamicdet predict', or was changed since; choose another folder."
        )


def say_drawn(sources: Sequence[Source]) -> None:
    """Say where pictures with drawn detections, of an earlier run, are taken for images."""
    by_folder: dict[Path, list[str]] = defaultdict(list)
    for path in (Path(source.name) for source in sources):
        by_folder[path.parent].append(path.name)
    for folder, names in by_folder.items():
        ours = written_names(folder)
        drawn = [name for name in names if name in ours]
        if drawn:
            logger.warning(
                "--input has %d file(s) that an earlier 'dynamicdet predict' has drawn detections "
                "into, such as %s.",
                *(len(drawn), folder / drawn[0]),
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
        written = written_names(folder)
        if LINES in written:
            logger.info("%s of an earlier run is replaced.", folder / LINES)
        if RESULTS in written:  # of other lines than are there from now on
            (folder / RESULTS).unlink(missing_ok=True)
        list_anew(folder)
        yield
