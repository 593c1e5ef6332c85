# SPDX-License-Identifier: Apache-2.0
"""Other detectors, as typed and as files."""

from pathlib import Path

import pytest

from dynamicdet_d2.evaluation.report.comparisons import input_size_series, parse_comparison
from dynamicdet_d2.evaluation.tradeoff.record import Series, SeriesPoint
from tests.support.tradeoffs import EASY, GOOD, HARD, a_tradeoff, with_masks


def test_numbers() -> None:
    point = SeriesPoint("R101", 283.0, None, 39.4)
    assert parse_comparison("R101, 39.4, 283, -").series == Series("R101", (point,))


def test_another_run(tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    a_tradeoff(*map(with_masks, GOOD.points)).to_json(path)
    named = parse_comparison(f"mine={path}").series
    assert named.name == "mine" and parse_comparison(str(path)).series.name == "shapes_val"
    assert named.points[1] == SeriesPoint("0.5 hard", 240.0, 25.0, 31.5, 31.5, GOOD.image_sizes)
    assert named.full_name(named.points[1]) == "mine, 0.5 hard"


def test_input_sizes() -> None:
    first, second = input_size_series({800: GOOD, 400: a_tradeoff(EASY, EASY, EASY)})
    assert [point.label for point in first.points] == ["400 px", "800 px"]
    assert [point.AP for point in second.points] == [30.0, 32.0]
    assert HARD.box.AP == 32.0


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("R101", "--compare R101 must be NAME,AP,GFLOPS,MS"),
        ("R101,x,1,2", "--compare R101,x,1,2 has 'x' for a number"),
        ("R101,nan,1,2", "has 'nan' for a number"),
        ("R101,,1,2", "--compare R101,,1,2 has no AP"),
        ("gone.json", "gone.json cannot be read"),
        ("a\x01b,39,283,55", "--compare a\x01b,39,283,55 has a NAME that no chart has room for"),
        ("N" * 201 + ",39,283,55", "it must be in one line, of 200 characters at most.$"),
        (
            "N" * 201 + "=gone.json",
            "^--compare NN.* has a NAME that no chart has room for: it must",
        ),
    ],
)
def test_what_is_neither_is_refused(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        parse_comparison(text)
