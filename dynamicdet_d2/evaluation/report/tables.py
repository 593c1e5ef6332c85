# SPDX-License-Identifier: Apache-2.0
"""The tables of a report, for Markdown, HTML and CSV alike."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import PurePath

from tabulate import tabulate

from dynamicdet_d2.evaluation.exit_records import EXITS
from dynamicdet_d2.evaluation.report import columns
from dynamicdet_d2.evaluation.report.columns import Column, shown
from dynamicdet_d2.evaluation.tradeoff.points import Point, Task
from dynamicdet_d2.evaluation.tradeoff.record import Tradeoff
from dynamicdet_d2.evaluation.tradeoff.routes import ImageRoute
from dynamicdet_d2.evaluation.tradeoff.verdict import TIE, tied

# Rows of the table of images that went the wrong way.
_MOST_MISROUTED = 12


@dataclass(frozen=True)
class Table:
    """Cells of plain text.

    Attributes:
        title: "" for none.
        headings: (C,), the first one above what the rows are called.
        rows: (R, C).
        note: a sentence above the table, or "".
        own_row: the last row is the model's threshold as set.
        code: the last column is to be copied as it is.
    """

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    own_row: bool = False
    code: bool = False


def points_table(tradeoff: Tradeoff, task: Task) -> Table:
    """Cost, COCO figures and comparison of one task, a row per point."""
    shown_columns = [*columns.COST, *columns.coco(task), *columns.comparison(task)]
    shown_columns = [column for column in shown_columns if not column.csv_only]
    return Table(
        f"Operating points, {task}",
        (columns.HARD_FRACTION.title, *(column.title for column in shown_columns)),
        tuple(
            (name, *(column.text(point) for column in shown_columns))
            for name, point in named_points(tradeoff).items()
        ),
        f"Network input {tradeoff.image_sizes} pixels (height x width). An image is hard iff its "
        "difficulty is above the threshold. The last row is the model's threshold as set."
        + _tie_note(tradeoff),
        own_row=True,
    )


def named_points(tradeoff: Tradeoff) -> dict[str, Point]:
    """The operating points by what their rows are called; last the model's own."""
    names = map(columns.HARD_FRACTION.text, tradeoff.points)
    return {**dict(zip(names, tradeoff.points, strict=True)), "as set": tradeoff.operating_point}


def use_tables(tradeoff: Tradeoff) -> list[Table]:
    """How to run at each of the operating points, and how long an image takes there."""
    return [_keys(tradeoff), *([_latency(tradeoff)] if tradeoff.easy_end.latency else [])]


def _keys(tradeoff: Tradeoff) -> Table:
    return Table(
        "Keys to paste",
        (columns.HARD_FRACTION.title, "box AP", "latency ms", "keys"),
        tuple(
            (
                name,
                shown(point.box.AP),
                shown(point.latency_ms),
                f"MODEL.DYNAMIC.THRESHOLD {float(point.threshold)!r}",
            )
            for name, point in named_points(tradeoff).items()
        ),
        "At the end of any command, or after --opts where it has that option. A threshold belongs "
        "to these weights, this input size and this precision; it is not read while "
        "MODEL.DYNAMIC.CALIBRATION is set.",
        own_row=True,
        code=True,
    )


def _latency(tradeoff: Tradeoff) -> Table:
    headings = (columns.HARD_FRACTION.title, *(c.title for c in columns.LATENCY), "tied with")
    ties = _ties(tradeoff)
    rows = []
    for name, point in named_points(tradeoff).items():
        with_it = [pair[1 - pair.index(name)] for pair in ties if name in pair]
        figures = (column.text(point) for column in columns.LATENCY)
        rows.append((name, *figures, ", ".join(with_it) or "-"))
    return Table(
        "Latency",
        headings,
        tuple(rows),
        f"Milliseconds per image, {tradeoff.latency.images} images timed. p50 and p95 are of these "
        "images, the mean weighs each route by its share of all images, and the standard error is "
        f"that of this mean. Rows within {TIE:.0%} of each other are ties: which of them is faster "
        "is not known.",
        own_row=True,
    )


def _tie_note(tradeoff: Tradeoff) -> str:
    pairs = "; ".join(" and ".join(pair) for pair in _ties(tradeoff))
    return f" Latencies within {TIE:.0%} of each other, ties: {pairs}." if pairs else ""


def _ties(tradeoff: Tradeoff) -> list[tuple[str, str]]:
    """Rows whose latencies are tied, by name; rows of one threshold are the same, not tied."""
    return [
        (one, other)
        for (one, first), (other, second) in combinations(named_points(tradeoff).items(), 2)
        if first.threshold != second.threshold and tied(first, second)
    ]


