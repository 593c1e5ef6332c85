# SPDX-License-Identifier: Apache-2.0
"""A user's own backbone, looked at when the model is built: built, and run once."""

import torch
from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY
from torch import Tensor

from dynamicdet_d2.modeling.backbone.composite import CompositeBackbone
from dynamicdet_d2.modeling.modes import evaluating
from dynamicdet_d2.utils.errors import is_out_of_memory
from dynamicdet_d2.utils.words import in_words


def built_composite(cfg: CfgNode) -> CompositeBackbone:
    """The backbone of ``MODEL.BACKBONE.NAME``, which has been run.

    Raises:
        ValueError: it is no composite of two, shares what it is not to share, keeps what it is to
            compute again, or as ``check_runs``.
    """
    name, channels = cfg.MODEL.BACKBONE.NAME, len(cfg.MODEL.PIXEL_MEAN)
    backbone = BACKBONE_REGISTRY.get(name)(cfg, ShapeSpec(channels=channels))
    if not isinstance(backbone, CompositeBackbone):
        raise ValueError(
            f"MODEL.BACKBONE.NAME {name} builds a {type(backbone).__name__}; a dynamic detector "
            "needs a CompositeBackbone, of two."
        )
    if backbone.share_stem and not cfg.MODEL.COMPOSITE.SHARE_STEM:
        raise ValueError(
            f"MODEL.COMPOSITE.SHARE_STEM is False, and MODEL.BACKBONE.NAME {name} builds two that "
            "share the stem: its builder hands the key on, as CompositeBackbone's share_stem."
        )
    halves = (backbone.bottom_up1, backbone.bottom_up2)
    if cfg.MODEL.BACKBONE.GRADIENT_CHECKPOINTING and not all(
        x.gradient_checkpointing for x in halves
    ):
        raise ValueError(
            f"MODEL.BACKBONE.GRADIENT_CHECKPOINTING is True, and MODEL.BACKBONE.NAME {name} builds "
            "two that keep everything: its builder calls their checkpoint_gradients(), and their "
            "run() hands its blocks to run_blocks()."
        )
    check_runs(backbone, channels)
    return backbone


def check_runs(backbone: CompositeBackbone, channels: int) -> None:
    """Refuse backbones that fail, or give other features than their ``output_shape`` says.

    One black image passes both; nothing in them changes.

    Args:
        channels: of images.

    Raises:
        ValueError: naming the class, and the stage that is of another shape.
    """
    side = 2 * backbone.size_divisibility
    image = torch.zeros(1, channels, side, side, device=next(backbone.parameters()).device)
    whose = type(backbone.bottom_up1).__name__
    try:
        with evaluating(backbone), torch.no_grad():
            features1, start = backbone.first(image)
            _check_features(whose, features1, backbone.output_shape(), side)
            whose = type(backbone.bottom_up2).__name__
            features2 = backbone.second(features1, start)
            _check_features(whose, features2, backbone.output_shape2(), side)
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError) as error:
        if is_out_of_memory(error):
            raise
        raise ValueError(
            f"{whose} cannot be run on an image of {side}x{side} pixels: {in_words(error)}."
        ) from error


def _check_features(
    whose: str, features: dict[str, Tensor], shapes: dict[str, ShapeSpec], side: int
) -> None:
    for name, shape in shapes.items():
        found = features.get(name)
        level = side // shape.stride
        expected = (1, shape.channels, level, level)
        if not isinstance(found, Tensor) or tuple(found.shape) != expected:
            given = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise ValueError(
                f"{whose} gives {given} at '{name}' of an image of {side}x{side} pixels, where its "
                f"output_shape() says {expected}."
            )
