# SPDX-License-Identifier: Apache-2.0
"""What the project can do with of Detectron2's own keys, each by itself."""

from detectron2.config import get_cfg
from detectron2.layers import get_norm
from detectron2.modeling import (
    BACKBONE_REGISTRY,
    META_ARCH_REGISTRY,
    PROPOSAL_GENERATOR_REGISTRY,
    ROI_HEADS_REGISTRY,
)

from dynamicdet_d2.config.declare import limit
from dynamicdet_d2.config.ranges import (
    LARGEST_RATE,
    LARGEST_SIDE,
    MOST_IMAGES,
    MOST_PROPOSALS,
    Range,
    above,
    between,
    each,
    integer,
    number,
    one_of,
    only,
    rate,
    registered,
    rising,
    side,
    text,
    true_or_false,
)
from dynamicdet_d2.utils.words import is_whole


def is_norm(name: object) -> bool:
    """Whether Detectron2 has it; '' is none at all."""
    try:
        # Group norms divide by 32.
        return isinstance(name, str) and (get_norm(name, 32) is not None or not name)
    except KeyError:
        return False


norm = Range("be a norm of Detectron2's, such as 'FrozenBN', 'BN' or 'GN', or ''", is_norm)
# numpy's limit; a negative one is drawn by chance.
seed = Range("be a whole number below 2^32", lambda x: type(x) is int and -(2**32) < x < 2**32)
expected = Range(
    "be a list [task, metric, value, tolerance]",
    lambda x: (
        isinstance(x, (list, tuple))
        and len(x) == 4
        and all(type(y) is str for y in x[:2])
        and all(type(y) in (int, float) for y in x[2:])
    ),
)
# As word processors write them: to YAML and shells they are letters.
_TYPOGRAPHIC = "\u201c\u201d\u201e\u2018\u2019\u00ab\u00bb"
folder = Range(
    "be a string in UTF-8 that can name a folder, without an address, a variable, a ~ for a home "
    "or typographic quotes",
    lambda x: (
        type(x) is str
        and bool(x)
        and "\0" not in x
        and is_whole(x)
        and "://" not in x
        and "${" not in x  # OmegaConf's, which yacs does not have
        and x[0] != "~"  # what is somebody's home is a path by now
        and not (x[0] in _TYPOGRAPHIC or x[-1] in _TYPOGRAPHIC)
    ),
)

# Detectron2's default stands for pooling over one level and for several.
pooler = one_of("ROIAlign", "ROIAlignV2", "ROIPool")


def _numbers(low: float, high: float) -> Range:
    return Range(
        f"be a list of numbers in [{low:g}, {high:g}]",
        lambda x: (
            isinstance(x, (list, tuple)) and bool(x) and all(map(between(low, high).holds, x))
        ),
    )


overlap = Range("lie in (0, 1]", lambda x: between(0, 1).holds(x) and x != 0)

# More fill the memory, or a machine's table of processes, before one has loaded an image.
MOST_WORKERS = 256

limit("VERSION", only(get_cfg().VERSION, "configs of other versions have other keys"))
limit("SEED", seed)
limit("OUTPUT_DIR", folder)
limit("VIS_PERIOD", integer(at_least=0))

