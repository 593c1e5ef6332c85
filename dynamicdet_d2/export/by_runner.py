# SPDX-License-Identifier: Apache-2.0
"""What a runner does in the place of a model's modules, which must be as they were written."""

import logging
from collections.abc import Iterable
from typing import Any

from detectron2.modeling.box_regression import Box2BoxTransform
from torch import nn

from dynamicdet_d2.acceleration.as_written import has_hooks
from dynamicdet_d2.utils.own_code import own_methods

logger = logging.getLogger(__name__)

_ROI_HEADS = ("forward", "forward_with_given_boxes", "_forward_box", "_forward_mask")
_DENSE = (
    *("forward", "inference", "forward_inference", "inference_single_image"),
    *("_transpose_dense_predictions", "_decode_per_level_predictions"),
    "_decode_multi_level_predictions",
)


def check_methods(part: object, names: Iterable[str]) -> None:
    """
    Args:
        part: a module, or another object of a detector.
        names: of the methods that a runner does by itself.

    Raises:
        ValueError: another function is in the place of one; naming the class and the method.
    """
    for name in own_methods(part, names):
        raise ValueError(
            f"{type(part).__name__} has {name}() of its own, which an export would leave out: a "
            "runner does by itself what it does."
        )


def check_module(module: nn.Module, names: Iterable[str]) -> None:
    """As ``check_methods``, and says where hooks of a module that is not run are left out."""
    check_methods(module, names)
    if has_hooks(module):
        logger.warning(
            "%s has a hook, which the export leaves out: a runner does by itself what it does.",
            type(module).__name__,
        )


def check_two_stage(rpn: Any, roi_heads: Any) -> None:
    """As ``check_module``, of Detectron2's RPN and standard ROI heads."""
    predictor = roi_heads.box_predictor
    check_module(rpn, ("forward", "predict_proposals", "_decode_proposals"))
    check_module(roi_heads, _ROI_HEADS)
    check_methods(predictor, ("inference", "predict_boxes", "predict_probs"))
    _check_anchors(rpn.anchor_generator)
    for transform in (rpn.box2box_transform, predictor.box2box_transform):
        check_methods(transform, ("apply_deltas",))
        if not isinstance(transform, Box2BoxTransform):
            raise ValueError(
                f"{type(transform).__name__} makes boxes of deltas in a way not exported; only "
                "Box2BoxTransform."
            )
    if roi_heads.mask_on:
        check_module(roi_heads.mask_head, ("forward",))
    for pooler in (roi_heads.box_pooler, *([roi_heads.mask_pooler] if roi_heads.mask_on else [])):
        for part in (pooler, *pooler.level_poolers):
            check_module(part, ("forward",))


def check_dense(model: Any) -> None:
    """As ``check_module``, of a dense detector but its backbone and head."""
    check_module(model, _DENSE)
    _check_anchors(model.anchor_generator)
    check_methods(model.box2box_transform, ("apply_deltas",))


def check_yolo(detections: Any, padding: Any) -> None:
    """As ``check_module``, of what turns a YOLO's images into a batch, and logits into boxes."""
    check_module(detections, ("forward",))
    check_module(detections.grid, ("forward", "_level"))
    check_methods(padding, ("batch", "padded_side", "_placed"))


def _check_anchors(generator: nn.Module) -> None:
    check_module(generator, ("forward", "_grid_anchors"))
