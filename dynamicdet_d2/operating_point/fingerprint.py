# SPDX-License-Identifier: Apache-2.0
"""What a calibration belongs to: weights, input and number type, in a form that can be compared."""

import hashlib
from collections.abc import Set
from typing import Any

import torch
from detectron2.config import CfgNode
from torch import nn

from dynamicdet_d2.config.checking import value_of
from dynamicdet_d2.utils.precision import product_dtype

# Buffers (by the last part of their name) that no result of inference depends on.
_WITHOUT_EFFECT = ("loss_offset", "loss_normalizers", "num_batches_tracked")
_DIGITS = 16
# Keys of a test that a step of detector1's pass depends on, by the name of its result.
_PROPOSAL_KEYS = (
    "MODEL.RPN.PRE_NMS_TOPK_TEST",
    "MODEL.RPN.POST_NMS_TOPK_TEST",
    "MODEL.RPN.NMS_THRESH",
)
_DETECTION_KEYS = (
    *("MODEL.ROI_HEADS.SCORE_THRESH_TEST", "MODEL.ROI_HEADS.NMS_THRESH_TEST"),
    *(
        f"MODEL.{head}.{name}_TEST"
        for head in ("RETINANET", "FCOS", "YOLO")
        for name in ("SCORE_THRESH", "TOPK_CANDIDATES", "NMS_THRESH")
    ),
    "TEST.DETECTIONS_PER_IMAGE",
)
_STEP_KEYS = {"proposals": _PROPOSAL_KEYS, "detections": (*_PROPOSAL_KEYS, *_DETECTION_KEYS)}
# More of them, with their usual values: they are named where they have another one.
_SELDOM_SET: dict[str, dict[str, Any]] = {
    "proposals": {"MODEL.PROPOSAL_GENERATOR.MIN_SIZE": 0},
    "detections": {
        "MODEL.PROPOSAL_GENERATOR.MIN_SIZE": 0,
        "MODEL.ROI_BOX_HEAD.POOLER_SAMPLING_RATIO": 0,
        "MODEL.ROI_BOX_HEAD.POOLER_TYPE": "ROIAlignV2",
        "MODEL.YOLO.MULTI_LABEL": True,
    },
}
# Characters of a value in a sentence.
_LONGEST = 80


def fingerprint(model: nn.Module, cfg: CfgNode) -> dict[str, Any]:
    """What difficulties depend on.

    Returns:
        {"weights": 16 hex digits, "input": see :func:`input_fingerprint`, "dtype": "float32" ...}.
        dtype is that of matrix products as things stand: ``MODEL.INFERENCE.PRECISION`` where it
        is reduced, else that of the parameters, or of autocast where it is active.
        "easy_proposals" and "merge_exits_iou" are among them where those keys of
        ``MODEL.DYNAMIC`` are not as usual: what images cost depends on them. "heads", of a router
        that looks at proposals or detections, are the keys that these depend on.
    """
    names = ("easy_proposals", "merge_exits_iou")
    keys = {name: cfg.MODEL.DYNAMIC[name.upper()] for name in names}
    looked_at: Any = getattr(getattr(model, "router", None), "reads", ())
    heads = {name: value_of(cfg, name) for step in looked_at for name in _STEP_KEYS.get(step, ())}
    seldom = {name: x for step in looked_at for name, x in _SELDOM_SET.get(step, {}).items()}
    heads |= {name: value_of(cfg, name) for name, x in seldom.items() if value_of(cfg, name) != x}
    return {
        **{name: value for name, value in keys.items() if value},
        **({"heads": heads} if heads else {}),
        "weights": weights_fingerprint(model),
        "input": input_fingerprint(cfg),
        "dtype": compute_dtype(model, cfg),
    }


