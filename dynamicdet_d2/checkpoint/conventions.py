# SPDX-License-Identifier: Apache-2.0
"""How images were prepared for a detector, which its weights do not say and its results depend on.

A complete detector that is loaded under other conventions has every tensor in its place, and
detects something else. What can confirm them is the config that it was trained with.
"""

import logging
import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import detectron2
from detectron2.config import CfgNode
from detectron2.modeling.backbone.resnet import BottleneckBlock
from torch import nn

from dynamicdet_d2.checkpoint import names
from dynamicdet_d2.checkpoint.learnt import recorded_by, recorded_classes, recorded_keys
from dynamicdet_d2.checkpoint.report import LoadReport
from dynamicdet_d2.config import read_config
from dynamicdet_d2.config.checking import value_of
from dynamicdet_d2.config.classes import training_json
from dynamicdet_d2.config.unread import unread
from dynamicdet_d2.data.check.run import warn_of_classes
from dynamicdet_d2.data.register import class_names, read_categories
from dynamicdet_d2.modeling.yolo.settings import variant_of
from dynamicdet_d2.utils.words import shown

logger = logging.getLogger(__name__)

Message = tuple[int, str]

# As Detectron2's zoo, and its cache of it, name a file.
_ZOO = re.compile(r"([\w.-]+)/([\w.-]+)/\d+/model_final_\w+\.pkl$")
DIGITS = 3
OWN_RECORD = "its own record"


@dataclass(frozen=True)
class Conventions:
    """What a detector expects; None: it does not matter to it, or it does not say.

    Attributes:
        input_format: channels, such as "BGR".
        pixel_mean, pixel_std: of the channels.
        stride_in_1x1: whether the ResNet's strides are in its blocks' first convolutions.
    """

    input_format: str | None
    pixel_mean: tuple[float, ...]
    pixel_std: tuple[float, ...]
    stride_in_1x1: bool | None


_KEYS = {
    "input_format": "INPUT.FORMAT",
    "pixel_mean": "MODEL.PIXEL_MEAN",
    "pixel_std": "MODEL.PIXEL_STD",
    "stride_in_1x1": "MODEL.RESNETS.STRIDE_IN_1X1",
}
# What boxes depend on and no tensor shows: anchors, what is added to them, and the maps that are
# merged, pooled and passed on.
_OF_BOXES = (
    *(f"MODEL.ANCHOR_GENERATOR.{name}" for name in ("SIZES", "ASPECT_RATIOS", "OFFSET")),
    *(f"MODEL.{name}.BBOX_REG_WEIGHTS" for name in ("RPN", "ROI_BOX_HEAD", "RETINANET")),
    *("MODEL.ROI_BOX_CASCADE_HEAD.BBOX_REG_WEIGHTS", "MODEL.YOLO.ANCHORS"),
    "MODEL.YOLO.STRIDED_FROM_BACKBONE1",
    *("MODEL.RESNETS.RES5_DILATION", "MODEL.FPN.FUSE_TYPE"),
    *(f"MODEL.{name}.IN_FEATURES" for name in ("RPN", "ROI_HEADS", "RETINANET", "FCOS")),
    *(
        f"MODEL.{name}.POOLER_{part}"
        for name in ("ROI_BOX_HEAD", "ROI_MASK_HEAD")
        for part in ("RESOLUTION", "SAMPLING_RATIO", "TYPE")
    ),
)


def of_model(model: Any) -> Conventions | None:
    """Those of a detector; None of a module that prepares no images."""
    if not hasattr(model, "pixel_mean") or not hasattr(model, "pixel_std"):
        return None
    return Conventions(
        getattr(model, "input_format", None),
        _rounded(model.pixel_mean.flatten().tolist()),
        _rounded(model.pixel_std.flatten().tolist()),
        next(map(_strides_first, filter(_has_stride, model.modules())), None),
    )


def _rounded(values: Iterable[float]) -> tuple[float, ...]:
    """As configs have them, and no finer than float32 holds them."""
    return tuple(round(float(x), DIGITS) for x in values)


def _has_stride(module: nn.Module) -> bool:
    return isinstance(module, BottleneckBlock) and module.stride > 1


def _strides_first(block: Any) -> bool:
    return max(block.conv1.stride) > 1


def of_config(cfg: CfgNode) -> Conventions:
    """Those that a config asks for."""
    keys = cfg.MODEL
    mean, std = map(_rounded, (keys.PIXEL_MEAN, keys.PIXEL_STD))
    return Conventions(cfg.INPUT.FORMAT, mean, std, keys.RESNETS.STRIDE_IN_1X1)


def of_keys(keys: Mapping[str, Any]) -> Conventions | None:
    """Those of a run by its keys, as its checkpoint has them; None where it has none."""
    try:
        mean, std = (_rounded(keys[f"MODEL.PIXEL_{name}"]) for name in ("MEAN", "STD"))
        return Conventions(keys["INPUT.FORMAT"], mean, std, keys["MODEL.RESNETS.STRIDE_IN_1X1"])
    except (KeyError, TypeError, ValueError):
        return None


def keys_of(cfg: CfgNode) -> dict[str, Any]:
    """What ``of_keys`` and ``say_other_boxes`` compare, as a checkpoint has it."""
    return {name: value_of(cfg, name) for name in (*_KEYS.values(), *_OF_BOXES)}


def confirming_config(path: str) -> Path | None:
    """The config that weights were trained with, where it can be found.

    It is ``config.yaml`` beside the file, or that of Detectron2's zoo, whose files say in their
    path which model they are.

    Args:
        path: file or address.
    """
    # Names that are no file's, as of a package's weights, have nothing beside them.
    beside = Path(path).with_name("config.yaml") if os.path.isfile(path) else None
    if beside is not None and beside.is_file():
        return beside
    found = _ZOO.search(path)
    if found is None:
        return None
    folder = Path(detectron2.__file__).parent / "model_zoo" / "configs" / found[1]
    in_zoo = folder / f"{found[2]}.yaml"
    return in_zoo if in_zoo.is_file() else None


