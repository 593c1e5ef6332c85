# SPDX-License-Identifier: Apache-2.0
"""The page says what the result files say, and the README says nothing else."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from evidence import summary
from evidence.costs import GFLOPS, costs_of, milliseconds
from evidence.group import groups
from evidence.plot import near
from evidence.records import FRACTIONS, Route, read_all, write
from evidence.records import RESULTS as SHIPPED
from evidence.routers import AUTO
from evidence.setups import SHOWN
from evidence.timing import FOLDER, read_times, write_times
from tests.support.made_up_results import RESULTS, TIMES, dynamic, static

ROOT = Path(__file__).parents[2]
PAGES = ["README.md", "docs/negative_results.md", "docs/upgrade.md"]
# What stands between these two was measured by `python -m evidence`.
BLOCK = re.compile(r"<!-- evidence -->(.*?)<!-- /evidence -->", re.DOTALL)
# A figure with its sign, and with its spread where it has one: 0.31 alone is on some page anyway.
FIGURE = re.compile(r"[+-]?\d+\.\d+(?: ± \d+\.\d+)?")


def test_files_are_read_as_they_were_written(tmp_path: Path) -> None:
    for result in RESULTS:
        write(result, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "roads_short_seed1.json",
        "roads_short_seed2.json",
        "roads_static0_seed1.json",
        "roads_static1_seed1.json",
    ]
    assert read_all(tmp_path) == RESULTS


def test_a_file_that_is_none_is_named(tmp_path: Path) -> None:
    path = tmp_path / "roads_short_seed1.json"
    path.write_text('{"setup": "short"}')
    with pytest.raises(ValueError, match="roads_short_seed1.json is no result: data is missing"):
        read_all(tmp_path)


def test_leads_over_the_static_line_by_hand() -> None:
    """The line goes from 40 at 1 to 42 at 2, as the ends do; the routers have 41 and their lead."""
    every = groups(RESULTS, "val")
    own = next(group for group in every if group.setup == "short")
    found = GFLOPS.over_line(own, ("features",), AUTO, every)
    expected = [41 + 1.0 - (40 + 2 * k) for k in FRACTIONS]
    assert [figure.mean for figure in found] == pytest.approx([0, *expected, 0])
    assert [x.least for x in found] == pytest.approx([0, *(x - 0.5 for x in expected), 0])


def test_the_static_line_is_of_detectors_that_were_trained_as_long() -> None:
    longer = replace(static(1, 50.0, 1.0, "static0_6000"), steps=6000)
    leads = []
    for results in (RESULTS, [*RESULTS, longer]):
        every = groups(results, "val")
        own = next(group for group in every if group.setup == "short")
        leads.append(GFLOPS.over_line(own, ("features",), AUTO, every))
    assert leads[0] == leads[1]


def test_leads_at_equal_milliseconds_by_hand() -> None:
    """From 10 ms to 30 ms the line goes from 40 to 42; the routes take 10 and 20 ms."""
    every = groups(RESULTS, "val")
    own = next(group for group in every if group.setup == "short")
    cost = milliseconds(TIMES)
    assert [x.mean for x in cost.at(own, ("features",), AUTO)] == pytest.approx(
        [10 + 10 * k for k in (0, *FRACTIONS, 1)]
    )
    found = cost.over_line(own, ("features",), AUTO, every)
    inner = [41 + 1.0 - (40 + k) for k in FRACTIONS]
    assert [x.mean for x in found] == pytest.approx([0, *inner, 42 - 41])
    # Nothing was timed with these inputs.
    assert cost.over_line(own, ("rpn",), AUTO, every) == []


def test_a_set_up_is_compared_with_those_of_the_last_run_that_timed_it() -> None:
    own = next(group for group in groups(RESULTS, "val") if group.setup == "short")
    slower = {"short": {"features": Route(40.0, 80.0)}}
    origin = replace(TIMES.origin, date="2126-11-29T00:00:00+00:00")
    later = replace(TIMES, setups=slower, origin=origin)
    others = replace(later, setups={"same": slower["short"]})
    assert len(costs_of(own, [others])) == 1
    for times in ([TIMES, later, others], [later, TIMES]):
        *_, last = costs_of(own, times)
        assert last.at(own, ("features",), AUTO)[-1].mean == 80.0


def test_times_are_read_as_they_were_written(tmp_path: Path) -> None:
    write_times(TIMES, tmp_path)
    assert read_times(tmp_path) == [TIMES]
    (tmp_path / "roads_other.json").write_text("{}")
    with pytest.raises(ValueError, match="roads_other.json holds no times: data is missing"):
        read_times(tmp_path)


def test_the_page_shows_means_and_spreads(tmp_path: Path) -> None:
    for result in RESULTS:
        write(result, tmp_path)
    write_times(TIMES, tmp_path / "times")
    paths = summary.write(tmp_path, tmp_path / "times", tmp_path)
    names = [path.relative_to(tmp_path).as_posix() for path in paths]
    assert names == ["evidence.md", "evidence/roads_short.md", "evidence_roads.png"]
    page, text = (path.read_text() for path in paths[:2])
    # Seeds with a lead of 0.5 and 1.5: mean 1, standard deviation 0.71, share of the oracle's 0.5.
    assert "+1.00 ± 0.71 (+0.50)" in text
    assert "0.50 ± 0.35" in text
    assert "gain at 0.01 (6)" in text
    assert "over the static line, ms" in text
    assert "**features**, chosen on folds" in text
    assert "[shortened Lite0 + Lite0](evidence/roads_short.md)" in page
    assert "1.000 ± 0.000 / 2.000 ± 0.000" in page
    assert re.search(r"shortened Lite0 \+ Lite0 +\| 10.0 / 20.0", page)
    assert "static Lite1" in page
    assert "No results yet" not in page
    assert paths[2].read_bytes().startswith(b"\x89PNG")


def test_the_comparison_shows_the_inputs_that_val_chose() -> None:
    """`rpn` leads by 1 and 2; over the line from 40 at 1 to 42 at 2 it is that at half hard."""
    text = summary.pages(RESULTS, [])["evidence.md"]
    lead = r" \+1.50 ± 0.71 +\|"
    row = rf"shortened Lite0 \+ Lite0 +\| rpn +\|{lead * 3} \+2.30 ± 0.71 +\|{lead} \+0.70"
    assert re.search(row, text)


def test_the_pair_that_is_shown_has_a_plot_with_the_static_ones_of_its_cost(tmp_path: Path) -> None:
    """Its routes cost 1 and 2; of the static ones 0.94 and 2.11 are too far away."""
    costs = {"a": 0.94, "b": 0.96, "c": 2.09, "d": 2.11}
    statics = [static(1, 40.0, cost, name) for name, cost in costs.items()]
    results = [dynamic(1, 0.5, SHOWN), *statics]
    every = groups(results, "val")
    own = next(group for group in every if group.dynamic)
    assert [group.setup for group in near(own, every)] == [SHOWN, "b", "c"]
    for result in results:
        write(result, tmp_path)
    paths = summary.write(tmp_path, tmp_path / "times", tmp_path)
    assert paths[-1].name == "evidence_roads_shown.png"
    assert paths[-1].read_bytes() != paths[-2].read_bytes()


def test_setups_that_nobody_knows_are_shown_by_their_names() -> None:
    assert "own_idea" in summary.pages([dynamic(1, 0.5, "own_idea")], [])["evidence.md"]


def shipped() -> dict[str, str]:
    """Name -> text, of the pages as they are."""
    docs = ROOT / "docs"
    paths = [docs / summary.PAGE, *(docs / summary.DETAILS).iterdir()]
    return {path.relative_to(docs).as_posix(): path.read_text() for path in paths}


def test_the_shipped_pages_are_those_of_the_shipped_files() -> None:
    assert shipped() == summary.pages(read_all(SHIPPED), read_times(FOLDER))


@pytest.mark.parametrize("name", PAGES)
def test_figures_of_other_pages_are_in_the_pages(name: str) -> None:
    found = FIGURE.findall("".join(shipped().values()))
    known = {*found, *(figure.partition(" ")[0] for figure in found)}
    blocks = BLOCK.findall((ROOT / name).read_text())
    assert blocks, f"{name} has no evidence block"
    stale = [x for block in blocks for x in FIGURE.findall(block) if x not in known]
    assert stale == []


def test_result_files_name_no_folder_of_a_machine() -> None:
    for path in (*SHIPPED.glob("*.json"), *FOLDER.glob("*.json")):
        assert not re.search(r'[" ]/\w', path.read_text()), path