def weights_fingerprint(model: nn.Module, apart: tuple[str, ...] = ()) -> str:
    """16 hex digits of the SHA-256 over names, dtypes, shapes and bytes of the state dict.

    The same on every device; ``loss_offset`` and other buffers without effect are left out.

    Args:
        apart: what else is left out, by how its names begin.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        if name.rsplit(".", 1)[-1] in _WITHOUT_EFFECT or name.startswith(apart):
            continue
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        # As bytes, because numpy has no bfloat16; flattened, because a scalar has no bytes view.
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy())
    return digest.hexdigest()[:_DIGITS]


def input_fingerprint(cfg: CfgNode) -> dict[str, Any]:
    """How images reach the model: test size, channel order and normalisation, as plain types.

    Padding is among them where it is not as usual: ``MODEL.INFERENCE.SIZE_MULTIPLE``, and of YOLOs
    ``PADDING`` and ``PAD_VALUE``.
    """
    multiple = int(cfg.MODEL.INFERENCE.SIZE_MULTIPLE)
    padding: dict[str, Any] = {"size_multiple": multiple} if multiple else {}
    yolo = cfg.MODEL.YOLO
    if (yolo.PADDING, yolo.PAD_VALUE) != ("corner", 114.0):
        padding |= {"placement": str(yolo.PADDING), "pad_value": float(yolo.PAD_VALUE)}
    return {
        **padding,
        "min_size_test": int(cfg.INPUT.MIN_SIZE_TEST),
        "max_size_test": int(cfg.INPUT.MAX_SIZE_TEST),
        "format": str(cfg.INPUT.FORMAT),
        "pixel_mean": [float(mean) for mean in cfg.MODEL.PIXEL_MEAN],
        "pixel_std": [float(std) for std in cfg.MODEL.PIXEL_STD],
    }


def check_fingerprint(calibration: dict[str, Any], current: dict[str, Any], path: str = "") -> None:
    """Refuse a calibration that belongs to something else.

    Args:
        calibration: the fingerprint in the calibration.
        current: the fingerprint of the model in use.
        path: of the calibration's file, for the message.

    Raises:
        ValueError: naming each part that differs, with both values.
    """
    differing = differences(calibration, current)
    if differing:
        raise ValueError(
            f"The calibration {path}{' ' * bool(path)}belongs to another model or input: it was "
            f"made with {differing}. Run calibrate.py for this one."
        )


def differences(theirs: dict[str, Any], ours: dict[str, Any]) -> str:
    """What two fingerprints differ in, with both values; empty where they are the same."""
    both = theirs.keys() & ours.keys()
    theirs, ours = _flat(theirs, both), _flat(ours, both)
    names = sorted(theirs.keys() | ours.keys())
    pairs = {name: (theirs.get(name), ours.get(name)) for name in names}
    return ", ".join(
        "{} {} (here {})".format(name, *_told_apart(*pair))
        for name, pair in pairs.items()
        if pair[0] != pair[1]
    )


def _told_apart(theirs: Any, ours: Any) -> tuple[str, str]:
    """Both values in words, a text with its quotes where the other one is a number like it."""
    if str(theirs) == str(ours):
        return _shown(repr(theirs)), _shown(repr(ours))
    return _shown(theirs), _shown(ours)


def _shown(value: Any) -> str:
    """As text, of a file whose values may be of any length; some have none where it is as usual."""
    text = "as usual" if value is None else str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _flat(parts: dict[str, Any], sections: Set[str]) -> dict[str, Any]:
    """{"input": {"format": "BGR"}} -> {"input format": "BGR"}, of these sections."""
    flat = {}
    for name, value in parts.items():
        opened = isinstance(value, dict) and name in sections
        inner = value.items() if opened else [("", value)]
        flat.update({f"{name} {key}".strip(): part for key, part in inner})
    return flat


def compute_dtype(model: nn.Module, cfg: CfgNode) -> str:
    """ "dtype" of the fingerprint, as things stand."""
    if cfg.MODEL.INFERENCE.PRECISION != "float32":
        return cfg.MODEL.INFERENCE.PRECISION
    parameter = next(model.parameters())
    return str(product_dtype(parameter.dtype, parameter.device)).removeprefix("torch.")
