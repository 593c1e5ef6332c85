# SPDX-License-Identifier: Apache-2.0
"""Data sets by config, their check before training, and loaders that resume exactly.

``dynamicdet_d2.data.check.run`` is a command as well and therefore not imported here.
"""

from dynamicdet_d2.data.loading.corrupt import CorruptImageError, ImageLoader, NamedErrors
from dynamicdet_d2.data.loading.images import training_dicts
from dynamicdet_d2.data.loading.loaders import (
    ResumableLoader,
    build_finite_loader,
    build_test_loader,
    build_training_loader,
)
from dynamicdet_d2.data.loading.stream import PositionBatches, TrainingStream
from dynamicdet_d2.data.register import register_coco_json

__all__ = [
    "CorruptImageError",
    "ImageLoader",
    "NamedErrors",
    "PositionBatches",
    "ResumableLoader",
    "TrainingStream",
    "build_finite_loader",
    "build_test_loader",
    "build_training_loader",
    "register_coco_json",
    "training_dicts",
]
