# SPDX-License-Identifier: Apache-2.0
"""What Detectron2's own keys of backbones, heads and their losses may be.

Detectron2 takes any value of the right type, and what it makes of a wrong one is an assertion
without words, or a model that learns nothing.
"""

from collections.abc import Sequence

from detectron2.modeling import (
    ANCHOR_GENERATOR_REGISTRY,
    ROI_BOX_HEAD_REGISTRY,
    ROI_MASK_HEAD_REGISTRY,
)
from detectron2.modeling.proposal_generator import RPN_HEAD_REGISTRY

from dynamicdet_d2.config.declare import Use, limit, rule
from dynamicdet_d2.config.limits import norm, overlap
from dynamicdet_d2.config.ranges import (
    MOST_LAYERS,
    Range,
    above,
    between,
    each,
    integer,
    number,
    one_of,
    registered,
    rising,
    text,
    true_or_false,
)
from dynamicdet_d2.config.rules import is_a
from dynamicdet_d2.utils.words import shown

channels = integer(at_least=1, at_most=1 << 20)
layers = integer(at_least=0, at_most=MOST_LAYERS)
# Points of a bin along a side; more take minutes an image. 0: as many as there are pixels.
samples = integer(at_least=0, at_most=64)
# Channels of res2 in ResNets of 18 and 34 layers.
_WIDEST_OF_SHALLOW = 64
weight = number(at_least=0)
loss_type = one_of("smooth_l1", "giou", "diou", "ciou")
width_of_a_layer = Range(
    "be a number of channels, or -1 for as many as come in",
    lambda x: channels.holds(x) or x == -1,
)
alpha = Range("lie in [0, 1], or be -1 for none", lambda x: between(0, 1).holds(x) or x == -1)

limit("MODEL.FPN.FUSE_TYPE", one_of("sum", "avg"))
limit("MODEL.PROPOSAL_GENERATOR.MIN_SIZE", integer(at_least=0))
limit("MODEL.ANCHOR_GENERATOR.NAME", registered(ANCHOR_GENERATOR_REGISTRY))
limit("MODEL.RPN.HEAD_NAME", registered(RPN_HEAD_REGISTRY))
limit("MODEL.RPN.BBOX_REG_LOSS_TYPE", loss_type)
limit("MODEL.RPN.BBOX_REG_LOSS_WEIGHT", weight)
limit("MODEL.RPN.SMOOTH_L1_BETA", weight)
limit("MODEL.RPN.LOSS_WEIGHT", weight)
limit("MODEL.RPN.BOUNDARY_THRESH", number(at_least=-1))
limit("MODEL.RPN.CONV_DIMS", each(width_of_a_layer))
limit("MODEL.ROI_HEADS.IOU_LABELS", each(one_of(-1, 0, 1), at_least=1))
limit("MODEL.ROI_HEADS.PROPOSAL_APPEND_GT", true_or_false)
limit("MODEL.ROI_BOX_HEAD.NAME", text)
limit("MODEL.ROI_BOX_HEAD.BBOX_REG_LOSS_TYPE", loss_type)
limit("MODEL.ROI_BOX_HEAD.BBOX_REG_LOSS_WEIGHT", weight)
limit("MODEL.ROI_BOX_HEAD.SMOOTH_L1_BETA", weight)
limit("MODEL.ROI_BOX_HEAD.POOLER_SAMPLING_RATIO", samples)
limit("MODEL.ROI_BOX_HEAD.FC_DIM", integer(at_least=1))
limit("MODEL.ROI_BOX_HEAD.CONV_DIM", channels)
limit("MODEL.ROI_BOX_HEAD.NORM", norm)
limit("MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG", true_or_false)
limit("MODEL.ROI_BOX_HEAD.TRAIN_ON_PRED_BOXES", true_or_false)
limit("MODEL.ROI_BOX_CASCADE_HEAD.IOUS", each(between(0, 1), at_least=1))
limit("MODEL.ROI_BOX_CASCADE_HEAD.BBOX_REG_WEIGHTS", each(each(above(0), length=4), at_least=1))
limit("MODEL.ROI_MASK_HEAD.NAME", text)
limit("MODEL.ROI_MASK_HEAD.POOLER_SAMPLING_RATIO", samples)
limit("MODEL.ROI_MASK_HEAD.NUM_CONV", layers)
limit("MODEL.ROI_MASK_HEAD.CONV_DIM", channels)
limit("MODEL.ROI_MASK_HEAD.NORM", norm)
limit("MODEL.ROI_MASK_HEAD.CLS_AGNOSTIC_MASK", true_or_false)
limit("MODEL.RETINANET.NUM_CONVS", integer(at_least=1, at_most=MOST_LAYERS))
limit("MODEL.RETINANET.IOU_THRESHOLDS", rising(overlap))
limit("MODEL.RETINANET.IOU_LABELS", each(one_of(-1, 0, 1), at_least=1))
limit("MODEL.RETINANET.PRIOR_PROB", above(0, below=1))
limit("MODEL.RETINANET.TOPK_CANDIDATES_TEST", integer(at_least=1))
limit("MODEL.RETINANET.BBOX_REG_WEIGHTS", each(above(0), length=4))
limit("MODEL.RETINANET.FOCAL_LOSS_GAMMA", weight)
limit("MODEL.RETINANET.FOCAL_LOSS_ALPHA", alpha)
limit("MODEL.RETINANET.SMOOTH_L1_LOSS_BETA", weight)
limit("MODEL.RETINANET.BBOX_REG_LOSS_TYPE", loss_type)
limit("MODEL.RETINANET.NORM", norm)
limit("MODEL.RESNETS.NUM_GROUPS", channels)
limit("MODEL.RESNETS.WIDTH_PER_GROUP", channels)
limit("MODEL.RESNETS.STRIDE_IN_1X1", true_or_false)
limit("MODEL.RESNETS.RES5_DILATION", one_of(1, 2))
limit("MODEL.RESNETS.RES2_OUT_CHANNELS", channels)
limit("MODEL.RESNETS.STEM_OUT_CHANNELS", channels)
limit("MODEL.RESNETS.DEFORM_ON_PER_STAGE", each(true_or_false, length=4))
limit("MODEL.RESNETS.DEFORM_MODULATED", true_or_false)
limit("MODEL.RESNETS.DEFORM_NUM_GROUPS", channels)


