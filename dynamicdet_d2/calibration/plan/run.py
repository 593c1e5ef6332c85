# SPDX-License-Identifier: Apache-2.0
"""A planned calibration: passes over the grid, the plan's files, and the chosen point's record."""

import dataclasses
import logging
import os
from datetime import UTC, datetime

import torch
from detectron2.config import CfgNode

from dynamicdet_d2.calibration.output import check_output, write
from dynamicdet_d2.calibration.plan.choice import Cost, Plan, check_target, choose, front_of
from dynamicdet_d2.calibration.plan.curves import Curve, curves_of
from dynamicdet_d2.calibration.plan.files import plan_files, write_plan
from dynamicdet_d2.calibration.plan.grid import Pass, passes_of
from dynamicdet_d2.calibration.run import (
    calibrated_model,
    calibration_loader,
    ground_truth,
    operating_point_of,
    record_of,
)
from dynamicdet_d2.calibration.summary import remarks
from dynamicdet_d2.calibration.target import FRACTIONS, Choice, Target
from dynamicdet_d2.evaluation.ground_truth import GroundTruth
from dynamicdet_d2.evaluation.latency import measure_routes
from dynamicdet_d2.operating_point import Calibration
from dynamicdet_d2.operating_point.knobs import as_pairs, knobs_of
from dynamicdet_d2.utils.device import device_name
from dynamicdet_d2.utils.progress import Progress

logger = logging.getLogger(__name__)


def plan_calibration(
    cfg: CfgNode,
    output: str | os.PathLike[str],
    target: Target | None,
    num_images: int | None = None,
    *,
    latency: bool = False,
) -> tuple[Calibration, Plan]:
    """Calibrate to the point of ``TEST.DYNAMIC.PLAN`` that meets a target best.

    The plan's files are written before the target is looked at, so that one out of reach does not
    cost the measurement, and again with the point that was chosen.

    Args:
        cfg: as ``calibration_config`` gives it.
        output: path of the calibration; the plan's files go beside it.
        target: milliseconds, GFLOPs or a drop of AP.
        num_images: as ``calibrate`` takes it.
        latency: measure milliseconds whatever the target is; a drop of AP then seeks the point
            with the fewest of them, else the one with the fewest GFLOPs.

    Returns:
        what was written.

    Raises:
        ValueError: as ``calibrate``; or a plan cannot be made for the target or with a setting.
    """
    target, cost = check_target(target, latency)
    output = os.fspath(output)
    check_output(output, *plan_files(output))
    passes = passes_of(cfg)
    truth = ground_truth(cfg)
    curves = _measured(passes, truth, num_images, latency=latency or cost == "ms")
    plan = _plan(curves, target, cost)
    write_plan(plan, output)
    try:
        plan = dataclasses.replace(plan, chosen=choose(plan, target))
    except ValueError as error:
        raise ValueError(
            f"{error} {plan_files(output)[1]} is written, and no calibration."
        ) from None
    write_plan(plan, output)
    record = _record(curves, plan, target)
    write(record, output)
    for remark in remarks(record):
        logger.warning(remark)
    return record, plan


def _measured(
    passes: list[Pass], truth: GroundTruth, num_images: int | None, *, latency: bool
) -> list[Curve]:
    loaders = [calibration_loader(own.cfg, num_images) for own in passes]
    progress = Progress(sum(map(len, loaders)), "Plan")
    curves: list[Curve] = []
    for own, loader in zip(passes, loaders, strict=True):
        logger.info(
            "Pass %d of %d, with %d values of MODEL.DYNAMIC.EASY_PROPOSALS: %s",
            1 + len(curves) // len(own.limits),
            len(passes),
            len(own.limits),
            as_pairs(knobs_of(own.cfg)),
        )
        model = calibrated_model(own.cfg)
        curves += curves_of(own, model, loader, truth, latency=latency, step=progress.step)
    return curves


def _plan(curves: list[Curve], target: Target, cost: Cost) -> Plan:
    cfg = curves[0].cfg
    points = tuple(point for curve in curves for point in curve.points)
    return Plan(
        dataset=cfg.DATASETS.TEST[0],
        num_images=len(curves[0].observation.records),
        device=device_name(torch.device(cfg.MODEL.DEVICE)),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        cost=cost,
        target={target.name: target.value},
        points=points,
        reference=len(FRACTIONS) - 1,
        front=front_of(points, cost),
    )


def _record(curves: list[Curve], plan: Plan, target: Target) -> Calibration:
    """As ``calibrate`` has it of the chosen setting, with the keys that realise it."""
    assert plan.chosen is not None
    place, fraction = divmod(plan.chosen, len(FRACTIONS))
    curve = curves[place]
    model = calibrated_model(curve.cfg)
    latencies = curve.latencies
    if not latencies:
        sample = [[image] for image in curve.observation.sample]
        latencies = measure_routes(model, sample, curve.cfg.TEST.DYNAMIC.LATENCY_WARMUP)
    record = record_of(curve.cfg, model, curve.observation, latencies)
    choice = Choice(FRACTIONS[fraction])
    point = operating_point_of(target, choice, record, curve.observation)
    point["keys"] = dict(plan.points[plan.chosen].keys)
    return dataclasses.replace(record, operating_point=point)
