# SPDX-License-Identifier: Apache-2.0
"""report.html, its charts and pictures, and other detectors drawn in; without a model."""

import copy
import json
import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dynamicdet_d2.commands.main import main
from dynamicdet_d2.evaluation.exit_records import ExitRecord
from dynamicdet_d2.evaluation.report import html_report, pictures
from dynamicdet_d2.evaluation.report.comparisons import input_size_series, parse_comparison
from dynamicdet_d2.evaluation.report.svg import Chart, ticks
from dynamicdet_d2.evaluation.report.tables import write_report
from tests.evaluation.report.test_tables import EASY, GOOD, HARD, a_point, a_tradeoff

# Easy and hard on the right and on the wrong side; gains in percent.
ROUTES = [
    {
        **{"image_id": i, "file_name": "", "difficulty": difficulty, "route": route},
        **{"gain": gain, "loss_gap": None},
    }
    for i, (difficulty, route, gain) in enumerate(
        [(0.1, "easy", -1.0), (0.2, "easy", 2.0), (0.8, "hard", 1.0), (0.9, "hard", -3.0)]
    )
]


class Tags(HTMLParser):
    """Fails where an element is not closed, or closed twice; collects tags and text."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict]] = []
        self.text = ""
        self.feed(content)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def write(folder: Path, tradeoff: dict = GOOD, routes: list[dict] = ROUTES) -> None:
    write_report(tradeoff, folder)
    (folder / "routes.jsonl").write_text("".join(json.dumps(r) + "\n" for r in routes))


def test_report_is_one_file_that_asks_for_nothing(tmp_path: Path) -> None:
    write(tmp_path)
    Image.new("RGB", (8, 8)).save(tmp_path / "gallery.jpg")
    html_report.write_html(tmp_path)
    page = Tags((tmp_path / "report.html").read_text())
    sources = [attrs["src"] for _, attrs in page.tags if "src" in attrs]
    assert len(sources) == 1 and sources[0].startswith("data:image/jpeg;base64,")
    assert {"link", "script"}.isdisjoint(tag for tag, _ in page.tags)
    assert not any("href" in attrs for _, attrs in page.tags)
    assert "url(" not in page.text and "@import" not in page.text
    # The verdict comes before any figure.
    assert page.text.index("Fine.") < page.text.index("Box AP against cost")
    for said in (
        "But small.",
        "as it should be.",
        "31.50",
        "90.0 / 80.0",
        "2026-01-02",
        "a machine",
    ):
        assert said in page.text
    assert sum(tag == "svg" and "role" in attrs for tag, attrs in page.tags) == 4


def test_text_from_data_is_escaped(tmp_path: Path) -> None:
    evil = '<script>alert("x")</script>'
    write(tmp_path, {**GOOD, "dataset": evil, "verdict": evil, "warnings": [evil]})
    html_report.write_html(tmp_path)
    assert "<script>" not in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize("ap", [30.0, None])
@pytest.mark.parametrize("routes", [[], ROUTES[:1], ROUTES])
def test_poor_trade_offs_are_drawn(tmp_path: Path, ap: float | None, routes: list[dict]) -> None:
    points = [copy.deepcopy(a_point(k, ap, ap)) for k in (0, 0, 1)]
    for point in points:
        point.update(latency_ms=None, fps=None, latency=None)
    write(tmp_path, a_tradeoff(*points), routes)
    html_report.write_html(tmp_path)
    text = (tmp_path / "report.html").read_text()
    Tags(text)
    assert not re.search(r'="[^"]*nan', text)


def test_command_draws_again_with_others(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    write(tmp_path)
    other = tmp_path / "other"
    write(other, a_tradeoff(EASY, a_point(0.5, 33.0, 31.0), HARD))
    before = (tmp_path / "tradeoff.json").read_bytes()
    wanted = ["R101,39.4,283,-", f"another={other / 'tradeoff.json'}"]
    assert main(["report", str(tmp_path), "--compare", *wanted]) == 0
    page = Tags((tmp_path / "report.html").read_text())
    assert "R101" in page.text and "another, 0.5 hard" in page.text and "33.00" in page.text
    assert (tmp_path / "tradeoff.json").read_bytes() == before
    assert capsys.readouterr().out == f"{tmp_path / 'report.html'}\n"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["gone"], "gone/tradeoff.json cannot be read: No such file or directory."),
        ([".", "--compare", "R101"], "--compare R101 must be NAME,AP,GFLOPS,MS"),
        ([".", "--compare", "R101,x,1,2"], "--compare R101,x,1,2 has 'x' for a number"),
        ([".", "--compare", "R101,,1,2"], "--compare R101,,1,2 has no AP"),
        ([".", "--compare", "gone.json"], "gone.json cannot be read"),
    ],
)
def test_command_refuses_by_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture,
    arguments: list[str], says: str,
) -> None:  # fmt: skip
    write(tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(["report", *arguments])
    assert stop.value.code == 2
    assert says in capsys.readouterr().err


def test_series() -> None:
    point = {"label": "R101", "gflops": 283.0, "latency_ms": None, "AP": 39.4, "mask_AP": None}
    assert parse_comparison("R101, 39.4, 283, -") == {"name": "R101", "points": [point]}
    first, second = input_size_series({800: GOOD, 400: a_tradeoff(EASY, EASY, EASY)})
    assert [p["label"] for p in first["points"]] == ["400 px", "800 px"]
    assert [p["AP"] for p in second["points"]] == [30.0, 32.0]


# --- charts


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (54.7, 62.1, [56, 58, 60, 62]),
        (-0.1, 0.11, [-0.1, -0.05, 0, 0.05, 0.1]),
        (207, 284, [220, 240, 260, 280]),
    ],
)
def test_ticks_by_hand(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == expected
    assert "-0" not in map("{:g}".format, ticks(low, high))


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_ticks_are_few_and_inside(low: float, span: float) -> None:
    found = ticks(low, low + span)
    assert 2 <= len(found) <= 8
    assert low - 1e-6 * span <= found[0] and found[-1] <= low + span * (1 + 1e-6)


def test_chart_places_by_hand() -> None:
    chart = Chart((0, 10), (0, 1), "x", "y")
    chart.line([0, 5, 10], [0, float("nan"), 1], "router")
    chart.dot(float("nan"), 0, "router", "nothing")
    svg = ElementTree.fromstring(chart.svg('a "name"'))
    # Left 58 and bottom 46 of 560 x 360 are the axes'; right 18 and top 16 are free.
    assert svg.find("polyline").get("points") == "58.0,314.0 542.0,16.0"
    assert svg.find("circle") is None and svg.get("aria-label") == 'a "name"'


def test_labels_do_not_lie_on_each_other() -> None:
    chart = Chart((0, 1), (0, 1), "x", "y")
    for name in ("one", "two", "three", "four"):
        chart.label(0.5, 0.5, name, left=False, below=False)
    labels = [
        t for t in ElementTree.fromstring(chart.svg("")).iter("text") if t.get("class") == "label"
    ]
    heights = [float(label.get("y")) for label in labels]
    assert np.all(np.diff(heights) <= -13)
    assert len(labels) == 3  # a fourth would be too far away


# --- pictures


def test_rows_of_the_pictures() -> None:
    def ids(rows: list) -> list[list[int]]:
        return [[route["image_id"] for route, _ in images] for _, images in rows]

    assert ids(pictures.extremes(ROUTES, 1)) == [[0], [3]]
    # No image is both.
    assert ids(pictures.extremes(ROUTES, 9)) == [[0, 1], [3, 2]]
    assert ids(pictures.extremes(ROUTES[:3], 9)) == [[0, 1], [2]]
    rows = pictures.wrong(ROUTES, 4)
    assert ids(rows) == [[1], [1], [3], [3]]
    # The exit taken, then the other one.
    assert [images[0][1] for _, images in rows] == [0, 1, 1, 0]
    assert ids(pictures.wrong(ROUTES[:1], 4)) == [[], [], [], []]


def test_pictures_are_written_where_images_are(tmp_path: Path) -> None:
    routes = []
    for route in ROUTES:
        path = tmp_path / f"{route['image_id']}.png"
        Image.new("RGB", (60, 40), (90, 120, 60)).save(path)
        routes.append({**route, "file_name": str(path)})
    found = [{"bbox": [5, 5, 20, 20], "category_id": 1, "score": s} for s in (0.9, 0.4)]
    records = [ExitRecord(r["image_id"], "", 0.5, (40, 60), (found, [])) for r in routes]
    pictures.write_gallery(tmp_path, routes, records, ["disc", "ring"], 2)
    for name in (pictures.GALLERY, pictures.MISROUTED):
        width, height = Image.open(tmp_path / name).size
        assert width > 300 and height > 200
    # Nothing went the wrong way any more, and image files are gone.
    pictures.write_gallery(tmp_path, [r for r in routes if r["image_id"] in (0, 2)], records, [], 2)
    assert (tmp_path / pictures.GALLERY).exists() and not (tmp_path / pictures.MISROUTED).exists()
    pictures.write_gallery(tmp_path, ROUTES, records, [], 2)
    assert not (tmp_path / pictures.GALLERY).exists()
