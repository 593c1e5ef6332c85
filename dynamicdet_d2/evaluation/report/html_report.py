# SPDX-License-Identifier: Apache-2.0
"""report.html: a whole evaluation in one file, from tradeoff.json and routes.jsonl alone."""

import json
import os
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from dynamicdet_d2.evaluation.audit import PREFIX
from dynamicdet_d2.evaluation.report import html_page as html
from dynamicdet_d2.evaluation.report.comparisons import read_tradeoff
from dynamicdet_d2.evaluation.report.plots import COSTS, column, curve_costs, inner_points
from dynamicdet_d2.evaluation.report.svg import Chart
from dynamicdet_d2.evaluation.report.tables import (
    classes_table,
    detections_table,
    measured,
    points_cells,
    routes_cells,
    tasks,
    text,
    write_whole,
)

# Pictures of an evaluation's folder: file, heading, what they show.
PICTURES = (
    (
        "gallery.jpg",
        "Easiest and hardest images",
        "Detections from score 0.5 on, of the route taken.",
    ),
    (
        "misrouted.jpg",
        "Images sent the wrong way",
        "Gain: what the hard route of this image adds to the data set's box AP, in percent. "
        "Wrongly easy images would have gained most, wrongly hard ones lost most.",
    ),
)
SIZES = {"APs": "small (below 32x32)", "APm": "medium", "APl": "large (from 96x96 on)"}
# Images of the scatter of difficulty and gain; more would only make the file large.
SCATTER = 2000
_CURVES = (
    ("line", "router", "router"),
    ("line", "random", "random routing (band: 2 std of one draw)"),
    ("line", "oracle", "oracle"),
    ("dot", "end", "one route for all images"),
    ("dot", "own", "threshold as set"),
)

Row = Mapping[str, Any]


def write_html(folder: str | os.PathLike, comparisons: Sequence[Row] = ()) -> None:
    """Write report.html into the folder of an evaluation.

    Args:
        folder: with tradeoff.json and routes.jsonl, and pictures where there are any.
        comparisons: further series (see ``comparisons``) beside those of tradeoff.json.

    Raises:
        ValueError: a file is missing or not what it should be.
    """
    folder = Path(folder)
    tradeoff = with_comparisons(read_tradeoff(folder / "tradeoff.json"), comparisons)
    content = report_html(tradeoff, read_routes(folder / "routes.jsonl"), folder)
    write_whole(folder / "report.html", content.encode())


def with_comparisons(tradeoff: Row, comparisons: Sequence[Row]) -> dict[str, Any]:
    """The trade-off with further series to be drawn in."""
    return {**tradeoff, "comparisons": [*tradeoff.get("comparisons", ()), *comparisons]}


