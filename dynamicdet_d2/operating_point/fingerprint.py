# SPDX-License-Identifier: Apache-2.0
"""What a calibration belongs to: weights, input and number type, in a form that can be compared."""

import hashlib
from typing import Any

import torch
from detectron2.config import CfgNode
from torch import nn

# Buffers (by the last part of their name) that no result of inference depends on.
_WITHOUT_EFFECT = ("loss_offset", "loss_normalizers", "num_batches_tracked")
_DIGITS = 16
# Characters of a value in a sentence.
_LONGEST = 80


def fingerprint(model: nn.Module, cfg: CfgNode) -> dict[str, Any]:
    """What difficulties depend on.

    Returns:
        {"weights": 16 hex digits, "input": see :func:`input_fingerprint`, "dtype": "float32" ...}.
        dtype is that of matrix products as things stand: ``MODEL.INFERENCE.PRECISION`` where it
        is reduced, else that of the parameters, or of autocast where it is active.
        "easy_proposals" and "merge_exits_iou" are among them where those keys of
        ``MODEL.DYNAMIC`` are not as usual: what images cost depends on them.
    """
    names = ("easy_proposals", "merge_exits_iou")
    keys = {name: cfg.MODEL.DYNAMIC[name.upper()] for name in names}
    return {
        **{name: value for name, value in keys.items() if value},
        "weights": weights_fingerprint(model),
        "input": input_fingerprint(cfg),
        "dtype": _compute_dtype(model, cfg),
    }


def weights_fingerprint(model: nn.Module) -> str:
    """16 hex digits of the SHA-256 over names, dtypes, shapes and bytes of the state dict.

    The same on every device; ``loss_offset`` and other buffers without effect are left out.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        if name.rsplit(".", 1)[-1] in _WITHOUT_EFFECT:
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


def inference_settings(cfg: CfgNode) -> dict[str, bool]:
    """What else latency depends on: how the model is run, where results stay the same."""
    keys = cfg.MODEL.INFERENCE
    return {"optimize": bool(keys.OPTIMIZE), "compile": bool(keys.COMPILE)}


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
    return _differences(_flat(theirs), _flat(ours))


def check_inference_settings(measured: dict[str, Any], cfg: CfgNode) -> None:
    """Refuse milliseconds of a model that is run in another way.

    Args:
        measured: of the calibration that ``MODEL.DYNAMIC.CALIBRATION`` names.
        cfg: of the model in use.

    Raises:
        ValueError: naming each key of ``MODEL.INFERENCE`` that differs, with both values.
    """
    ours = inference_settings(cfg)
    theirs = measured.get("inference", dict.fromkeys(ours, False))
    differing = _differences(_as_keys(theirs), _as_keys(ours))
    if differing:
        raise ValueError(
            f"MODEL.DYNAMIC.CALIBRATION {cfg.MODEL.DYNAMIC.CALIBRATION} has latencies measured "
            f"with {differing}, which are not those of TARGET_LATENCY_MS. Run calibrate.py with "
            "this config, or set MODEL.DYNAMIC.HARD_FRACTION."
        )


def _as_keys(settings: dict[str, bool]) -> dict[str, bool]:
    return {f"MODEL.INFERENCE.{name.upper()}": value for name, value in settings.items()}


def _differences(theirs: dict[str, Any], ours: dict[str, Any]) -> str:
    """What differs, with both values; empty where nothing does."""
    names = sorted(theirs.keys() | ours.keys())
    pairs = {name: (theirs.get(name), ours.get(name)) for name in names}
    return ", ".join(
        f"{name} {_shown(pair[0])} (here {_shown(pair[1])})"
        for name, pair in pairs.items()
        if pair[0] != pair[1]
    )


def _shown(value: Any) -> str:
    """As text, of a file whose values may be of any length; some have none where it is as usual."""
    text = "as usual" if value is None else str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _flat(parts: dict[str, Any]) -> dict[str, Any]:
    """{"input": {"format": "BGR"}} -> {"input format": "BGR"}."""
    flat = {}
    for name, value in parts.items():
        inner = value.items() if isinstance(value, dict) else [("", value)]
        flat.update({f"{name} {key}".strip(): part for key, part in inner})
    return flat


def _compute_dtype(model: nn.Module, cfg: CfgNode) -> str:
    """Asked of a matrix product, so that autocast of any device and version is seen."""
    if cfg.MODEL.INFERENCE.PRECISION != "float32":
        return cfg.MODEL.INFERENCE.PRECISION
    parameter = next(model.parameters())
    one = torch.ones(1, 1, dtype=parameter.dtype, device=parameter.device)
    return str((one @ one).dtype).removeprefix("torch.")