def _labels_of(section: str) -> None:
    key = f"MODEL.{section}.IOU_LABELS"

    @rule(f"MODEL.{section}.IOU_THRESHOLDS", key)
    def labels_are_of_thresholds(thresholds: Sequence[float], labels: Sequence[int]) -> str | None:
        if len(labels) != len(thresholds) + 1:
            return (
                f"{key} is {shown(list(labels))}; with {len(thresholds)} IOU_THRESHOLDS it must "
                f"have {len(thresholds) + 1}."
            )
        if labels[0] == 1 or labels[-1] != 1:
            return (
                f"{key} is {shown(list(labels))}; the last label, of the largest overlaps, must "
                "be 1, and the first not."
            )
        return None


for _section in ("RPN", "ROI_HEADS", "RETINANET"):
    _labels_of(_section)


@rule("MODEL.ROI_BOX_CASCADE_HEAD.IOUS", "MODEL.ROI_BOX_CASCADE_HEAD.BBOX_REG_WEIGHTS")
def stages_have_weights(ious: Sequence[float], weights: Sequence[Sequence[float]]) -> str | None:
    if len(ious) == len(weights):
        return None
    return (
        f"MODEL.ROI_BOX_CASCADE_HEAD.IOUS has {len(ious)} stages and BBOX_REG_WEIGHTS has "
        f"{len(weights)}; they must be as many."
    )


@rule("MODEL.ROI_HEADS.NAME", "MODEL.ROI_BOX_CASCADE_HEAD.IOUS", "MODEL.ROI_HEADS.IOU_THRESHOLDS")
def stages_begin_where_proposals_are_matched(
    name: str, ious: Sequence[float], thresholds: Sequence[float]
) -> str | None:
    if name != "CascadeROIHeads" or list(thresholds) == [ious[0]]:
        return None
    return (
        f"MODEL.ROI_HEADS.IOU_THRESHOLDS is {list(thresholds)}; for CascadeROIHeads it must be "
        f"[{ious[0]}], as MODEL.ROI_BOX_CASCADE_HEAD.IOUS begins."
    )


@rule(
    "MODEL.META_ARCHITECTURE",
    "MODEL.ANCHOR_GENERATOR.NAME",
    "MODEL.PROPOSAL_GENERATOR.NAME",
    "MODEL.ROI_HEADS.NAME",
)
def boxes_are_upright(architecture: str, anchors: str, proposals: str, heads: str) -> str | None:
    if not is_a("DynamicDetector", architecture):
        return None
    given = {"ANCHOR_GENERATOR": anchors, "PROPOSAL_GENERATOR": proposals, "ROI_HEADS": heads}
    for section, name in given.items():
        if name in ("RotatedAnchorGenerator", "RRPN", "RROIHeads"):
            return (
                f"MODEL.{section}.NAME is '{name}', of rotated boxes, which a {architecture} does "
                "not have."
            )
    return None


@rule("MODEL.MASK_ON", "MODEL.ROI_MASK_HEAD.NAME")
def masks_have_a_head(enabled: bool, name: str) -> str | None:
    if not enabled or name in ROI_MASK_HEAD_REGISTRY:
        return None
    return (
        f"MODEL.ROI_MASK_HEAD.NAME is {shown(name)}; with MODEL.MASK_ON it must be a name that is "
        "registered with Detectron2."
    )


@rule("MODEL.META_ARCHITECTURE", "MODEL.ROI_HEADS.NAME", "MODEL.ROI_BOX_HEAD.NAME")
def boxes_have_a_head(architecture: str, heads: str, name: str) -> str | None:
    if not is_a("DynamicRCNN", architecture) or heads == "Res5ROIHeads":
        return None
    if name in ROI_BOX_HEAD_REGISTRY:
        return None
    return (
        f"MODEL.ROI_BOX_HEAD.NAME is {shown(name)}; it must be a name that is registered with "
        "Detectron2."
    )


