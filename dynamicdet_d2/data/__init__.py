# SPDX-License-Identifier: Apache-2.0
"""Data sets by config, their check before training, and loaders that resume exactly.

``dynamicdet_d2.data.check`` is a command as well and therefore not imported here.
"""

from .corrupt import CorruptImageError, ImageLoader, NamedErrors
from .loaders import (
    build_finite_loader,
    build_test_loader,
    build_training_loader,
    training_dicts,
)
from .register import register_coco_json
from .stream import PositionBatches, TrainingStream

__all__ = [
    "CorruptImageError",
    "ImageLoader",
    "NamedErrors",
    "PositionBatches",
    "TrainingStream",
    "build_finite_loader",
    "build_test_loader",
    "build_training_loader",
    "register_coco_json",
    "training_dicts",
]
