# SPDX-License-Identifier: Apache-2.0
"""What a detector is built from, as programs and LazyConfigs give it, refused by name."""

from collections.abc import Sequence
from typing import Any

from torch import nn

from dynamicdet_d2.modeling.backbone.composite import CompositeBackbone
from dynamicdet_d2.modeling.exit_merging import ExitMerging
from dynamicdet_d2.modeling.router import AdaptiveRouter
from dynamicdet_d2.operating_point.point import OperatingPoint
from dynamicdet_d2.utils.words import shown


def check_parts(backbone: Any, router: Any, operating_point: Any, exit_merging: Any) -> None:
    """Refuse parts that are of another type.

    Raises:
        ValueError: naming the first.
    """
    for name, part, kind, optional in (
        ("backbone", backbone, CompositeBackbone, False),
        ("router", router, AdaptiveRouter, False),
        ("operating_point", operating_point, OperatingPoint, True),
        ("exit_merging", exit_merging, ExitMerging, True),
    ):
        if not (isinstance(part, kind) or (optional and part is None)):
            raise ValueError(
                f"{name} of the detector is {shown(part)}; it must be of type {kind.__name__}."
            )


def check_statistics(mean: Sequence[float], std: Sequence[float]) -> None:
    """Refuse statistics of pixels that no image can be normalised by.

    Raises:
        ValueError: they are not of as many channels, or a deviation is none.
    """
    if len(mean) != len(std) or min(std, default=0) <= 0:
        raise ValueError(
            f"pixel_mean of the detector is {list(mean)} and pixel_std {list(std)}; they must have "
            "a number for each channel, and pixel_std numbers above 0."
        )


def check_classes(roi_heads: Any) -> None:
    """Refuse heads that count other classes than their predictor scores.

    Raises:
        ValueError: giving both numbers.
    """
    predictor = getattr(roi_heads, "box_predictor", None)
    own = predictor if isinstance(predictor, nn.ModuleList) else [predictor]
    for one in own:
        scored = getattr(one, "num_classes", roi_heads.num_classes)
        if scored != roi_heads.num_classes:
            raise ValueError(
                f"num_classes of roi_heads is {roi_heads.num_classes}, and its box_predictor has "
                f"{scored}; they must be the same."
            )
