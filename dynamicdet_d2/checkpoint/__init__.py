# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: weights of single detectors into both backbones, safe reading, whole writing.

``names`` (pure) says which tensor of a file goes where, ``report`` what came of it, ``files``
reads and writes, ``checkpointer`` is Detectron2's checkpointer on top of the three, and
``complete`` refuses to measure what is not all loaded.
"""

from dynamicdet_d2.checkpoint.checkpointer import DynamicCheckpointer, load_weights
from dynamicdet_d2.checkpoint.complete import check_complete
from dynamicdet_d2.checkpoint.report import LoadReport, ShapeMismatch

__all__ = ["DynamicCheckpointer", "LoadReport", "ShapeMismatch", "check_complete", "load_weights"]
