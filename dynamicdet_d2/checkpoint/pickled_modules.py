# SPDX-License-Identifier: Apache-2.0
"""Weights out of files that hold whole pickled modules, without running anything in them.

``torch.load`` with ``weights_only=True`` refuses such files for the classes that they name. Here
every class is an empty stand-in, torch's and numpy's own included: nothing that a file names is
imported or called, and what is read is what the stand-ins were given to keep.
"""

import logging
import re
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from dynamicdet_d2.checkpoint.files import unreadable_weights
from dynamicdet_d2.utils.pickle_size import check_sizes
from dynamicdet_d2.utils.unpickling import damaged_record, newer_protocol

logger = logging.getLogger(__name__)

_ALLOWED = re.compile(
    r"models\..+|torch\.nn\.modules\..+|numpy(\..+)?|collections\..+"
    r"|(builtins|__builtin__)\.(bytearray|complex|dict|frozenset|list|object|set|slice|tuple)"
)
"""Names of which stand-ins are made: what a YOLO training script puts into its files."""

_MAX_DEPTH = 100
"""Of modules within modules; a file in which one contains itself would have no end."""


class _StandIn:
    """Takes the place of any class or function: can be made from anything, keeps a dict."""

    kept: dict

    def __new__(cls, *_: object, **__: object) -> "_StandIn":
        made = super().__new__(cls)
        made.kept = {}
        return made

    def __setstate__(self, state: object) -> None:
        self.kept = dict(state) if isinstance(state, dict) else {}


def read_pickled_weights(path: str) -> dict[str, Tensor]:
    """The state dict of a file's model: a state dict itself, or a pickled module.

    Of a training that keeps an average of its weights beside them, the average is taken, and it is
    said: it is what such a training is evaluated by and ends with.

    Args:
        path: of a file that ``torch.save`` wrote, with the model under "model" or alone, or its
            average under "ema".

    Returns:
        name -> tensor on the CPU, as ``state_dict()`` of the module would have them.

    Raises:
        ValueError: if the file cannot be read, names anything that is not allowed, or has no
            weights, or none where it has an average of them.
    """
    content = _load(path)
    if not isinstance(content, dict):
        return _tensors(content, path)
    if content.get("ema") is None:
        return _tensors(content.get("model", content), path)
    weights = _tensors(content["ema"], f"'ema' of {path}")
    logger.warning(
        "%s holds averaged weights under 'ema': they are taken, as its training detects with them.",
        path,
    )
    return weights


def _tensors(content: object, where: str) -> dict[str, Tensor]:
    """Those of a state dict or of a pickled module's stand-in.

    Args:
        where: what it is called, for errors.

    Raises:
        ValueError: if it is neither, is empty, or holds what are no plain tensors.
    """
    if not isinstance(content, Mapping | _StandIn):
        raise ValueError(
            f"{where} holds an object of type {type(content).__name__}, where weights or a module "
            "belong."
        )
    weights: dict[Any, Any]
    weights = dict(content) if isinstance(content, Mapping) else dict(_weights(content, where))
    if not weights:
        raise ValueError(f"{where} holds no weights.")
    for name, value in weights.items():
        if not isinstance(value, Tensor):
            raise ValueError(
                f"{where} holds under '{name}' what is of type {type(value).__name__}, where a "
                "tensor belongs."
            )
        if unreadable_weights({name: value}) or _is_expanded(value):
            raise ValueError(f"{where} does not hold every value of '{name}', as plain tensors do.")
    return {str(name): value.detach() for name, value in weights.items()}


def _is_expanded(value: Tensor) -> bool:
    """Whether numbers of a file stand for more, which may be more than any memory holds."""
    return value.numel() * value.element_size() > value.untyped_storage().nbytes()


def _load(path: str) -> Any:
    serialization = torch.serialization
    if not hasattr(serialization, "get_unsafe_globals_in_checkpoint"):
        raise ValueError(
            f"Reading {path} without running anything in it needs PyTorch 2.6 or newer; this is "
            f"{torch.__version__}."
        )
    try:
        damaged = damaged_record(path)
        check_sizes(path)
        names = serialization.get_unsafe_globals_in_checkpoint(path)
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist.") from None
    except Exception:  # a damaged file raises anything at all
        raise _unreadable(path) from None
    if damaged is not None:
        raise ValueError(
            f"{path} is damaged: the checksum of its record '{damaged}' is another one."
        )
    for name in names:
        if not _ALLOWED.fullmatch(name):
            raise ValueError(
                f"{path} refers to {name}, which is not loaded: a file of weights may refer to "
                "torch.nn.modules, numpy, builtin containers, and the classes of its own models."
            )
    try:
        with serialization.safe_globals([(_StandIn, name) for name in names]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception:
        raise _unreadable(path) from None


def _unreadable(path: str) -> ValueError:
    return ValueError(
        newer_protocol(path)
        or f"{path} is no file of torch.save, is damaged, or does more than hold weights: it "
        "cannot be read."
    )


def _weights(
    module: object, where: str, prefix: str = "", depth: int = 0
) -> Iterator[tuple[str, object]]:
    """Names and values of a pickled module's weights, in the order of ``state_dict()``."""
    if not isinstance(module, _StandIn) or depth > _MAX_DEPTH:
        raise ValueError(
            f"{where} has at '{prefix.rstrip('.') or 'model'}' no module, or one within itself."
        )
    own = {**_part(module, "_parameters"), **_part(module, "_buffers")}
    fleeting = module.kept.get("_non_persistent_buffers_set", ())
    for name, value in own.items():
        if value is not None and name not in fleeting:
            yield f"{prefix}{name}", value
    for name, child in _part(module, "_modules").items():
        if child is not None:
            yield from _weights(child, where, f"{prefix}{name}.", depth + 1)


def _part(module: _StandIn, name: str) -> dict:
    part = module.kept.get(name)
    return part if isinstance(part, dict) else {}
