# SPDX-License-Identifier: Apache-2.0
"""Figures as parts of a page, and labels that do not lie on each other."""

import io
import warnings
from xml.etree import ElementTree

import matplotlib
import pytest
from PIL import Image

from dynamicdet_d2.utils import charts, glyphs


def drawn(name: str) -> str:
    with charts.chart_style():
        figure = charts.new_figure(4, 3)
        axes = figure.add_subplot()
        axes.plot([0, 1], [0, 1], color=charts.BLUE, label="a $line$ of $5_")
        charts.dots(axes, [0.2, 0.7], [0.5, 0.1], ["first <b>", "second"], color=charts.ORANGE)
        charts.bars(axes, [0, 0.5, 1], [3, 0], "images")
        charts.label(axes, "here", 0.5, 0.5, right=6, up=4)
        axes.legend()
        return charts.svg(figure, name)


def test_svg_is_one_element_without_namespaces_or_fixed_colours() -> None:
    root = ElementTree.fromstring(drawn('a "name" <b>'))
    assert root.tag == "svg" and root.get("aria-label") == 'a "name" <b>'
    assert not any("}" in part.tag or "xlink" in part.tag for part in root.iter())
    assert not any(part.tag.endswith(("style", "metadata")) for part in root.iter())
    styles = " ".join(part.get("style", "") for part in root.iter())
    assert "stroke: var(--blue)" in styles and "fill: var(--orange)" in styles
    # Whatever has a colour has one of the palette, so that a dark page can change it.
    assert "#" not in styles.replace("url(#", "")
    texts = [text.text for text in root.iter("text")]
    assert "a $line$ of $5_" in texts


def test_a_name_may_have_characters_that_xml_has_not() -> None:
    with charts.chart_style():
        figure = charts.new_figure(4, 3)
        figure.add_subplot().set_title("a\x08b\ufffec\U0001f600")
        assert "a\ufffdb\ufffdc\U0001f600" in charts.svg(figure, "named")


def test_hints_are_on_their_marks() -> None:
    root = ElementTree.fromstring(drawn("chart"))
    told = {title.text: mark for mark in root.iter() for title in mark.findall("title")}
    assert list(told) == [
        *("first <b>", "second"),
        *("3 images from 0.0000 to 0.5000", "0 images from 0.5000 to 1.0000"),
    ]
    assert float(told["first <b>"].get("x")) < float(told["second"].get("x"))
    assert float(told["first <b>"].get("y")) < float(told["second"].get("y"))  # SVG counts down


def test_labels_have_a_halo_of_the_page() -> None:
    root = ElementTree.fromstring(drawn("chart"))
    assert ["here"] == [
        text.text for g in root.iter("g") if g.get("class") == "halo" for text in g.iter("text")
    ]


def test_no_two_charts_of_a_page_share_an_id() -> None:
    one, other = (
        {part.get("id") for part in ElementTree.fromstring(drawn(name)).iter()} - {None}
        for name in ("one", "other")
    )
    assert one and other and one.isdisjoint(other)
    assert drawn("one") == drawn("one")


def test_characters_without_a_glyph_are_said_once(caplog: pytest.LogCaptureFixture) -> None:
    glyphs._said.clear()
    for name in ("猫 Straße", "猫"):
        with charts.chart_style():
            figure = charts.new_figure(4, 3)
            figure.suptitle(name)
            charts.png(figure)
    said = "Names have characters that DejaVu Sans, in which pictures and charts are drawn, has not"
    assert caplog.messages == [f"{said}, so that they look like empty boxes there: 猫"]
    glyphs.say_missing(["дом ΣΩ\n", "犬猫"])
    assert caplog.messages[1:] == [f"{said}, so that they look like empty boxes there: 犬"]


def test_a_name_that_leaves_no_room_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with charts.chart_style():
        figure = charts.new_figure(4, 3)
        figure.add_subplot().plot([0, 1], [0, 1], label="x" * 200)
        figure.legend(loc="outside left upper")
        charts.png(figure)
    assert caplog.messages == [
        "A chart has no room beside its labels: names in it are too long or many."
    ]


def test_other_warnings_of_a_chart_are_still_warnings() -> None:
    with pytest.warns(UserWarning, match="mine"), charts.chart_style():
        warnings.warn("mine", stacklevel=1)


def test_png_has_the_size_of_the_figure() -> None:
    with charts.chart_style():
        content = charts.png(charts.new_figure(4, 3))
    assert Image.open(io.BytesIO(content)).size == (4 * 130, 3 * 130)


def test_labels_do_not_lie_on_each_other() -> None:
    with charts.chart_style():
        figure = charts.new_figure(4, 3)
        axes = figure.add_subplot()
        labels = [
            charts.label(axes, name, 0.5, 0.5, right=6, up=4)
            for name in ("one", "two", "three", "four")
        ]
        charts.spread_labels(figure, labels)
        boxes = [label.get_window_extent() for label in labels if label.get_visible()]
    assert [label.get_visible() for label in labels] == [True, True, True, False]  # too far away
    assert all(low.y1 <= high.y0 for low, high in zip(boxes[:-1], boxes[1:], strict=True))


def test_the_callers_style_has_no_part_in_it() -> None:
    """With LaTeX a name would be a program, and without it there would be no chart."""
    usual = drawn("chart")
    with matplotlib.rc_context({"text.usetex": True, "savefig.dpi": 1, "savefig.pad_inches": 50}):
        assert drawn("chart") == usual


def test_the_callers_style_stays_as_it_was() -> None:
    before = dict(matplotlib.rcParams)
    drawn("chart")
    assert dict(matplotlib.rcParams) == before