@rule("MODEL.ROI_BOX_HEAD.NAME", "MODEL.ROI_BOX_HEAD.NUM_FC", "MODEL.ROI_BOX_HEAD.NUM_CONV")
def boxes_pass_a_layer(name: str, linear: int, convolutions: int) -> str | None:
    if name != "FastRCNNConvFCHead" or linear or convolutions:
        return None
    return "MODEL.ROI_BOX_HEAD.NUM_FC and NUM_CONV are 0; one of them must be at least 1."


@rule("MODEL.DYNAMIC.MERGE_EXITS_IOU", "MODEL.MASK_ON", "MODEL.KEYPOINT_ON")
def merged_exits_are_boxes(least_iou: float, masks: bool, keypoints: bool) -> str | None:
    if not least_iou or not (masks or keypoints):
        return None
    other = "MODEL.MASK_ON" if masks else "MODEL.KEYPOINT_ON"
    return f"MODEL.DYNAMIC.MERGE_EXITS_IOU merges boxes alone; {other} must be False beside it."


@rule("MODEL.DYNAMIC.LOSS_WEIGHTS", when=Use.TRAIN)
def a_detector_learns(weights: Sequence[float]) -> str | None:
    return None if any(weights) else "MODEL.DYNAMIC.LOSS_WEIGHTS are 0: no detector would learn."


@rule(
    "MODEL.META_ARCHITECTURE",
    "MODEL.DENSE.HEAD",
    "MODEL.ANCHOR_GENERATOR.SIZES",
    "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS",
    "MODEL.RPN.IN_FEATURES",
    "MODEL.RETINANET.IN_FEATURES",
)
def anchors_are_of_levels(
    architecture: str,
    dense: str,
    sizes: Sequence,
    ratios: Sequence,
    of_rpn: Sequence[str],
    of_retinanet: Sequence[str],
) -> str | None:
    """One list for all levels, or one for each."""
    is_retinanet = is_a("DynamicDenseDetector", architecture) and dense == "RetinaNet"
    if not (is_retinanet or is_a("DynamicRCNN", architecture)):
        return None
    levels = list(of_retinanet if is_retinanet else of_rpn)
    for name, given in (("SIZES", sizes), ("ASPECT_RATIOS", ratios)):
        if len(given) not in (1, len(levels)):
            key = f"MODEL.{'RETINANET' if is_retinanet else 'RPN'}.IN_FEATURES"
            return (
                f"{key} is {shown(levels)}, but MODEL.ANCHOR_GENERATOR.{name} has {len(given)} "
                f"lists; it must have one, or one for each of the {len(levels)} levels."
            )
    return None


@rule("MODEL.BACKBONE.NAME", "MODEL.RESNETS.RES5_DILATION")
def strides_double(backbone: str, dilation: int) -> str | None:
    if dilation == 1 or "resnet" not in backbone or backbone == "build_resnet_backbone":
        return None
    return (
        f"MODEL.RESNETS.RES5_DILATION is {dilation}; behind '{backbone}' stands an FPN, for whose "
        "levels it must be 1."
    )


@rule("MODEL.BACKBONE.NAME", "MODEL.RESNETS.DEPTH", "MODEL.RESNETS.RES2_OUT_CHANNELS")
def shallow_resnets_are_narrow(backbone: str, depth: int, channels: int) -> str | None:
    """The default is of bottlenecks, whose convolutions are a quarter as wide as what they give."""
    if depth not in (18, 34) or channels <= _WIDEST_OF_SHALLOW or "resnet" not in backbone:
        return None
    return (
        f"MODEL.RESNETS.DEPTH is {depth} and MODEL.RESNETS.RES2_OUT_CHANNELS {channels}, as of "
        f"ResNets of 50 layers and more; with 18 or 34 it must be {_WIDEST_OF_SHALLOW}, or less."
    )


@rule("MODEL.ROI_HEADS.NAME", "MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG")
def cascades_share_their_boxes(heads: str, agnostic: bool) -> str | None:
    if heads != "CascadeROIHeads" or agnostic:
        return None
    return (
        "MODEL.ROI_HEADS.NAME is 'CascadeROIHeads', whose boxes are those of no class: "
        "MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG must be True."
    )


@rule("MODEL.META_ARCHITECTURE", "MODEL.ROI_HEADS.NAME", "MODEL.ROI_HEADS.IN_FEATURES")
def heads_of_one_level_have_one(architecture: str, heads: str, levels: Sequence[str]) -> str | None:
    if not is_a("DynamicRCNN", architecture) or heads != "Res5ROIHeads" or len(levels) == 1:
        return None
    return (
        "MODEL.ROI_HEADS.NAME is 'Res5ROIHeads', which read one level: MODEL.ROI_HEADS.IN_FEATURES "
        f"is {shown(list(levels))}; it must name one, or the heads be 'StandardROIHeads'."
    )
