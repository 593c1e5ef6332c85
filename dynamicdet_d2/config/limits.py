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
    Range,
    above,
    between,
    each,
    integer,
    number,
    one_of,
    only,
    registered,
    text,
    true_or_false,
)


def _is_norm(name: object) -> bool:
    try:
        # Group norms divide by 32.
        return isinstance(name, str) and (get_norm(name, 32) is not None or not name)
    except KeyError:
        return False


norm = Range("be a norm of Detectron2's, such as 'FrozenBN', 'BN' or 'GN', or ''", _is_norm)
# numpy's limit; a negative one is drawn by chance.
seed = Range("be a whole number below 2^32", lambda x: type(x) is int and -(2**32) < x < 2**32)
folder = Range(
    "be a string that can name a folder", lambda x: type(x) is str and bool(x) and "\0" not in x
)

limit("VERSION", only(get_cfg().VERSION, "configs of other versions have other keys"))
limit("SEED", seed)
limit("OUTPUT_DIR", folder)
limit("VIS_PERIOD", integer(at_least=0))

limit("MODEL.DEVICE", text)
limit("MODEL.WEIGHTS", text)
limit("MODEL.META_ARCHITECTURE", registered(META_ARCH_REGISTRY))
limit("MODEL.MASK_ON", true_or_false)
limit("MODEL.LOAD_PROPOSALS", only(False, "proposals are the detector's own"))
limit("MODEL.PIXEL_MEAN", each(number(at_least=-1e6)))
limit("MODEL.PIXEL_STD", each(above(0)))
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
limit("MODEL.RPN.NMS_THRESH", between(0, 1))
limit("MODEL.RPN.BATCH_SIZE_PER_IMAGE", integer(at_least=1))
limit("MODEL.RPN.POSITIVE_FRACTION", between(0, 1))
limit("MODEL.RPN.PRE_NMS_TOPK_TRAIN", integer(at_least=1))
limit("MODEL.RPN.PRE_NMS_TOPK_TEST", integer(at_least=1))
limit("MODEL.RPN.POST_NMS_TOPK_TRAIN", integer(at_least=1))
limit("MODEL.RPN.POST_NMS_TOPK_TEST", integer(at_least=1))
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
limit("INPUT.MIN_SIZE_TRAIN", each(integer(at_least=1)))
limit("INPUT.MIN_SIZE_TRAIN_SAMPLING", one_of("choice", "range"))
limit("INPUT.MIN_SIZE_TEST", integer(at_least=0))
limit("INPUT.MAX_SIZE_TEST", integer(at_least=1))
limit("DATASETS.TRAIN", each(text))
limit("DATASETS.TEST", each(text))
limit("DATALOADER.NUM_WORKERS", integer(at_least=0))
limit("DATALOADER.ASPECT_RATIO_GROUPING", true_or_false)
limit("DATALOADER.FILTER_EMPTY_ANNOTATIONS", true_or_false)

limit("SOLVER.MAX_ITER", integer(at_least=0))
limit("SOLVER.STEPS", each(integer(at_least=0)))
limit("SOLVER.GAMMA", number(at_least=0))
limit("SOLVER.CHECKPOINT_PERIOD", integer(at_least=1))
limit("SOLVER.IMS_PER_BATCH", integer(at_least=1))
limit("SOLVER.BASE_LR", number(at_least=0))
limit("SOLVER.WEIGHT_DECAY", number(at_least=0))
limit("SOLVER.AMP.ENABLED", true_or_false)
limit("TEST.EVAL_PERIOD", integer(at_least=0))
limit("TEST.DETECTIONS_PER_IMAGE", integer(at_least=1))
limit("TEST.PRECISE_BN.ENABLED", true_or_false)
limit("TEST.AUG.ENABLED", true_or_false)
