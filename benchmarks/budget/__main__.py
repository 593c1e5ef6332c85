# SPDX-License-Identifier: Apache-2.0
"""How a ``BudgetController`` keeps a budget on made-up streams, beside a threshold that stays.

    python -m benchmarks.budget [--seeds 5] [--output FILE.json]

Writes FILE.json and FILE.md. A simulation: no detector runs and no clock is read.
"""

import argparse
import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.budget import measures
from benchmarks.budget.scenarios import (
    EASY,
    HARD,
    IMAGES,
    SCATTER,
    SCENARIOS,
    TARGET,
    Scenario,
    calibration,
)
from benchmarks.budget.simulate import Course, simulate
from dynamicdet_d2.operating_point import Calibration
from dynamicdet_d2.utils.files import whole_file

OUTPUT = Path(__file__).parents[1] / "results" / "budget.json"
HEADER = (
    "| stream | threshold | mean / target | late | within 5 % | settles after | overshoot "
    "| moves |\n|---|---|---|---|---|---|---|---|\n"
)
ABOUT = f"""# Budgets on simulated streams

{IMAGES} images each: easy {EASY:g} ms, hard {HARD:g} ms, times that scatter by
{100 * SCATTER:g} %; the target is {TARGET:g} ms per image where the stream says no other. At each
image the mean of the last {measures.SPAN} (p95: of the last {measures.PERCENTILE_SPAN}) is held
against the target. No detector ran and no clock was read.

- mean / target: of the whole stream
- late: of a p95, the share of the images that took longer than the target
- within 5 %: share of the stream in which the figure is within 5 % of the target (a p95: or below)
- settles after: images after a change until it is, and stays so for {measures.HOLD}; of the slowest
  change; those that the figure is taken over are among them
- overshoot: the worst figure above the target
- moves: changes of the threshold per 100 images

Medians of SEEDS seeds. Written by `python -m benchmarks.budget`.

"""


def figures(scenario: Scenario, course: Course) -> dict[str, Any]:
    """Of one stream; ``settling`` is of the slowest change, infinite where one never does."""
    target, percentile = scenario.target["target_ms"], scenario.target.get("percentile")
    values = measures.moving(course.milliseconds, percentile)
    span = IMAGES - len(values) + 1
    kept = measures.kept(values, target, percentile)
    ends = [*scenario.changes[1:], IMAGES]
    changes = zip(scenario.changes, ends, strict=bool(scenario.changes))
    settled = [measures.settling(kept, start, end, span) for start, end in changes]
    late = None if percentile is None else float(np.mean(course.milliseconds > target))
    return {
        "mean_over_target": float(course.milliseconds.mean() / target),
        "late_share": late,
        "share_kept": float(kept.mean()),
        "settling": max((math.inf if x is None else x for x in settled), default=None),
        "overshoot": measures.overshoot(values, target),
        "moves_per_100": float(100 * np.mean(np.diff(course.thresholds) != 0)),
        "hard_fraction": float(course.hard.mean()),
        "drift_at": course.drift_at,
    }


def summary(scenario: Scenario, record: Calibration, seeds: int, *, moves: bool) -> dict[str, Any]:
    """Medians over the seeds; None where most have none."""
    runs = [figures(scenario, simulate(scenario, record, s, moves=moves)) for s in range(seeds)]
    medians: dict[str, Any] = {}
    for name in runs[0]:
        known = [run[name] for run in runs if run[name] is not None]
        medians[name] = float(np.median(known)) if 2 * len(known) > seeds else None
    return {"stream": scenario.what, "threshold": "moved" if moves else "fixed", **medians}


def row(figures: dict[str, Any]) -> str:
    """Of the table."""
    settling = "" if figures["settling"] is None else f"{figures['settling']:.0f}"
    cells = (
        figures["stream"],
        figures["threshold"],
        f"{figures['mean_over_target']:.3f}",
        "" if figures["late_share"] is None else f"{100 * figures['late_share']:.1f} %",
        f"{100 * figures['share_kept']:.0f} %",
        settling.replace("inf", "never"),
        f"{100 * figures['overshoot']:.0f} %",
        f"{figures['moves_per_100']:.1f}",
    )
    return f"| {' | '.join(cells)} |\n"


def to_json(content: Any) -> Any:
    """Without infinity, which JSON does not have."""
    if isinstance(content, dict):
        return {key: to_json(value) for key, value in content.items()}
    if isinstance(content, list):
        return [to_json(value) for value in content]
    return "never" if content == math.inf else content


def drift_lines(rows: list[dict[str, Any]]) -> str:
    """Which streams were warned of."""
    warned = [
        f"`{x['stream']}` (first after {x['drift_at']:.0f} images)"
        for x in rows
        if x["threshold"] == "moved" and x["drift_at"] is not None
    ]
    return f"\n`DifficultyDriftWarning` in: {', '.join(warned) or 'none'}.\n"


def main() -> None:
    """Simulate, print the table, write the files."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--seeds", type=int, default=5)
    options.add_argument("--output", type=Path, default=OUTPUT, metavar="FILE.json")
    args = options.parse_args()
    record = calibration()
    rows = [
        summary(scenario, record, args.seeds, moves=moves)
        for scenario in SCENARIOS
        for moves in (False, True)
    ]
    table = HEADER + "".join(map(row, rows)) + drift_lines(rows)
    print(table, end="")
    with whole_file(args.output) as file:
        content = {"seeds": args.seeds, "images": IMAGES, "streams": rows}
        file.write((json.dumps(to_json(content), indent=1) + "\n").encode())
    with whole_file(args.output.with_suffix(".md")) as file:
        file.write((ABOUT.replace("SEEDS", str(args.seeds)) + table).encode())


if __name__ == "__main__":
    main()
