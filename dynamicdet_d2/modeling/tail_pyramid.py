# SPDX-License-Identifier: Apache-2.0
"""The pyramid that a user's own detector gives, refused by name before a head reads it."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from detectron2.modeling.meta_arch.dense_detector import DenseDetector
from detectron2.modeling.proposal_generator import RPN
from detectron2.modeling.roi_heads import ROIHeads
from torch import Tensor, nn

from dynamicdet_d2.modeling.routing import Features
from dynamicdet_d2.utils.precision import product_dtype
from dynamicdet_d2.utils.words import shown

if TYPE_CHECKING:
    from dynamicdet_d2.modeling.tails import Tails

# Features of a reduced precision may have a neck that works in float32.
_FULL = (torch.float32, torch.float64)


def pyramid_of_tail(tails: "Tails", detector: int, features: Features) -> Features:
    """``tails.pyramid``, which may set levels of the dict that it is given.

    Raises:
        ValueError: a level is of another floating type than the features, without autocast.
    """
    pyramid = tails.pyramid(detector, dict(features))
    if isinstance(pyramid, Mapping):
        _check_types(tails, features, pyramid)
    return pyramid


def check_pyramid(tails: "Tails", pyramid: Any) -> None:
    """
    Raises:
        ValueError: it is no mapping, or lacks a level that a head reads.
    """
    if not isinstance(pyramid, Mapping):
        raise ValueError(
            f"pyramid() of {type(tails).__name__} gives an object of type "
            f"{type(pyramid).__name__}; it must be a dict of feature maps by level."
        )
    for head in tails.heads:
        if not isinstance(head, nn.Module):
            raise ValueError(
                f"heads of {type(tails).__name__} has {shown(head)}, which is no module."
            )
        missing = [level for level in _levels_read(head) if level not in pyramid]
        if missing:
            raise ValueError(
                f"pyramid() of {type(tails).__name__} gives no '{missing[0]}', which "
                f"{type(head).__name__} reads; it gives {', '.join(map(str, pyramid))}."
            )


def _levels_read(head: nn.Module) -> Sequence[str]:
    """Of Detectron2's heads and those that extend them; of others nobody knows."""
    if isinstance(head, RPN | ROIHeads):
        return getattr(head, "in_features", ())
    return head.head_in_features if isinstance(head, DenseDetector) else ()


def _check_types(tails: "Tails", features: Features, pyramid: Features) -> None:
    kinds = {level.dtype for level in features.values()}
    if not kinds.issubset(_FULL):
        return
    for name, level in pyramid.items():
        if not isinstance(level, Tensor) or not level.is_floating_point():
            continue
        if level.dtype not in kinds and not _is_autocast(level):
            raise ValueError(
                f"pyramid() of {type(tails).__name__} gives '{name}' as {level.dtype}; its "
                f"features are {' and '.join(sorted(map(str, kinds)))}, and so must it be."
            )


def _is_autocast(x: Tensor) -> bool:
    return product_dtype(torch.float32, x.device) is not torch.float32
