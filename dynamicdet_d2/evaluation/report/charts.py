# SPDX-License-Identifier: Apache-2.0
"""The charts of a trade-off: AP against cost, difficulties, and gains of single images.

The same code draws tradeoff.png and the page's charts.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from dynamicdet_d2.evaluation.tradeoff.points import CurvePoint, Point, Task
from dynamicdet_d2.evaluation.tradeoff.record import PrecisionCurve, Series, Tradeoff
from dynamicdet_d2.evaluation.tradeoff.routes import ImageRoute
from dynamicdet_d2.utils import charts

Cost = Literal["gflops", "latency_ms"]


@dataclass(frozen=True)
class _CostAxis:
    title: str
    unit: str


AXES: dict[Cost, _CostAxis] = {
    "gflops": _CostAxis("average cost (GFLOPs, multiply-adds)", "GFLOPs"),
    "latency_ms": _CostAxis("latency (ms per image)", "ms"),
}
# Colour and marker of other detectors, in turns.
_OTHERS = (
    (charts.GREEN, "^"),
    (charts.PURPLE, "v"),
    (charts.BROWN, "P"),
    (charts.TEAL, "X"),
)
# Of labels, in points. The curves rise as a rule, so that there is room above on the left of inner
# points and below the ends, outside of them.
_INNER, _EASY_END, _HARD_END, _OTHER = (-6, 4), (-6, -5), (6, -5), (6, -5)
# What a curve is called where all images take one route.
_END_NAMES = {0.0: "all easy", 1.0: "all hard"}
# Images in the chart of gains; more would only make the file large.
_MOST_IMAGES = 2000


def tradeoff_png(tradeoff: Tradeoff) -> bytes:
    """All charts in one file: a row of panels for each task, and the difficulties."""
    with charts.chart_style():
        return charts.png(tradeoff_figure(tradeoff))


def tradeoff_figure(tradeoff: Tradeoff) -> Figure:
    """The figure of ``tradeoff_png``."""
    shown = costs(tradeoff)
    rows, columns = len(tradeoff.tasks), len(shown)
    figure = charts.new_figure(4.7 * columns + 3.4, 4.3 * rows + 0.5)
    grid = figure.add_gridspec(rows, columns + 1, width_ratios=[3] * columns + [2])
    labels = []
    for i, task in enumerate(tradeoff.tasks):
        for j, cost in enumerate(shown):
            labels += _draw_curves(figure.add_subplot(grid[i, j]), tradeoff, task, cost)
    _draw_difficulties(figure.add_subplot(grid[0, -1]), tradeoff)
    _legend_below(figure, 1 + 2 * columns)
    title = f"{tradeoff.dataset}, {tradeoff.num_images} images, {tradeoff.device}"
    figure.suptitle(title, fontsize=11)
    charts.spread_labels(figure, labels)
    return figure


def curve_svg(tradeoff: Tradeoff, task: Task, cost: Cost) -> str:
    """AP of a task against a cost, for the page."""
    with charts.chart_style():
        figure = charts.new_figure(5.4, 4.2)
        labels = _draw_curves(figure.add_subplot(), tradeoff, task, cost)
        _legend_below(figure, 2)
        charts.spread_labels(figure, labels)
        return charts.svg(figure, f"{task} AP against {AXES[cost].title}")


def difficulties_svg(tradeoff: Tradeoff) -> str:
    """How many images have which difficulty, for the page."""
    with charts.chart_style():
        figure = charts.new_figure(5.4, 3.6)
        _draw_difficulties(figure.add_subplot(), tradeoff)
        return charts.svg(figure, "histogram of the difficulties")


def gains_svg(routes: Sequence[ImageRoute]) -> str:
    """The gain of each image against its difficulty, for the page."""
    with charts.chart_style():
        figure = charts.new_figure(5.4, 3.6)
        _draw_gains(figure.add_subplot(), routes)
        _legend_below(figure, 2)
        return charts.svg(figure, "gain of each image against its difficulty")


def precision_svg(curves: Sequence[PrecisionCurve]) -> str:
    """Precision against recall of some operating points, for the page.

    Args:
        curves: of one task at one IoU, by ascending hard fraction.
    """
    with charts.chart_style():
        figure = charts.new_figure(5.4, 4.0)
        axes = figure.add_subplot()
        # The last one lies over the others, which can be seen between its dots.
        styles = ((charts.INK, "-"), (charts.BLUE, "-"), (charts.ORANGE, ":"))
        for curve, (color, line) in zip(curves, styles, strict=False):
            name = _END_NAMES.get(curve.hard_fraction, f"{curve.hard_fraction:g} hard")
            recall = np.linspace(0, 100, len(curve.precision))
            axes.plot(recall, curve.precision, line, color=color, lw=1.8, label=name)
        axes.set_xlabel("recall (%)")
        axes.set_ylabel("precision (%)")
        axes.set_xlim(0, 102)
        axes.set_ylim(0, 105)
        axes.grid()
        _legend_below(figure, 3)
        return charts.svg(figure, f"{curves[0].task} precision at IoU {curves[0].iou:g}")


def costs(tradeoff: Tradeoff) -> list[Cost]:
    """What there is to draw AP against."""
    return [cost for cost in AXES if getattr(tradeoff.easy_end, cost) is not None]


def _draw_curves(axes: Axes, tradeoff: Tradeoff, task: Task, cost: Cost) -> list[Annotation]:
    """One panel; its labels, the most important ones first."""
    points = sorted(tradeoff.curve, key=attrgetter("realised_hard_fraction"))
    figures = [point.tasks[task] for point in points]
    x = _curve_costs(tradeoff, points, cost)
    random, spread = _column(figures, "random_AP"), _column(figures, "random_AP_std")
    low, high = random - 2 * spread, random + 2 * spread
    axes.fill_between(x, low, high, color=charts.GREY, alpha=0.22, linewidth=0)
    axes.plot(x, _column(figures, "AP"), "-", color=charts.BLUE, lw=1.8, zorder=2.5, label="router")
    name = "random routing (mean; band: 2 std of one draw)"
    axes.plot(x, random, "--", color=charts.GREY, label=name)
    axes.plot(x, _column(figures, "oracle_AP"), ":", color=charts.ORANGE, lw=1.8, label="oracle")
    labels = _mark_points(axes, tradeoff, task, cost)
    for i, series in enumerate(tradeoff.comparisons):
        labels += _draw_series(axes, series, task, cost, *_OTHERS[i % len(_OTHERS)])
    axes.set_xlabel(AXES[cost].title)
    axes.set_ylabel(f"{task} AP")
    axes.grid()
    axes.margins(x=0.17, y=0.08)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    return labels


def _curve_costs(
    tradeoff: Tradeoff, points: Sequence[CurvePoint], cost: Cost
) -> NDArray[np.float64]:
    """(P,) Latency was measured at the operating points alone; the curve's is that of eq. 14.

    So the curve is smooth, and how far a marker is off shows how exact the measurement is.
    """
    if cost == "gflops":
        return _column(points, "gflops")
    easy, hard = _column([tradeoff.easy_end, tradeoff.hard_end], "latency_ms")
    return easy + (hard - easy) * _column(points, "realised_hard_fraction")


class _Place(NamedTuple):
    """Where something is marked, and what it is called beside the marker and in a hint."""

    x: float
    y: float
    name: str
    hint: str


def _mark_points(axes: Axes, tradeoff: Tradeoff, task: Task, cost: Cost) -> list[Annotation]:
    inner = [(point, f"{point.hard_fraction:g} hard") for point in tradeoff.inner_points]
    places = {
        "easy": _places([(tradeoff.easy_end, "all easy")], task, cost),
        "hard": _places([(tradeoff.hard_end, "all hard")], task, cost),
        "inner": _places(inner, task, cost),
        "own": _places([(tradeoff.operating_point, "threshold as set")], task, cost),
    }
    ends = {"marker": "s", "s": 30, "color": charts.INK, "label": "one route for all images"}
    own = {"marker": "D", "s": 55, "facecolors": "none", "edgecolors": charts.BLUE}
    _mark(axes, [*places["easy"], *places["hard"]], **ends)
    _mark(axes, places["inner"], marker="o", s=26, color=charts.BLUE)
    _mark(axes, places["own"], **own, label="threshold as set")
    return [
        *_labels(axes, places["easy"], _EASY_END),
        *_labels(axes, places["hard"], _HARD_END),
        *_labels(axes, places["inner"], _INNER),
    ]


def _places(points: Iterable[tuple[Point, str]], task: Task, cost: Cost) -> list[_Place]:
    """Of the named points; one without AP has none."""
    found = []
    for point, name in points:
        x, y = getattr(point, cost), point.tasks[task].AP
        if y is not None:
            found.append(_Place(x, y, name, f"{name}: {y:.2f} AP, {x:.4g} {AXES[cost].unit}"))
    return found


def _draw_series(
    axes: Axes, series: Series, task: Task, cost: Cost, color: str, marker: str
) -> list[Annotation]:
    """Another detector, as far as AP and cost of it are known."""
    places = []
    for point in series.points:
        x, y = getattr(point, cost), point.ap(task)
        if x is not None and y is not None:
            said = f"{series.full_name(point)}: {y:.2f} AP, {x:.4g}"
            places.append(_Place(x, y, point.label, said))
    axes.plot([p.x for p in places], [p.y for p in places], "-.", color=color, lw=1)
    # Behind a blank, as Matplotlib leaves what begins with "_" out of legends.
    name = f" {series.name}" if series.name.startswith("_") else series.name
    _mark(axes, places, marker=marker, s=28, color=color, label=name)
    return _labels(axes, places, _OTHER)


def _mark(axes: Axes, places: Sequence[_Place], **style: Any) -> None:
    x, y = [place.x for place in places], [place.y for place in places]
    charts.dots(axes, x, y, [place.hint for place in places], zorder=3, **style)


def _labels(axes: Axes, places: Sequence[_Place], offset: tuple[float, float]) -> list[Annotation]:
    return [charts.label(axes, place.name, place.x, place.y, *offset) for place in places]


def _draw_difficulties(axes: Axes, tradeoff: Tradeoff) -> None:
    histogram = tradeoff.difficulty.histogram
    charts.bars(axes, histogram.edges, histogram.counts, "images")
    axes.set_ylim(0, 1.3 * max(*histogram.counts, 1))
    axes.margins(x=0.08)
    for point in tradeoff.inner_points:
        axes.axvline(point.threshold, color=charts.INK, linewidth=1, linestyle="--")
        axes.annotate(
            f"{point.hard_fraction:g} hard",
            (point.threshold, 1),
            xytext=(-2, -2),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            rotation=90,
            ha="right",
            va="top",
            fontsize=8,
        )
    axes.set_xlabel("difficulty (lines: thresholds)")
    axes.set_ylabel("images")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))


def _draw_gains(axes: Axes, routes: Sequence[ImageRoute]) -> None:
    step = max(-(-len(routes) // _MOST_IMAGES), 1)
    axes.axhline(0, color=charts.SOFT, linewidth=1)
    for route, color in (("easy", charts.BLUE), ("hard", charts.ORANGE)):
        shown = [image for image in routes[::step] if image.route == route]
        charts.dots(
            axes,
            [image.difficulty for image in shown],
            [image.gain for image in shown],
            [f"{_image_name(image)}: {image.gain:+.4f}" for image in shown],
            s=14,
            color=color,
            alpha=0.55,
            linewidths=0,
            label=f"{route} route",
        )
    axes.set_xlabel("difficulty")
    axes.set_ylabel("gain by the hard route (% AP)")
    axes.grid()


def _image_name(image: ImageRoute) -> str:
    return Path(image.file_name).name or str(image.image_id)


def _legend_below(figure: Figure, columns: int) -> None:
    """Below the panels, where no curve can be."""
    names = figure.axes[0].get_legend_handles_labels()
    figure.legend(*names, loc="outside lower center", ncols=columns, fontsize=8)


def _column(rows: Sequence[object], name: str) -> NDArray[np.float64]:
    """(R,) attribute of each row; NaN for None."""
    return np.array([getattr(row, name) for row in rows], dtype=np.float64)