def misrouted_table(routes: Sequence[ImageRoute]) -> Table:
    """The images that went the wrong way, those first that would matter most; why they count so."""
    wrong = sorted((image for image in routes if image.misrouted), key=lambda i: -abs(i.gain))
    of_route = {name: sum(image.route == name for image in wrong) for name in ("easy", "hard")}
    note = (
        "An image counts as sent the wrong way if the other exit would have been better for the AP "
        "of the whole data set: it took the easy route although its gain is above 0, or the hard "
        f"one although it is below. That is so for {len(wrong)} of {len(routes)} images, "
        f"{of_route['easy']} of them on the easy route, where a threshold leaves some in any case. "
        "Found and false: objects found, and detections that are none, at the score and IoU of the "
        "table of precision and recall. The gain is over all scores and IoU up to 0.95, so that it "
        "can be large where these counts are alike."
    )
    headings = ("image", "route", "difficulty", "gain", "objects")
    exits = tuple(f"{name}: {what}" for name in EXITS for what in ("found", "false"))
    rows = tuple(_misrouted_row(image) for image in wrong[:_MOST_MISROUTED])
    return Table("Why images count as sent the wrong way", (*headings, *exits), rows, note)


def _misrouted_row(image: ImageRoute) -> tuple[str, ...]:
    name = PurePath(image.file_name).name or str(image.image_id)
    figures = (name, image.route, f"{image.difficulty:.3f}", f"{image.gain:+.4f}")
    if image.counts is None:
        return (*figures, *["n/a"] * 5)
    found = zip(image.counts.found, image.counts.false, strict=True)
    return (*figures, str(image.counts.objects), *(str(n) for pair in found for n in pair))


def detail_tables(tradeoff: Tradeoff) -> list[Table]:
    """All tables but those of the operating points; one without rows is left out."""
    found = [_routes(tradeoff)]
    for task in tradeoff.tasks:
        title = f"Precision and recall of {task} detections"
        note = f"Precision / recall in percent: {tradeoff.notes.detections}"
        found.append(_by_point(tradeoff, title, "class", columns.detections(tradeoff, task), note))
    for task in tradeoff.tasks:
        title = f"{task.capitalize()} AP by size of the objects"
        found.append(_by_point(tradeoff, title, "objects", _alone(columns.sizes(task))))
    for task in tradeoff.tasks:
        title = f"{task.capitalize()} AP by class"
        found.append(_by_point(tradeoff, title, "class", _alone(columns.classes(tradeoff, task))))
    return [table for table in (*found, _comparisons(tradeoff)) if table.rows]


def _routes(tradeoff: Tradeoff) -> Table:
    shown_columns = (columns.HARD_FRACTION, *columns.ROUTES)
    return Table(
        "What each exit detects on the images of each route",
        tuple(column.title for column in shown_columns),
        tuple(tuple(c.text(point) for c in shown_columns) for point in tradeoff.points),
        "Box AP of the two detectors over the same images: the router is right where detector2 "
        "gains more on the hard images than on the easy ones.",
    )


def _by_point(
    tradeoff: Tradeoff,
    title: str,
    heading: str,
    rows: Sequence[tuple[Column, ...]],
    note: str = "",
) -> Table:
    """Points side by side, a row per quantity; quantities that share a row share its cells."""
    points = tradeoff.points
    return Table(
        title,
        (heading, *(f"{columns.HARD_FRACTION.text(point)} hard" for point in points)),
        tuple(
            (row[0].title, *(" / ".join(c.text(point) for c in row) for point in points))
            for row in rows
        ),
        note,
    )


def _alone(found: Sequence[Column]) -> list[tuple[Column]]:
    return [(column,) for column in found]


def _comparisons(tradeoff: Tradeoff) -> Table:
    rows = [
        (
            series.full_name(point),
            "n/a" if point.image_sizes is None else str(point.image_sizes),
            *map(shown, (point.AP, point.mask_AP)),
            *(shown(value, ".4g") for value in (point.gflops, point.latency_ms)),
        )
        for series in tradeoff.comparisons
        for point in series.points
    ]
    headings = ("detector", "input", "box AP", "mask AP", "GFLOPs", "latency ms")
    return Table("Compared with", headings, tuple(rows))


def markdown_table(table: Table) -> str:
    """Headings and rows as a Markdown table whose columns line up, so that it reads as text too."""
    cells = [[_escaped(cell) for cell in row] for row in (table.headings, *table.rows)]
    if table.code:
        cells[1:] = [[*row, f"`{last}`"] for *row, last in cells[1:]]
    aligned = ["right"] * len(table.headings)
    return tabulate(cells[1:], cells[0], tablefmt="pipe", disable_numparse=True, colalign=aligned)


def csv_text(tradeoff: Tradeoff) -> str:
    """One line per point with all its numbers in full; undefined ones are empty."""
    found = columns.every_column(tradeoff)
    content = io.StringIO()
    writer = csv.writer(content, lineterminator="\n")
    writer.writerow([column.key for column in found])
    writer.writerows([column.value(point) for column in found] for point in tradeoff.points)
    return content.getvalue()


def _escaped(cell: str) -> str:
    """As one cell of a Markdown table, whatever a class is called."""
    return " ".join(cell.replace("|", "\\|").splitlines())
