# SPDX-License-Identifier: Apache-2.0
"""What ``manifest.json`` says of an exported detector.

format, version   of the manifest, and of the library that wrote it
runtime           "onnx", "openvino" or "torch"
precision         "float32" or "int8"
quantisation      null of float32; else what it was done with and on which images, per piece the
                  number of layers in int8 and the names of those in float32, and what came of AP
                  and difficulties ("check", as [in float32, in int8]; null where nobody looked)
dynamic           whether there are two routes; shared_tail: whether they end in one tail, which
                  does the same for both detectors' images
pieces            name -> files (name -> SHA-256, the one to open first), inputs and outputs in
                  order; of pieces for one padded size the name ends in "@HEIGHTxWIDTH"
levels            of F1; second_levels: those that backbone 2 gives anew
sides             padded heights and widths that there are pieces for; null: any
input             how pictures become the network's input
heads             how a tail's outputs become detections
class_names       in the order of the classes; empty where they are not known
router_inputs     what the router sees, as MODEL.ROUTER.INPUTS; empty of a static detector
easy_proposals    candidates kept of an easy image; 0: as many as of a hard one
merge_exits       how a hard image's detections are made of both detectors' (least_iou, limit);
                  null: they are detector2's
threshold         hard iff difficulty > threshold; null of a static detector
calibration       thresholds of the hard fractions 0, 0.001, ..., 1, and what they were measured
                  on; null without one
fingerprint       of weights and input, as in calibrations
checksum          of all of this: a number that is changed is refused by the runner
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from detectron2.config import CfgNode
from torch import nn

from dynamicdet_d2.acceleration.padding import check_multiple
from dynamicdet_d2.export.kinds import Kind
from dynamicdet_d2.modeling.dynamic_detector import DynamicDetector
from dynamicdet_d2.modeling.router_inputs import RouterInput
from dynamicdet_d2.modeling.router_inputs.objectness_map import ObjectnessMap
from dynamicdet_d2.operating_point import Calibration, check_fingerprint, fingerprint
from dynamicdet_d2.operating_point.knobs import check_knobs
from dynamicdet_d2.utils.pixels import MOST_PIXELS
from dynamicdet_d2.utils.words import shown


def input_settings(model: nn.Module, kind: Kind, cfg: CfgNode) -> dict[str, Any]:
    """ "input" of the manifest."""
    padding = kind.padding
    return {
        "format": cfg.INPUT.FORMAT,
        "min_size": cfg.INPUT.MIN_SIZE_TEST,
        "max_size": cfg.INPUT.MAX_SIZE_TEST,
        "mean": list(cfg.MODEL.PIXEL_MEAN),
        "std": list(cfg.MODEL.PIXEL_STD),
        "divisibility": divisibility(model, kind, cfg),
        "placement": "corner" if padding is None else padding.placement,
        "pad_value": None if padding is None else padding.value,
    }


def divisibility(model: Any, kind: Kind, cfg: CfgNode) -> int:
    """What height and width of a padded batch are multiples of, in pixels.

    Raises:
        ValueError: ``MODEL.INFERENCE.SIZE_MULTIPLE`` is none of the backbone's, or pads images
            that do not lie in a corner.
    """
    own = model.backbone.size_divisibility if kind.padding is None else kind.padding.multiple
    keys = cfg.MODEL.INFERENCE
    wanted = keys.SIZE_MULTIPLE if keys.OPTIMIZE else 0
    check_multiple(wanted, max(own, 1))
    if wanted > own and kind.padding is not None and kind.padding.placement != "corner":
        raise ValueError(
            f"MODEL.INFERENCE.SIZE_MULTIPLE is {wanted} and MODEL.YOLO.PADDING "
            f"'{kind.padding.placement}': a runner pads once, and would place images elsewhere "
            f"than the model; export with SIZE_MULTIPLE 0 or {own}."
        )
    return max(own, 1, wanted)


def calibration_settings(
    model: nn.Module, cfg: CfgNode, path: str | None
) -> tuple[float | None, dict[str, Any] | None]:
    """Threshold and "calibration" of the manifest.

    Args:
        path: of a calibration file; None: that of ``MODEL.DYNAMIC.CALIBRATION``, if any.

    Raises:
        ValueError: it belongs to other weights or another input, or the detector is static.
    """
    if not isinstance(model, DynamicDetector):
        if path is not None:
            raise ValueError(f"--calibration {path}: a static detector has no routes to calibrate.")
        return None, None
    record, threshold = model.operating_point.calibration, model.threshold
    if path is not None:
        record = Calibration.from_json(path)
        check_knobs(record.operating_point, path, cfg)
        if record.operating_point is not None:
            threshold = record.operating_point["threshold"]
    if record is None:
        return threshold, None
    path = path or cfg.MODEL.DYNAMIC.CALIBRATION
    check_fingerprint(record.fingerprint, fingerprint(model, cfg), path)
    return threshold, {
        "grid": record.grid,
        "num_images": record.num_images,
        "operating_point": record.operating_point,
        "measured": record.measured,
    }


def route_settings(model: nn.Module) -> dict[str, Any]:
    """ "router_inputs", "easy_proposals" and "merge_exits" of the manifest."""
    if not isinstance(model, DynamicDetector):
        return {"router_inputs": [], "easy_proposals": 0, "merge_exits": None}
    merging = model.exit_merging
    return {
        "router_inputs": [_kind_of_input(*own) for own in model.router.inputs.items()],
        "easy_proposals": model.operating_point.easy_proposals,
        "merge_exits": None if merging is None else dataclasses.asdict(merging),
    }


def _kind_of_input(name: str, own: RouterInput) -> str:
    """What a runner knows it by: what is made of F1 is in a piece, whoever wrote it."""
    if own.reads != "features":
        return name
    return "map" if isinstance(own, ObjectnessMap) else "features"


def checked_sides(
    sides: Sequence[tuple[int, int]] | None, multiple: int
) -> list[tuple[int, int]] | None:
    """By rising area.

    Raises:
        ValueError: one that padding cannot give, or no list of heights and widths.
    """
    if sides is None:
        return None
    pairs = _whole_pairs(sides)
    for height, width in pairs:
        if min(height, width) < 1 or height % multiple or width % multiple:
            raise ValueError(
                f"--sizes has {height}x{width}; heights and widths must be multiples of "
                f"{multiple}, from {multiple} on."
            )
        if height * width > MOST_PIXELS:
            raise ValueError(f"--sizes has {height}x{width}, more than {MOST_PIXELS} pixels.")
    return sorted(set(pairs), key=lambda side: (side[0] * side[1], side))


def _whole_pairs(sides: object) -> list[tuple[int, int]]:
    """Of lists or arrays of whole numbers, numpy's as well."""
    array = np.asarray(sides) if isinstance(sides, list | tuple | np.ndarray) else np.zeros(0)
    if array.ndim != 2 or array.shape[1] != 2 or not np.issubdtype(array.dtype, np.integer):
        raise ValueError(
            f"The sides are {shown(sides)}; they must be a list of (height, width), whole numbers "
            "of pixels."
        )
    return [(int(height), int(width)) for height, width in array]
