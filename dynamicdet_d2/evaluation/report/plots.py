# SPDX-License-Identifier: Apache-2.0
"""The picture of a trade-off: AP against cost for the router, random routing and the oracle.

Drawn from the content of tradeoff.json alone, by matplotlib's objects, without a display.
"""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator

from dynamicdet_d2.evaluation.audit import PREFIX

Row = Mapping[str, Any]

# Told apart without colour too (line style and marker), and by colour-blind readers.
_ROUTER, _RANDOM, _ORACLE, _ENDS = "#0b5394", "#7f7f7f", "#c55a11", "#111111"
# Offset in points and side of the text: the ends' outside the curves, which rise as a rule, so
# that the inner points have room above on their left.
_INNER_LABEL = (-5, 5, "right")
_END_LABELS = {"all easy": (-6, -3, "right"), "all hard": (6, -3, "left")}
# Colour and marker of other detectors, in turns.
_OTHERS = (("#2a7d4f", "^"), ("#7b3fa0", "v"), ("#a0522d", "P"), ("#00788a", "X"))
COSTS = {"gflops": "average cost (GFLOPs, multiply-adds)", "latency_ms": "latency (ms an image)"}


def tradeoff_png(tradeoff: Mapping[str, Any]) -> bytes:
    """A PNG: one row of panels for boxes, one more for masks, and the difficulties.

    Args:
        tradeoff: content of tradeoff.json.
    """
    tasks = [task for task in PREFIX if tradeoff["points"][0][task] is not None]
    costs = [cost for cost in COSTS if tradeoff["points"][0][cost] is not None]
    figure = Figure(figsize=(4.7 * len(costs) + 3.4, 4.3 * len(tasks) + 0.5), dpi=130)
    FigureCanvasAgg(figure)
    figure.set_layout_engine("constrained")
    grid = figure.add_gridspec(len(tasks), len(costs) + 1, width_ratios=[3] * len(costs) + [2])
    panels = [
        (figure.add_subplot(grid[i, j]), task, cost)
        for i, task in enumerate(tasks)
        for j, cost in enumerate(costs)
    ]
    for axes, task, cost in panels:
        _draw_curves(axes, tradeoff, task, cost)
    _draw_difficulties(figure.add_subplot(grid[0, -1]), tradeoff)
    # Below the panels, where no curve can be.
    names = panels[0][0].get_legend_handles_labels()
    figure.legend(*names, loc="outside lower center", ncols=1 + 2 * len(costs), fontsize=9)
    figure.suptitle(_title(tradeoff), fontsize=11)
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()


def _title(tradeoff: Mapping[str, Any]) -> str:
    return f"{tradeoff['dataset']}, {tradeoff['num_images']} images, {tradeoff['device']}"


def _draw_curves(axes: Axes, tradeoff: Mapping[str, Any], task: str, cost: str) -> None:
    points, prefix = tradeoff["points"], PREFIX[task]
    rows = sorted(tradeoff["curve"], key=lambda row: row["realised_hard_fraction"])
    x = curve_costs(rows, points, cost)
    random, spread = (column(rows, f"{prefix}random_AP{s}") for s in ("", "_std"))
    axes.fill_between(
        x, random - 2 * spread, random + 2 * spread, color=_RANDOM, alpha=0.2, linewidth=0
    )
    axes.plot(x, column(rows, f"{prefix}oracle_AP"), ":", color=_ORACLE, label="oracle")
    axes.plot(x, column(rows, f"{prefix}AP"), "-", color=_ROUTER, label="router")
    axes.plot(
        x, random, "--", color=_RANDOM, label="random routing (mean; band: 2 std of one draw)"
    )
    for i, series in enumerate(tradeoff.get("comparisons", ())):
        _draw_comparison(axes, series, prefix, cost, _OTHERS[i % len(_OTHERS)])
    _mark_points(axes, tradeoff, task, cost)
    axes.set_xlabel(COSTS[cost])
    axes.set_ylabel(f"{task} AP")
    axes.grid(alpha=0.3)
    axes.margins(x=0.17, y=0.07)


