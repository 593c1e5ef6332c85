# SPDX-License-Identifier: Apache-2.0
"""report.html: a whole evaluation in one file without scripts or links, in light or dark.

The page is ``templates/page.html``; whatever comes from data is escaped there.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from dynamicdet_d2.evaluation.report import charts
from dynamicdet_d2.evaluation.report.columns import shown
from dynamicdet_d2.evaluation.report.glossary import GLOSSARY
from dynamicdet_d2.evaluation.report.measured import measured
from dynamicdet_d2.evaluation.report.pictures import GALLERY, MISROUTED
from dynamicdet_d2.evaluation.report.tables import (
    detail_tables,
    misrouted_table,
    points_table,
    use_tables,
)
from dynamicdet_d2.evaluation.tradeoff.points import Point
from dynamicdet_d2.evaluation.tradeoff.record import Tradeoff
from dynamicdet_d2.evaluation.tradeoff.routes import ImageRoute
from dynamicdet_d2.evaluation.tradeoff.verdict import beats_random
from dynamicdet_d2.utils.charts import PAGE_COLORS

_ENVIRONMENT = Environment(
    loader=PackageLoader("dynamicdet_d2.evaluation.report"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
# Pictures of an evaluation's folder: file, heading, what they show.
_PICTURES = (
    (
        GALLERY,
        "Easiest and hardest images",
        "Detections of the route taken, from the score on that precision and recall count; below "
        "them the ground truth.",
    ),
    (
        MISROUTED,
        "Images sent the wrong way",
        "Gain: what the hard route of this image adds to the data set's box AP, in percent. "
        "Wrongly easy images would have gained most, wrongly hard ones lost most. The table below "
        "says why they count so.",
    ),
)

# What every JPEG file begins with.
_JPEG = b"\xff\xd8\xff"
# How far from half of the images a hard fraction is called half.
_HALF = 0.05
_PRECISION_NOTE = (
    "Over all scores, the mean over the classes; at each recall the best precision that is reached "
    "there or beyond, as AP takes it. AP50 and AP75 are the means of these curves."
)


@dataclass(frozen=True)
class Tile:
    """A large figure: what it is, the figure, and a line below it."""

    name: str
    figure: str
    below: str


@dataclass(frozen=True)
class Chart:
    """An element of SVG, and what is said below it."""

    svg: Markup
    caption: str = ""


@dataclass(frozen=True)
class Panel:
    """A heading, a note, and charts or a picture."""

    title: str
    note: str = ""
    charts: tuple[Chart, ...] = ()
    picture: str = ""


def page(tradeoff: Tradeoff, routes: Sequence[ImageRoute], folder: Path) -> str:
    """The page; pictures are taken from the folder.

    Raises:
        ValueError: what has the name of a picture there is none.
    """
    return _ENVIRONMENT.get_template("page.html").render(
        title=f"Accuracy and cost on {tradeoff.dataset}",
        subtitle=_subtitle(tradeoff),
        tradeoff=tradeoff,
        palette=PAGE_COLORS,
        tiles=_tiles(tradeoff),
        curves=_curves(tradeoff),
        points=[*(points_table(tradeoff, task) for task in tradeoff.tasks), *use_tables(tradeoff)],
        difficulty=_difficulty(tradeoff, routes),
        pictures=_pictures(folder),
        misrouted=misrouted_table(routes),
        precision=_precision(tradeoff),
        details=detail_tables(tradeoff),
        glossary=GLOSSARY,
        measured=measured(tradeoff),
    )


def _subtitle(tradeoff: Tradeoff) -> str:
    date = f", {tradeoff.date[:10]}" if tradeoff.date else ""
    return f"{tradeoff.num_images} images, {tradeoff.device}{date}"


def _tiles(tradeoff: Tradeoff) -> list[Tile]:
    middle = tradeoff.middle
    half = _named(middle)
    named = {
        "all easy (detector1)": tradeoff.easy_end,
        **({half: middle} if middle.uses_both_routes else {}),
        "all hard (detector2)": tradeoff.hard_end,
    }
    tiles = [Tile(name, f"{shown(p.box.AP)} AP", _cost(p)) for name, p in named.items()]
    share = middle.box.oracle_share
    if share is not None and beats_random(middle):
        below = f"at {half}; random is 0 %"
        tiles.append(Tile("share of the oracle's gain", f"{share:.0%}", below))
    return tiles


def _named(middle: Point) -> str:
    """As a tile calls the point nearest to half of the images hard, which ties keep from it."""
    share = middle.realised_hard_fraction
    return "half hard" if abs(share - 0.5) <= _HALF else f"{share:.2g} hard"


def _cost(point: Point) -> str:
    ms = "" if point.latency_ms is None else f", {point.latency_ms:.2f} ms"
    return f"{point.gflops:.4g} GFLOPs{ms}"


def _curves(tradeoff: Tradeoff) -> list[Panel]:
    return [
        Panel(
            f"{task.capitalize()} AP against cost",
            charts=tuple(
                Chart(Markup(charts.curve_svg(tradeoff, task, cost)))
                for cost in charts.costs(tradeoff)
            ),
        )
        for task in tradeoff.tasks
    ]


def _precision(tradeoff: Tradeoff) -> list[Panel]:
    """A chart for each IoU; no panel for a task without curves."""
    panels = []
    for task in tradeoff.tasks:
        of_task = [curve for curve in tradeoff.precision_curves if curve.task == task]
        shown_at = [
            Chart(
                Markup(charts.precision_svg([curve for curve in of_task if curve.iou == iou])),
                f"At IoU {iou:g}.",
            )
            for iou in sorted({curve.iou for curve in of_task})
        ]
        if shown_at:
            title = f"Precision against recall, {task}"
            panels.append(Panel(title, _PRECISION_NOTE, tuple(shown_at)))
    return panels


def _difficulty(tradeoff: Tradeoff, routes: Sequence[ImageRoute]) -> Panel:
    correlation = tradeoff.rank_correlation
    known = {
        "detector2's gain": correlation.gain,
        "the loss gap L1 - L2": correlation.loss_gap,
        "the difficulty drawn": correlation.drawn_difficulty,
    }
    said = [f"{value:.2f} with {name}" for name, value in known.items() if value is not None]
    return Panel(
        "Difficulty",
        f"Rank correlation (Spearman's) of the difficulty: {', '.join(said)}." if said else "",
        (
            Chart(
                Markup(charts.difficulties_svg(tradeoff)),
                "How many images have which difficulty; lines: thresholds.",
            ),
            Chart(
                Markup(charts.gains_svg(routes)),
                "Each dot is an image; those on the wrong side of 0 went the wrong way.",
            ),
        ),
    )


def _pictures(folder: Path) -> list[Panel]:
    """Those that there are, as a part of the page."""
    return [
        Panel(title, note, picture=_picture(folder / name))
        for name, title, note in _PICTURES
        if (folder / name).exists()
    ]


def _picture(path: Path) -> str:
    """A JPEG file in base64; whatever else is there would be in the page, and not be seen.

    Raises:
        ValueError: it is none.
    """
    content = path.read_bytes() if path.is_file() else b""
    if not content.startswith(_JPEG):
        raise ValueError(
            f"{path} is no JPEG file, as an evaluation writes it; where there is none, the report "
            "has no such picture."
        )
    return base64.b64encode(content).decode()