def say_other_classes(path: str, test: Sequence[str]) -> None:
    """Say where weights are measured on other classes than they were trained on, by what their
    checkpoint records, or by their config and the JSON that it names; nothing where neither is
    found.

    Args:
        path: file or address of the weights; "": none.
        test: names of data sets.
    """
    recorded = recorded_classes(recorded_by(path))
    if recorded:
        warn_of_classes(recorded, f"{path}, by its own record,", test)
    else:
        warn_of_classes(_classes_learnt(path), f"{path}, by the config that it is of,", test)


def _classes_learnt(path: str) -> list[str]:
    cfg = _config_of(path)
    if cfg is None:
        return []
    try:
        json_file = training_json(cfg)
        known = {} if json_file is None else class_names(read_categories(json_file), json_file)
    except ValueError:
        return []
    return list(known.values())


def say_other_boxes(path: str, cfg: CfgNode, trained_by: str = "") -> None:
    """Say where boxes would be made of what a detector gives otherwise than it has learnt, by its
    config: every tensor has its place all the same.

    Args:
        path: as for ``say_other_classes``.
        cfg: that the detector is run by.
        trained_by: as for ``messages``.
    """
    # A checkpoint that was moved may lie beside the config of another run.
    then, source = {} if trained_by else recorded_keys(path), OWN_RECORD
    trained = None if then else _config_of(path, trained_by)
    if trained is not None:
        then, source = keys_of(trained), str(trained_by or confirming_config(path))
    now = {name: value_of(cfg, name) for name in _OF_BOXES if name in then}
    wrong = [
        f"{name} is {shown(value)}, and it was trained with {shown(then[name])}"
        for name, value in now.items()
        if not unread(cfg, [name])
        and not _alike(*(_as_used(cfg, name, x) for x in (value, then[name])))
    ]
    if wrong:
        logger.warning(
            "%s will not detect what it did: %s (by %s).", *(path, "; ".join(wrong), source)
        )


def _as_used(cfg: CfgNode, name: str, value: Any) -> Any:
    """A key's value as the detector takes it: what is said of one level holds for all, and anchors
    of YOLO that are not given are its variant's."""
    if name == "MODEL.YOLO.ANCHORS":
        value = value or variant_of(cfg).anchors
    lists = isinstance(value, (list, tuple)) and all(isinstance(x, (list, tuple)) for x in value)
    return value[:1] if lists and all(x == value[0] for x in value) else value


def _alike(now: object, then: object) -> bool:
    """Whether two values are one: of which kind sequences are, and to how many digits numbers were
    written, depends on where they were read.
    """
    if isinstance(now, (list, tuple)) and isinstance(then, (list, tuple)):
        return len(now) == len(then) and all(map(_alike, now, then))
    if isinstance(now, float) and isinstance(then, float):
        return math.isclose(now, then, rel_tol=1e-4)
    return now == then


def _config_of(path: str, trained_by: str = "") -> CfgNode | None:
    """The config that weights are of; None: it cannot be found or read."""
    file = trained_by or (confirming_config(path) if path else None)
    try:
        return None if file is None else read_config(file)
    except ValueError:  # of another version, or with code in it
        return None


def messages(model: nn.Module, report: LoadReport, trained_by: str = "") -> list[Message]:
    """What to log of the conventions that a complete detector was loaded under.

    The project's own checkpoints mostly are where their run's config says the same; of them only a
    contradiction is worth a word.

    Args:
        model: that it was loaded into.
        report: of loading it.
        trained_by: config file that it was trained with; "": ``confirming_config``.
    """
    own = of_model(model)
    ours = report.file_format == names.DYNAMICDET
    if own is None or not report.has_heads:
        return []
    # A checkpoint that was moved may lie beside the config of another run.
    expected = None if trained_by else of_keys(recorded_keys(report.path))
    source, trained = OWN_RECORD, _config_of(report.path, trained_by) if expected is None else None
    if trained is not None:
        expected, source = of_config(trained), str(trained_by or confirming_config(report.path))
    if expected is None:
        return [] if ours else [(logging.WARNING, _unconfirmed(report.path, own))]
    said = _compared(report.path, own, expected, f"by {source}")
    return [message for message in said if not ours or message[0] > logging.INFO]


def _compared(path: str, own: Conventions, expected: Conventions, source: str) -> list[Message]:
    wrong = [
        f"{key} is {getattr(own, name)}, and it was trained with {getattr(expected, name)}"
        for name, key in _KEYS.items()
        if not _agree(getattr(own, name), getattr(expected, name))
    ]
    if not wrong:
        return [(logging.INFO, f"The conventions of {path} are confirmed {source}.")]
    return [
        (
            logging.WARNING,
            f"{path} will not detect what it did: {'; '.join(wrong)} ({source}).",
        )
    ]


def _agree(own: object, expected: object) -> bool:
    return own is None or expected is None or own == expected


def _unconfirmed(path: str, own: Conventions) -> str:
    known = [(f.name, getattr(own, f.name)) for f in fields(own)]
    said = ", ".join(f"{_KEYS[name]} {value}" for name, value in known if value is not None)
    return (
        f"{path} is a complete detector, and nothing confirms that it was trained with {said}: "
        "with others it will not detect what it did. A config.yaml beside the file confirms them; "
        "those of Detectron2's zoo are in configs/*_d2zoo.yaml."
    )
