# SPDX-License-Identifier: Apache-2.0
"""What a calibration's milliseconds belong to, beside what its difficulties do."""

import logging
from typing import Any

import torch
from detectron2.config import CfgNode

from dynamicdet_d2.operating_point.fingerprint import differences
from dynamicdet_d2.operating_point.record import Calibration
from dynamicdet_d2.utils.device import device_name

logger = logging.getLogger(__name__)


def inference_settings(cfg: CfgNode) -> dict[str, bool]:
    """How the model is run, where results stay the same."""
    keys = cfg.MODEL.INFERENCE
    return {"optimize": bool(keys.OPTIMIZE), "compile": bool(keys.COMPILE)}


def check_milliseconds(calibration: Calibration, cfg: CfgNode) -> None:
    """Refuse milliseconds of a model that is run in another way; say those of another machine.

    Args:
        calibration: that ``MODEL.DYNAMIC.CALIBRATION`` names.
        cfg: of the model in use.

    Raises:
        ValueError: naming each key of ``MODEL.INFERENCE`` that differs, with both values.
    """
    path, ours = cfg.MODEL.DYNAMIC.CALIBRATION, inference_settings(cfg)
    theirs = calibration.measured.get("inference", dict.fromkeys(ours, False))
    differing = differences(_as_keys(theirs), _as_keys(ours))
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
