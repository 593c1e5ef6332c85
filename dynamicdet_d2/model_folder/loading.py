# SPDX-License-Identifier: Apache-2.0
"""From a model folder, of whatever origin, to a predictor."""

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from detectron2.config import CfgNode

from dynamicdet_d2.config import read_config
from dynamicdet_d2.config.pairs import refuse_no_pairs
from dynamicdet_d2.config.rules import device_exists, device_has_values
from dynamicdet_d2.model_folder.manifest import (
    CALIBRATION,
    CLASSES,
    CONFIG,
    MANIFEST,
    WEIGHTS,
    verified,
)
from dynamicdet_d2.operating_point import Calibration
from dynamicdet_d2.prediction import DynamicPredictor
from dynamicdet_d2.prediction.class_names import check_class_names
from dynamicdet_d2.utils.device import device_name
from dynamicdet_d2.utils.files import read_json
from dynamicdet_d2.utils.paths import refuse_no_path
from dynamicdet_d2.utils.replacing import refuse_replaced, settled, stamps
from dynamicdet_d2.utils.words import shown

logger = logging.getLogger(__name__)

_OF = "a folder that 'dynamicdet package' wrote"
# Keys of its files.
_ITS_OWN = (
    *("MODEL.WEIGHTS", "MODEL.COMPOSITE.WEIGHTS2"),
    *("DATASETS.TRAIN", "DATASETS.TEST", "DATASETS.COCO_JSON"),  # names are in the folder
)


def load(folder: str | os.PathLike, device: str | torch.device | None = None) -> DynamicPredictor:
    """The predictor of a folder that ``dynamicdet package`` has written. ::

        predictor = dynamicdet_d2.load("model")
        output = predictor(image)

    Folders of unknown origin are safe to load: nothing in them runs, nothing outside them is
    read, and files that are not what the manifest says are refused. A hash says that a file is
    whole, not whose it is; and a model may still be too large for the machine.

    Args:
        folder: with ``manifest.json``.
        device: such as "cpu" or "cuda:1"; None: a GPU where there is one, else the CPU.

    Raises:
        ValueError: one sentence that names the file and what is wrong with it, or the device.
    """
    with one_folder(folder) as root:
        cfg, class_names = model_config(root, device)
        predictor = DynamicPredictor(cfg, class_names)
    point = getattr(predictor.model, "operating_point", None)
    if point is not None and point.calibration is not None:
        _say_other_device(point.calibration, predictor.model.device)
    return predictor


@contextmanager
def one_folder(folder: str | os.PathLike) -> Iterator[Path]:
    """The folder's own place, whose files are the same ones until the end of the context.

    They are read twice, for their hashes and for what they hold. A model that came into the place
    of another one in between would be this one's weights with that one's classes.

    Raises:
        ValueError: it is no path, or one of the files was replaced within the context.
    """
    refuse_no_path(folder, _OF)
    root = settled(folder)
    before = stamps(root / name for name in (MANIFEST, CONFIG, WEIGHTS, CLASSES, CALIBRATION))
    try:
        yield root
    except ValueError:
        refuse_replaced(before)  # which explains what is wrong with it
        raise
    refuse_replaced(before)


def model_config(
    folder: str | os.PathLike,
    device: str | torch.device | None = None,
    overrides: Sequence[str] = (),
) -> tuple[CfgNode, list[str]]:
    """Config and class names of a folder, with absolute paths.

    Args:
        folder, device: as ``load`` takes them.
        overrides: keys and values in turn; none of a file of the folder's own.

    Raises:
        ValueError: as ``load``, or a key is wrong.
    """
    refuse_no_path(folder, _OF)
    refuse_no_pairs(overrides)
    if device is not None:
        _check_device(device)
    root = settled(folder)
    files = verified(root).files
    for name in overrides[::2]:
        if name == "MODEL.DYNAMIC.CALIBRATION" and CALIBRATION not in files:
            raise ValueError(
                f"{name} names a file beside the model folder {root}, which has no calibration of "
                "its own; 'predict' takes --calibration."
            )
        if name in _ITS_OWN or (name == "MODEL.DYNAMIC.CALIBRATION" and CALIBRATION in files):
            raise ValueError(f"{name} is said by the model folder {root}, and not by overrides.")
    cfg = read_config(str(root / CONFIG), overrides, alone=True)
    # Only these, whatever the config names.
    cfg.MODEL.WEIGHTS, cfg.MODEL.COMPOSITE.WEIGHTS2 = str(root / WEIGHTS), ""
    cfg.DATASETS.COCO_JSON, cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = [], (), ()
    if cfg.MODEL.DYNAMIC.CALIBRATION or CALIBRATION in files:
        if CALIBRATION not in files:
            raise ValueError(f"{root / CONFIG} needs {CALIBRATION}, which the folder lacks.")
        cfg.MODEL.DYNAMIC.CALIBRATION = str(root / CALIBRATION)
    cfg.MODEL.DEVICE = cfg.MODEL.DEVICE if device is None else str(device)
    return cfg, _class_names(root / CLASSES, cfg)


def _check_device(device: object) -> None:
    if not isinstance(device, str | torch.device):
        raise ValueError(
            f"device is {shown(device)}; it must be a name such as 'cpu' or 'cuda:1', or a "
            "torch.device."
        )
    fault = device_exists(str(device)) or device_has_values(str(device))
    if fault is not None:
        raise ValueError(fault.replace("MODEL.DEVICE", "device", 1))


def _class_names(path: Path, cfg: CfgNode) -> list[str]:
    names = read_json(path, str(path))
    if not isinstance(names, list):
        raise ValueError(f"{path} must be a list of names.")
    check_class_names(names, cfg, str(path))
    return names


def _say_other_device(calibration: Calibration, device: torch.device) -> None:
    here = device_name(device)
    if calibration.device != here:
        logger.info(
            "The calibration's milliseconds are of %s, and this is %s: shares of hard images hold, "
            "milliseconds do not.",
            calibration.device,
            here,
        )