limit("MODEL.DEVICE", text)
limit("MODEL.WEIGHTS", text)
limit("MODEL.META_ARCHITECTURE", registered(META_ARCH_REGISTRY))
limit("MODEL.MASK_ON", true_or_false)
limit("MODEL.LOAD_PROPOSALS", only(False, "proposals are the detector's own"))
limit("MODEL.PIXEL_MEAN", each(number(at_least=-1e6, below=1e6)))
limit("MODEL.PIXEL_STD", each(above(1e-6, below=1e6)))
limit("MODEL.BACKBONE.NAME", registered(BACKBONE_REGISTRY))
limit("MODEL.BACKBONE.FREEZE_AT", integer(at_least=0))
limit("MODEL.RESNETS.DEPTH", one_of(18, 34, 50, 101, 152))
limit("MODEL.RESNETS.NORM", norm)
limit("MODEL.RESNETS.OUT_FEATURES", each(text))
limit("MODEL.FPN.NORM", norm)
limit("MODEL.FPN.IN_FEATURES", each(text))
limit("MODEL.FPN.OUT_CHANNELS", integer(at_least=1))
limit("MODEL.PROPOSAL_GENERATOR.NAME", registered(PROPOSAL_GENERATOR_REGISTRY))
limit("MODEL.RPN.IN_FEATURES", each(text))
# In pixels, and height by width: others are those of no object.
limit("MODEL.ANCHOR_GENERATOR.SIZES", each(_numbers(0.1, 1e5), at_least=1))
limit("MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS", each(_numbers(0.01, 100), at_least=1))
limit("MODEL.ANCHOR_GENERATOR.OFFSET", number(at_least=0, below=1))
limit("MODEL.RPN.IOU_THRESHOLDS", rising(overlap))
limit("MODEL.RPN.IOU_LABELS", each(one_of(-1, 0, 1), at_least=1))
limit("MODEL.RPN.BBOX_REG_WEIGHTS", each(above(0), length=4))
limit("MODEL.ROI_HEADS.IOU_THRESHOLDS", rising(overlap))
limit("MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS", each(above(0), length=4))
limit("MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION", integer(at_least=1))
limit("MODEL.ROI_BOX_HEAD.NUM_FC", integer(at_least=0, at_most=100))
limit("MODEL.ROI_BOX_HEAD.NUM_CONV", integer(at_least=0, at_most=100))
limit("MODEL.ROI_BOX_HEAD.POOLER_TYPE", pooler)
limit("MODEL.ROI_MASK_HEAD.POOLER_RESOLUTION", integer(at_least=1))
limit("MODEL.ROI_MASK_HEAD.POOLER_TYPE", pooler)
limit("MODEL.RPN.NMS_THRESH", between(0, 1))
limit("MODEL.RPN.BATCH_SIZE_PER_IMAGE", integer(at_least=1))
limit("MODEL.RPN.POSITIVE_FRACTION", between(0, 1))
limit("MODEL.RPN.PRE_NMS_TOPK_TRAIN", integer(at_least=1))
limit("MODEL.RPN.PRE_NMS_TOPK_TEST", integer(at_least=1))
limit("MODEL.RPN.POST_NMS_TOPK_TRAIN", integer(at_least=1))
limit("MODEL.RPN.POST_NMS_TOPK_TEST", integer(at_least=1, at_most=MOST_PROPOSALS))
limit("MODEL.ROI_HEADS.NAME", registered(ROI_HEADS_REGISTRY))
limit("MODEL.ROI_HEADS.IN_FEATURES", each(text))
limit("MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", integer(at_least=1))
limit("MODEL.ROI_HEADS.POSITIVE_FRACTION", between(0, 1))
limit("MODEL.ROI_HEADS.SCORE_THRESH_TEST", between(0, 1))
limit("MODEL.ROI_HEADS.NMS_THRESH_TEST", between(0, 1))
limit("MODEL.RETINANET.IN_FEATURES", each(text))
limit("MODEL.RETINANET.SCORE_THRESH_TEST", between(0, 1))
limit("MODEL.RETINANET.NMS_THRESH_TEST", between(0, 1))

limit("INPUT.MASK_FORMAT", one_of("polygon", "bitmask"))
limit("INPUT.MIN_SIZE_TRAIN", each(side, at_least=1))
limit("INPUT.CROP.TYPE", one_of("relative", "relative_range", "absolute", "absolute_range"))
limit("INPUT.CROP.SIZE", each(above(0), length=2))
limit("INPUT.MIN_SIZE_TRAIN_SAMPLING", one_of("choice", "range"))
limit("INPUT.MIN_SIZE_TEST", integer(at_least=0, at_most=LARGEST_SIDE))
limit("INPUT.MAX_SIZE_TEST", integer(at_least=1))
limit("DATASETS.TRAIN", each(text))
limit("DATASETS.TEST", each(text))
limit("DATALOADER.NUM_WORKERS", integer(at_least=0, at_most=MOST_WORKERS))
limit("DATALOADER.ASPECT_RATIO_GROUPING", true_or_false)
limit("DATALOADER.FILTER_EMPTY_ANNOTATIONS", true_or_false)

limit("SOLVER.MAX_ITER", integer(at_least=0, at_most=10**9))
limit("SOLVER.STEPS", rising(integer(at_least=0)))
limit("SOLVER.CLIP_GRADIENTS.ENABLED", true_or_false)
limit("SOLVER.CLIP_GRADIENTS.CLIP_TYPE", one_of("value", "norm", "full_model"))
limit("SOLVER.CLIP_GRADIENTS.CLIP_VALUE", above(0, below=LARGEST_RATE))
limit("SOLVER.CLIP_GRADIENTS.NORM_TYPE", above(0))
limit("SOLVER.GAMMA", rate)
limit("SOLVER.CHECKPOINT_PERIOD", integer(at_least=1))
limit("SOLVER.IMS_PER_BATCH", integer(at_least=1, at_most=MOST_IMAGES))
limit("SOLVER.BASE_LR", rate)
limit("SOLVER.WEIGHT_DECAY", rate)
limit("SOLVER.AMP.ENABLED", true_or_false)
limit("TEST.EVAL_PERIOD", integer(at_least=0))
limit("TEST.DETECTIONS_PER_IMAGE", integer(at_least=1))
limit("TEST.PRECISE_BN.ENABLED", true_or_false)
limit("TEST.AUG.ENABLED", true_or_false)
limit("TEST.AUG.MIN_SIZES", each(side, at_least=1))
limit("TEST.EXPECTED_RESULTS", each(expected))
