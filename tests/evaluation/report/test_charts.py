# SPDX-License-Identifier: Apache-2.0
"""The charts of a trade-off, by the data that they show."""

import dataclasses
from collections.abc import Iterator
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.axes import Axes

from dynamicdet_d2.evaluation.report import charts
from dynamicdet_d2.evaluation.tradeoff.record import Series, SeriesPoint
from dynamicdet_d2.evaluation.tradeoff.routes import ImageRoute
from dynamicdet_d2.utils.charts import chart_style
from tests.support.tradeoffs import EASY, GOOD, HARD, ROUTES, a_point, a_tradeoff, with_masks


@pytest.fixture(autouse=True)
def style() -> Iterator[None]:
    with chart_style():
        yield


def lines(axes: Axes) -> dict[str, list[tuple[float, float]]]:
    """Points of each curve by its name in the legend."""
    return {
        line.get_label(): [tuple(p) for p in line.get_xydata().tolist()]
        for line in axes.lines
        if not line.get_label().startswith("_")
    }


def markers(axes: Axes) -> dict[str, list[list[float]]]:
    names = [c.get_label() for c in axes.collections]
    return {
        name: marks.get_offsets().tolist()
        for name, marks in zip(names, axes.collections, strict=True)
        if not name.startswith("_")
    }


def test_the_panels_show_the_figures() -> None:
    cost, latency, difficulties = charts.tradeoff_figure(GOOD).axes
    curves = lines(cost)
    assert curves["router"] == [(200, 30), (240, 31.5), (280, 32)]
    assert curves["oracle"] == [(200, 30), (240, 33), (280, 32)]
    random = next(points for name, points in curves.items() if name.startswith("random"))
    assert random == [(200, 30), (240, 31), (280, 32)]
    # The curve's latency is that of eq. 14, here just that of the points.
    assert lines(latency)["router"] == [(20, 30), (25, 31.5), (30, 32)]
    assert markers(latency)["one route for all images"] == [[20, 30], [30, 32]]
    assert markers(latency)["threshold as set"] == [[25, 31.5]]
    band = cost.collections[0].get_datalim(cost.transData)
    assert (band.y0, band.y1) == pytest.approx((30, 32))
    assert [t.get_text() for t in cost.texts] == ["all easy", "all hard", "0.5 hard"]
    assert [bar.get_height() for bar in difficulties.patches] == list(
        GOOD.difficulty.histogram.counts
    )
    assert difficulties.lines[0].get_xdata() == [0.5, 0.5]


@pytest.mark.parametrize("masks", [False, True])
@pytest.mark.parametrize("latency", [False, True])
@pytest.mark.parametrize("ap", [30.0, None])
def test_every_kind_of_trade_off_has_its_panels(
    masks: bool, latency: bool, ap: float | None
) -> None:
    points = [a_point(k, ap, ap) for k in (0, 0.5, 1)]
    points = [with_masks(point) if masks else point for point in points]
    if not latency:
        points = [dataclasses.replace(point, latency=None) for point in points]
    figure = charts.tradeoff_figure(a_tradeoff(*points))
    *panels, _ = figure.axes
    assert [(p.get_ylabel(), p.get_xlabel().partition(" ")[0]) for p in panels] == [
        (f"{task} AP", cost)
        for task in ("box", "mask")[: 1 + masks]
        for cost in ("average", "latency")[: 1 + latency]
    ]
    for panel in panels:
        y = [y for _, y in lines(panel)["router"]]
        assert np.array_equal(y, [ap or np.nan] * 3, equal_nan=True)
        # A point without AP has neither marker nor label.
        assert len(panel.texts) == (3 if ap else 0)
        assert len(markers(panel)["one route for all images"]) == (2 if ap else 0)


def test_points_that_use_one_route_are_not_marked_twice() -> None:
    cost, *_ = charts.tradeoff_figure(a_tradeoff(EASY, EASY, HARD)).axes
    assert [t.get_text() for t in cost.texts] == ["all easy", "all hard"]


def test_other_detectors_are_drawn_as_far_as_they_are_known() -> None:
    others = (
        Series("R$101$", (SeriesPoint("R$101$", 283.0, None, 31.0),)),
        Series("sizes", (SeriesPoint("400 px", 150.0, 12.0, 28.0), SeriesPoint("?", 1, 1, None))),
    )
    tradeoff = a_tradeoff(*map(with_masks, GOOD.points), comparisons=others)
    cost, latency, masks, _, _ = charts.tradeoff_figure(tradeoff).axes
    assert markers(cost)["R$101$"] == [[283, 31]] and markers(cost)["sizes"] == [[150, 28]]
    assert markers(latency)["R$101$"] == [] and markers(latency)["sizes"] == [[12, 28]]
    assert markers(masks)["sizes"] == []  # whose mask AP nobody knows
    assert {"R$101$", "400 px"} <= {t.get_text() for t in cost.texts}
    svg = charts.curve_svg(tradeoff, "box", "gflops")
    told = [title.text for title in ElementTree.fromstring(svg).iter("title")]
    assert "R$101$: 31.00 AP, 283" in told and "sizes, 400 px: 28.00 AP, 150" in told
    assert "0.5 hard: 31.50 AP, 240 GFLOPs" in told


def test_a_name_that_matplotlib_would_leave_out_is_in_the_legend() -> None:
    other = Series("_R101", (SeriesPoint("_R101", 283.0, None, 31.0),))
    figure = charts.tradeoff_figure(a_tradeoff(*GOOD.points, comparisons=(other,)))
    names = [text.get_text().strip() for text in figure.legends[0].get_texts()]
    assert "_R101" in names and "router" in names


def test_every_image_is_a_dot_of_its_route() -> None:
    root = ElementTree.fromstring(
        charts.gains_svg([*ROUTES, ImageRoute(9, "../a.png", 0.5, "easy", 0)])
    )
    told = {mark.find("title").text: mark.get("style") for mark in root.iter("use") if len(mark)}
    assert list(told) == ["0: -1.0000", "1: +2.0000", "a.png: +0.0000", "2: +1.0000", "3: -3.0000"]
    assert ["var(--blue)" in style for style in told.values()] == [True, True, True, False, False]


def test_curves_of_precision_show_the_figures() -> None:
    curves = [curve for curve in GOOD.precision_curves if curve.iou == 0.5]
    root = ElementTree.fromstring(charts.precision_svg(curves))
    assert root.get("aria-label") == "box precision at IoU 0.5"
    assert {"all easy", "0.5 hard", "all hard"} <= {t.text for t in root.iter("text")}
    styles = [path.get("style", "") for path in root.iter("path")]
    for colour in ("--ink", "--blue", "--orange"):
        assert any(f"stroke: var({colour})" in s and "stroke-width: 1.8" in s for s in styles)


@pytest.mark.parametrize("count", [0, 1, 5000])
def test_the_chart_of_gains_stays_small(count: int) -> None:
    routes = [ImageRoute(i, "", i / 5000, "easy", 0.0) for i in range(count)]
    root = ElementTree.fromstring(charts.gains_svg(routes))
    assert len(list(root.iter("title"))) == min(count, 1667)


def test_names_with_dollars_are_drawn() -> None:
    tradeoff = a_tradeoff(*GOOD.points, dataset="a $x_$ of $5")
    assert charts.tradeoff_png(tradeoff).startswith(b"\x89PNG")
    assert charts.tradeoff_figure(tradeoff).get_suptitle().startswith("a $x_$ of $5, 4 images")
