# SPDX-License-Identifier: Apache-2.0
"""Both exits of a batch, detector1's at several numbers of candidates, from one run of each part.

Backbones, necks and RPN run once; what follows them runs again on the kept features of the batch.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import torch
from detectron2.structures import Instances

from dynamicdet_d2.acceleration import on_optimized_copy
from dynamicdet_d2.acceleration.as_written import has_hooks
from dynamicdet_d2.modeling.batch import checked_difficulties, postprocessed
from dynamicdet_d2.modeling.dynamic_detector import DynamicDetector
from dynamicdet_d2.modeling.exit_merging import hard_detections
from dynamicdet_d2.modeling.modes import setting
from dynamicdet_d2.utils.own_code import own_methods


class Exits(NamedTuple):
    """Of one image; L: limits.

    Attributes:
        difficulties: (L,), in (0, 1); they differ where the router looks at detections alone.
        easy: (L,) detector1's detections, post-processed; without masks, where boxes and scores do
            not depend on them.
        hard: those of a hard image: one, since no limit has an effect on detector2's, or (L,) where
            exits are merged.
    """

    difficulties: tuple[float, ...]
    easy: tuple[Instances, ...]
    hard: tuple[Instances, ...]


@torch.no_grad()
@on_optimized_copy
def exits_at_limits(
    model: DynamicDetector, batched_inputs: list[dict], limits: Sequence[int]
) -> list[Exits]:
    """What ``model.exits`` gives at each ``MODEL.DYNAMIC.EASY_PROPOSALS``, bit for bit.

    Args:
        model: in evaluation mode; its own limit has no effect.
        batched_inputs: N of Detectron2's dicts.
        limits: candidates kept of an easy image; 0: as many as of a hard one.

    Returns:
        N exits.

    Raises:
        ValueError: an image or its difficulty is not finite.
    """
    images = model.preprocess_image(batched_inputs)
    features, start = model.backbone.first(images.tensor)
    seen = model.pass_type(model, 1, images, features)
    second = model.second_pass(seen, start)
    difficulties: list[list[float]] = []
    easy: list[list[Instances]] = []
    hard: list[list[Instances]] = []
    with _without_masks(model):
        for limit in limits:
            with setting("operating_point", model.operating_point.limited(limit), model):
                own = seen.before("detections")
                looked_at = [getattr(own, step) for step in model.router.reads]
                found = model.router(*looked_at).tolist()
                difficulties.append(checked_difficulties(found, batched_inputs))
                easy.append(postprocessed(own.detections, batched_inputs, images))
                if not hard or model.exit_merging:
                    leaving = hard_detections(model.exit_merging, own.detections, second.detections)
                    hard.append(postprocessed(leaving, batched_inputs, images))
    by_image = (zip(*column, strict=True) for column in (difficulties, easy, hard))
    return [Exits(*exits) for exits in zip(*by_image, strict=True)]


def _without_masks(model: DynamicDetector) -> AbstractContextManager:
    """Boxes do not depend on masks, which would be computed again at every limit; but those of
    heads of a program's own may, as where masks are scored."""
    with_masks = [head for head in model.heads if getattr(head, "mask_on", False)]
    return setting("mask_on", False, *(x for x in with_masks if not _masks_are_own(x)))


def _masks_are_own(head: Any) -> bool:
    methods = ("forward", "forward_with_given_boxes", "_forward_mask")
    own = own_methods(head, methods) or own_methods(head.mask_head, ("forward",))
    return bool(own) or has_hooks(head) or has_hooks(head.mask_head)
