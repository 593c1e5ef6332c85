# SPDX-License-Identifier: Apache-2.0
"""The measures of the budget's simulation, on made-up courses."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.budget import measures
from benchmarks.budget.__main__ import row
from benchmarks.budget.scenarios import IMAGES, SCENARIOS, calibration


def test_moving_figures() -> None:
    times = np.concatenate([np.full(100, 40.0), np.full(100, 60.0)])
    values = measures.moving(times, None)
    assert (len(values), values[0], values[50], values[-1]) == (101, 40, 50, 60)
    assert measures.moving(np.repeat([40.0, 60.0], 380)[: 380 + 20], 95)[0] == pytest.approx(41.0)


def test_a_percentile_may_be_lower_and_a_mean_may_not() -> None:
    values = np.array([94.0, 96.0, 104.0, 106.0])
    assert measures.kept(values, 100, None).tolist() == [False, True, True, False]
    assert measures.kept(values, 100, 95).tolist() == [True, True, True, False]
    assert measures.overshoot(values, 100) == pytest.approx(0.06)
    assert measures.overshoot(values, 200) == 0


def test_settling_counts_from_the_change_to_a_lasting_rest() -> None:
    # Entry i is of the images up to i + 9; the change is at image 100.
    kept = np.ones(1000, bool)
    kept[95:131] = False
    assert measures.settling(kept, 100, 1009, 10) == 131 + 9 - 100
    kept[300] = False  # rest lasted for 169 images, too short
    assert measures.settling(kept, 100, 1009, 10) == 301 + 9 - 100
    assert measures.settling(kept, 0, 100, 10) == 9
    kept[:] = False
    assert measures.settling(kept, 100, 1009, 10) is None


def test_streams_are_whole_and_a_row_has_every_column() -> None:
    rng = np.random.default_rng(0)
    for scenario in SCENARIOS:
        difficulties = scenario.difficulties(rng)
        assert difficulties.shape == scenario.load.shape == (IMAGES,)
        assert 0 <= difficulties.min() and difficulties.max() <= 1
    assert calibration().hard_fraction_for_latency(50) == pytest.approx(0.625)
    figures = dict.fromkeys(("mean_over_target", "share_kept", "overshoot", "moves_per_100"), 1.0)
    cells = {"stream": "s", "threshold": "moved", "late_share": None, "settling": float("inf")}
    assert row(figures | cells).count("|") == 9 and " never " in row(figures | cells)


def test_the_docs_show_the_table_that_was_written() -> None:
    written = Path("benchmarks/results/budget.md").read_text()
    table = written[written.index("| stream |") :]
    assert table.strip() in Path("docs/budget.md").read_text()
