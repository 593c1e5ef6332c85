# SPDX-License-Identifier: Apache-2.0
"""Detectron2's own readers of checkpoints and proposals read as the project's do.

Importing the package is enough: ``DetectionCheckpointer``, which stock trainers and predictors
load with, and ``MODEL.LOAD_PROPOSALS`` would otherwise unpickle whatever a file holds.
"""

from types import ModuleType
from typing import IO, Any

import torch
from detectron2.checkpoint import detection_checkpoint
from detectron2.data import build
from fvcore.common import checkpoint

from dynamicdet_d2.checkpoint.files import read_pickle, read_torch


class Guarded:
    """A module whose ``load`` is another one."""

    def __init__(self, module: ModuleType, load: Any) -> None:
        self._module, self.load = module, load

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


def _load_pickle(file: IO[bytes], **_: Any) -> Any:
    return read_pickle(_name_of(file), file)


def _load_torch(file: Any, map_location: Any = "cpu", **_: Any) -> Any:
    return read_torch(_name_of(file), map_location=map_location)


def _name_of(file: Any) -> str:
    return file if isinstance(file, str) else str(getattr(file, "name", file))


def install() -> None:
    """Give Detectron2's modules that read files a ``pickle`` and a ``torch`` that run nothing."""
    for module in (detection_checkpoint, build):
        module.pickle = Guarded(module.pickle, _load_pickle)
    for module in (detection_checkpoint, checkpoint):
        module.torch = Guarded(torch, _load_torch)


install()
