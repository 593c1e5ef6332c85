# SPDX-License-Identifier: Apache-2.0
"""The tables of a report, for Markdown, HTML and CSV alike."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

from tabulate import tabulate

from dynamicdet_d2.evaluation.report import columns
from dynamicdet_d2.evaluation.report.columns import Column, shown
from dynamicdet_d2.evaluation.tradeoff.points import Task
from dynamicdet_d2.evaluation.tradeoff.record import Tradeoff


@dataclass(frozen=True)
class Table:
    """Cells of plain text.

    Attributes:
        title: "" for none.
        headings: (C,), the first one above what the rows are called.
        rows: (R, C).
        note: a sentence above the table, or "".
        own_row: the last row is the model's threshold as set.
    """

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    own_row: bool = False


def points_table(tradeoff: Tradeoff, task: Task) -> Table:
    """Cost, COCO figures and comparison of one task, a row per point."""
    shown_columns = [*columns.COST, *columns.coco(task), *columns.comparison(task)]
    shown_columns = [column for column in shown_columns if not column.csv_only]
    points = [*tradeoff.points, tradeoff.operating_point]
    names = [*map(columns.HARD_FRACTION.text, tradeoff.points), "as set"]
    return Table(
        f"Operating points, {task}",
        (columns.HARD_FRACTION.title, *(column.title for column in shown_columns)),
        tuple(
            (name, *(column.text(point) for column in shown_columns))
            for name, point in zip(names, points, strict=True)
        ),
        "An image is hard iff its difficulty is above the threshold. The last row is the model's "
        "threshold as set.",
        own_row=True,
    )


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
            *map(shown, (point.AP, point.mask_AP)),
            *(shown(value, ".4g") for value in (point.gflops, point.latency_ms)),
        )
        for series in tradeoff.comparisons
        for point in series.points
    ]
    headings = ("detector", "box AP", "mask AP", "GFLOPs", "latency ms")
    return Table("Compared with", headings, tuple(rows))


def markdown_table(table: Table) -> str:
    """Headings and rows as a Markdown table whose columns line up, so that it reads as text too."""
    cells = [[_escaped(cell) for cell in row] for row in (table.headings, *table.rows)]
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
