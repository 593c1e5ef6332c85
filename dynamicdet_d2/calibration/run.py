# SPDX-License-Identifier: Apache-2.0
"""A calibration run: difficulties of a data set, latency of both routes, threshold of a target."""

import dataclasses
import logging
import os
import platform
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetMapper, get_detection_dataset_dicts
from detectron2.modeling import build_model
from detectron2.structures import Instances
from torch import nn

from dynamicdet_d2 import calibration as cal
from dynamicdet_d2.calibration.plot import calibration_png
from dynamicdet_d2.calibration.targets import Observed, Target, hard_fraction_for_target
from dynamicdet_d2.checkpoint import DynamicCheckpointer
from dynamicdet_d2.data import build_finite_loader, build_test_loader
from dynamicdet_d2.engine.setup import load_config
from dynamicdet_d2.evaluation.exit_records import EXITS, ExitRecord, SpreadSample
from dynamicdet_d2.evaluation.latency import device_name, measure_routes
from dynamicdet_d2.modeling.dynamic_detector import DynamicDetector
from dynamicdet_d2.utils.progress import Progress
from dynamicdet_d2.utils.versions import versions

logger = logging.getLogger(__name__)

# Bins of the histogram of difficulties.
BINS = 50


def calibration_config(config_file: str, weights: str, opts: Sequence[str]) -> CfgNode:
    """The config of a calibration run.

    Where it takes its threshold from is reset: calibrating an already calibrated config anew
    must not fail because the old calibration does not fit, or is gone.

    Raises:
        ValueError, KeyError: naming the file, key or data set that is wrong.
    """
    # Detectron2 also takes addresses such as detectron2://...
    if "://" not in weights and not os.path.isfile(weights):
        raise ValueError(f"--weights {weights} does not exist.")
    cfg = load_config(config_file, list(opts)).clone()
    cfg.defrost()
    cfg.MODEL.WEIGHTS = weights
    cfg.MODEL.DYNAMIC.CALIBRATION = ""
    cfg.MODEL.DYNAMIC.HARD_FRACTION = cfg.MODEL.DYNAMIC.TARGET_LATENCY_MS = None
    if not cfg.DATASETS.TEST:
        raise ValueError("DATASETS.TEST names no data set to calibrate on.")
    cfg.freeze()
    return cfg


