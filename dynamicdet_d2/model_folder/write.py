# SPDX-License-Identifier: Apache-2.0
"""Writes a model folder."""

import logging
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import torch
from detectron2.config import CfgNode

from dynamicdet_d2.checkpoint import conventions
from dynamicdet_d2.checkpoint.learnt import in_checkpoint, recorded_by, recorded_phase
from dynamicdet_d2.model_folder.loading import load
from dynamicdet_d2.model_folder.manifest import (
    CALIBRATION,
    CLASSES,
    CONFIG,
    WEIGHTS,
    Manifest,
)
from dynamicdet_d2.modeling.settable_threshold import refuse_without_router
from dynamicdet_d2.operating_point import Calibration
from dynamicdet_d2.prediction import DynamicPredictor
from dynamicdet_d2.prediction.class_names import say_nameless
from dynamicdet_d2.utils.files import whole_file, write_json
from dynamicdet_d2.utils.folder_names import refuse_file_name
from dynamicdet_d2.utils.versions import versions
from dynamicdet_d2.utils.whole_folder import whole_folder

logger = logging.getLogger(__name__)


def write_model(
    cfg: CfgNode, folder: str | os.PathLike, class_names: Sequence[str] | None = None
) -> DynamicPredictor:
    """Write the model of a config as a folder, and load it back from there.

    The folder appears when it is complete, and has been loaded once.

    Args:
        cfg: with ``MODEL.WEIGHTS``; where ``MODEL.DYNAMIC.CALIBRATION`` is set, the calibration
            goes along. A target in milliseconds becomes the hard fraction that meets it here,
            because milliseconds are one machine's.
        folder: that does not exist yet, or is empty.
        class_names: by class as the model counts it; None: as ``DynamicPredictor`` knows them.

    Returns:
        the predictor of the folder.

    Raises:
        ValueError: the model cannot be built or its weights are not complete, the calibration is
            not its own, or the folder is in use.
        OSError: the folder cannot be written.
    """
    refuse_file_name(folder, "--output")
    folder = Path(folder)
    if os.path.lexists(folder) and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"--output {folder} is there already; it must be a new or empty folder.")
    if os.path.isdir(folder) and os.path.samefile(folder, os.curdir):  # a shell would stay in it
        raise ValueError(
            f"--output {folder} is the working folder, which the model folder would take the place "
            "of; name it from another one."
        )
    predictor = DynamicPredictor(cfg, class_names)
    point = getattr(predictor.model, "operating_point", None)
    say_nameless(predictor.class_names, cfg.DATASETS.TEST if class_names is None else ())
    refuse_without_router(predictor.model, "a model folder holds whole models")
    place = folder.resolve()  # a link to an empty folder stays one
    with whole_folder(place) as unfinished:
        _write_files(predictor, unfinished)
        loaded = load(unfinished, device=cfg.MODEL.DEVICE)
    loaded.cfg = _moved(loaded.cfg, place)
    if point is not None:
        loaded.model.operating_point.read_from(loaded.cfg)
    return loaded


def _moved(cfg: CfgNode, folder: Path) -> CfgNode:
    """The config of a folder that has its name now."""
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.WEIGHTS = str(folder / WEIGHTS)
    if cfg.MODEL.DYNAMIC.CALIBRATION:
        cfg.MODEL.DYNAMIC.CALIBRATION = str(folder / CALIBRATION)
    cfg.freeze()
    return cfg


def _write_files(predictor: DynamicPredictor, folder: Path) -> None:
    keys = predictor.cfg.MODEL.DYNAMIC
    weights = predictor.cfg.MODEL.WEIGHTS
    kept = conventions.keys_of(predictor.cfg)
    record = in_checkpoint(recorded_by(weights), kept, recorded_phase(weights))
    with whole_file(folder / WEIGHTS) as file:
        torch.save({"model": predictor.model.state_dict(), **record}, file)
    write_json(folder / CLASSES, predictor.class_names)
    cfg = predictor.cfg.clone()
    cfg.defrost()
    if keys.CALIBRATION:
        calibration = Calibration.from_json(keys.CALIBRATION)
        calibration.to_json(folder / CALIBRATION)
        if keys.HARD_FRACTION is None:
            share = round(calibration.hard_fraction_for_latency(keys.TARGET_LATENCY_MS), 6)
            logger.info(
                "%g ms are a hard fraction of %g by the calibration.", keys.TARGET_LATENCY_MS, share
            )
            cfg.MODEL.DYNAMIC.HARD_FRACTION = share
        cfg.MODEL.DYNAMIC.CALIBRATION = CALIBRATION
    cfg.MODEL.DYNAMIC.TARGET_LATENCY_MS = None
    cfg.MODEL.WEIGHTS, cfg.MODEL.COMPOSITE.WEIGHTS2 = WEIGHTS, ""
    # What a predictor does not read: data sets and folders of the machine that trained it.
    cfg.DATASETS.COCO_JSON, cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = [], (), ()
    cfg.OUTPUT_DIR = "output"
    cfg.MODEL.DEVICE = "cuda"  # which reading turns into "cpu" where there is none
    with whole_file(folder / CONFIG) as file:
        file.write(cfg.dump().encode())
    date = datetime.now(UTC).isoformat(timespec="seconds")
    Manifest.of(folder, versions(), date).write(folder)