def _draw_comparison(axes: Axes, series: Row, prefix: str, cost: str, style: tuple) -> None:
    color, marker = style
    x, y = column(series["points"], cost), column(series["points"], f"{prefix}AP")
    line = {"color": color, "marker": marker, "linewidth": 1, "markersize": 5}
    axes.plot(x, y, linestyle="-.", label=series["name"], **line)
    for label, *place in zip([p["label"] for p in series["points"]], x, y, strict=True):
        if np.isfinite(place).all():
            _label(axes, label, *place, (5, -10, "left"))


def _mark_points(axes: Axes, tradeoff: Mapping[str, Any], task: str, cost: str) -> None:
    points, own = tradeoff["points"], tradeoff["operating_point"]
    inner = inner_points(points)
    axes.plot(*_places(inner, task, cost), "o", color=_ROUTER, markersize=5)
    ends = [points[0], points[-1]]
    style = {"color": _ENDS, "markersize": 6}
    axes.plot(*_places(ends, task, cost), "s", **style, label="one route for all images")
    style = {"color": _ROUTER, "markersize": 9, "markerfacecolor": "none"}
    axes.plot(*_places([own], task, cost), "D", **style, label="threshold as set")
    names = ["all easy", "all hard", *(f"{point['hard_fraction']:g} hard" for point in inner)]
    for name, x, y in zip(names, *_places([*ends, *inner], task, cost), strict=True):
        if np.isfinite(y):
            _label(axes, name, x, y, _END_LABELS.get(name, _INNER_LABEL))


def inner_points(points: Sequence[Row]) -> list[Row]:
    """The points that use both routes."""
    return [point for point in points if 0 < point["realised_hard_fraction"] < 1]


def _places(points: Sequence[Row], task: str, cost: str) -> tuple[np.ndarray, np.ndarray]:
    return column(points, cost), column([point[task] for point in points], "AP")


def _label(axes: Axes, text: str, x: float, y: float, place: tuple[int, int, str]) -> None:
    right, up, side = place
    note = axes.annotate(
        text,
        (x, y),
        xytext=(right, up),
        textcoords="offset points",
        ha=side,
        fontsize=8,
        zorder=5,
    )
    note.set_path_effects([withStroke(linewidth=3, foreground="white")])


def curve_costs(rows: Sequence[Row], points: Sequence[Row], cost: str) -> np.ndarray:
    """The rows' costs. Latency was measured at the points alone: the rest by eq. 14, from the ends.

    So the curves are smooth, and how far a marker is off shows how exact the measurement is.
    """
    if cost in rows[0]:
        return column(rows, cost)
    easy, hard = points[0][cost], points[-1][cost]
    return easy + (hard - easy) * column(rows, "realised_hard_fraction")


def _draw_difficulties(axes: Axes, tradeoff: Mapping[str, Any]) -> None:
    histogram = tradeoff["difficulty"]["histogram"]
    edges, counts = np.array(histogram["edges"]), np.array(histogram["counts"])
    axes.bar(edges[:-1], counts, np.diff(edges), align="edge", color=_ROUTER, alpha=0.6)
    axes.set_ylim(0, 1.25 * max(counts.max(), 1))
    axes.margins(x=0.08)
    for point in inner_points(tradeoff["points"]):
        axes.axvline(point["threshold"], color=_ENDS, linewidth=1, linestyle="--")
        axes.annotate(
            f"{point['hard_fraction']:g} hard",
            (point["threshold"], 0.99),
            xycoords=("data", "axes fraction"),
            rotation=90,
            ha="right",
            va="top",
            fontsize=8,
        )
    axes.set_xlabel("difficulty (lines: thresholds)")
    axes.set_ylabel("images")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))


def column(rows: Sequence[Row], name: str) -> np.ndarray:
    return np.array([_or_nan(row[name]) for row in rows], dtype=np.float64)


def _or_nan(value: float | None) -> float:
    return np.nan if value is None else value