def calibrate(
    cfg: CfgNode, output: str, target: Target | None = None, num_images: int | None = None
) -> cal.Calibration:
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
        ValueError: the data set or the output is not usable, or the target is out of reach.
    """
    _check_output(Path(output).absolute())
    loader = _loader(cfg, num_images)
    model = build_model(cfg).eval()
    if not isinstance(model, DynamicDetector):
        raise ValueError(
            f"MODEL.META_ARCHITECTURE is {cfg.MODEL.META_ARCHITECTURE}; calibrate.py is for "
            "DynamicRCNN and other dynamic detectors."
        )
    DynamicCheckpointer(model, weights2=cfg.MODEL.COMPOSITE.WEIGHTS2).load(cfg.MODEL.WEIGHTS)
    both = target is not None and target.kind == "ap_drop"
    seen = observe(model, loader, cfg.TEST.DYNAMIC.LATENCY_IMAGES, both)
    record = _record(cfg, model, seen)
    _write(record, output)
    if target is not None:
        hard_fraction = hard_fraction_for_target(target, cfg, model, record, seen)
        point = _operating_point(target, hard_fraction, record, seen)
        record = dataclasses.replace(record, operating_point=point)
        _write(record, output)
    for remark in cal.remarks(record):
        logger.warning(remark)
    return record


def observe(
    model: nn.Module, loader: Iterable[list[dict]], num_kept: int, both_exits: bool
) -> Observed:
    """Go over a data set once.

    Args:
        model: in evaluation mode.
        loader: batches of Detectron2's input dicts; has a length.
        num_kept: batches to keep for latency, spread evenly over the data set.
        both_exits: also keep both detectors' boxes.

    Raises:
        ValueError: there was no image to see.
    """
    seen, sample = Observed(), SpreadSample(num_kept)
    progress = Progress(len(loader), "Difficulties")
    with torch.inference_mode():
        for batch in loader:
            if both_exits:
                records = _exit_records(model, batch)
                seen.records += records
                seen.difficulties += [record.difficulty for record in records]
            else:
                seen.difficulties += model.difficulties(batch)
            seen.sizes += [tuple(image["image"].shape[-2:]) for image in batch]
            sample.add(batch)
            progress.step()
    if not seen.difficulties:
        raise ValueError("No image of the data set could be read.")
    seen.kept = sample.items()
    return seen


def _write(record: cal.Calibration, output: str) -> None:
    """The file and, beside it, its picture."""
    record.to_json(output)
    Path(output).with_suffix(".png").write_bytes(calibration_png(record))


def _check_output(path: Path) -> None:
    """Before the measurement, and not after it."""
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise ValueError(f"--output {path} must be a file in a folder that can be written to.")


def _loader(cfg: CfgNode, num_images: int | None) -> Iterable[list[dict]]:
    name = cfg.DATASETS.TEST[0]
    if num_images is None:
        return build_test_loader(cfg, name)
    images = get_detection_dataset_dicts([name], filter_empty=False)
    if not 1 <= num_images <= len(images):
        raise ValueError(f"--num-images is {num_images}; {name} allows 1 to {len(images)}.")
    chosen = np.random.default_rng(0).choice(len(images), num_images, replace=False)
    images = [images[i] for i in sorted(chosen)]
    return build_finite_loader(cfg, DatasetMapper(cfg, is_train=False), dataset_dicts=images)


def _exit_records(model: nn.Module, batch: list[dict]) -> list[ExitRecord]:
    outputs = model.exits(batch)
    for output in outputs:
        output.update({name: _boxes_only(output[name]) for name in EXITS})
    return [ExitRecord.of(image, output) for image, output in zip(batch, outputs, strict=True)]


def _boxes_only(instances: Instances) -> Instances:
    """Box AP needs no masks, and encoding them would take longer than all else."""
    names = ("pred_boxes", "scores", "pred_classes")
    fields = {name: instances.get(name) for name in names}
    return Instances(instances.image_size, **fields)


def _record(cfg: CfgNode, model: nn.Module, seen: Observed) -> cal.Calibration:
    routes = measure_routes(model, seen.kept, cfg.TEST.DYNAMIC.LATENCY_WARMUP)
    counts, edges = np.histogram(seen.difficulties, bins=BINS, range=(0, 1))
    return cal.Calibration(
        num_images=len(seen.difficulties),
        fingerprint=cal.fingerprint(model, cfg),
        latency_ms={
            route: {"p50": latency.p50, "p95": latency.p95, "mean": latency.mean}
            for route, latency in routes.items()
        },
        device=device_name(model.device),
        thresholds=cal.threshold_table(seen.difficulties),
        grid=cal.threshold_grid(seen.difficulties),
        histogram={"edges": edges.tolist(), "counts": counts.tolist()},
        measured=_how_measured(cfg, seen),
        held_out=cal.held_out(seen.difficulties),
    )


def _how_measured(cfg: CfgNode, seen: Observed) -> dict:
    height, width = np.mean(seen.sizes, axis=0).round().astype(int).tolist()
    return {
        "dataset": cfg.DATASETS.TEST[0],
        "batch_size": 1,
        "latency_images": len(seen.kept),
        "latency_warmup": cfg.TEST.DYNAMIC.LATENCY_WARMUP,
        "inference": cal.inference_settings(cfg),
        "mean_height": height,
        "mean_width": width,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {**versions(), "python": platform.python_version()},
    }


def _operating_point(
    target: Target, hard_fraction: float, record: cal.Calibration, seen: Observed
) -> dict:
    """The threshold is the record's, so that the model arrives at the very same one."""
    # As many digits as are printed for the user to copy.
    hard_fraction = round(hard_fraction, 6)
    threshold = record.threshold(hard_fraction)
    return {
        "target": {target.kind: target.value},
        "hard_fraction": hard_fraction,
        "threshold": threshold,
        "interval": list(cal.threshold_interval(seen.difficulties, hard_fraction)),
        "realised_hard_fraction": cal.realised_hard_fraction(seen.difficulties, threshold),
    }
