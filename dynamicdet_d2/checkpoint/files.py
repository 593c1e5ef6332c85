# SPDX-License-Identifier: Apache-2.0
"""Checkpoint files: read without running anything in them, written whole or not at all."""

import os
import pickle
import re
from collections import OrderedDict
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from torch import Tensor

# Where files keep their state dict: Detectron2, common training scripts, pycls, Detectron.
_STATE_DICT_KEYS = ("model", "state_dict", "model_state", "blobs")

_PLAIN = (type(None), bool, int, float, complex, str, bytes)


def read_checkpoint(path: str) -> dict[str, Any]:
    """Read a ``.pkl`` (numpy arrays) or a file of ``torch.save`` (any other name).

    Args:
        path: local file.

    Returns:
        ``"model"``: the state dict, name -> tensor on the CPU, and whatever else the file has.

    Raises:
        ValueError: if the file is missing, cut short, no checkpoint, or holds anything that is
            not a tensor, a numpy array or a plain type.
    """
    if not os.path.isfile(path):
        found = "is a folder" if os.path.isdir(path) else "does not exist"
        raise ValueError(f"The checkpoint {path} {found}; it must be a file.")
    content = _read_pickle(path) if path.endswith(".pkl") else _read_torch(path)
    if not isinstance(content, dict):
        raise ValueError(f"{path} is of type {type(content).__name__}; a checkpoint is a dict.")
    for key in _STATE_DICT_KEYS:
        if isinstance(content.get(key), dict):
            return {**_without(content, key), "model": _state_dict(content[key], path)}
    return {"model": _state_dict(content, path)}


def plain(value: object, where: str) -> object:
    """The same value as ``read_checkpoint`` can read it: numpy becomes plain or a tensor.

    Args:
        value: tensors, numpy, plain types and containers of them.
        where: what it is called, for the error.

    Raises:
        ValueError: naming what could not be read again.
    """
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value)
    if isinstance(value, dict):
        return {k: plain(v, f"{where}[{k!r}]") for k, v in value.items()}
    if isinstance(value, list | tuple | set):
        items = [plain(item, f"{where}[{i}]") for i, item in enumerate(value)]
        return next(kind for kind in (list, tuple, set) if isinstance(value, kind))(items)
    if isinstance(value, Tensor) or type(value) in _PLAIN:
        return value
    raise ValueError(
        f"{where} is of type {type(value).__name__}; a checkpoint may hold tensors and plain types "
        "only."
    )


class _Forbidden(Exception):
    """A file refers to a function or class that is not loaded."""


def _read_torch(path: str) -> object:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file raises anything at all
        found = re.search(r"GLOBAL ([\w.]+)", str(error))
        raise (_forbidden(path, found[1]) if found else _unreadable(path)) from None


def _read_pickle(path: str) -> object:
    try:
        with open(path, "rb") as file:
            return _ArrayUnpickler(file, encoding="latin1").load()
    except _Forbidden as error:
        raise _forbidden(path, str(error)) from None
    except Exception:  # a damaged file raises anything at all
        raise _unreadable(path) from None


def _forbidden(path: str, name: str) -> ValueError:
    return ValueError(
        f"{path} refers to {name}, which is not loaded: a checkpoint may hold tensors (numpy "
        "arrays in a .pkl) and plain types only."
    )


def _unreadable(path: str) -> ValueError:
    return ValueError(f"{path} is no checkpoint or is damaged: it cannot be read.")


def _latin1(text: str, encoding: str) -> bytes:
    """How pickle's protocol 2 spells bytes: ``codecs.encode`` for this one encoding."""
    if encoding != "latin1":
        raise _Forbidden(f"codecs.encode to {encoding}")
    return text.encode("latin1")


def _allowed_globals() -> dict[tuple[str, str], object]:
    builtin = (bool, bytearray, bytes, complex, dict, float, frozenset, int, list, set, str, tuple)
    allowed: dict[tuple[str, str], object] = {
        (module, kind.__name__): kind for kind in builtin for module in ("builtins", "__builtin__")
    }
    # numpy moved its internals from numpy.core to numpy._core; files have either name.
    array, number = np.zeros(1), np.float64(0)
    for core in ("numpy.core", "numpy._core"):
        allowed[f"{core}.multiarray", "_reconstruct"] = array.__reduce_ex__(2)[0]
        allowed[f"{core}.numeric", "_frombuffer"] = array.__reduce_ex__(5)[0]
        allowed[f"{core}.multiarray", "scalar"] = number.__reduce__()[0]
    allowed["numpy", "ndarray"] = np.ndarray
    allowed["numpy", "dtype"] = np.dtype
    allowed["collections", "OrderedDict"] = OrderedDict
    allowed["_codecs", "encode"] = _latin1
    return allowed


class _ArrayUnpickler(pickle.Unpickler):
    """Builds numpy arrays and builtin containers and refuses every other global."""

    _allowed = _allowed_globals()

    def find_class(self, module: str, name: str) -> object:
        if (module, name) not in self._allowed:
            raise _Forbidden(f"{module}.{name}")
        return self._allowed[module, name]


def _without(content: dict, key: str) -> dict:
    return {name: value for name, value in content.items() if name != key}


def _state_dict(weights: dict, path: str) -> dict[str, Tensor]:
    if not weights:
        raise ValueError(f"{path} holds no weights.")
    tensors = {str(name): _tensor(value, str(name), path) for name, value in weights.items()}
    # A model wrapped for several devices puts this before every name.
    if all(name.startswith("module.") for name in tensors):
        return {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    return tensors


def _tensor(value: object, name: str, path: str) -> Tensor:
    if isinstance(value, Tensor):
        return value
    if isinstance(value, np.ndarray | np.generic):
        with suppress(TypeError, ValueError):  # text, objects, foreign byte order
            return torch.from_numpy(np.array(value))
    raise ValueError(
        f"{path} is no checkpoint: what it has under '{name}' is of type {type(value).__name__}, "
        "where a tensor belongs."
    )
