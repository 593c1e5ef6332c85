# SPDX-License-Identifier: Apache-2.0
"""The trade-off of one model on one data set: the record that tradeoff.json holds."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dynamicdet_d2.data.register import LONGEST_NAME
from dynamicdet_d2.evaluation.tradeoff.difficulties import DifficultySummary
from dynamicdet_d2.evaluation.tradeoff.point_json import (
    curve_point_from_plain,
    curve_point_to_plain,
    point_from_plain,
    point_to_plain,
)
from dynamicdet_d2.evaluation.tradeoff.points import CurvePoint, Point, Task
from dynamicdet_d2.utils.files import read_json, whole_file
from dynamicdet_d2.utils.plain import checked, from_plain, to_plain
from dynamicdet_d2.utils.words import LONGEST_LABEL


@dataclass(frozen=True)
class RankCorrelations:
    """Spearman's of the difficulty with detector2's gain in box AP, with the loss gap L1 - L2, and
    with the difficulty that the data set was drawn with; None where that is not known."""

    gain: float | None = None
    loss_gap: float | None = None
    drawn_difficulty: float | None = None


@dataclass(frozen=True)
class RouteLatency:
    """Milliseconds per image when all images take one route."""

    p50: float
    p95: float
    mean: float


@dataclass(frozen=True)
class LatencyProtocol:
    """How latency was measured: images timed (0: it was not), untimed calls before, images per
    call; and what came out for each route."""

    images: int
    warmup: int
    batch_size: int
    easy: RouteLatency | None = None
    hard: RouteLatency | None = None


@dataclass(frozen=True)
class SizeRange:
    """Smallest and largest height and width of the network's input in pixels, before padding."""

    min: tuple[int, ...]
    max: tuple[int, ...]

    def __str__(self) -> str:
        smallest, largest = ("x".join(map(str, size)) for size in (self.min, self.max))
        return smallest if smallest == largest else f"{smallest} to {largest}"


@dataclass(frozen=True)
class Notes:
    """What the figures are, for readers who have only the report."""

    latency: str
    gflops: str
    random: str
    oracle: str
    detections: str = ""


@dataclass(frozen=True)
class PrecisionCurve:
    """Precision against recall at one operating point, all sizes, the mean over the classes.

    Attributes:
        hard_fraction: as in the operating point.
        iou: that a detection needs with an object.
        precision: (101,) in percent, at recall 0, 1, ..., 100 %: the best at this recall or beyond,
            as AP takes it.
    """

    task: Task
    hard_fraction: float
    iou: float
    precision: tuple[float, ...]


def _check_length(what: str, name: str) -> None:
    """Longer ones take a chart minutes."""
    if len(name) > LONGEST_LABEL:
        raise ValueError(f"{what} has a name of {len(name)} characters")


@dataclass(frozen=True)
class SeriesPoint:
    """Another detector: 10^9 multiply-adds, milliseconds and percent, None where not known."""

    label: str
    gflops: float | None
    latency_ms: float | None
    AP: float | None
    mask_AP: float | None = None
    image_sizes: SizeRange | None = None

    def __post_init__(self) -> None:
        _check_length("a point's label", self.label)

    def ap(self, task: Task) -> float | None:
        """AP of boxes or of masks."""
        return self.AP if task == "box" else self.mask_AP


@dataclass(frozen=True)
class Series:
    """Detectors that belong together, drawn as one line."""

    name: str
    points: tuple[SeriesPoint, ...]

    def __post_init__(self) -> None:
        _check_length("a series", self.name)

    def full_name(self, point: SeriesPoint) -> str:
        """Of one of the points, where the series' name is not beside it."""
        return point.label if point.label == self.name else f"{self.name}, {point.label}"


