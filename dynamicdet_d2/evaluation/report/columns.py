# SPDX-License-Identifier: Apache-2.0
"""What the tables show of operating points: the one place where a column is added.

Markdown, CSV and HTML read these lists.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dynamicdet_d2.evaluation.coco.sweep import FIGURE_NAMES
from dynamicdet_d2.evaluation.tradeoff.point_json import PREFIX
from dynamicdet_d2.evaluation.tradeoff.points import DetectionRates, Point, Rates, Task
from dynamicdet_d2.evaluation.tradeoff.record import Tradeoff


@dataclass(frozen=True)
class Column:
    """A number of every operating point.

    Attributes:
        title: for readers.
        value: of a point; None where it is undefined.
        form: format of the number, as in ``format``.
        key: heading in the CSV, that of tradeoff.json with dots between nested keys.
        csv_only: it stands in no table, which would be too wide.
    """

    title: str
    value: Callable[[Point], float | None]
    form: str
    key: str
    csv_only: bool = False

    def text(self, point: Point) -> str:
        """The number as it is shown."""
        return shown(self.value(point), self.form)


def shown(value: float | None, form: str = ".2f") -> str:
    """A number as it is shown; "n/a" for None."""
    return "n/a" if value is None else format(value, form)


def _latency(name: str) -> Callable[[Point], float | None]:
    return lambda point: None if point.latency is None else getattr(point.latency, name)


HARD_FRACTION = Column("hard fraction", lambda p: p.hard_fraction, "g", "hard_fraction")
COST = (
    Column("threshold", lambda p: p.threshold, ".6g", "threshold"),
    Column("realised", lambda p: p.realised_hard_fraction, ".3f", "realised_hard_fraction"),
    Column("GFLOPs", lambda p: p.gflops, ".4g", "gflops"),
    Column("latency ms", lambda p: p.latency_ms, ".2f", "latency_ms"),
    Column("FPS", lambda p: p.fps, ".1f", "fps"),
    Column("p50 ms", _latency("p50"), ".2f", "latency.p50", csv_only=True),
    Column("p95 ms", _latency("p95"), ".2f", "latency.p95"),
    Column("timed hard", _latency("hard_fraction"), ".3f", "latency.hard_fraction", csv_only=True),
    Column("standard error ms", _latency("stderr"), ".2f", "latency.stderr", csv_only=True),
)
LATENCY = tuple(c for c in COST if c.key == "fps" or c.key.startswith("latency"))
ROUTES = (
    Column("easy: images", lambda p: p.easy.images, "d", "routes.easy.images"),
    Column("easy: detector1", lambda p: p.easy.AP_detector1, ".2f", "routes.easy.AP_detector1"),
    Column("easy: detector2", lambda p: p.easy.AP_detector2, ".2f", "routes.easy.AP_detector2"),
    Column("hard: images", lambda p: p.hard.images, "d", "routes.hard.images"),
    Column("hard: detector1", lambda p: p.hard.AP_detector1, ".2f", "routes.hard.AP_detector1"),
    Column("hard: detector2", lambda p: p.hard.AP_detector2, ".2f", "routes.hard.AP_detector2"),
)
# Of one task: what a figure is called, its attribute, and whether it stands in the CSV alone.
_COCO = [(name, name, name.startswith("AR")) for name in FIGURE_NAMES]
_COMPARISON = (
    ("random AP", "random_AP", False),
    ("standard error", "random_AP_stderr", True),
    ("standard deviation", "random_AP_std", True),
    ("oracle AP", "oracle_AP", False),
    ("share of oracle's gain", "oracle_share", False),
)
SIZES = {"APs": "small (below 32x32)", "APm": "medium", "APl": "large (from 96x96 on)"}


def coco(task: Task) -> list[Column]:
    """COCO's figures at the point."""
    return [
        Column(f"{task} {title}", _of(task, name), ".2f", f"{task}.{name}", csv_only)
        for title, name, csv_only in _COCO
    ]


def comparison(task: Task) -> list[Column]:
    """The router beside random routing and the oracle."""
    return [
        Column(title, _of(task, name), ".2f", PREFIX[task] + name, csv_only)
        for title, name, csv_only in _COMPARISON
    ]


def sizes(task: Task) -> list[Column]:
    """AP by size of the objects."""
    return [Column(SIZES[n], _of(task, n), ".2f", f"{task}.{n}") for n in SIZES]


def classes(tradeoff: Tradeoff, task: Task) -> list[Column]:
    """AP by class."""
    return [
        Column(name, _class_ap(task, name), ".2f", f"{task}_classes.{name}")
        for name in tradeoff.easy_end.tasks[task].classes
    ]


def detections(tradeoff: Tradeoff, task: Task) -> list[tuple[Column, Column]]:
    """Precision and recall, over all classes together and by class; empty in old files."""
    rates = tradeoff.easy_end.tasks[task].detections
    if rates is None:
        return []
    names = [None, *rates.classes]
    return [(_rate(task, name, "precision"), _rate(task, name, "recall")) for name in names]


def every_column(tradeoff: Tradeoff) -> list[Column]:
    """What the CSV has of a point, each number once."""
    found = [HARD_FRACTION, *COST]
    for task in tradeoff.tasks:
        found += [*coco(task), *comparison(task), *classes(tradeoff, task)]
        found += [column for pair in detections(tradeoff, task) for column in pair]
    return [*found, *ROUTES]


def _of(task: Task, name: str) -> Callable[[Point], float | None]:
    return lambda point: getattr(point.tasks[task], name)


def _class_ap(task: Task, name: str) -> Callable[[Point], float | None]:
    return lambda point: point.tasks[task].classes[name]


def _rate(task: Task, class_name: str | None, name: str) -> Column:
    """Precision or recall of one class; None: over all classes together."""

    def value(point: Point) -> float | None:
        rates: Rates | None = point.tasks[task].detections
        if isinstance(rates, DetectionRates) and class_name is not None:
            rates = rates.classes[class_name]
        return None if rates is None else getattr(rates, name)

    key = f"{task}_detections" if class_name is None else f"{task}_detections.classes.{class_name}"
    title = "all together" if class_name is None else class_name
    return Column(title, value, ".1f", f"{key}.{name}")
