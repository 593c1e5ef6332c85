# SPDX-License-Identifier: Apache-2.0
"""The charts of a trade-off: AP against cost, difficulties, and gains of single images.

The same code draws tradeoff.png and the page's charts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from dynamicdet_d2.evaluation.tradeoff.points import Point, Task
from dynamicdet_d2.evaluation.tradeoff.record import Series, Tradeoff
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


def costs(tradeoff: Tradeoff) -> list[Cost]:
    """What there is to draw AP against."""
    return [cost for cost in AXES if getattr(tradeoff.easy_end, cost) is not None]


def _draw_curves(axes: Axes, tradeoff: Tradeoff, task: Task, cost: Cost) -> list[Annotation]:
    """One panel; its labels, the most important ones first."""
    points = sorted(tradeoff.curve, key=attrgetter("realised_hard_fraction"))
    figures = [point.tasks[task] for point in points]
    x = _curve_costs(tradeoff, [point.realised_hard_fraction for point in points], cost)
    if cost == "gflops":
        x = _column(points, "gflops")
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


def _mark_points(axes: Axes, tradeoff: Tradeoff, task: Task, cost: Cost) -> list[Annotation]:
    own, ends = [tradeoff.operating_point], [tradeoff.easy_end, tradeoff.hard_end]
    inner = list(tradeoff.inner_points)
    names = [f"{point.hard_fraction:g} hard" for point in inner]
    draw = _Marks(axes, task, cost)
    legend = "one route for all images"
    draw(ends, ["all easy", "all hard"], "s", charts.INK, 30, charts.INK, legend=legend)
    draw(inner, names, "o", charts.BLUE, 26, charts.BLUE)
    draw(own, ["threshold as set"], "D", charts.BLUE, 55, "none", legend="threshold as set")
    return [
        *draw.labels(ends[:1], ["all easy"], _EASY_END),
        *draw.labels(ends[1:], ["all hard"], _HARD_END),
        *draw.labels(inner, names, _INNER),
    ]


class _Marks:
    """Markers and labels of operating points in one panel; points without AP are left out."""

    def __init__(self, axes: Axes, task: Task, cost: Cost) -> None:
        self.axes, self.task, self.cost = axes, task, cost

    def __call__(
        self,
        points: Sequence[Point],
        names: Sequence[str],
        marker: str,
        color: str,
        area: float,
        fill: str,
        legend: str | None = None,
    ) -> None:
        """Draw markers of ``area`` square points."""
        known = self._known(points, names)
        unit = AXES[self.cost].unit
        charts.dots(
            self.axes,
            [x for _, x, _ in known],
            [y for _, _, y in known],
            [f"{name}: {y:.2f} AP, {x:.4g} {unit}" for name, x, y in known],
            marker=marker,
            s=area,
            facecolors=fill,
            edgecolors=color,
            zorder=3,
            label=legend,
        )

    def labels(
        self, points: Sequence[Point], names: Sequence[str], offset: tuple[float, float]
    ) -> list[Annotation]:
        """Names beside the points."""
        known = self._known(points, names)
        return [charts.label(self.axes, name, x, y, *offset) for name, x, y in known]

    def _known(
        self, points: Sequence[Point], names: Sequence[str]
    ) -> list[tuple[str, float, float]]:
        places = [(getattr(p, self.cost), p.tasks[self.task].AP) for p in points]
        return [
            (name, *place) for name, place in zip(names, places, strict=True) if None not in place
        ]


def _draw_series(
    axes: Axes, series: Series, task: Task, cost: Cost, color: str, marker: str
) -> list[Annotation]:
    """Another detector, as far as AP and cost of it are known."""
    places = [(getattr(point, cost), point.ap(task), point) for point in series.points]
    places = [place for place in places if None not in place[:2]]
    x, y = [place[0] for place in places], [place[1] for place in places]
    axes.plot(x, y, "-.", color=color, lw=1)
    hints = [f"{series.full_name(p)}: {b:.2f} AP, {a:.4g}" for a, b, p in places]
    charts.dots(axes, x, y, hints, marker=marker, s=28, color=color, label=series.name, zorder=3)
    return [charts.label(axes, point.label, a, b, *_OTHER) for a, b, point in places]


def _curve_costs(
    tradeoff: Tradeoff, hard_fractions: Sequence[float], cost: Cost
) -> NDArray[np.float64]:
    """Latency was measured at the points alone; the curve's is that of eq. 14, from the ends.

    So the curves are smooth, and how far a marker is off shows how exact the measurement is.
    """
    easy, hard = (getattr(end, cost) for end in (tradeoff.easy_end, tradeoff.hard_end))
    return easy + (hard - easy) * np.array(hard_fractions)


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
