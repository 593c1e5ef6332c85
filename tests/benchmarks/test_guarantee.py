# SPDX-License-Identifier: Apache-2.0
"""The simulation of splits, on few."""

from benchmarks.guarantee import Limits, draw_set, simulate


def test_splits() -> None:
    found = simulate(draw_set(900, 0, 3, 0.0), Limits(2.0, 0.2, 0.95, 10), 300, 2, 0)
    assert set(found) == {"ap", "ap, point", "finite", "finite, point"}
    for mode in ("ap", "finite"):
        # A promise is never bolder than the point estimate.
        promised, point = found[mode], found[f"{mode}, point"]
        assert promised["mean_hard_fraction"] >= point["mean_hard_fraction"]
        assert promised["mean_held_out"] <= point["mean_held_out"]
        assert 0 <= promised["share_of_splits_that_exceed"] <= 1
