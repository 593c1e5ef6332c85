# SPDX-License-Identifier: Apache-2.0
"""Tables as Markdown and CSV: every number, and every column in both."""

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dynamicdet_d2.evaluation.report import columns
from dynamicdet_d2.evaluation.report.columns import Column
from dynamicdet_d2.evaluation.report.comparisons import input_size_series
from dynamicdet_d2.evaluation.report.markdown import markdown_report
from dynamicdet_d2.evaluation.report.page import page
from dynamicdet_d2.evaluation.report.tables import (
    csv_text,
    markdown_table,
    misrouted_table,
    points_table,
)
from dynamicdet_d2.evaluation.tradeoff.points import Point, RoutedLatency
from dynamicdet_d2.evaluation.tradeoff.record import SizeRange, Tradeoff
from dynamicdet_d2.evaluation.tradeoff.routes import ImageCounts, ImageRoute
from tests.support.tradeoffs import EASY, GOOD, HARD, ROUTES, a_point, a_tradeoff, with_masks

MASKED = a_tradeoff(*map(with_masks, GOOD.points))


def flat(value: Any, above: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from flat(item, f"{above}{key}.")
    else:
        yield above[:-1], value


@pytest.mark.parametrize("tradeoff", [GOOD, MASKED], ids=["boxes", "masks"])
def test_csv_has_every_number_of_every_point(tmp_path: Path, tradeoff: Tradeoff) -> None:
    tradeoff.to_json(tmp_path / "tradeoff.json")
    points = json.loads((tmp_path / "tradeoff.json").read_text())["points"]
    rows = list(csv.DictReader(io.StringIO(csv_text(tradeoff))))
    for row, point in zip(rows, points, strict=True):
        expected = {key: "" if value is None else str(value) for key, value in flat(point)}
        if tradeoff is GOOD:
            del expected["mask"]
        assert row == expected
    assert rows[1]["box.AP"] == "31.5" and rows[1]["routes.hard.images"] == "2"
    assert rows[1]["box_classes.ring"] == ""


def test_the_table_of_points_by_hand() -> None:
    lines = markdown_table(points_table(GOOD, "box")).splitlines()
    assert len({len(line) for line in lines}) == 1 and len(lines) == 2 + 3 + 1
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells[0] == [
        *("hard fraction", "threshold", "realised", "GFLOPs", "latency ms", "FPS", "p95 ms"),
        *("box AP", "box AP50", "box AP75", "box APs", "box APm", "box APl"),
        *("random AP", "oracle AP", "share of oracle's gain"),
    ]
    assert cells[3] == [
        *("0.5", "0.5", "0.500", "240", "25.00", "40.0", "30.00"),
        *(["31.50"] * 6),
        *("31.00", "33.00", "0.25"),
    ]
    assert [row[0] for row in cells[2:]] == ["0", "0.5", "1", "as set"]


def test_markdown_report() -> None:
    text = markdown_report(GOOD)
    assert text.startswith(
        "# Accuracy and cost on shapes_val\n\nFine.\n\n- **Warning.** But small."
    )
    assert "network input 64x96 to 64x128" in text and "n/a" in text
    assert [line for line in text.splitlines() if line.startswith("## ")] == [
        "## Keys to paste",
        "## Latency",
        "## What each exit detects on the images of each route",
        "## Precision and recall of box detections",
        "## Box AP by size of the objects",
        "## Box AP by class",
        "## Words",
        "## How this was measured",
    ]
    masked = markdown_report(MASKED)
    assert "mask AP50" in masked and "## Mask AP by class" in masked


def row_of(text: str, title: str, name: str) -> list[str]:
    section = text.partition(f"## {title}")[2].partition("## ")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in section.splitlines()]
    return next(row for row in rows if row and row[0] == name)


def test_tables_with_points_side_by_side() -> None:
    text = markdown_report(GOOD)
    rates = row_of(text, "Precision and recall of box detections", "all together")
    assert rates == ["all together", *["90.0 / 80.0"] * 3]
    assert row_of(text, "Precision and", "disc") == ["disc", *["90.0 / n/a"] * 3]
    assert row_of(text, "Box AP by class", "disc") == ["disc", "30.00", "31.50", "32.00"]
    assert row_of(text, "Box AP by class", "ring") == ["ring", "n/a", "n/a", "n/a"]
    assert row_of(text, "Box AP by size", "medium") == ["medium", "30.00", "31.50", "32.00"]
    easy = row_of(text, "What each exit", "0")
    assert easy == ["0", "2", "30.00", "n/a", "2", "30.00", "n/a"]


