# SPDX-License-Identifier: Apache-2.0
"""Made-up trade-offs and routes, for whatever reads them."""

import dataclasses
from typing import Any

from dynamicdet_d2.evaluation.tradeoff.difficulties import DifficultySummary
from dynamicdet_d2.evaluation.tradeoff.points import (
    CurvePoint,
    DetectionRates,
    Point,
    Rates,
    RoutedAP,
    RoutedLatency,
    RouteFigures,
    TaskFigures,
)
from dynamicdet_d2.evaluation.tradeoff.record import (
    LatencyProtocol,
    Notes,
    PrecisionCurve,
    RankCorrelations,
    SizeRange,
    Tradeoff,
)
from dynamicdet_d2.evaluation.tradeoff.routes import ImageRoute

DIFFICULTIES = (0.1, 0.2, 0.8, 0.9)


def figures(k: float, ap: float | None, random: float | None, std: float = 0.01) -> TaskFigures:
    """One number for all of COCO's; between the ends the oracle is 2 AP above random routing."""
    return TaskFigures(
        **dict.fromkeys(("AP", "AP50", "AP75", "APs", "APm", "APl"), ap),
        random_AP=random,
        random_AP_stderr=std / 4,
        random_AP_std=std,
        oracle_AP=None if random is None else random + 2 * (0 < k < 1),
        classes={"disc": ap, "ring": None},
        detections=DetectionRates(90.0, 80.0, {"disc": Rates(90.0, None)}),
    )


def a_point(
    k: float, ap: float | None, random: float | None, std: float = 0.01, **changes: Any
) -> Point:
    """A point with as many images hard as asked for."""
    point = Point(
        hard_fraction=k,
        threshold=1 - k,
        realised_hard_fraction=k,
        gflops=200 + 80 * k,
        tasks={"box": figures(k, ap, random, std)},
        easy=RouteFigures(2, ap, None),
        hard=RouteFigures(2, ap, None),
        latency=RoutedLatency(20 + 10 * k, 20.0, 30.0, k),
    )
    return dataclasses.replace(point, **changes)


def with_masks(point: Point) -> Point:
    return dataclasses.replace(point, tasks={task: point.box for task in ("box", "mask")})


def curve_point(point: Point) -> CurvePoint:
    names = [field.name for field in dataclasses.fields(RoutedAP)]
    place = ("hard_fraction", "threshold", "realised_hard_fraction", "gflops")
    tasks = {
        task: RoutedAP(**{name: getattr(found, name) for name in names})
        for task, found in point.tasks.items()
    }
    return CurvePoint(**{name: getattr(point, name) for name in place}, tasks=tasks)


def a_tradeoff(*points: Point, **changes: Any) -> Tradeoff:
    """Of these points, the second of which is the model's own."""
    tradeoff = Tradeoff(
        dataset="shapes_val",
        num_images=4,
        images_missing=0,
        device="a machine",
        loss_offset=None,
        points=points,
        operating_point=points[1],
        curve=tuple(map(curve_point, points)),
        difficulty=DifficultySummary.of(DIFFICULTIES),
        rank_correlation=RankCorrelations(gain=0.25),
        latency=LatencyProtocol(images=2, warmup=1, batch_size=1),
        image_sizes=SizeRange((64, 96), (64, 128)),
        fingerprint={"dtype": "float32"},
        date="2026-01-02T03:04:05+00:00",
        versions={"torch": "2.11.0"},
        notes=Notes(*["as it should be."] * 5),
        verdict="Fine.",
        warnings=("But small.",),
        precision_curves=tuple(
            PrecisionCurve("box", k, iou, (100.0, 80.0, 0.0))
            for k in (0.0, 0.5, 1.0)
            for iou in (0.5, 0.75)
        ),
    )
    return dataclasses.replace(tradeoff, **changes)


EASY, HARD = a_point(0, 30.0, 30.0, 0), a_point(1, 32.0, 32.0, 0)
GOOD = a_tradeoff(EASY, a_point(0.5, 31.5, 31.0), HARD)
# Easy and hard on the right and on the wrong side.
ROUTES = [
    ImageRoute(0, "", 0.1, "easy", -1.0),
    ImageRoute(1, "", 0.2, "easy", 2.0),
    ImageRoute(2, "", 0.8, "hard", 1.0),
    ImageRoute(3, "", 0.9, "hard", -3.0),
]
