# SPDX-License-Identifier: Apache-2.0
"""Names of weights: which tensor of a file goes where in a model. Pure."""

from dynamicdet_d2.checkpoint.names.matching import (
    CAFFE2,
    DETECTRON2,
    DYNAMICDET,
    SWIN,
    TORCHVISION,
    TORCHVISION_SWIN,
    Match,
    detector_name,
    is_weight,
    match,
    recognise,
)

__all__ = [
    "CAFFE2",
    "DETECTRON2",
    "DYNAMICDET",
    "SWIN",
    "TORCHVISION",
    "TORCHVISION_SWIN",
    "Match",
    "detector_name",
    "is_weight",
    "match",
    "recognise",
]
