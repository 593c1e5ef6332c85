# SPDX-License-Identifier: Apache-2.0
"""How the project's charts look, and matplotlib figures as PNG files or as parts of a page.

A chart is drawn once, in the light colours. In a page every colour becomes a custom property of
CSS, so that the page's style sheet decides on light or dark.
"""

import contextlib
import io
import json
import logging
import re
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.text import Annotation, Text
from matplotlib.transforms import Bbox
from numpy.typing import ArrayLike

from dynamicdet_d2.utils.glyphs import FONT_NAME, say_missing

logger = logging.getLogger(__name__)

# Told apart by colour-blind readers too.
CARD, INK, SOFT, RULE = "#ffffff", "#1b2430", "#5b6675", "#dfe3e8"
BLUE, GREY, ORANGE, GREEN = "#1f5fbf", "#7c8794", "#c2570c", "#1d7a4a"
PURPLE, BROWN, TEAL = "#7b3fa0", "#a0522d", "#00788a"


class PageColor(NamedTuple):
    """A colour in a page: its custom property is ``--name``."""

    name: str
    dark: str


# What each of the colours above, which are those of a light page, is in a page.
PAGE_COLORS = {
    CARD: PageColor("card", "#1a2028"),
    INK: PageColor("ink", "#e4e9f0"),
    SOFT: PageColor("soft", "#9aa6b5"),
    RULE: PageColor("rule", "#323b47"),
    BLUE: PageColor("blue", "#74aaff"),
    GREY: PageColor("grey", "#98a3b1"),
    ORANGE: PageColor("orange", "#ff9f5a"),
    GREEN: PageColor("green", "#5fd39a"),
    PURPLE: PageColor("purple", "#c79bf0"),
    BROWN: PageColor("brown", "#e0a07a"),
    TEAL: PageColor("teal", "#5cc8d8"),
}

_STYLE: dict[Any, Any] = {
    # Names of data sets and classes may hold a $.
    "text.parse_math": False,
    "font.size": 9.0,
    "text.color": INK,
    "figure.facecolor": CARD,
    "axes.facecolor": "none",
    "axes.edgecolor": RULE,
    "axes.labelcolor": SOFT,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "grid.color": RULE,
    "legend.facecolor": CARD,
    "legend.edgecolor": "none",
    "legend.labelcolor": SOFT,
    "font.family": "sans-serif",
    "font.sans-serif": [FONT_NAME],
    "svg.fonttype": "none",
}
# Beginning of an artist's id that holds what is shown with the pointer over its marks.
_HINTS = "hints:"
_HALO = "halo"
# How Matplotlib begins to say that the font lacks a character, and that names leave no room.
_NO_GLYPH, _NO_ROOM = r"Glyph (\d+) ", "constrained_layout not applied"
# Characters of names, which Matplotlib writes as they are and no XML may have.
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
# Points between two labels, and how often a label moves before it is left out.
_LABEL_HEIGHT, _MOST_MOVES = 11, 3


@contextlib.contextmanager
def chart_style() -> Iterator[None]:
    """Figures are made, drawn in and written inside; what Matplotlib warns of is said by name.

    A user's own settings of Matplotlib have no part in them, such as LaTeX for texts, to which
    names of classes would be a program.
    """
    with mpl.rc_context(), warnings.catch_warnings(record=True) as met:
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        warnings.filterwarnings("always", f"({_NO_GLYPH}|{_NO_ROOM})")
        yield
    _say(met)


def _say(met: Sequence[warnings.WarningMessage]) -> None:
    """Missing characters and room in our words, and once; the rest as it was said."""
    texts = [str(said.message) for said in met]
    say_missing(chr(int(found[1])) for text in texts if (found := re.match(_NO_GLYPH, text)))
    if any(text.startswith(_NO_ROOM) for text in texts):
        logger.warning("A chart has no room beside its labels: names in it are too long or many.")
    for said, text in zip(met, texts, strict=True):
        if not re.match(f"{_NO_GLYPH}|{_NO_ROOM}", text):
            warnings.warn_explicit(said.message, said.category, said.filename, said.lineno)


def new_figure(width: float, height: float) -> Figure:
    """An empty figure whose parts make room for each other; inches."""
    return Figure(figsize=(width, height), dpi=130, layout="constrained")


def hint(artist: Artist, texts: Sequence[str]) -> None:
    """What a page shows with the pointer over each mark of an artist, in their order."""
    artist.set_gid(_HINTS + json.dumps(list(texts)))


