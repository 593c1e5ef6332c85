# SPDX-License-Identifier: Apache-2.0
"""report.html: one file that asks for nothing, whatever the data are called."""

import dataclasses
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from dynamicdet_d2.evaluation.report.page import page
from dynamicdet_d2.evaluation.tradeoff.record import Series, SeriesPoint
from dynamicdet_d2.evaluation.tradeoff.routes import ImageRoute
from tests.support.tradeoffs import EASY, GOOD, HARD, ROUTES, a_point, a_tradeoff, with_masks

EVIL = '<script>alert("x")</script>'


class Tags(HTMLParser):
    """Fails where an element is not closed, or closed twice; collects tags and text."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict]] = []
        self.text = ""
        self.feed(content)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    ("realised", "named"),
    [(0.5, "half hard"), (0.45, "half hard"), (0.3, "0.3 hard"), (0.0, None), (1.0, None)],
)
def test_tiles_call_half_what_is_about_half(
    tmp_path: Path, realised: float, named: str | None
) -> None:
    # Equal difficulties keep the share from the half that was asked for.
    inner = a_point(0.5, 31.5, 31.0, realised_hard_fraction=realised)
    text = Tags(page(a_tradeoff(EASY, inner, HARD), ROUTES, tmp_path)).text
    tiles = text[text.index("all easy (detector1)") : text.index("all hard (detector2)")]
    assert ("31.50 AP" in tiles) == (named is not None) and tiles.count("GFLOPs") == 1 + bool(named)
    assert named is None or named in tiles


def test_report_is_one_file_that_asks_for_nothing(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "gallery.jpg")
    html = page(GOOD, ROUTES, tmp_path)
    found = Tags(html)
    sources = [attrs["src"] for _, attrs in found.tags if "src" in attrs]
    assert len(sources) == 1 and sources[0].startswith("data:image/jpeg;base64,")
    assert {"link", "script"}.isdisjoint(tag for tag, _ in found.tags)
    # References are to marks of the same chart.
    ids = {attrs["id"] for _, attrs in found.tags if "id" in attrs}
    hrefs = {attrs["href"] for _, attrs in found.tags if "href" in attrs}
    assert hrefs <= {f"#{id_}" for id_ in ids} and len(hrefs) > 5
    assert {part[:1] for part in re.findall(r"url\((.)", html)} == {"#"}
    assert "http" not in html and "@import" not in html
    # The verdict comes before any figure.
    assert found.text.index("Fine.") < found.text.index("Box AP against cost")
    for said in (
        "But small.",
        "as it should be.",
        "31.50",
        "90.0 / 80.0",
        "2026-01-02",
        "a machine",
        "large (from 96x96 on)",
        "0.25 with detector2's gain",
    ):
        assert said in found.text
    assert sum(tag == "svg" and "role" in attrs for tag, attrs in found.tags) == 6
    # What is copied is copied as it is.
    codes = re.findall("<code>(.*?)</code>", html)
    assert codes == [f"MODEL.DYNAMIC.THRESHOLD {t}" for t in ("1.0", "0.5", "0.0", "0.5")]
    assert "<dt>oracle</dt>" in html


@pytest.mark.usefixtures("undrawn")
def test_what_is_no_picture_gets_into_no_report(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("word")
    picture = tmp_path / "gallery.jpg"
    picture.symlink_to(tmp_path / "secret")
    with pytest.raises(ValueError, match=r"gallery\.jpg is no JPEG file, as an evaluation writes"):
        page(GOOD, ROUTES, tmp_path)
    picture.unlink()
    picture.mkdir()
    with pytest.raises(ValueError, match=r"gallery\.jpg is no JPEG file"):
        page(GOOD, ROUTES, tmp_path)


@pytest.mark.usefixtures("undrawn")
def test_every_section_is_there(tmp_path: Path) -> None:
    for name in ("gallery.jpg", "misrouted.jpg"):
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    others = (Series("R101", (SeriesPoint("R101", 283.0, None, 39.4),)),)
    tradeoff = a_tradeoff(*map(with_masks, GOOD.points), comparisons=others)
    html = page(tradeoff, ROUTES, tmp_path)
    assert re.findall("<h2>(.*?)</h2>", html) == [
        *("Box AP against cost", "Mask AP against cost"),
        *("Operating points, box", "Operating points, mask", "Keys to paste", "Latency"),
        *("Difficulty", "Easiest and hardest images", "Images sent the wrong way"),
        *("Why images count as sent the wrong way", "Precision against recall, box"),
        "What each exit detects on the images of each route",
        *("Precision and recall of box detections", "Precision and recall of mask detections"),
        *("Box AP by size of the objects", "Mask AP by size of the objects"),
        *("Box AP by class", "Mask AP by class", "Compared with", "Words", "How this was measured"),
    ]


def test_light_and_dark_have_every_colour(tmp_path: Path) -> None:
    html = page(GOOD, ROUTES, tmp_path)
    light, dark = html.partition("@media (prefers-color-scheme: dark)")[::2]
    used = set(re.findall(r"var\((--[\w-]+)\)", html))
    assert len(used) > 8
    for scheme in (light, dark):
        assert used <= set(re.findall(r"(--[\w-]+):", scheme)) | {"--page", "--warn", "--warn-ink"}
    # No colour stands outside of the style sheet.
    assert not re.search("#[0-9a-f]{6}", html.partition("</style>")[2])


def test_text_from_data_is_escaped(tmp_path: Path) -> None:
    classes = {EVIL: 30.0}
    points = [
        dataclasses.replace(p, tasks={"box": dataclasses.replace(p.box, classes=classes)})
        for p in GOOD.points
    ]
    evil = a_tradeoff(
        *points,
        dataset=EVIL,
        verdict=EVIL,
        warnings=(EVIL,),
        device=EVIL,
        versions={EVIL: EVIL},
        comparisons=(Series(EVIL, (SeriesPoint(EVIL, 250.0, 25.0, 31.0),)),),
    )
    routes = [*ROUTES, ImageRoute(EVIL, EVIL, 0.5, "easy", 0.0)]
    html = page(evil, routes, tmp_path)
    assert "<script>" not in html and html.count("&lt;script&gt;") > 10
    Tags(html)


@pytest.mark.parametrize("ap", [30.0, None])
@pytest.mark.parametrize("routes", [[], ROUTES[:1], ROUTES])
def test_poor_trade_offs_are_drawn(tmp_path: Path, ap: float | None, routes: list) -> None:
    points = [dataclasses.replace(a_point(k, ap, ap), latency=None) for k in (0, 0, 1)]
    html = page(a_tradeoff(*points), routes, tmp_path)
    Tags(html)
    assert not re.search(r'="[^"]*nan', html)
    assert "ms</b>" not in html


@pytest.mark.usefixtures("undrawn")
def test_no_share_of_the_oracles_gain_without_a_lead(tmp_path: Path) -> None:
    lucky = a_tradeoff(EASY, a_point(0.5, 31.5, 31.0, std=0.3), HARD)
    assert "random is 0 %" not in page(lucky, ROUTES, tmp_path)
    assert "random is 0 %" in page(GOOD, ROUTES, tmp_path)


@pytest.mark.usefixtures("undrawn")
def test_the_share_of_the_oracles_gain_is_shown_where_there_is_one(tmp_path: Path) -> None:
    assert "<b>25%</b>" in page(GOOD, ROUTES, tmp_path)
    assert (
        "share of the oracle&#39;s gain"
        not in page(a_tradeoff(EASY, EASY, HARD), ROUTES, tmp_path).partition(
            "Box AP against cost"
        )[0]
    )
