# SPDX-License-Identifier: Apache-2.0
"""A budget under load: the rows of a made-up stream, the load's process, what is noted."""

import math
from pathlib import Path

import pytest

from benchmarks.budget.under_load import Image, Load, draw, figures, noted
from dynamicdet_d2.budget import BudgetController
from tests.benchmarks.test_budget import calibration

PARTS = (("before", 0.0, 20.0), ("during", 20.0, 40.0), ("after", 40.0, math.inf))


def stream() -> list[Image]:
    """Twenty images a second: 40 ms, 59 ms for the load's first five seconds, then 40 ms."""
    return [
        Image(n / 20, 59.0 if 20 <= n / 20 < 25 else 40.0, n / 20 < 20, 0.5) for n in range(1200)
    ]


def test_rows_by_hand() -> None:
    before, during, after = figures(stream(), 40.0, PARTS)
    assert [row["images"] for row in (before, during, after)] == [400, 400, 400]
    assert [row["hard"] for row in (before, during, after)] == [1, 0, 0]
    assert [row["mean_ms"] for row in (before, during, after)] == [40, 44.75, 40]
    assert before["within_5_percent"] == after["within_5_percent"] == 1
    # A mean of 100 images is within 2 ms of 40 while at most 10 of them took 59 ms: from the load
    # on, stretches that end at its images 0 to 9 are, and those from image 189 on.
    assert during["within_5_percent"] == pytest.approx((10 + 211) / 400, abs=1e-3)
    assert during["settles_after_s"] == pytest.approx(189 / 20)


def test_a_short_stream_has_no_mean_of_a_hundred() -> None:
    rows = figures(stream()[:50], 40.0, PARTS)
    assert (rows[0]["mean_ms"], rows[0]["within_5_percent"]) == (40, None)
    assert rows[1:] == [{"part": "during", "images": 0}, {"part": "after", "images": 0}]


def test_the_picture(tmp_path: Path) -> None:
    draw(stream(), 40.0, PARTS, path := tmp_path / "load.png")
    assert path.read_bytes().startswith(b"\x89PNG")


def test_what_the_controller_sees_is_noted() -> None:
    began = []
    with noted(lambda: began.append(1)) as images:
        controller = BudgetController(calibration(), target_ms=50)
        for milliseconds in (None, 40.0, 60.0):
            controller.observe([0.0 if milliseconds == 40 else 1.0], milliseconds)
    assert began == [1]
    assert [(x.milliseconds, x.hard) for x in images] == [(40, False), (60, True)]
    assert images[0].at <= images[1].at and 0 <= images[0].threshold <= 1


def test_the_load_is_gone_when_it_is_stopped() -> None:
    load = Load(0.0, 3600.0, None)
    load._start()
    process = load._process
    assert process is not None and process.poll() is None
    load.stop()
    assert process.poll() is not None