def dots(axes: Axes, x: ArrayLike, y: ArrayLike, hints: Sequence[str], **style: Any) -> None:
    """Markers, each with a hint; no coordinate is NaN."""
    marks: PathCollection = axes.scatter(x, y, **style)
    hint(marks, hints)


def bars(axes: Axes, edges: ArrayLike, counts: ArrayLike, unit: str) -> None:
    """A histogram: ``edges`` (B + 1,), ``counts`` (B,)."""
    edges, counts = np.asarray(edges), np.asarray(counts)
    widths = np.diff(edges)
    drawn = axes.bar(edges[:-1], counts, widths, align="edge", color=BLUE, alpha=0.65, linewidth=0)
    for bar, low, high, count in zip(drawn, edges[:-1], edges[1:], counts, strict=True):
        hint(bar, [f"{count} {unit} from {low:.4f} to {high:.4f}"])


def label(axes: Axes, text: str, x: float, y: float, right: float, up: float) -> Annotation:
    """A text beside a point, on whose left it is where ``right`` is negative; offset in points."""
    note = axes.annotate(
        text,
        (x, y),
        xytext=(right, up),
        textcoords="offset points",
        ha="right" if right < 0 else "left",
        va="top" if up < 0 else "baseline",
        fontsize=8,
        zorder=5,
        annotation_clip=False,
    )
    note.set_path_effects([withStroke(linewidth=3, foreground=CARD)])
    return note


def spread_labels(figure: Figure, labels: Sequence[Annotation]) -> None:
    """Move labels up or down, away from the ones before them.

    One that would come to lie too far from its point is left out.
    """
    figure.draw_without_rendering()
    taken: list[Bbox] = []
    for note in labels:
        right, up = note.xyann
        step = -_LABEL_HEIGHT if up < 0 else _LABEL_HEIGHT
        for move in range(_MOST_MOVES):
            note.xyann = (right, up + move * step)
            box = note.get_window_extent()
            if not any(box.overlaps(other) for other in taken):
                taken.append(box)
                break
        else:
            note.set_visible(False)


def png(figure: Figure) -> bytes:
    """The figure as a file."""
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()


def svg(figure: Figure, name: str) -> str:
    """The figure as an element of an HTML page.

    Args:
        name: read out to who cannot see it; another one for each figure of the page.
    """
    for text in figure.findobj(lambda artist: isinstance(artist, Text)):
        if text.get_path_effects():
            # Path effects would turn the text into outlines; the page has a style for it.
            text.set_path_effects([])
            text.set_gid(_HALO)
    figure.patch.set_visible(False)
    content = io.BytesIO()
    # Ids are hashes of what they name and of this, so that no two figures share one.
    with mpl.rc_context({"svg.hashsalt": name}):
        figure.savefig(content, format="svg", metadata={"Date": None})
    drawn = _NO_XML.sub("\ufffd", content.getvalue().decode())
    return _inline(ElementTree.fromstring(drawn), name)


def _inline(root: ElementTree.Element, name: str) -> str:
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag.endswith(("}metadata", "}style")):
                parent.remove(child)
    for element in root.iter():
        _clean(element)
    root.attrib = {"viewBox": root.attrib["viewBox"], "role": "img", "aria-label": name}
    return ElementTree.tostring(root, encoding="unicode")


def _clean(element: ElementTree.Element) -> None:
    """Names without namespaces, colours of the page, and hints in place of ids."""
    element.tag = _local(element.tag)
    element.attrib = {_local(key): value for key, value in element.attrib.items()}
    if "style" in element.attrib:
        element.set("style", re.sub("#[0-9a-f]{6}", _property, element.attrib["style"]))
    if element.tag == "g":
        id_ = element.attrib.pop("id", "")
        if id_.startswith(_HINTS):
            _give_hints(element, json.loads(id_.removeprefix(_HINTS)))
        if id_ == _HALO:
            element.set("class", _HALO)


def _give_hints(group: ElementTree.Element, hints: Sequence[str]) -> None:
    outlines = {id(part) for defs in group.iter() if _local(defs.tag) == "defs" for part in defs}
    marks = [
        part
        for part in group.iter()
        if _local(part.tag) in ("use", "path") and id(part) not in outlines
    ]
    for mark, text in zip(marks, hints, strict=True):
        ElementTree.SubElement(mark, "title").text = text


def _local(name: str) -> str:
    return name.rpartition("}")[2]


def _property(color: re.Match[str]) -> str:
    known = PAGE_COLORS.get(color[0])
    return f"var(--{known.name})" if known else color[0]
