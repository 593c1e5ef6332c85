# SPDX-License-Identifier: Apache-2.0
"""The files of a trade-off: tradeoff.json, .csv, .md and .png, from one dict.

All but the first can be written again from tradeoff.json alone.
"""

import csv
import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dynamicdet_d2.evaluation.audit import PREFIX
from dynamicdet_d2.evaluation.coco.sweep import FIGURE_NAMES
from dynamicdet_d2.evaluation.report.plots import tradeoff_png
from dynamicdet_d2.utils.files import whole_file

# Key of a point, heading, format. The comparison's keys have a prefix in the table of masks.
_COST = (
    ("threshold", "threshold", ".6g"),
    ("realised_hard_fraction", "realised", ".3f"),
    ("gflops", "GFLOPs", ".4g"),
    ("latency_ms", "latency ms", ".2f"),
    ("fps", "FPS", ".1f"),
)
FIGURES = FIGURE_NAMES[:6]  # as COCOEvaluator has them
_COMPARISON = (
    ("random_AP", "random AP", ".2f"),
    ("oracle_AP", "oracle AP", ".2f"),
    ("oracle_share", "share of oracle's gain", ".2f"),
)

Row = Mapping[str, Any]
# Headings and rows of a table.
Cells = tuple[list[str], list[list[str]]]


def write_report(
    tradeoff: Mapping[str, Any], directory: str | os.PathLike, with_json: bool = True
) -> None:
    """Write the four files; each is complete or as it was before.

    Args:
        tradeoff: what ``TradeoffEvaluator`` collects, or the content of tradeoff.json; of plain
            types, without NaN.
        directory: is created where it is missing.
        with_json: whether tradeoff.json is written too.

    Raises:
        ValueError: a number is not finite.
        OSError: the folder cannot be written to.
    """
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    contents = {}
    if with_json:
        content = json.dumps(tradeoff, indent=1, allow_nan=False)
        contents["tradeoff.json"] = content.encode() + b"\n"
    contents |= {
        "tradeoff.csv": csv_text(tradeoff).encode(),
        "tradeoff.md": markdown(tradeoff).encode(),
        "tradeoff.png": tradeoff_png(tradeoff),
    }
    for name, content in contents.items():
        write_whole(folder / name, content)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file; an interrupted write leaves the one that was there."""
    with whole_file(path) as file:
        file.write(content)


def csv_text(tradeoff: Mapping[str, Any]) -> str:
    """One line a point with all its numbers; nested keys joined by dots, undefined ones empty."""
    rows = [dict(_flat(point)) for point in tradeoff["points"]]
    content = io.StringIO()
    writer = csv.DictWriter(content, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return content.getvalue()


def _flat(point: Row, above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in point.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def markdown(tradeoff: Mapping[str, Any]) -> str:
    """The whole report as Markdown: verdict, tables, and how the figures were taken."""
    sections = [
        f"# Accuracy and cost on {tradeoff['dataset']}\n",
        f"{tradeoff['verdict']}\n",
        "".join(f"- **Warning.** {warning}\n" for warning in tradeoff["warnings"]),
        "![AP against cost](tradeoff.png)\n",
        *(points_table(tradeoff, task) for task in tasks(tradeoff)),
        "## What each exit detects on the images of each route\n\n"
        "Box AP of the two detectors over the same images: the router is right where detector2 "
        "gains more on the hard images than on the easy ones.\n",
        _table(*routes_cells(tradeoff["points"])),
        *(_detections_section(tradeoff, task) for task in tasks(tradeoff)),
        *(
            f"## {task.capitalize()} AP by class\n\n{_table(*classes_table(tradeoff, task))}"
            for task in tasks(tradeoff)
        ),
        "## How this was measured\n",
        "".join(f"- {line}\n" for line in measured(tradeoff)),
    ]
    return "\n".join(section for section in sections if section)


def points_table(tradeoff: Mapping[str, Any], task: str) -> str:
    """Cost, COCO figures and comparison of "box" or "mask"; the last line is the model's own."""
    return _table(*points_cells(tradeoff, task))


def points_cells(tradeoff: Mapping[str, Any], task: str) -> Cells:
    """Headings and rows of ``points_table``."""
    columns = [
        *_COST,
        *((f"{task}.{name}", f"{task} {name}", ".2f") for name in FIGURES),
        *((PREFIX[task] + key, heading, form) for key, heading, form in _COMPARISON),
    ]
    names = [f"{point['hard_fraction']:g}" for point in tradeoff["points"]] + ["as set"]
    rows = [
        [name, *(text(_at(point, key), form) for key, _, form in columns)]
        for name, point in zip(
            names, [*tradeoff["points"], tradeoff["operating_point"]], strict=True
        )
    ]
    return ["hard fraction", *(heading for _, heading, _ in columns)], rows


