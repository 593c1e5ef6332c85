# SPDX-License-Identifier: Apache-2.0
"""A curve beside static detectors, by hand."""

from benchmarks.drawn_set_front import leads, table

# The line goes from 80 at 1 G and 10 ms to 90 at 2 G and 30 ms.
STATICS = {
    "shallow": {"gflops": 1.0, "ms": 10.0, "AP": 80.0},
    "deep": {"gflops": 2.0, "ms": 30.0, "AP": 90.0},
}


def point(share: float, gflops: float, ap: float) -> dict:
    return {
        "realised_hard_fraction": share,
        "gflops": gflops,
        "box": {"AP": ap},
        "random_AP": 85.0,
    }


def test_leads_over_the_static_line_by_hand() -> None:
    points = [point(0.0, 1.0, 80.5), point(0.5, 1.5, 87.0), point(1.0, 2.1, 91.0)]
    easy, half, hard = leads(points, STATICS, (12.0, 28.0))
    assert (easy["over_gflops"], easy["over_ms"]) == (0.5, -0.5)
    assert (half["ms"], half["over_gflops"], half["over_ms"]) == (20.0, 2.0, 2.0)
    # Dearer than every static detector in multiply-adds, and not in milliseconds.
    assert (hard["over_gflops"], hard["over_ms"]) == (None, 2.0)


def test_a_table_has_a_row_for_each_detector_and_point() -> None:
    rows = leads([point(0.5, 2.5, 87.0)], STATICS, (12.0, 28.0))
    lines = table({"static": STATICS, "points": rows}).splitlines()
    assert "| deep | 2.000 | 30.00 | 90.00 |" in lines
    assert "| 0.5 | 2.500 | 20.00 | 87.00 | 85.00 | - | +2.00 |" in lines
