# SPDX-License-Identifier: Apache-2.0
"""plan.png: AP against cost of every setting, their front, and the chosen point."""

from collections.abc import Sequence
from itertools import groupby, product
from typing import Any

from matplotlib.axes import Axes
from matplotlib.text import Annotation
from matplotlib.ticker import MaxNLocator

from dynamicdet_d2.calibration.plan.choice import UNITS, Cost, Plan, costs_of, front_of
from dynamicdet_d2.calibration.plan.curves import PlanPoint
from dynamicdet_d2.operating_point.knobs import KEYS
from dynamicdet_d2.utils import charts

_TITLES: dict[Cost, str] = {
    "gflops": "average cost (GFLOPs, multiply-adds)",
    "ms": "latency (ms per image)",
}
_LIMIT, _SIZE, _, _PRECISION = KEYS
# Of input sizes and of precisions, in turns.
_COLORS = (charts.BLUE, charts.ORANGE, charts.GREEN, charts.PURPLE, charts.BROWN, charts.TEAL)
_LINES = ("-", "--", ":")
# Of labels, in points: below the easy ends, on their left.
_EASY_END, _CHOSEN = (-6, -5), (8, -5)


def plan_png(plan: Plan) -> bytes:
    """A panel for each cost that was measured."""
    shown: list[Cost] = [cost for cost in UNITS if getattr(plan.points[0], cost) is not None]
    with charts.chart_style():
        figure = charts.new_figure(5.6 * len(shown), 4.9)
        labels = []
        for axes, cost in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
            labels += _draw(axes, plan, cost)
        handles, names = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=3 * len(shown), fontsize=8)
        title = f"{plan.dataset}, {plan.num_images} images, {plan.device}"
        figure.suptitle(title, fontsize=11)
        charts.spread_labels(figure, labels)
        return charts.png(figure)


def _draw(axes: Axes, plan: Plan, cost: Cost) -> list[Annotation]:
    """One panel; its labels, the most important ones first."""
    labels = []
    front = [plan.points[place] for place in front_of(plan.points, cost)]
    style: dict[str, Any] = {"color": charts.INK, "lw": 6, "alpha": 0.16, "label": "front"}
    axes.plot(costs_of(front, cost), _aps(front), solid_capstyle="round", **style)
    if plan.chosen is not None:
        point = plan.points[plan.chosen]
        place = getattr(point, cost), point.ap
        chosen = {"marker": "D", "s": 55, "facecolors": "none", "edgecolors": charts.INK}
        axes.scatter(*place, **chosen, zorder=4, label="chosen")
        labels.append(charts.label(axes, f"chosen, {point.ap:.2f} AP", *place, *_CHOSEN))
    labels += _draw_curves(axes, plan.points, cost)
    axes.set_xlabel(_TITLES[cost])
    axes.set_ylabel("box AP")
    axes.grid()
    axes.margins(x=0.14, y=0.08)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    return labels


def _draw_curves(axes: Axes, points: Sequence[PlanPoint], cost: Cost) -> list[Annotation]:
    """Colour by input size, line by precision; easy proposals are written at the easy ends."""
    curves = [list(own) for _, own in groupby(points, key=lambda point: point.keys)]
    sizes = list(dict.fromkeys(curve[0].keys[_SIZE] for curve in curves))
    precisions = list(dict.fromkeys(curve[0].keys[_PRECISION] for curve in curves))
    limits = {curve[0].keys[_LIMIT] for curve in curves}
    styles = {
        (size, precision): (_COLORS[i % len(_COLORS)], _LINES[j])
        for (i, size), (j, precision) in product(enumerate(sizes), enumerate(precisions))
    }
    labels, named = [], set()
    for curve in curves:
        own = curve[0].keys[_SIZE], curve[0].keys[_PRECISION]
        color, line = styles[own]
        name = f"input {own[0]}" + (f", {own[1]}" if len(precisions) > 1 else "")
        x = costs_of(curve, cost)
        label = None if own in named else name
        axes.plot(x, _aps(curve), line, color=color, lw=1.3, label=label)
        named.add(own)
        axes.scatter([x[0], x[-1]], [curve[0].ap, curve[-1].ap], s=14, color=color, zorder=3)
        if len(limits) > 1:
            text = str(curve[0].keys[_LIMIT] or "all proposals")
            labels.append(charts.label(axes, text, x[0], curve[0].ap, *_EASY_END))
    return labels


def _aps(points: Sequence[PlanPoint]) -> list[float]:
    return [point.ap for point in points]
