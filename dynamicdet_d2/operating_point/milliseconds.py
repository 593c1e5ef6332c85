# SPDX-License-Identifier: Apache-2.0
"""What a calibration's milliseconds belong to, beside what its difficulties do."""

import logging
from typing import Any

import torch
from detectron2.config import CfgNode

from dynamicdet_d2.config.checking import value_of
from dynamicdet_d2.operating_point.fingerprint import differences
from dynamicdet_d2.operating_point.record import Calibration
from dynamicdet_d2.utils.device import device_name

logger = logging.getLogger(__name__)

# Keys of a test that say how many boxes there is work with.
_COUNTS = (
    *("MODEL.RPN.PRE_NMS_TOPK_TEST", "MODEL.RPN.POST_NMS_TOPK_TEST"),
    *(f"MODEL.{head}.TOPK_CANDIDATES_TEST" for head in ("RETINANET", "FCOS", "YOLO")),
    "TEST.DETECTIONS_PER_IMAGE",
)


def inference_settings(cfg: CfgNode) -> dict[str, bool]:
    """How the model is run, where results stay the same."""
    keys = cfg.MODEL.INFERENCE
    return {"optimize": bool(keys.OPTIMIZE), "compile": bool(keys.COMPILE)}


def box_counts(cfg: CfgNode) -> dict[str, Any]:
    """With how many boxes the model is run, by key: results change with them, and milliseconds."""
    return {name: value_of(cfg, name) for name in _COUNTS}


def check_milliseconds(calibration: Calibration, cfg: CfgNode) -> None:
    """Refuse milliseconds of a model that is run in another way; say those of another machine.

    Args:
        calibration: that ``MODEL.DYNAMIC.CALIBRATION`` names.
        cfg: of the model in use.

    Raises:
        ValueError: naming each key of ``MODEL.INFERENCE``, and each number of boxes, that differs,
            with both values.
    """
    path, ours = cfg.MODEL.DYNAMIC.CALIBRATION, inference_settings(cfg)
    measured, counts = calibration.measured, box_counts(cfg)
    theirs = measured.get("inference", dict.fromkeys(ours, False))
    known = measured.get("box_counts", counts)  # files of before had none
    differing = differences({**_as_keys(theirs), **known}, {**_as_keys(ours), **counts})
    if differing:
        raise ValueError(
            f"MODEL.DYNAMIC.CALIBRATION {path} has latencies measured with {differing}, which are "
            "not those of TARGET_LATENCY_MS. Run calibrate.py with this config, or set "
            "MODEL.DYNAMIC.HARD_FRACTION."
        )
    here = device_name(torch.device(cfg.MODEL.DEVICE))
    if calibration.device != here:
        logger.warning(
            "MODEL.DYNAMIC.TARGET_LATENCY_MS is met by milliseconds of %.200s, where %s was made, "
            "and this is %s: run calibrate.py here, or set MODEL.DYNAMIC.HARD_FRACTION.",
            *(calibration.device, path, here),
        )


def _as_keys(settings: dict[str, bool]) -> dict[str, Any]:
    return {f"MODEL.INFERENCE.{name.upper()}": value for name, value in settings.items()}
