# SPDX-License-Identifier: Apache-2.0
"""Tables that pages show are those of the committed results."""

import json
from pathlib import Path

import pytest

from benchmarks import drawn_set_front, upgrade
from dynamicdet_d2.engine import step_memory

ROOT = Path(__file__).parents[2]
FRACTIONS = {"0", "0.1", "0.5", "0.9", "1"}


@pytest.mark.parametrize(
    ("page", "result", "first"),
    # GFLOPs, and the first of three columns beside each other: AP, random AP, oracle AP.
    [("README.md", "demo.json", (3, 6)), ("docs/yolo.md", "quickstart_yolo.json", (2, 3))],
)
def test_rows_of_a_trade_off(page: str, result: str, first: tuple[int, int]) -> None:
    content = json.loads((ROOT / "benchmarks" / "results" / result).read_text(encoding="utf-8"))
    points = {f"{point['hard_fraction']:g}": point for point in content["points"]}
    lines = (ROOT / page).read_text(encoding="utf-8").splitlines()
    table = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    rows = {row[0]: row for row in table if len(row) > first[1] + 2 and row[0] in FRACTIONS}
    assert rows.keys() == FRACTIONS
    for fraction, row in rows.items():
        point, (cost, ap) = points[fraction], first
        assert row[cost] == f"{point['gflops']:.4g}"
        figures = (point["box"]["AP"], point["random_AP"], point["oracle_AP"])
        assert row[ap : ap + 3] == [f"{figure:.2f}" for figure in figures]


def test_rows_of_exports() -> None:
    content = json.loads((ROOT / "benchmarks" / "results" / "export_demo.json").read_text())
    exports = content["exports"]
    lines = (ROOT / "docs" / "export.md").read_text(encoding="utf-8").splitlines()
    table = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    rows = {row[0]: row[1:] for row in table if row and row[0] in {"PyTorch", *exports}}
    assert rows.keys() == {"PyTorch", *exports}
    for name, row in rows.items():
        place = int(name != "PyTorch")
        own = exports.get(name) or next(iter(exports.values()))
        points = {point["threshold"]: point for point in own["points"]}
        shown = [points[t] for t in (1.0, own["threshold"], 0.0)]
        assert row[:3] == [f"{point['ap']['box'][place]:.2f}" for point in shown]
        assert row[3] == (f"{max(own['largest_ap_drop'], 0) + 0.0:.2f}" if place else "")
        assert row[4] == f"{100 * shown[1]['hard_fraction'][place]:.1f}"


def test_rows_of_exports_on_photographs() -> None:
    content = json.loads((ROOT / "benchmarks" / "results" / "export_photos.json").read_text())
    page = (ROOT / "docs" / "export.md").read_text(encoding="utf-8")
    names = {
        "PyTorch float32": ("PyTorch, optimised copy", 0),
        "onnxruntime float32": ("onnxruntime, float32", 1),
        "onnxruntime int8": ("onnxruntime, int8", 1),
    }
    for name, (said, place) in names.items():
        own = content["exports"].get(name) or next(iter(content["exports"].values()))
        points = {point["threshold"]: point["ap"]["box"][place] for point in own["points"]}
        figures = [points[1.0], points[0.0]]
        figures += [content["milliseconds"][f"{name}, {route}"] for route in ("easy", "hard")]
        cells = " | ".join(f"{figure:.2f}" for figure in figures)
        assert f"| {said} | {cells} |" in page


@pytest.mark.parametrize("result", ["upgrade.json", "upgrade_masks.json"])
def test_rows_of_upgrades(result: str) -> None:
    content = json.loads((ROOT / "benchmarks" / "results" / result).read_text(encoding="utf-8"))
    assert upgrade.table(content) in (ROOT / "docs" / "upgrade.md").read_text(encoding="utf-8")


def test_rows_beside_static_detectors() -> None:
    path = ROOT / "benchmarks" / "results" / "drawn_set_front.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    assert drawn_set_front.table(content) in (ROOT / "docs" / "drawn_set.md").read_text("utf-8")


def test_memory_of_steps_as_the_page_and_the_allowance_have_it() -> None:
    path = ROOT / "benchmarks" / "results" / "step_memory.json"
    measured = json.loads(path.read_text(encoding="utf-8"))["rows"]
    lines = (ROOT / "docs" / "training.md").read_text(encoding="utf-8").splitlines()
    for row in measured:
        cells = [f"`{row['config']}`", row["images"], row["pixels"], f"{row['saved_gb']:.2f}"]
        cells += [f"{row['ratio']:.2f}", f"{row['process_peak_gb']:.1f}"]
        assert f"| {' | '.join(map(str, cells))} |" in lines
    highest = max(row["ratio"] for row in measured)
    assert highest <= step_memory.ROOM < 1.1 * highest
    own = [row["process_peak_gb"] for row in measured if row["config"] == "own_data.yaml"]
    assert own and max(own) < 8
