# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: weights of single detectors into both backbones, safe reading, whole writing.

``names`` (pure) says which tensor of a file goes where, ``filling`` puts it there, ``report`` says
what came of it, ``files`` reads and writes, ``checkpointer`` is Detectron2's checkpointer on top of
these, ``complete`` refuses to measure what is not all loaded, ``conventions`` says under which ones
a detector was loaded, and ``foreign`` serves Detectron2's own checkpointer.
"""

from dynamicdet_d2.checkpoint.checkpointer import DynamicCheckpointer
from dynamicdet_d2.checkpoint.complete import check_complete, check_finite, load_complete
from dynamicdet_d2.checkpoint.filling import load_weights
from dynamicdet_d2.checkpoint.foreign import load_foreign
from dynamicdet_d2.checkpoint.report import LoadReport, ShapeMismatch

__all__ = [
    "DynamicCheckpointer",
    "LoadReport",
    "ShapeMismatch",
    "check_complete",
    "check_finite",
    "load_complete",
    "load_foreign",
    "load_weights",
]
