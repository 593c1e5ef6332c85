# SPDX-License-Identifier: Apache-2.0
"""Detectron2's own detectors, and the parts that others have in common with them."""

from collections.abc import Callable, Mapping
from typing import Any

from detectron2.layers import ShapeSpec
from detectron2.modeling import Backbone, GeneralizedRCNN, ProposalNetwork
from detectron2.modeling.anchor_generator import DefaultAnchorGenerator
from detectron2.modeling.backbone import FPN
from detectron2.modeling.meta_arch.dense_detector import DenseDetector
from detectron2.modeling.proposal_generator import RPN
from detectron2.modeling.roi_heads import (
    BaseKeypointRCNNHead,
    BaseMaskRCNNHead,
    ROIHeads,
    StandardROIHeads,
)
from torch import Tensor, nn

from dynamicdet_d2.parts.description import (
    Part,
    Parts,
    Regions,
    Takes,
    layers_of,
    parts_of,
    rounded_up,
)


@parts_of.register
def _(model: GeneralizedRCNN) -> Parts:
    proposals, roi_heads = model.proposal_generator, model.roi_heads
    return Parts(
        parts=(
            *backbone_parts(model.backbone),
            *rpn_parts(proposals),
            *roi_parts(roi_heads),
        ),
        run_on_image=lambda images: run_rpn_head(proposals, model.backbone(images)),
        heads=tuple(head for head in (proposals, roi_heads) if head is not None),
        padded_side=rounded_up(model.backbone.size_divisibility),
        regions=rpn_regions(model.backbone.output_shape(), proposals),
    )


@parts_of.register
def _(model: ProposalNetwork) -> Parts:
    proposals = model.proposal_generator
    return Parts(
        parts=(*backbone_parts(model.backbone), *rpn_parts(proposals)),
        run_on_image=lambda images: run_rpn_head(proposals, model.backbone(images)),
        heads=(proposals,),
        padded_side=rounded_up(model.backbone.size_divisibility),
    )


@parts_of.register
def _(model: DenseDetector) -> Parts:
    return Parts(
        parts=(*backbone_parts(model.backbone), dense_head_part(model.head)),
        run_on_image=lambda images: run_dense_head(model, model.backbone(images)),
        heads=(model,),
        padded_side=rounded_up(model.backbone.size_divisibility),
    )


def backbone_parts(backbone: Backbone) -> tuple[Part, ...]:
    """Of a static detector: backbone and neck, or a backbone alone."""
    if not isinstance(backbone, FPN):
        return (Part("bottom_up1", backbone, features=True),)
    bottom_up = Part("bottom_up1", backbone.bottom_up, features=True, inside=True)
    return bottom_up, Part("neck", backbone, features=True)


def rpn_parts(proposal_generator: nn.Module | None) -> tuple[Part, ...]:
    """Of Detectron2's RPN; others are run as they are.

    Objectness in a reduced precision would tie, and boxes would move.
    """
    if not isinstance(proposal_generator, RPN):
        return ()
    head = proposal_generator.rpn_head
    exact = layers_of(head, ("objectness_logits", "anchor_deltas"))
    return (Part("rpn_head", head, exact=exact, step="proposals"),)


def run_rpn_head(proposal_generator: nn.Module | None, pyramid: Mapping[str, Tensor]) -> object:
    """The RPN head's predictions; None without one."""
    if not isinstance(proposal_generator, RPN):
        return None
    return proposal_generator.rpn_head([pyramid[name] for name in proposal_generator.in_features])


def rpn_regions(
    pyramid: Mapping[str, ShapeSpec], proposal_generator: nn.Module | None, easy: int = 0
) -> Regions:
    """What ROI heads behind an RPN are called with.

    Args:
        pyramid: shapes of the features, by level.
        easy: boxes that are kept of an image on the easy route, at most; 0: as many as of others.
    """
    kept = _num_proposals(proposal_generator)
    found = _candidates(proposal_generator)
    return Regions(pyramid, kept, min(kept, easy or kept), found)


def _num_proposals(proposal_generator: nn.Module | None) -> int:
    """Most boxes kept of an image at inference; the paper's 1000 where only an RPN would say."""
    if not isinstance(proposal_generator, RPN):
        return 1000
    before = len(proposal_generator.in_features) * proposal_generator.pre_nms_topk[False]
    return int(min(before, proposal_generator.post_nms_topk[False]))


def _candidates(proposal_generator: nn.Module | None) -> Callable[[int, int], int] | None:
    """As ``Regions.candidates``: an RPN takes its best anchors of each level."""
    if not isinstance(proposal_generator, RPN):
        return None
    anchors: Any = proposal_generator.anchor_generator
    if type(anchors) is not DefaultAnchorGenerator:
        return None
    most = proposal_generator.pre_nms_topk[False]
    levels = [*zip(anchors.strides, anchors.num_cell_anchors, strict=True)]

    def of_size(height: int, width: int) -> int:
        return sum(min(most, -(-height // s) * -(-width // s) * number) for s, number in levels)

    return of_size


def roi_parts(roi_heads: ROIHeads) -> tuple[Part, ...]:
    """All that is done with proposals and with detections, and the layers inside.

    Heads of a program's own that look at proposals alone have nothing that takes detections.
    """
    heads: list[nn.Module] = []
    if isinstance(roi_heads, StandardROIHeads):
        boxes = roi_heads.box_head
        heads = list(boxes) if isinstance(boxes, nn.ModuleList) else [boxes]
    # What Detectron2 calls the layers alone, without the choice of an output per instance.
    others = [
        head
        for head in roi_heads.children()
        if isinstance(head, BaseMaskRCNNHead | BaseKeypointRCNNHead)
    ]
    given = "forward_with_given_boxes"
    with_boxes = [roi_heads] if hasattr(roi_heads, given) else []
    return (
        Part("box_head", roi_heads, takes=Takes.PROPOSALS),
        *(Part("mask_head", own, given, takes=Takes.DETECTIONS) for own in with_boxes),
        *(Part("box_head", head, takes=Takes.REGIONS) for head in heads),
        *(Part("mask_head", head, "layers", takes=Takes.REGIONS) for head in others),
    )


def dense_head_part(head: nn.Module) -> Part:
    """Of RetinaNet and FCOS."""
    return Part("head", head, exact=layers_of(head, ("cls_score", "bbox_pred", "ctrness")))


def run_dense_head(model: DenseDetector, pyramid: Mapping[str, Tensor]) -> list[list[Tensor]]:
    """The head's predictions: per kind, per level."""
    return model.head([pyramid[name] for name in model.head_in_features])