@dataclass(frozen=True, kw_only=True)
class Tradeoff:
    """Everything about one model on one data set.

    Attributes:
        images_missing: of the data set, that were not seen.
        loss_offset: the paper's Delta; None where it was not measured.
        points: operating points by ascending hard fraction, both ends among them.
        operating_point: at the model's own threshold.
        curve: more hard fractions with fewer figures, ascending.
        precision_curves: of some of the operating points; empty in files of before they were kept.
        fingerprint: of the model; see ``operating_point.fingerprint``.
        date: ISO 8601.
        verdict, warnings: the figures in words.
        comparisons: other detectors beside this one.
        attention_matmul: whether GFLOPs count the two products of attention; None in files of
            before it was kept.
    """

    dataset: str
    num_images: int
    images_missing: int
    device: str
    loss_offset: float | None
    points: tuple[Point, ...]
    operating_point: Point
    curve: tuple[CurvePoint, ...]
    difficulty: DifficultySummary
    rank_correlation: RankCorrelations
    latency: LatencyProtocol
    image_sizes: SizeRange
    fingerprint: Mapping[str, Any]
    date: str = ""
    versions: Mapping[str, str]
    notes: Notes
    verdict: str = ""
    warnings: tuple[str, ...] = ()
    comparisons: tuple[Series, ...] = ()
    precision_curves: tuple[PrecisionCurve, ...] = ()
    attention_matmul: bool | None = None

    def __post_init__(self) -> None:
        if len(self.points) < 2:
            raise ValueError(f"there are {len(self.points)} points; both ends are needed")
        if self.num_images < 1 or self.images_missing < 0:
            raise ValueError(
                f"num_images is {self.num_images} and images_missing {self.images_missing}; they "
                "must be at least 1 and 0"
            )
        if not 1 <= len(self.dataset) <= LONGEST_NAME:
            raise ValueError(f"dataset has a name of {len(self.dataset)} characters")
        _check_length("device", self.device)
        for points in (self.points, self.curve):
            places = [point.hard_fraction for point in points]
            if places != sorted(places):
                raise ValueError("the points' hard fractions do not rise")
        measured = {point.latency is not None for point in (*self.points, self.operating_point)}
        if len(measured) > 1:
            raise ValueError("some points have a latency and some have none")
        if "dtype" not in self.fingerprint:
            raise ValueError("the fingerprint has no dtype")
        for point in (*self.points, self.operating_point, *self.curve):
            if set(point.tasks) != set(self.tasks):
                raise ValueError("points have figures of boxes and masks, others of boxes alone")
        for task in self.tasks:
            figures = [point.tasks[task] for point in (*self.points, self.operating_point)]
            rates = [own.detections for own in figures if own.detections is not None]
            for of_classes in ([own.classes for own in figures], [own.classes for own in rates]):
                if any(own.keys() != of_classes[0].keys() for own in of_classes):
                    raise ValueError("points have figures of different classes")

    @property
    def tasks(self) -> tuple[Task, ...]:
        """ "box", and "mask" where masks were evaluated."""
        return tuple(self.points[0].tasks)

    @property
    def easy_end(self) -> Point:
        """All images to detector1."""
        return self.points[0]

    @property
    def hard_end(self) -> Point:
        """All images to detector2."""
        return self.points[-1]

    @property
    def inner_points(self) -> tuple[Point, ...]:
        """The points that use both routes."""
        return tuple(point for point in self.points if point.uses_both_routes)

    @property
    def middle(self) -> Point:
        """The operating point nearest to half of the images hard."""
        return min(self.points, key=lambda point: abs(point.realised_hard_fraction - 0.5))

    @property
    def dtype(self) -> str:
        """Precision that the model was run in."""
        return self.fingerprint["dtype"]

    def to_json(self, path: str | os.PathLike) -> None:
        """Write tradeoff.json; an interrupted write leaves the file that was there.

        Raises:
            OSError: the folder is missing or not writable.
        """
        content = json.dumps(_to_plain(self), indent=1, allow_nan=False)
        with whole_file(path) as file:
            file.write(content.encode() + b"\n")

    @classmethod
    def from_json(cls, path: str | os.PathLike) -> Tradeoff:
        """Read what :meth:`to_json` wrote.

        Raises:
            ValueError: one sentence naming the file and what is wrong with it.
        """
        content = read_json(path, str(path))
        try:
            return _from_plain(content)
        except ValueError as error:
            raise ValueError(f"{path} is not a valid tradeoff.json: {error}.") from None


def _to_plain(tradeoff: Tradeoff) -> dict[str, Any]:
    plain = {field.name: getattr(tradeoff, field.name) for field in dataclasses.fields(tradeoff)}
    plain["points"] = [point_to_plain(point) for point in tradeoff.points]
    plain["operating_point"] = point_to_plain(tradeoff.operating_point)
    plain["curve"] = [curve_point_to_plain(point) for point in tradeoff.curve]
    plain = to_plain(plain)
    # Where latency was not measured, there are no routes in it.
    plain["latency"] = {k: value for k, value in plain["latency"].items() if value is not None}
    return plain


def _from_plain(content: Any) -> Tradeoff:
    content = dict(checked(dict, content, "", "an object"))
    for name, read in (("points", point_from_plain), ("curve", curve_point_from_plain)):
        if name in content:
            entries = checked(list, content[name], name, "a list")
            content[name] = [read(entry, f"{name}[{i}]") for i, entry in enumerate(entries)]
    if "operating_point" in content:
        content["operating_point"] = point_from_plain(content["operating_point"], "operating_point")
    return from_plain(Tradeoff, content, "")
