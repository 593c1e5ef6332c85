# SPDX-License-Identifier: Apache-2.0
"""The files of a plan, beside the calibration: plan.json, plan.md and plan.png."""

from collections.abc import Sequence
from pathlib import Path

from tabulate import tabulate

from dynamicdet_d2.calibration.plan.choice import UNITS, Plan, gains
from dynamicdet_d2.calibration.plan.curves import PlanPoint
from dynamicdet_d2.calibration.plan.plot import plan_png
from dynamicdet_d2.operating_point.knobs import as_pairs
from dynamicdet_d2.utils.files import whole_file, write_json
from dynamicdet_d2.utils.plain import to_plain

# Points of AP in the table of what a drop buys.
DROPS = (0.0, 0.5, 1.0, 2.0, 5.0)
# Rows of the front's table; plan.json has all.
_MOST_ROWS = 25


def plan_files(output: str) -> tuple[Path, Path, Path]:
    """Where the three files are, beside a calibration.

    Raises:
        ValueError: the calibration itself has one of their names.
    """
    folder = Path(output).absolute().parent
    if Path(output).stem == "plan":
        raise ValueError(f"--output {output} has the name of one of the plan's own files.")
    return folder / "plan.json", folder / "plan.md", folder / "plan.png"


def write_plan(plan: Plan, output: str) -> None:
    """All three; ones that are there are replaced."""
    as_json, as_markdown, as_png = plan_files(output)
    write_json(as_json, to_plain(plan), allow_nan=False)
    for path, content in ((as_markdown, markdown(plan).encode()), (as_png, plan_png(plan))):
        with whole_file(path) as file:
            file.write(content)


def markdown(plan: Plan) -> str:
    """plan.md."""
    name = " ".join(plan.dataset.splitlines())
    unit = UNITS[plan.cost]
    sections = [
        f"# Threshold and other knobs on {name}",
        f"{plan.num_images} images, {plan.device}, {plan.date}. AP of boxes in percent; GFLOPs are "
        "10^9 multiply-adds per image, ms mean milliseconds per image on this machine.",
        "![AP against cost](plan.png)",
        *_chosen(plan),
        f"## Points that no other one beats in AP and {unit}",
        _table(plan, _some(plan)),
        "Columns by their keys: easy proposals `MODEL.DYNAMIC.EASY_PROPOSALS` (0: as many as of a "
        "hard image), input `INPUT.MIN_SIZE_TEST` to `INPUT.MAX_SIZE_TEST`, precision "
        "`MODEL.INFERENCE.PRECISION`, threshold `MODEL.DYNAMIC.THRESHOLD`. "
        f"{len(plan.front)} points are on the front, plan.json has all.",
        "## What a drop of AP buys",
        "Against all images hard at the config's own input size and precision: the cheapest point "
        f"within the drop, and how many times fewer {unit} it has.",
        _gains(plan),
        "## Both ends of every setting",
        _table(plan, _ends(plan)),
    ]
    return "\n\n".join(sections) + "\n"


def chosen_line(plan: Plan) -> str:
    """The chosen point in one line."""
    if plan.chosen is None:
        return ""
    point = plan.points[plan.chosen]
    reference = plan.points[plan.reference]
    ms = "" if point.ms is None else f", {point.ms:.4g} ms"
    return (
        f"{point.ap:.2f} AP, {point.gflops:.4g} GFLOPs{ms} per image at hard fraction "
        f"{point.hard_fraction:g} (all hard at the config's own size and precision: "
        f"{reference.ap:.2f} AP, {reference.gflops:.4g} GFLOPs)"
    )


def _chosen(plan: Plan) -> list[str]:
    if plan.chosen is None:
        return []
    point = plan.points[plan.chosen]
    target = ", ".join(f"{name} {value:g}" for name, value in plan.target.items())
    keys = f"{as_pairs(point.keys)} MODEL.DYNAMIC.THRESHOLD {point.threshold!r}"
    return [f"## Chosen for {target}", f"{chosen_line(plan)}.", f"```\n{keys}\n```"]


def _some(plan: Plan) -> list[int]:
    """Places of the front, evenly thinned where it is long, with its ends and the chosen one."""
    last = len(plan.front) - 1
    rows = min(len(plan.front), _MOST_ROWS)
    kept = {plan.front[round(i * last / max(rows - 1, 1))] for i in range(rows)}
    if plan.chosen is not None:
        kept.add(plan.chosen)
    return [place for place in plan.front if place in kept]


def _ends(plan: Plan) -> list[int]:
    return [i for i, point in enumerate(plan.points) if point.hard_fraction in (0, 1)]


def _table(plan: Plan, places: Sequence[int]) -> str:
    rows = []
    for place in places:
        point = plan.points[place]
        mark = "chosen" if place == plan.chosen else ""
        rows.append([*_setting(point), *_figures(point), mark])
    headings = [*_SETTING, "hard fraction", "threshold", "AP", "GFLOPs", "ms", ""]
    return _markdown(rows, headings)


def _gains(plan: Plan) -> str:
    rows = [
        [f"{drop:g}", *_setting(point), *_figures(point), f"{times:.2f}"]
        for drop, point, times in gains(plan, DROPS)
    ]
    headings = ["drop", *_SETTING, "hard fraction", "threshold", "AP", "GFLOPs", "ms", "times"]
    return _markdown(rows, headings)


_SETTING = ["easy proposals", "input", "precision"]


def _setting(point: PlanPoint) -> list[str]:
    limit, least, most, precision = (str(value) for value in point.keys.values())
    return [limit, f"{least} to {most}", precision]


def _figures(point: PlanPoint) -> list[str]:
    ms = "" if point.ms is None else f"{point.ms:.4g}"
    figures = f"{point.hard_fraction:g}", f"{point.threshold:.6f}", f"{point.ap:.2f}"
    return [*figures, f"{point.gflops:.4g}", ms]


def _markdown(rows: Sequence[Sequence[str]], headings: Sequence[str]) -> str:
    """Without columns that are empty throughout."""
    columns = list(zip(headings, *rows, strict=True))
    kept = [column for column in columns if any(column[1:])]
    named, *cells = zip(*kept, strict=True)
    return tabulate(cells, named, tablefmt="github", disable_numparse=True)
