# SPDX-License-Identifier: Apache-2.0
"""AP against cost: a panel for each dynamic set-up, with the static detectors in each."""

import math
import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from dynamicdet_d2.utils.charts import (
    BLUE,
    BROWN,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PURPLE,
    TEAL,
    chart_style,
    label,
    new_figure,
    png,
    spread_labels,
)
from evidence.costs import WITH_ENDS, with_ends
from evidence.figures import Figure, static_front
from evidence.group import Group
from evidence.routers import AUTO

# Side by side; more set-ups go below.
COLUMNS = 3
# Characters in a line of a panel's title.
TITLE_WIDTH = 52
COLORS = (BLUE, GREEN, ORANGE, PURPLE, TEAL, BROWN)


def cost_chart(groups: Sequence[Group]) -> bytes:
    """A PNG; no dynamic set-up: one panel of static detectors alone."""
    dynamic = [group for group in groups if group.dynamic]
    panels = max(len(dynamic), 1)
    rows, columns = math.ceil(panels / COLUMNS), min(panels, COLUMNS)
    with chart_style():
        figure = new_figure(4.6 * columns, 4.2 * rows)
        axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        labels = []
        for number, panel in enumerate(axes.flat):
            if number >= panels:
                panel.set_axis_off()
                continue
            labels += _statics(panel, dynamic[number].peers(groups) if dynamic else groups)
            if dynamic:
                _curves(panel, dynamic[number])
                panel.legend(loc="lower right", fontsize=7)
            panel.grid(True, linewidth=0.6)
            panel.tick_params(labelbottom=True)
            panel.set_xlabel("10^9 multiply-adds per image")
        for row in axes:
            row[0].set_ylabel("box AP, percent")
        spread_labels(figure, labels)
        return png(figure)


def near(group: Group, every: Sequence[Group]) -> list[Group]:
    """A dynamic set-up and the static ones that cost what it can cost, or a little less or more."""
    ends = [split.cost["features"] for split in group.dynamic]
    low, high = min(x.easy for x in ends) * 0.95, max(x.hard for x in ends) * 1.05
    statics = [x for x in group.peers(every) if x.static]
    return [group, *(x for x in statics if low <= x.static[0].gflops <= high)]


def _statics(panel: Axes, groups: Sequence[Group]) -> list:
    """Names of the detectors on the static line, which is drawn; the others are hollow."""
    found = [
        (Figure.of(x.gflops for x in group.static).mean, Figure.of(x.ap for x in group.static))
        for group in groups
    ]
    named = [
        (cost, ap.mean, ap.spread, _short(group.title))
        for group, (cost, ap) in zip(groups, found, strict=True)
        if cost is not None and ap.mean is not None
    ]
    front = static_front([(cost, ap) for cost, ap, *_ in named])
    labels = []
    for cost, ap, spread, title in named:
        best = (cost, ap) in front
        panel.errorbar(
            cost,
            ap,
            yerr=spread if best else None,
            fmt="D",
            color=INK,
            markersize=4,
            markerfacecolor=INK if best else "none",
        )
        if best:  # on the side where the line leaves room
            upper = front.index((cost, ap)) >= len(front) / 2
            labels.append(label(panel, title, cost, ap, -5 if upper else 5, 4))
    if front:
        line = tuple(zip(*front, strict=True))
        panel.plot(*line, color=INK, linewidth=0.8, label="static (hollow: beaten)")
    return labels


def _short(words: str) -> str:
    """As in "Lite0 trained @256"."""
    words = words.removeprefix("static ").replace(" pixels", "")
    return words.replace(", tested at ", " @").replace(", trained at ", " trained @")


def _curves(panel: Axes, group: Group) -> None:
    title = textwrap.fill(f"{group.title} (mean of {len(group.seeds)})", TITLE_WIDTH)
    panel.set_title(title, fontsize=9)
    if group.of(lambda x: x.easy_ap).mean is None or group.of(lambda x: x.hard_ap).mean is None:
        return
    easy, hard = _values([group.cost("easy"), group.cost("hard")])
    cost = easy + (hard - easy) * np.array(WITH_ENDS)
    for name, style, found in (
        ("random routing", "--", group.at(lambda x: with_ends(x, x.random_ap))),
        ("oracle", ":", group.at(lambda x: with_ends(x, x.oracle_ap))),
    ):
        panel.plot(cost, _values(found), style, color=GREY, label=name)
    for color, inputs in zip(COLORS, group.inputs, strict=False):
        cost = _values(group.routing_at(inputs, AUTO, lambda x: x.gflops))
        ap = group.routing_at(inputs, AUTO, lambda x: x.ap)
        panel.plot(cost, _values(ap), "-o", color=color, markersize=3, label="+".join(inputs))
        spread = np.array([x.spread or 0 for x in ap])
        low, high = _values(ap) - spread, _values(ap) + spread
        panel.fill_between(cost, low, high, color=color, alpha=0.12, linewidth=0)


def _values(figures: Sequence[Figure]) -> NDArray[np.float64]:
    """Their means; NaN, which is not drawn, where one is undefined."""
    return np.array([math.nan if x.mean is None else x.mean for x in figures])