def tasks(tradeoff: Mapping[str, Any]) -> list[str]:
    """ "box", and "mask" where masks were evaluated."""
    return [task for task in PREFIX if tradeoff["points"][0][task] is not None]


def _at(point: Row, key: str) -> Any:
    for part in key.split("."):
        point = point[part]
    return point


def text(value: float | None, form: str = ".2f") -> str:
    """A number as it is shown; "n/a" for None."""
    return "n/a" if value is None else format(value, form)


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table whose columns line up, so that it reads as plain text too."""
    widths = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]
    lines = [headings, ["-" * (width - 1) + ":" for width in widths], *rows]
    cells = [[cell.rjust(w) for cell, w in zip(line, widths, strict=True)] for line in lines]
    return "".join(f"| {' | '.join(line)} |\n" for line in cells)


def routes_cells(points: Sequence[Row]) -> Cells:
    """What each exit detects on the images of each route, a row a point."""
    headings = ["hard fraction"]
    for route in ("easy", "hard"):
        headings += [f"{route}: images", f"{route}: detector1", f"{route}: detector2"]
    rows = []
    for point in points:
        cells = [f"{point['hard_fraction']:g}"]
        for route in (point["routes"][name] for name in ("easy", "hard")):
            aps = [text(route[f"AP_detector{i}"]) for i in (1, 2)]
            cells += [str(route["images"]), *aps]
        rows.append(cells)
    return headings, rows


def _detections_section(tradeoff: Mapping[str, Any], task: str) -> str:
    return (
        f"## Precision and recall of {task} detections\n\n"
        f"Precision / recall in percent: {tradeoff['notes']['detections']}\n\n"
        f"{_table(*detections_table(tradeoff, task))}"
    )


def detections_table(tradeoff: Mapping[str, Any], task: str) -> Cells:
    """Precision / recall, over all classes together and for each."""
    detections = [point[f"{task}_detections"] for point in tradeoff["points"]]
    headings = ["class", *(f"{point['hard_fraction']:g} hard" for point in tradeoff["points"])]
    rows = [["all together", *map(_rates, detections)]]
    for name in detections[0]["classes"]:
        rows.append([name, *(_rates(d["classes"][name]) for d in detections)])
    return headings, rows


def _rates(figures: Mapping[str, Any]) -> str:
    return f"{text(figures['precision'], '.1f')} / {text(figures['recall'], '.1f')}"


def classes_table(tradeoff: Mapping[str, Any], task: str) -> Cells:
    """AP of each class at each point."""
    points = tradeoff["points"]
    headings = ["class", *(f"{point['hard_fraction']:g} hard" for point in points)]
    rows = [
        [name, *(text(point[f"{task}_classes"][name]) for point in points)]
        for name in points[0][f"{task}_classes"]
    ]
    return headings, rows


def measured(tradeoff: Mapping[str, Any]) -> list[str]:
    """How the figures were taken, a sentence or two a line."""
    difficulty, latency = tradeoff["difficulty"], tradeoff["latency"]
    correlations = tradeoff["rank_correlation"]
    return [
        f"Images: {tradeoff['num_images']}, network input {_sizes(tradeoff['image_sizes'])}.",
        f"Device: {tradeoff['device']}, {tradeoff['fingerprint']['dtype']}.",
        f"Latency: {tradeoff['notes']['latency']}"
        if latency["images"]
        else "Latency: not measured.",
        f"GFLOPs: {tradeoff['notes']['gflops']}",
        f"Random routing: {tradeoff['notes']['random']}",
        f"Oracle: {tradeoff['notes']['oracle']}",
        f"Difficulties: mean {difficulty['mean']:.4f}, standard deviation "
        f"{difficulty['std']:.4f}, from {difficulty['min']:.4f} to {difficulty['max']:.4f}.",
        "Spearman's rank correlation of the difficulty: with detector2's gain in box AP "
        f"{text(correlations['gain'])}, with the loss gap L1 - L2 "
        f"{text(correlations['loss_gap'])}, with the drawn difficulty "
        f"{text(correlations['drawn_difficulty'])}.",
        f"Model's threshold, as set: {tradeoff['operating_point']['threshold']:.6g}, which makes "
        f"{tradeoff['operating_point']['realised_hard_fraction']:.1%} of the images hard. "
        f"Loss offset: {text(tradeoff['loss_offset'], '.4f')}.",
        "Versions: " + ", ".join(f"{k} {v}" for k, v in tradeoff["versions"].items()) + ".",
        f"Date: {tradeoff['date']}.",
    ]


def _sizes(sizes: Mapping[str, Sequence[int]]) -> str:
    smallest, largest = ("x".join(map(str, sizes[key])) for key in ("min", "max"))
    return smallest if smallest == largest else f"{smallest} to {largest} (height x width)"
