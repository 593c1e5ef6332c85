# SPDX-License-Identifier: Apache-2.0
"""What a detector is built from, as programs and LazyConfigs give it, refused by name."""

import logging
from collections.abc import Sequence
from typing import Any

import torch
from detectron2.modeling.roi_heads import FastRCNNOutputLayers
from torch import nn

from dynamicdet_d2.modeling.backbone.composite import CompositeBackbone
from dynamicdet_d2.modeling.exit_merging import ExitMerging
from dynamicdet_d2.modeling.router import AdaptiveRouter
from dynamicdet_d2.modeling.router_inputs.pooled_features import PooledFeatures
from dynamicdet_d2.operating_point.point import OperatingPoint
from dynamicdet_d2.utils.words import shown

logger = logging.getLogger(__name__)


def check_parts(
    backbone: Any, router: Any, operating_point: Any, exit_merging: Any, steps: Sequence[str]
) -> None:
    """Refuse parts that are of another type, or do not fit each other.

    Args:
        steps: of detector1's pass, whose results a router can read beside F1.

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
    shapes = backbone.output_shape()
    for own in router.inputs.values():
        if own.reads not in ("features", *steps):
            raise ValueError(
                f"{type(own).__name__}, an input of the router, reads '{own.reads}'; it must be "
                f"one of {', '.join(('features', *steps))}."
            )
        if isinstance(own, PooledFeatures):
            given = sum(shapes[level].channels for level in own.in_features if level in shapes)
            if given != own.count:
                raise ValueError(
                    f"The router pools {own.count} channels of {list(own.in_features)}, of which "
                    f"the backbone gives {given}; its input_shape must be the backbone's."
                )


def register_statistics(model: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
    """Buffers ``pixel_mean`` and ``pixel_std``, (C, 1, 1) float32; warn of shares of 255.

    Images are turned into their type: of whole numbers it would be that of whole pixels.

    Args:
        mean, std: of each of C channels.

    Raises:
        ValueError: they are not of as many channels, or a deviation is none.
    """
    if len(mean) != len(std) or min(std, default=0) <= 0:
        raise ValueError(
            f"pixel_mean of the detector is {list(mean)} and pixel_std {list(std)}; they must have "
            "a number for each channel, and pixel_std numbers above 0."
        )
    for name, numbers in (("pixel_mean", mean), ("pixel_std", std)):
        if are_shares(numbers):
            logger.warning(
                "%s of the detector is %s, which looks like shares of 255: pixels are from 0 to "
                "255, and pixel_mean and pixel_std are so, too.",
                *(name, list(numbers)),
            )
        statistics = torch.tensor(list(numbers), dtype=torch.float32).view(-1, 1, 1)
        model.register_buffer(name, statistics, persistent=False)


def are_shares(statistics: Sequence[float]) -> bool:
    """Whether means or deviations of pixels look like those of pixels from 0 to 1."""
    return 0 < max(map(abs, statistics)) < 1


def check_classes(*roi_heads: Any) -> None:
    """Refuse heads that count other classes than their predictor scores, or than each other.

    At each step too: where trained heads are given a new predictor and keep their number, the
    background would be learnt as one of its classes.

    Args:
        roi_heads: detector1's first; those that count no classes are passed over.

    Raises:
        ValueError: giving both numbers.
    """
    counted = [heads for heads in roi_heads if hasattr(heads, "num_classes")]
    for heads in counted:
        predictor = getattr(heads, "box_predictor", None)
        own = predictor if isinstance(predictor, nn.ModuleList) else [predictor]
        for scored in (_scored(one, heads.num_classes) for one in own):
            if scored != heads.num_classes:
                raise ValueError(
                    f"num_classes of roi_heads is {heads.num_classes}, and its box_predictor has "
                    f"{scored}; they must be the same."
                )
    first, *others = [heads.num_classes for heads in counted] or [0]
    for other in others:
        if other != first:
            raise ValueError(
                f"num_classes of detector1's roi_heads is {first}, and of detector2's {other}; "
                "they must be the same."
            )


def _scored(predictor: Any, classes: int) -> int:
    """What a box predictor scores beside background; as many as expected of an unknown kind."""
    if type(predictor) is FastRCNNOutputLayers and isinstance(predictor.cls_score, nn.Linear):
        return predictor.cls_score.out_features - 1
    return getattr(predictor, "num_classes", classes)