def test_keys_to_paste_are_exact() -> None:
    threshold = 0.7047553956508636
    point = a_point(0.5, 31.5, 31.0, threshold=threshold)
    text = markdown_report(a_tradeoff(EASY, point, HARD))
    row = row_of(text, "Keys to paste", "0.5")
    assert row == ["0.5", "31.50", "25.00", f"`MODEL.DYNAMIC.THRESHOLD {threshold}`"]


def test_rows_within_noise_are_ties() -> None:
    def at(k: float, ms: float) -> Point:
        return a_point(k, 31.0, 31.0, latency=RoutedLatency(ms, ms - 1, ms + 9, k, 0.25))

    # 20 and 20.9 are 4.5 % apart, 20.9 and 21.9 4.8 %, 20 and 21.9 9.5 %.
    points = [at(0, 20.0), at(0.1, 20.9), at(0.5, 21.9), at(1, 30.0)]
    text = markdown_report(a_tradeoff(*points, operating_point=at(0.9, 28.6)))
    rows = {name: row_of(text, "Latency", name) for name in ("0", "0.1", "0.5", "1", "as set")}
    assert {name: row[-1] for name, row in rows.items()} == {
        **{"0": "0.1", "0.1": "0, 0.5", "0.5": "0.1", "1": "as set", "as set": "1"}
    }
    assert rows["0.1"][1:-1] == ["20.90", "47.8", "19.90", "29.90", "0.100", "0.25"]
    assert "within 5% of each other, ties: 0 and 0.1; 0.1 and 0.5; 1 and as set." in text
    assert "each other, ties:" not in markdown_report(a_tradeoff(at(0, 20), at(0.5, 25), at(1, 30)))
    untimed = [replace(point, latency=None) for point in GOOD.points]
    assert "## Latency" not in markdown_report(a_tradeoff(*untimed))


def test_input_sizes_stand_in_the_tables() -> None:
    small = a_tradeoff(*GOOD.points, image_sizes=SizeRange((48, 64), (48, 64)))
    series = input_size_series({64: GOOD, 48: small})
    text = markdown_report(a_tradeoff(*GOOD.points, comparisons=series))
    assert "Network input 64x96 to 64x128 pixels (height x width)." in text
    row = row_of(text, "Compared with", "detector2 at input sizes, 48 px")
    assert row == ["detector2 at input sizes, 48 px", "48x64", "32.00", "n/a", "280", "30"]
    assert row_of(text, "Compared with", "detector1 at input sizes, 64 px")[1] == "64x96 to 64x128"


def test_why_images_count_as_sent_the_wrong_way() -> None:
    counts = ImageCounts(objects=5, found=(2, 4), false=(1, 0))
    table = misrouted_table([*ROUTES, ImageRoute(9, "a/b.png", 0.3, "easy", 5.0, counts=counts)])
    # Wrong are image 1, easy with a gain, image 3, hard with a loss, and the one added.
    assert table.rows == (
        ("b.png", "easy", "0.300", "+5.0000", "5", "2", "1", "4", "0"),
        ("3", "hard", "0.900", "-3.0000", *["n/a"] * 5),
        ("1", "easy", "0.200", "+2.0000", *["n/a"] * 5),
    )
    assert "for 3 of 5 images, 2 of them on the easy route" in table.note
    assert misrouted_table([]).rows == ()


def test_names_cannot_break_a_table() -> None:
    figures = dict(GOOD.easy_end.box.classes) | {"a|b\n# c": 1.0}
    points = [_renamed(point, figures) for point in GOOD.points]
    text = markdown_report(a_tradeoff(*points, dataset="one\n# two"))
    assert "a\\|b # c" in text and "\n# c" not in text
    assert text.startswith("# Accuracy and cost on one # two\n")


def _renamed(point: Point, classes: dict) -> Point:
    return replace(point, tasks={"box": replace(point.box, classes=classes)})


def test_a_column_is_added_in_one_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    energy = Column("energy J", lambda point: 7 * point.gflops, ".1f", "energy_joules")
    monkeypatch.setattr(columns, "COST", (*columns.COST, energy))
    rows = list(csv.DictReader(io.StringIO(csv_text(GOOD))))
    assert [row["energy_joules"] for row in rows] == ["1400", "1680.0", "1960"]
    assert "energy J" in markdown_report(GOOD) and "1680.0" in markdown_report(GOOD)
    html = page(GOOD, ROUTES, tmp_path)
    assert "<th>energy J</th>" in html and "<td>1680.0</td>" in html


def test_old_files_have_no_table_of_detections() -> None:
    points = [
        replace(point, tasks={"box": replace(point.box, detections=None)}) for point in GOOD.points
    ]
    old = a_tradeoff(*points)
    assert "Precision and recall" not in markdown_report(old)
    assert "precision" not in csv_text(old)