def read_routes(path: Path) -> list[dict[str, Any]]:
    """Lines of routes.jsonl.

    Raises:
        ValueError: the file is missing or no such file.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines]
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}.") from None
    except ValueError:
        raise ValueError(f"{path} is not a file of JSON lines.") from None


def report_html(tradeoff: Row, routes: Sequence[Row], folder: Path) -> str:
    """The page; pictures are taken from the folder."""
    title = f"Accuracy and cost on {tradeoff['dataset']}"
    parts = [
        f"<h1>{escape(title)}</h1>",
        html.paragraph(_subtitle(tradeoff), "soft"),
        _verdict(tradeoff),
        *(_curves(tradeoff, task) for task in tasks(tradeoff)),
        *(_points(tradeoff, task) for task in tasks(tradeoff)),
        _difficulties(tradeoff, routes),
        *(html.section(t, html.picture(folder / f, t), note=n) for f, t, n in PICTURES),
        _routes(tradeoff),
        *(_sizes(tradeoff, task) for task in tasks(tradeoff)),
        *(_classes(tradeoff, task) for task in tasks(tradeoff)),
        *(_detections(tradeoff, task) for task in tasks(tradeoff)),
        _comparisons(tradeoff),
        _measured(tradeoff),
    ]
    return html.page(title, parts)


def _subtitle(tradeoff: Row) -> str:
    date = f", {tradeoff['date'][:10]}" if "date" in tradeoff else ""
    return f"{tradeoff['num_images']} images, {tradeoff['device']}{date}"


def _verdict(tradeoff: Row) -> str:
    points = tradeoff["points"]
    middle = min(points, key=lambda point: abs(point["realised_hard_fraction"] - 0.5))
    shown = {
        "all easy (detector1)": points[0],
        "half hard": middle,
        "all hard (detector2)": points[-1],
    }
    items = [(name, f"{text(p['box']['AP'])} AP", _cost(p)) for name, p in shown.items()]
    share = middle["oracle_share"]
    if share is not None:
        items.append(("share of the oracle's gain", f"{share:.0%}", "at half hard; random is 0 %"))
    return html.section(
        "",
        html.paragraph(tradeoff["verdict"], "verdict"),
        *(html.paragraph(warning, "warning") for warning in tradeoff["warnings"]),
        html.tiles(items),
    )


def _cost(point: Row) -> str:
    ms = f", {point['latency_ms']:.2f} ms" if point["latency_ms"] is not None else ""
    return f"{point['gflops']:.4g} GFLOPs{ms}"


def _curves(tradeoff: Row, task: str) -> str:
    costs = [cost for cost in COSTS if tradeoff["points"][0][cost] is not None]
    charts = [(_curve(tradeoff, task, cost), "") for cost in costs]
    others = [
        ("line" if len(series["points"]) > 1 else "dot", f"o{i % 4}", series["name"])
        for i, series in enumerate(tradeoff.get("comparisons", ()))
    ]
    return html.section(
        f"{task.capitalize()} AP against cost",
        html.figures(charts),
        html.legend([*_CURVES, *others]),
    )


def _curve(tradeoff: Row, task: str, cost: str) -> str:
    points, prefix = tradeoff["points"], PREFIX[task]
    rows = sorted(tradeoff["curve"], key=lambda row: row["realised_hard_fraction"])
    others = tradeoff.get("comparisons", ())
    x = curve_costs(rows, points, cost)
    router, random, spread, oracle = (
        column(rows, f"{prefix}{name}")
        for name in ("AP", "random_AP", "random_AP_std", "oracle_AP")
    )
    low, high = random - 2 * spread, random + 2 * spread
    places = [(column(s["points"], cost), column(s["points"], f"{prefix}AP")) for s in others]
    # A point that lacks one of the two is not drawn, so the axes need no room for it.
    places = [tuple(v[np.isfinite(a + b)] for v in (a, b)) for a, b in places]
    chart = Chart.around(
        np.concatenate([x, column(points, cost), *(a for a, _ in places)]),
        np.concatenate([router, low, high, oracle, *(b for _, b in places)]),
        COSTS[cost],
        f"{task} AP",
    )
    chart.band(x, low, high, "random")
    for name, values in (("oracle", oracle), ("random", random), ("router", router)):
        chart.line(x, values, name)
    _mark_points(chart, tradeoff, task, cost)
    for i, series in enumerate(others):
        _mark_series(chart, series, f"{prefix}AP", cost, f"o{i % 4}")
    return chart.svg(f"{task} AP against {COSTS[cost]}")


def _mark_points(chart: Chart, tradeoff: Row, task: str, cost: str) -> None:
    """Labels above and left of the points: the curves rise as a rule, and there is room."""
    points, own = tradeoff["points"], tradeoff["operating_point"]
    inner = inner_points(points)
    marks = [(point, f"{point['hard_fraction']:g} hard", "router") for point in inner]
    marks += [(points[0], "all easy", "end"), (points[-1], "all hard", "end")]
    for point, name, css in [(own, "threshold as set", "own"), *marks]:
        (x,), (y,) = column([point], cost), column([point[task]], "AP")
        unit = "ms" if cost == "latency_ms" else "GFLOPs"
        chart.dot(x, y, css, f"{name}: {y:.2f} AP, {x:.4g} {unit}", 8 if css == "own" else 4.5)
        if css != "own":
            chart.label(x, y, name, left=name != "all hard", below=css == "end")


def _mark_series(chart: Chart, series: Row, ap: str, cost: str, css: str) -> None:
    x, y = column(series["points"], cost), column(series["points"], ap)
    chart.line(x, y, css)
    for point, px, py in zip(series["points"], x, y, strict=True):
        chart.dot(px, py, css, f"{_named(series, point)}: {py:.2f} AP, {px:.4g}")
        chart.label(px, py, point["label"], left=False, below=True)


def _points(tradeoff: Row, task: str) -> str:
    headings, rows = points_cells(tradeoff, task)
    return html.section(
        f"Operating points, {task}",
        html.table(headings, rows, own=len(rows) - 1),
        note="An image is hard iff its difficulty is above the threshold. The last row is the "
        "model's threshold as set.",
    )


def _difficulties(tradeoff: Row, routes: Sequence[Row]) -> str:
    correlations = tradeoff["rank_correlation"]
    names = {
        "gain": "detector2's gain",
        "loss_gap": "the loss gap L1 - L2",
        "drawn_difficulty": "the difficulty drawn",
    }
    said = [
        f"{correlations[key]:.2f} with {name}"
        for key, name in names.items()
        if correlations.get(key) is not None
    ]
    charts = [
        (_histogram(tradeoff), "How many images have which difficulty; lines: thresholds."),
        (
            _scatter(routes),
            "Each dot is an image; those on the wrong side of 0 went the wrong way.",
        ),
    ]
    return html.section(
        "Difficulty",
        html.figures(charts),
        html.legend([("dot", "easy", "easy route"), ("dot", "hard", "hard route")]),
        note=f"Rank correlation (Spearman's) of the difficulty: {', '.join(said)}." if said else "",
    )


def _histogram(tradeoff: Row) -> str:
    histogram = tradeoff["difficulty"]["histogram"]
    edges, counts = histogram["edges"], histogram["counts"]
    margin = 0.04 * (edges[-1] - edges[0])
    chart = Chart(
        (edges[0] - margin, edges[-1] + margin), (0, 1.3 * max(*counts, 1)), "difficulty", "images"
    )
    for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True):
        chart.bar(low, high, count, "bar", f"{count} images from {low:.4f} to {high:.4f}")
    for point in inner_points(tradeoff["points"]):
        chart.vertical(point["threshold"], f"{point['hard_fraction']:g} hard", "mark")
    return chart.svg("histogram of the difficulties")


def _scatter(routes: Sequence[Row]) -> str:
    step = max(-(-len(routes) // SCATTER), 1)
    shown = routes[::step]
    x, y = ([route[key] for route in shown] for key in ("difficulty", "gain"))
    chart = Chart.around(x, [*y, 0.0], "difficulty", "gain by the hard route (% AP)")
    chart.line(chart.x, (0, 0), "zero")
    for route, px, py in zip(shown, x, y, strict=True):
        told = f"{Path(route['file_name']).name or route['image_id']}: {py:+.4f}"
        chart.dot(px, py, route["route"], told, 2.5)
    return chart.svg("gain of each image against its difficulty")


def _routes(tradeoff: Row) -> str:
    return html.section(
        "What each exit detects on the images of each route",
        html.table(*routes_cells(tradeoff["points"])),
        note="Box AP of the two detectors over the same images: the router is right where "
        "detector2 gains more on the hard images than on the easy ones.",
    )


def _sizes(tradeoff: Row, task: str) -> str:
    points = tradeoff["points"]
    headings = ["objects", *(f"{point['hard_fraction']:g} hard" for point in points)]
    rows = [[name, *(text(p[task][key]) for p in points)] for key, name in SIZES.items()]
    return html.section(
        f"{task.capitalize()} AP by size of the objects", html.table(headings, rows)
    )


def _classes(tradeoff: Row, task: str) -> str:
    return html.section(
        f"{task.capitalize()} AP by class", html.table(*classes_table(tradeoff, task))
    )


def _detections(tradeoff: Row, task: str) -> str:
    if f"{task}_detections" not in tradeoff["points"][0]:
        return ""
    return html.section(
        f"Precision and recall of {task} detections",
        html.table(*detections_table(tradeoff, task)),
        note=f"Precision / recall in percent: {tradeoff['notes']['detections']}",
    )


def _comparisons(tradeoff: Row) -> str:
    rows = [
        [_named(series, point), *(text(point[key]) for key in ("AP", "mask_AP"))]
        + [text(point[key], ".4g") for key in ("gflops", "latency_ms")]
        for series in tradeoff.get("comparisons", ())
        for point in series["points"]
    ]
    headings = ["detector", "box AP", "mask AP", "GFLOPs", "latency ms"]
    return html.section("Compared with", html.table(headings, rows) if rows else "")


def _named(series: Row, point: Row) -> str:
    if point["label"] == series["name"]:
        return series["name"]
    return f"{series['name']}, {point['label']}"


def _measured(tradeoff: Row) -> str:
    items = "".join(f"<li>{escape(line)}</li>" for line in measured(tradeoff))
    return html.section("How this was measured", f"<ul>{items}</ul>")
