# SPDX-License-Identifier: Apache-2.0
"""plan.png: AP against cost of every setting, their front, and the chosen point."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from matplotlib.axes import Axes
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
# Of easy proposals.
_MARKERS = ("o", "^", "s", "D", "v", "P", "X")
# Of the label, in points: above on the left, where a rising front has room.
_CHOSEN = (-8, 6)


def plan_png(plan: Plan) -> bytes:
    """A panel for each cost that was measured."""
    shown: list[Cost] = [cost for cost in UNITS if getattr(plan.points[0], cost) is not None]
    with charts.chart_style():
        figure = charts.new_figure(5.6 * len(shown), 4.9)
        for axes, cost in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
            _draw(axes, plan, cost)
        handles, names = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=3 * len(shown), fontsize=8)
        title = f"{plan.dataset}, {plan.num_images} images, {plan.device}"
        figure.suptitle(title, fontsize=11)
        return charts.png(figure)


def _draw(axes: Axes, plan: Plan, cost: Cost) -> None:
    """One panel."""
    front = [plan.points[place] for place in front_of(plan.points, cost)]
    # The best AP to be had for at most so much.
    style: dict[str, Any] = {"color": charts.INK, "lw": 6, "alpha": 0.16, "label": "front"}
    axes.plot(costs_of(front, cost), _aps(front), drawstyle="steps-post", **style)
    if plan.chosen is not None:
        point = plan.points[plan.chosen]
        place = getattr(point, cost), point.ap
        chosen: dict[str, Any] = {
            "marker": "D",
            "s": 55,
            "facecolors": "none",
            "edgecolors": charts.INK,
        }
        axes.scatter(*place, **chosen, zorder=4, label="chosen")
        charts.label(axes, f"{point.ap:.2f} AP", *place, *_CHOSEN)
    _draw_curves(axes, plan.points, cost)
    axes.set_xlabel(_TITLES[cost])
    axes.set_ylabel("box AP")
    axes.grid()
    axes.margins(x=0.14, y=0.08)
    axes.xaxis.set_major_locator(MaxNLocator(6))


def _draw_curves(axes: Axes, points: Sequence[PlanPoint], cost: Cost) -> None:
    """Colour by input size, line by precision, marker at the easy end by easy proposals."""
    sizes, precisions, limits = (_values(points, key) for key in (_SIZE, _PRECISION, _LIMIT))
    named = set()
    for _, own in groupby(points, key=lambda point: point.keys):
        curve = list(own)
        keys = curve[0].keys
        size, precision = keys[_SIZE], keys[_PRECISION]
        color = _COLORS[sizes.index(size) % len(_COLORS)]
        line = _LINES[precisions.index(precision)]
        name = f"input {size}" + (f", {precision}" if len(precisions) > 1 else "")
        x, y = costs_of(curve, cost), _aps(curve)
        label = None if name in named else name
        axes.plot(x, y, line, color=color, lw=1.3, label=label)
        named.add(name)
        marker = _MARKERS[limits.index(keys[_LIMIT]) % len(_MARKERS)]
        axes.scatter(x[:1], y[:1], s=24, marker=marker, color=color, zorder=3)
        axes.scatter(x[-1:], y[-1:], s=9, color=color, zorder=3)
    for limit, marker in zip(limits, _MARKERS, strict=False):
        if len(limits) > 1:
            name = f"all easy, {limit or 'all'} proposals"
            axes.scatter([], [], s=24, marker=marker, color=charts.SOFT, label=name)


def _values(points: Sequence[PlanPoint], key: str) -> list[int | str]:
    """Of a knob, in the order of the grid."""
    return list(dict.fromkeys(point.keys[key] for point in points))


def _aps(points: Sequence[PlanPoint]) -> list[float]:
    return [point.ap for point in points]
