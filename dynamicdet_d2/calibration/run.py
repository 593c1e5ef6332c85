# SPDX-License-Identifier: Apache-2.0
"""A calibration run: difficulties of a data set, latency of both routes, threshold of a target."""

import dataclasses
import logging
import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
from detectron2.config import CfgNode
from detectron2.modeling import build_model

from dynamicdet_d2.calibration.output import check_output, write
from dynamicdet_d2.calibration.summary import remarks
from dynamicdet_d2.calibration.target import Choice, Measured, Target
from dynamicdet_d2.checkpoint import load_complete
from dynamicdet_d2.checkpoint.conventions import say_other_classes
from dynamicdet_d2.checkpoint.learnt import say_learnt_images
from dynamicdet_d2.config import Use, read_with_weights
from dynamicdet_d2.config.ranges import integer
from dynamicdet_d2.config.unread_by_commands import refuse_unread
from dynamicdet_d2.data import build_finite_loader, build_test_loader
from dynamicdet_d2.data.check.by_code import warn_of_shared_files
from dynamicdet_d2.data.check.run import warn_of_learnt_set, warn_of_other_classes
from dynamicdet_d2.data.loading.images import images_of
from dynamicdet_d2.data.loading.loaders import (
    ImageLoader,
)
from dynamicdet_d2.data.loading.mappers import inference_mapper
from dynamicdet_d2.engine.setup import checked
from dynamicdet_d2.evaluation.ground_truth import GroundTruth, read_ground_truth
from dynamicdet_d2.evaluation.latency import Latency, measure_routes
from dynamicdet_d2.evaluation.observe import Observation, observe
from dynamicdet_d2.modeling.architecture import building
from dynamicdet_d2.modeling.dynamic_detector import DynamicDetector
from dynamicdet_d2.operating_point import (
    Calibration,
    box_counts,
    fingerprint,
    held_out,
    inference_settings,
    realised_hard_fraction,
    threshold_grid,
    threshold_interval,
    threshold_table,
)
from dynamicdet_d2.utils.arguments import refuse_no_config
from dynamicdet_d2.utils.device import device_name
from dynamicdet_d2.utils.paths import no_such, refuse_no_path
from dynamicdet_d2.utils.plain import checked as checked_kind
from dynamicdet_d2.utils.versions import versions

logger = logging.getLogger(__name__)

# Bins of the histogram of difficulties.
BINS = 50


def calibration_config(
    config_file: str | os.PathLike[str], weights: str | os.PathLike[str], opts: Sequence[str]
) -> CfgNode:
    """The config of a calibration run.

    Where its file takes its threshold from is reset: calibrating an already calibrated config anew
    must not fail because the old calibration does not fit, or is gone.

    Raises:
        ValueError: naming the file, key or data set that is wrong.
    """
    for path in (config_file, weights):
        refuse_no_path(path)
    weights = os.fspath(weights)
    # Detectron2 also takes addresses such as detectron2://...
    if "://" not in weights and not os.path.isfile(weights):
        raise ValueError(f"--weights {weights} {no_such('file', weights)}.")
    cfg = read_with_weights(config_file, weights, opts)
    refuse_unread(opts, "what a calibration is to meet is said by options, such as --hard-fraction")
    cfg.MODEL.DYNAMIC.CALIBRATION = ""
    cfg.MODEL.DYNAMIC.HARD_FRACTION = cfg.MODEL.DYNAMIC.TARGET_LATENCY_MS = None
    if len(cfg.DATASETS.TEST) > 1:
        logger.warning(
            "DATASETS.TEST names %d data sets, of which only the first, %s, is calibrated on.",
            *(len(cfg.DATASETS.TEST), cfg.DATASETS.TEST[0]),
        )
    cfg = checked(cfg, Use.CALIBRATE)
    warn_of_learnt_set(cfg.DATASETS.TRAIN, cfg.DATASETS.TEST[0])
    return cfg


def calibrate(
    cfg: CfgNode,
    output: str | os.PathLike[str],
    target: Target | None = None,
    num_images: int | None = None,
) -> Calibration:
    """Calibrate the model of ``cfg`` on the first data set of ``DATASETS.TEST``.

    The file is written before the target is looked at, so that a target out of reach does not
    cost the measurement, and again with the operating point.

    Args:
        cfg: with ``MODEL.WEIGHTS`` set.
        output: path of the JSON file.
        target: what to choose the operating point for; None: only the table.
        num_images: use this many images, drawn at random (always the same ones); None: all.

    Returns:
        What was written.

    Raises:
        ValueError: the data set, the weights or the output are not usable, or the target is out
            of reach.
    """
    refuse_no_config(cfg)
    if target is not None:
        checked_kind(Target, target, "The target", "None or a Target, such as HardFraction(0.5).")
    output = check_output(output)
    loader = calibration_loader(cfg, num_images)
    truth = ground_truth(cfg) if target is not None and target.needs_ground_truth else None
    model = calibrated_model(cfg)
    detections = target is not None and target.needs_detections
    observation = observe(model, loader, cfg.TEST.DYNAMIC.LATENCY_IMAGES, detections=detections)
    sample = [[image] for image in observation.sample]
    latencies = measure_routes(model, sample, cfg.TEST.DYNAMIC.LATENCY_WARMUP)
    record = record_of(cfg, model, observation, latencies)
    write(record, output)
    if target is not None:
        measured = Measured(cfg, model, record, observation, truth, latencies)
        try:
            choice = target.choose(measured)
        except ValueError as error:
            raise ValueError(f"{error} {output} is written, without an operating point.") from None
        checked_kind(Choice, choice, f"choose() of {type(target).__name__}", "a Choice.")
        point = operating_point_of(target, choice, record, observation)
        record = dataclasses.replace(record, operating_point=point)
        write(record, output)
    for remark in remarks(record):
        logger.warning(remark)
    return record


