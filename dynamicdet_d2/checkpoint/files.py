# SPDX-License-Identifier: Apache-2.0
"""Checkpoint files: read without running anything in them, written whole or not at all."""

import os
import re
import warnings
from collections.abc import Mapping
from contextlib import suppress
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from dynamicdet_d2.utils.paths import absent
from dynamicdet_d2.utils.pickle_size import MOST_PARTS, TooMuch, check_size, check_sizes
from dynamicdet_d2.utils.unpickling import ForbiddenName, damaged_record, load, newer_protocol
from dynamicdet_d2.utils.words import shown

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
        found = "is a device or pipe" if os.path.exists(path) else absent(path)
        found = "is a folder" if os.path.isdir(path) else found
        raise ValueError(f"The checkpoint {path} {found}; it must be a file.")
    content = _read(path)
    if not isinstance(content, dict):
        raise ValueError(f"{path} is of type {type(content).__name__}; a checkpoint is a dict.")
    for key in _STATE_DICT_KEYS:
        if isinstance(content.get(key), dict):
            return {**_without(content, key), "model": _state_dict(content[key], path)}
    for key in _STATE_DICT_KEYS:  # a state dict may have a tensor of that name
        if key in content and not isinstance(content[key], Tensor | np.ndarray):
            raise ValueError(f"{path} has {shown(content[key])} for '{key}', where weights belong.")
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
        value = value.item()
    if isinstance(value, np.ndarray):
        with suppress(TypeError, ValueError):  # text, objects, foreign byte order
            return torch.from_numpy(value.copy())
    if isinstance(value, dict):
        return {
            plain(k, f"a key of {where}"): plain(v, f"{where}[{k!r}]") for k, v in value.items()
        }
    if isinstance(value, list | tuple | set):
        items = [plain(item, f"{where}[{i}]") for i, item in enumerate(value)]
        return next(kind for kind in (list, tuple, set) if isinstance(value, kind))(items)
    if isinstance(value, Tensor) or type(value) in _PLAIN:
        return value
    raise ValueError(
        f"{where} is of type {type(value).__name__}; a checkpoint may hold tensors and plain types "
        "only."
    )


def read_torch(path: str, map_location: Any = "cpu") -> Any:
    """What ``torch.save`` wrote: tensors and plain types, each byte of an archive as it was saved.

    Args:
        path: local file.
        map_location: where tensors shall be, as ``torch.load`` takes it.

    Raises:
        ValueError: naming the file that is damaged or refers to anything that is not loaded.
    """
    try:
        damaged = damaged_record(path)
        check_sizes(path)
        if damaged is None:
            with warnings.catch_warnings():  # torch's own, of what is refused in a sentence
                warnings.simplefilter("ignore")
                return torch.load(path, map_location=map_location, weights_only=True)
    except TooMuch:
        raise _too_much(path) from None
    except Exception as error:  # a damaged file raises anything at all
        found = re.search(r"GLOBAL ([\w.]+)", str(error))
        raise (_forbidden(path, found[1]) if found else _unreadable(path)) from None
    raise ValueError(f"{path} is damaged: the checksum of its record '{damaged}' is another one.")


def read_pickle(path: str, file: IO[bytes]) -> Any:
    """A pickle of numpy arrays and plain types, such as Detectron2's ``.pkl``.

    Args:
        path: of the file, for messages.
        file: the same, open for reading.

    Raises:
        ValueError: as ``read_torch``.
    """
    try:
        check_size(file)
        file.seek(0)
        return load(file)
    except TooMuch:
        raise _too_much(path) from None
    except ForbiddenName as error:
        raise _forbidden(path, str(error)) from None
    except Exception:  # a damaged file raises anything at all
        raise _unreadable(path) from None


def _read(path: str) -> Any:
    if not path.endswith(".pkl"):
        return read_torch(path)
    with open(path, "rb") as file:
        return read_pickle(path, file)


def _forbidden(path: str, name: str) -> ValueError:
    return ValueError(
        f"{path} refers to {name}, which is not loaded: such a file may hold tensors (numpy arrays "
        "in a .pkl) and plain types only."
    )


def _too_much(path: str) -> ValueError:
    return ValueError(
        f"{path} is no checkpoint: it names its own parts again and again, {MOST_PARTS:,} of them "
        "and more."
    )


def _unreadable(path: str) -> ValueError:
    pickled = path.endswith(".pkl")
    kind = "a pickle, as its name says" if pickled else "a file of torch.save"
    return ValueError(
        (None if pickled else newer_protocol(path))
        or f"{path} is no checkpoint or is damaged: it cannot be read as {kind}."
    )


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


def unreadable_weights(weights: Mapping[str, object]) -> list[str]:
    """Names in a model's state of what ``read_checkpoint`` would refuse in a file."""
    return [
        name
        for name, value in weights.items()
        if not isinstance(value, Tensor) or _has_no_plain_values(value)
    ]


def _has_no_plain_values(value: Tensor) -> bool:
    return bool(
        value.layout != torch.strided or value.is_meta or value.is_quantized or value.is_nested
    )


def _tensor(value: object, name: str, path: str) -> Tensor:
    if isinstance(value, Tensor):
        if _has_no_plain_values(value):
            raise ValueError(
                f"{path} cannot be loaded: its tensor '{name}' is sparse, quantized, nested or "
                "without values; weights are plain tensors."
            )
        return value
    if isinstance(value, np.ndarray | np.generic):
        with suppress(TypeError, ValueError):  # text, objects, foreign byte order
            return torch.from_numpy(np.array(value))
    raise ValueError(
        f"{path} is no checkpoint: what it has under '{name}' is of type {type(value).__name__}, "
        "where a tensor belongs."
    )
