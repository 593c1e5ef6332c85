# SPDX-License-Identifier: Apache-2.0
"""The model at one threshold: share of hard images, cost, latency, and AP beside other routings.

AP, precision and recall are in percent; None stands for what is undefined, such as the AP of a
class without objects.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Task = Literal["box", "mask"]
# Tasks as COCO and its evaluators name them.
IOU_TYPES: Mapping[Task, str] = {"box": "bbox", "mask": "segm"}
# Points of AP by which the oracle must be above random before shares of that are taken.
_LEAST_GAIN = 0.01
_ROUNDING = 1e-6


@dataclass(frozen=True, kw_only=True)
class RoutedAP:
    """AP of the router's routing, beside routings with as many hard images.

    Attributes:
        AP: of the router's routing.
        random_AP: expectation of random routing.
        random_AP_stderr: standard error of that expectation.
        random_AP_std: standard deviation of single random routings.
        oracle_AP: of the images with the largest true gain as the hard ones.
    """

    AP: float | None
    random_AP: float | None
    random_AP_stderr: float | None
    random_AP_std: float | None
    oracle_AP: float | None

    def __post_init__(self) -> None:
        for name in ("AP", "random_AP", "oracle_AP"):
            value = getattr(self, name)
            # Sums of floating point numbers.
            if value is not None and not -_ROUNDING <= value <= 100 + _ROUNDING:
                raise ValueError(f"{name} is {value:g}; it must be from 0 to 100, or null")

    @property
    def lead(self) -> float | None:
        """The router's AP less random routing's."""
        if self.AP is None or self.random_AP is None:
            return None
        return self.AP - self.random_AP

    @property
    def oracle_share(self) -> float | None:
        """How much of the oracle's lead over random routing the router reaches; 1 = all of it.

        None where the oracle has no lead: at both ends, and where both exits detect the same.
        """
        if self.AP is None or self.random_AP is None or self.oracle_AP is None:
            return None
        gain = self.oracle_AP - self.random_AP
        return None if gain < _LEAST_GAIN else (self.AP - self.random_AP) / gain


@dataclass(frozen=True)
class Rates:
    """Precision and recall of the detections from a score on, at IoU 0.5, in percent."""

    precision: float | None
    recall: float | None


@dataclass(frozen=True)
class DetectionRates(Rates):
    """Over all classes together, and by class name."""

    classes: Mapping[str, Rates]


@dataclass(frozen=True, kw_only=True)
class TaskFigures(RoutedAP):
    """All figures of one task.

    Attributes:
        AP50 to ARl: COCO's figures of the router's routing.
        classes: AP by class name.
        detections: None in files of before these were counted.
    """

    AP50: float | None
    AP75: float | None
    APs: float | None
    APm: float | None
    APl: float | None
    AR1: float | None = None
    AR10: float | None = None
    AR100: float | None = None
    ARs: float | None = None
    ARm: float | None = None
    ARl: float | None = None
    classes: Mapping[str, float | None]
    detections: DetectionRates | None = None


@dataclass(frozen=True)
class RouteFigures:
    """The images of one route: how many, and both detectors' box AP over these images alone."""

    images: int
    AP_detector1: float | None
    AP_detector2: float | None


@dataclass(frozen=True)
class RoutedLatency:
    """Milliseconds per image of the routed model.

    Attributes:
        mean: with each route weighted by its share of all images.
        p50, p95: of the images timed.
        hard_fraction: of the images timed, [0, 1].
        stderr: standard error of the mean; None for a single image, and in files of before it was
            kept.
    """

    mean: float
    p50: float
    p95: float
    hard_fraction: float
    stderr: float | None = None

    def __post_init__(self) -> None:
        if self.mean <= 0:
            raise ValueError(f"a mean latency is {self.mean:g} ms; it must be above 0")


@dataclass(frozen=True, kw_only=True)
class CurvePoint:
    """A place on the curves.

    Attributes:
        hard_fraction: asked for, [0, 1].
        threshold: [0, 1].
        realised_hard_fraction: share of the images above the threshold, [0, 1].
        gflops: 10^9 multiply-adds per image, the mean over the images.
        tasks: "box" and, where masks were evaluated, "mask".
    """

    hard_fraction: float
    threshold: float
    realised_hard_fraction: float
    gflops: float
    tasks: Mapping[Task, RoutedAP]

    def __post_init__(self) -> None:
        for name in ("hard_fraction", "threshold", "realised_hard_fraction"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name):g}; it must be in [0, 1]")
        if self.gflops <= 0:
            raise ValueError(f"gflops is {self.gflops:g}; it must be above 0")
        if "box" not in self.tasks:
            raise ValueError("the figures of boxes are missing")

    @property
    def box(self) -> RoutedAP:
        return self.tasks["box"]

    @property
    def uses_both_routes(self) -> bool:
        return 0 < self.realised_hard_fraction < 1


@dataclass(frozen=True, kw_only=True)
class Point(CurvePoint):
    """An operating point with all its figures.

    Attributes:
        easy, hard: the images of the two routes.
        latency: None where it was not measured.
    """

    tasks: Mapping[Task, TaskFigures]
    easy: RouteFigures
    hard: RouteFigures
    latency: RoutedLatency | None = None

    @property
    def box(self) -> TaskFigures:
        return self.tasks["box"]

    @property
    def latency_ms(self) -> float | None:
        """Mean milliseconds per image."""
        return None if self.latency is None else self.latency.mean

    @property
    def fps(self) -> float | None:
        """Images per second: the inverse of ``latency_ms``."""
        return None if self.latency is None else 1000 / self.latency.mean
