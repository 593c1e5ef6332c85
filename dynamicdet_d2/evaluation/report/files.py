# SPDX-License-Identifier: Apache-2.0
"""The files of a report, in the folder of an evaluation.

All but tradeoff.json, routes.jsonl and the pictures can be written again from the first two.
"""

import dataclasses
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from dynamicdet_d2.evaluation.report.charts import tradeoff_png
from dynamicdet_d2.evaluation.report.comparisons import (
    MOST_COMPARED,
    parse_comparison,
    say_incomparable,
    say_same_names,
)
from dynamicdet_d2.evaluation.report.markdown import markdown_report
from dynamicdet_d2.evaluation.report.page import page
from dynamicdet_d2.evaluation.report.pictures import Album
from dynamicdet_d2.evaluation.report.tables import csv_text
from dynamicdet_d2.evaluation.tradeoff.record import Tradeoff
from dynamicdet_d2.evaluation.tradeoff.routes import ImageRoute, read_routes, write_routes
from dynamicdet_d2.utils.files import make_folder, whole_file
from dynamicdet_d2.utils.paths import refuse_no_path
from dynamicdet_d2.utils.words import shown

TRADEOFF, ROUTES, PAGE = "tradeoff.json", "routes.jsonl", "report.html"


def write_report(
    folder: str | os.PathLike,
    tradeoff: Tradeoff,
    routes: Sequence[ImageRoute],
    album: Album,
) -> Path:
    """Write all files of an evaluation; each is complete or as it was before.

    Args:
        folder: is created where it is missing.
        album: of the same images as the routes.

    Returns:
        the path of report.html.

    Raises:
        OSError: the folder cannot be written to.
    """
    folder = Path(folder)
    make_folder(folder)
    # What was measured comes first: everything else can be drawn again from it.
    tradeoff.to_json(folder / TRADEOFF)
    write_routes(routes, folder / ROUTES)
    album.write(folder, routes)
    return _draw(tradeoff, routes, folder)


def redraw(folder: str | os.PathLike[str], compared: Sequence[str | os.PathLike[str]] = ()) -> Path:
    """Draw what can be drawn without the model again, with other detectors beside.

    Args:
        folder: of an evaluation.
        compared: other detectors, as ``parse_comparison`` takes them.

    Returns:
        the path of report.html.

    Raises:
        ValueError: one sentence naming the file or the detector that is not what it should be.
        OSError: the folder cannot be written to.
    """
    refuse_no_path(folder)
    folder = Path(folder)
    texts = _texts(compared)
    if len(compared) > MOST_COMPARED:
        raise ValueError(f"--compare has {len(compared)} detectors; {MOST_COMPARED} at most fit.")
    others = [parse_comparison(text) for text in texts]
    if others:
        say_same_names(others)
    tradeoff = Tradeoff.from_json(folder / TRADEOFF)
    for other in others:
        say_incomparable(other, tradeoff)
    series = (*tradeoff.comparisons, *(other.series for other in others))
    tradeoff = dataclasses.replace(tradeoff, comparisons=series)
    routes = read_routes(folder / ROUTES)
    _check_together(tradeoff, routes, folder / ROUTES)
    return _draw(tradeoff, routes, folder)


def _texts(compared: Sequence[str | os.PathLike[str]]) -> list[str]:
    """
    Raises:
        ValueError: one detector in the place of a list of them, or what is neither text nor path.
    """
    if isinstance(compared, list | tuple) and all(
        isinstance(x, str | os.PathLike) for x in compared
    ):
        return [os.fspath(x) for x in compared]
    raise ValueError(
        f"What is compared is {shown(compared)}; it must be a list of texts such as "
        "'R101,39.4,283,55', or of paths."
    )


def _check_together(tradeoff: Tradeoff, routes: Sequence[ImageRoute], path: Path) -> None:
    """
    Raises:
        ValueError: the routes, of the file ``path``, are of other images or of another router.
    """
    if len(routes) != tradeoff.num_images:
        raise ValueError(
            f"{path} has {len(routes)} images and {TRADEOFF} beside it {tradeoff.num_images}: they "
            "are not of one evaluation, or were cut."
        )
    [(image, times)] = Counter(route.image_id for route in routes).most_common(1)
    if times > 1:
        raise ValueError(f"{path} has the image id {shown(image)} {times} times.")
    # Both files have them in full, so that those of one evaluation are the same numbers.
    easiest, hardest = (pick(route.difficulty for route in routes) for pick in (min, max))
    known = tradeoff.difficulty
    if (easiest, hardest) != (known.min, known.max):
        raise ValueError(
            f"{path} has difficulties from {easiest:.6g} to {hardest:.6g} and {TRADEOFF} beside it "
            f"from {known.min:.6g} to {known.max:.6g}: they are not of one evaluation."
        )


def _draw(tradeoff: Tradeoff, routes: Sequence[ImageRoute], folder: Path) -> Path:
    """Everything is drawn before anything is written, so that a failure leaves the old files."""
    contents = {
        "tradeoff.csv": csv_text(tradeoff).encode(),
        "tradeoff.md": markdown_report(tradeoff).encode(),
        "tradeoff.png": tradeoff_png(tradeoff),
        # Names of files may be in no UTF-8, as Linux has them.
        PAGE: page(tradeoff, routes, folder).encode(errors="replace"),
    }
    for name, content in contents.items():
        with whole_file(folder / name) as file:
            file.write(content)
    return folder / PAGE
