# SPDX-License-Identifier: Apache-2.0
"""The files of an evaluation: all there, drawn again alike, and never half of one."""

import dataclasses
from pathlib import Path

import pytest

from dynamicdet_d2.evaluation.report import files
from dynamicdet_d2.evaluation.report.files import redraw, write_report
from dynamicdet_d2.evaluation.report.pictures import Album
from tests.support.tradeoffs import EASY, GOOD, HARD, ROUTES, a_point, a_tradeoff

NO_PICTURES = Album({}, lambda _: [], [], masks=False, count=0)
DRAWN = {"tradeoff.csv", "tradeoff.md", "tradeoff.png", "report.html"}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def write(folder: Path) -> None:
    assert write_report(folder, GOOD, ROUTES, NO_PICTURES) == folder / "report.html"


def test_the_report_can_be_drawn_again_without_the_model(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    write(folder)
    first = contents(folder)
    assert set(first) == DRAWN | {"tradeoff.json", "routes.jsonl"}
    for name in DRAWN:
        (folder / name).unlink()
    assert redraw(folder) == folder / "report.html"
    assert contents(folder) == first


def test_other_detectors_are_drawn_in_and_the_record_stays(tmp_path: Path) -> None:
    write(tmp_path)
    other = tmp_path / "other.json"
    a_tradeoff(EASY, a_point(0.5, 33.0, 31.0), HARD).to_json(other)
    before = contents(tmp_path)
    redraw(tmp_path, ["R101,39.4,283,-", f"another={other}"])
    html = (tmp_path / "report.html").read_text()
    assert "R101" in html and "another, 0.5 hard" in html and "33.00" in html
    after = contents(tmp_path)
    assert {name for name in after if after[name] != before[name]} == DRAWN - {"tradeoff.csv"}


@pytest.mark.parametrize(
    ("compared", "says"),
    [
        (["R101"], "--compare R101 must be NAME,AP,GFLOPS,MS"),
        (["gone.json"], "gone.json cannot be"),
    ],
)
def test_what_cannot_be_compared_leaves_everything(
    tmp_path: Path, compared: list[str], says: str
) -> None:
    write(tmp_path)
    before = contents(tmp_path)
    with pytest.raises(ValueError, match=says):
        redraw(tmp_path, compared)
    assert contents(tmp_path) == before


def test_a_folder_that_is_no_evaluation_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="gone/tradeoff.json cannot be read: No such file"):
        redraw(tmp_path / "gone")
    write(tmp_path)
    (tmp_path / "routes.jsonl").write_text("{\n")
    with pytest.raises(ValueError, match="routes.jsonl is not a file of JSON lines"):
        redraw(tmp_path)


def test_a_drawing_that_fails_leaves_the_old_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path)
    before = contents(tmp_path)

    def fail(*_: object) -> str:
        raise RuntimeError

    monkeypatch.setattr(files, "page", fail)
    changed = dataclasses.replace(GOOD, verdict="Another.")
    with pytest.raises(RuntimeError):
        write_report(tmp_path, changed, ROUTES, NO_PICTURES)
    after = contents(tmp_path)
    assert {name: after[name] for name in DRAWN} == {name: before[name] for name in DRAWN}
    # What was measured is not lost.
    assert b"Another." in after["tradeoff.json"]


def test_images_whose_names_are_not_in_utf_8(tmp_path: Path) -> None:
    """As a program of one's own lists them; the second is among those sent the wrong way."""
    routes = [
        dataclasses.replace(route, file_name=f"{i}\udcff.jpg") for i, route in enumerate(ROUTES)
    ]
    page = write_report(tmp_path, GOOD, routes, NO_PICTURES)
    assert "1?.jpg" in page.read_text()
    before = contents(tmp_path)
    redraw(tmp_path)
    assert contents(tmp_path) == before


def test_names_never_become_paths(tmp_path: Path) -> None:
    name = "../../out/$x_$ <b>"
    tradeoff = a_tradeoff(*GOOD.points, dataset=name, device=name)
    album = Album({}, lambda _: [], [name], masks=False, count=0)
    write_report(tmp_path / "folder", tradeoff, ROUTES, album)
    assert {path.name for path in tmp_path.rglob("*")} == {
        "folder",
        *(DRAWN | {"tradeoff.json", "routes.jsonl"}),
    }
