# SPDX-License-Identifier: Apache-2.0
"""AP, cost and latency of every threshold at every setting of the other knobs.

N: images.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from detectron2.config import CfgNode
from numpy.typing import NDArray

from dynamicdet_d2.calibration.ap_drop import box_sweep
from dynamicdet_d2.calibration.plan.exits import measure_limits, observe_limits
from dynamicdet_d2.calibration.plan.grid import Pass
from dynamicdet_d2.calibration.target import FRACTIONS
from dynamicdet_d2.data.loading.loaders import ImageLoader
from dynamicdet_d2.evaluation.cost import RouteCost
from dynamicdet_d2.evaluation.ground_truth import GroundTruth
from dynamicdet_d2.evaluation.latency import Latency
from dynamicdet_d2.evaluation.observe import Observation
from dynamicdet_d2.modeling.dynamic_detector import DynamicDetector
from dynamicdet_d2.modeling.modes import setting
from dynamicdet_d2.operating_point.knobs import Knobs, knobs_of
from dynamicdet_d2.operating_point.thresholds import threshold_at, threshold_grid


@dataclass(frozen=True)
class PlanPoint:
    """One value of every knob, and what the images say of it.

    Attributes:
        keys: the config keys besides the threshold.
        hard_fraction: that the threshold was calibrated to, in [0, 1].
        threshold: in [0, 1].
        realised: share of hard images, in [0, 1].
        ap: of boxes, in percent.
        gflops: mean 10^9 multiply-adds per image.
        ms: mean milliseconds per image; None where nobody asked for them.
    """

    keys: Knobs
    hard_fraction: float
    threshold: float
    realised: float
    ap: float
    gflops: float
    ms: float | None = None


@dataclass(frozen=True)
class Curve:
    """All thresholds at one setting of the other knobs.

    Attributes:
        cfg: with the setting.
        observation: the images, without detections.
        latencies: of both routes; {} where nobody asked for them.
        points: by rising hard fraction, from all easy to all hard.
    """

    cfg: CfgNode
    observation: Observation
    latencies: Mapping[str, Latency]
    points: tuple[PlanPoint, ...]


def curves_of(
    own: Pass,
    model: DynamicDetector,
    loader: ImageLoader,
    truth: GroundTruth,
    *,
    latency: bool,
    step: Callable[[], None],
) -> list[Curve]:
    """A curve for each limit of a pass.

    Args:
        model: built from the config of the pass, with its weights.
        loader: of the images.
        truth: of the data set.
        latency: measure milliseconds too.
        step: called after each batch.
    """
    keys = own.cfg.TEST.DYNAMIC
    seen = observe_limits(model, loader, own.limits, keys.LATENCY_IMAGES, step)
    times: Sequence[Mapping[str, Latency]] = [{} for _ in own.limits]
    if latency:
        times = measure_limits(model, seen[0].sample, own.limits, keys.LATENCY_WARMUP)
    cost = RouteCost(model, keys.ATTENTION_MATMUL)
    curves = []
    for limit, observation, latencies in zip(own.limits, seen, times, strict=True):
        with setting("operating_point", model.operating_point.limited(limit), model):
            gflops = cost.of_images(observation.sizes)
        cfg = own.at(limit)
        points = _points(knobs_of(cfg), observation, truth, gflops, latencies)
        curves.append(Curve(cfg, _without_detections(observation), latencies, points))
    return curves


def _points(
    keys: Knobs,
    observation: Observation,
    truth: GroundTruth,
    gflops: NDArray[np.float64],
    latencies: Mapping[str, Latency],
) -> tuple[PlanPoint, ...]:
    difficulties = np.array(observation.difficulties)
    grid = threshold_grid(difficulties)
    sweep = box_sweep(observation.records, truth)
    points = []
    for fraction in FRACTIONS:
        threshold = threshold_at(grid, fraction)
        hard = difficulties > threshold
        realised = float(hard.mean())
        points.append(
            PlanPoint(
                keys=keys,
                hard_fraction=fraction,
                threshold=threshold,
                realised=realised,
                ap=sweep.evaluate(hard).ap,
                gflops=float(np.where(hard, gflops[:, 1], gflops[:, 0]).mean()),
                ms=_mean_ms(latencies, realised),
            )
        )
    return tuple(points)


def _mean_ms(latencies: Mapping[str, Latency], hard: float) -> float | None:
    """By eq. 14."""
    if not latencies:
        return None
    return (1 - hard) * latencies["easy"].mean + hard * latencies["hard"].mean


def _without_detections(observation: Observation) -> Observation:
    records = [dataclasses.replace(record, results=([], [])) for record in observation.records]
    return Observation(records, observation.sample)