def calibration_loader(cfg: CfgNode, num_images: int | None) -> ImageLoader:
    """Over the first data set of ``DATASETS.TEST``, or some of its images, drawn at random.

    Raises:
        ValueError: it has fewer images, or is not usable.
    """
    name = cfg.DATASETS.TEST[0]
    if num_images is None:
        return build_test_loader(cfg, name)
    images = images_of("DATASETS.TEST", [name], filter_empty=False)
    allowed = integer(at_least=1, at_most=len(images))
    num_images = allowed.whole(num_images, f"--num-images of {name}")
    chosen = np.random.default_rng(0).choice(len(images), num_images, replace=False)
    images = [images[i] for i in sorted(chosen)]
    return build_finite_loader(cfg, inference_mapper(cfg), dataset_dicts=images)


def ground_truth(cfg: CfgNode) -> GroundTruth:
    """Of the first data set of ``DATASETS.TEST``.

    Raises:
        ValueError: as ``read_ground_truth``; there is no object.
    """
    name = cfg.DATASETS.TEST[0]
    warn_of_other_classes(cfg.DATASETS.TRAIN, [name])
    say_other_classes(cfg.MODEL.WEIGHTS, [name])
    truth = read_ground_truth(name)
    if all(found.get("iscrowd") for found in truth.coco.dataset["annotations"]):
        raise ValueError(f"Data set {name} has no object, so that there is no AP of it.")
    return truth


def calibrated_model(cfg: CfgNode) -> DynamicDetector:
    """The dynamic detector of a config with its weights, in evaluation mode.

    Raises:
        ValueError: it is none, or the weights are not complete.
    """
    with building():
        model = build_model(cfg).eval()
    if not isinstance(model, DynamicDetector):
        raise ValueError(
            f"MODEL.META_ARCHITECTURE is {cfg.MODEL.META_ARCHITECTURE}; calibrate.py is for "
            "DynamicRCNN and other dynamic detectors."
        )
    load_complete(model, cfg, cfg.MODEL.WEIGHTS)
    return model


def record_of(
    cfg: CfgNode,
    model: DynamicDetector,
    observation: Observation,
    latencies: Mapping[str, Latency],
) -> Calibration:
    """The record of a pass and its latencies, without an operating point."""
    files = [{"file_name": x.file_name} for x in observation.records if x.file_name]
    warn_of_shared_files([cfg.DATASETS.TEST[0]], files)
    say_learnt_images(cfg.MODEL.WEIGHTS, cfg.DATASETS.TEST[0], [x["file_name"] for x in files])
    difficulties = observation.difficulties
    counts, edges = np.histogram(difficulties, bins=BINS, range=(0, 1))
    return Calibration(
        num_images=len(difficulties),
        fingerprint=fingerprint(model, cfg),
        latency_ms={
            route: {"p50": latency.p50, "p95": latency.p95, "mean": latency.mean}
            for route, latency in latencies.items()
        },
        device=device_name(model.device),
        thresholds=threshold_table(difficulties),
        grid=threshold_grid(difficulties),
        histogram={"edges": edges.tolist(), "counts": counts.tolist()},
        measured=_how_measured(cfg, observation),
        held_out=held_out(difficulties),
    )


def _how_measured(cfg: CfgNode, observation: Observation) -> dict[str, Any]:
    height, width = np.mean(observation.sizes, axis=0).round().astype(int).tolist()
    return {
        "dataset": cfg.DATASETS.TEST[0],
        "batch_size": 1,
        "latency_images": len(observation.sample),
        "latency_warmup": cfg.TEST.DYNAMIC.LATENCY_WARMUP,
        "inference": inference_settings(cfg),
        "box_counts": box_counts(cfg),
        "mean_height": height,
        "mean_width": width,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {**versions(), "python": platform.python_version()},
    }


def operating_point_of(
    target: Target, choice: Choice, record: Calibration, observation: Observation
) -> dict[str, Any]:
    """ "operating_point" of a record; its threshold is where the model arrives by the record."""
    # As many digits as are printed for the user to copy.
    hard_fraction = round(choice.hard_fraction, 6)
    threshold, difficulties = record.threshold(hard_fraction), observation.difficulties
    return {
        "target": {target.name: target.value},
        "hard_fraction": hard_fraction,
        "threshold": threshold,
        "interval": list(threshold_interval(difficulties, hard_fraction)),
        "realised_hard_fraction": realised_hard_fraction(difficulties, threshold),
        "guarantee": choice.guarantee,
    }
