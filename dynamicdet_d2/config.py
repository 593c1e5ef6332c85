# SPDX-License-Identifier: Apache-2.0
"""Every config key of the project: meaning, range, symbol in the paper."""

import os
from collections.abc import Sequence

import torch
import yaml
from detectron2.config import CfgNode, get_cfg


def read_config(config_file: str, overrides: Sequence[str] = ()) -> CfgNode:
    """Detectron2's defaults and the project's, a yaml file, and ``KEY VALUE`` pairs.

    Without a GPU, ``MODEL.DEVICE`` "cuda" becomes "cpu".

    Args:
        config_file: a yaml file; empty: defaults alone.
        overrides: keys and values in turn.

    Raises:
        ValueError: naming the file or the key that is wrong.
    """
    if config_file and not os.path.isfile(config_file):
        raise ValueError(f"--config-file {config_file} does not exist.")
    if len(overrides) % 2:
        raise ValueError(f"Config overrides are KEY VALUE pairs; '{overrides[-1]}' has no value.")
    cfg = get_cfg()
    add_dynamicdet_config(cfg)
    try:
        if config_file:
            cfg.merge_from_file(config_file)
        cfg.merge_from_list(list(overrides))
    except (AssertionError, KeyError) as error:  # how yacs refuses an unknown key
        raise ValueError(f"{error.args[0]} (--config-file {config_file or 'none'})") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"--config-file {config_file} is not YAML: {reason}.") from None
    if cfg.MODEL.DEVICE == "cuda" and not torch.cuda.is_available():
        cfg.MODEL.DEVICE = "cpu"
    return cfg


def add_dynamicdet_config(cfg: CfgNode) -> None:
    """Add the keys of DynamicDet to a Detectron2 config, in place.

    Args:
        cfg: what ``detectron2.config.get_cfg()`` returns.
    """
    _add_model_keys(cfg)
    _add_solver_keys(cfg)
    _add_data_keys(cfg)
    _add_test_keys(cfg)


def _add_model_keys(cfg: CfgNode) -> None:
    cfg.MODEL.DYNAMIC = CfgNode()
    # An image is hard, and goes through both backbones, iff difficulty > THRESHOLD (tau of
    # eq. 15, in terms of difficulty). In [0, 1]; 1: all images easy, 0: all images hard.
    cfg.MODEL.DYNAMIC.THRESHOLD = 0.5
    # calibration.json written by calibrate.py. When given, the threshold comes from it and from
    # exactly one of the two keys below, and THRESHOLD is not read.
    cfg.MODEL.DYNAMIC.CALIBRATION = ""
    # Share of hard images to calibrate to, in [0, 1] (k of eq. 14). Needs CALIBRATION.
    cfg.MODEL.DYNAMIC.HARD_FRACTION = None
    # Mean latency of an image to calibrate to, in milliseconds (lat_t of eq. 14), between the
    # latencies of the two routes. Needs CALIBRATION.
    cfg.MODEL.DYNAMIC.TARGET_LATENCY_MS = None
    # Weights of detector1's and detector2's loss in phase "detectors" (eq. 9 has 1 and 1), >= 0.
    cfg.MODEL.DYNAMIC.LOSS_WEIGHTS = [1.0, 1.0]

    cfg.MODEL.COMPOSITE = CfgNode()
    # Blocks in each stage of backbone 1; empty: what the depth of the backbone's family says.
    cfg.MODEL.COMPOSITE.NUM_BLOCKS1 = []
    # Blocks in each stage of backbone 2; empty: as many as backbone 1 (the paper). Channels are
    # those of backbone 1, because neck and heads are shared. A stage that backbone 2 takes over
    # from backbone 1 (res2) has no blocks of its own: its entry must equal backbone 1's.
    cfg.MODEL.COMPOSITE.NUM_BLOCKS2 = []
    # Whether backbone 2 takes over the stem, and the leading stages that its family shares, from
    # backbone 1 (the paper). False: it is complete and starts from the image, which costs more,
    # but lets it have pretrained weights of its own throughout.
    cfg.MODEL.COMPOSITE.SHARE_STEM = True
    # Weights that backbone 2 starts from, of the kinds that MODEL.WEIGHTS takes; "": from
    # MODEL.WEIGHTS, as backbone 1. Not read where MODEL.WEIGHTS is a whole dynamic detector.
    cfg.MODEL.COMPOSITE.WEIGHTS2 = ""
    # Norm behind the 1x1 convolutions of a CNN's composite connections (G of eq. 4):
    # "BN", "SyncBN", "GN" or another Detectron2 norm whose affine trains. FrozenBN is refused.
    cfg.MODEL.COMPOSITE.NORM = "BN"

    # Compute the inside of the backbones' blocks again in the backward pass instead of keeping it:
    # less memory, about a third more time. Of composite backbones and plain Swin; not with BN.
    cfg.MODEL.BACKBONE.GRADIENT_CHECKPOINTING = False

    # What the FPN has above its coarsest level: "maxpool", one level for RPNs, or "p6p7", two
    # strided convolutions for dense detectors. Not of Detectron2's own FPN builders.
    cfg.MODEL.FPN.TOP_BLOCK = "maxpool"
    # The level that "p6p7" starts from: one of the backbone's (RetinaNet: res5) or of the FPN's;
    # "": the FPN's coarsest (FCOS: p5).
    cfg.MODEL.FPN.TOP_BLOCK_INPUT = ""

    cfg.MODEL.SWIN = CfgNode()
    # "T", "S" or "B" (tiny, small, base). MODEL.COMPOSITE.NUM_BLOCKS1 and 2 override the blocks
    # of composite ones. MODEL.BACKBONE.FREEZE_AT freezes the patch embedding (1), stage1 (2), ...
    cfg.MODEL.SWIN.SIZE = "T"
    # Side of the attention's windows in positions, >= 1; weights of other windows are fitted.
    cfg.MODEL.SWIN.WINDOW_SIZE = 7
    # Stochastic depth: how often the last block's branches are left out in training, in [0, 1).
    cfg.MODEL.SWIN.DROP_PATH_RATE = 0.2

    lite = cfg.MODEL.EFFICIENTNET_LITE = CfgNode()
    # Member of the family, 0 to 4. MODEL.COMPOSITE.NUM_BLOCKS1 and 2 override the blocks of
    # composite ones and have seven numbers, one for each group of equal blocks. Weights of ImageNet
    # ("efficientnet-lite0" to 2 in MODEL.WEIGHTS) expect RGB with PIXEL_MEAN 127 and PIXEL_STD 128.
    lite.SIZE = 0
    # Member that backbone 2 is, 0 to 4, whose stages must be as wide as backbone 1's: 0 and 1 are
    # alike, the others alone. None: the same member.
    lite.SIZE2 = None
    # "FrozenBN" (statistics and affine fixed), "BN", "SyncBN", "nnSyncBN" or "naiveSyncBN".
    lite.NORM = "FrozenBN"

    _add_dense_keys(cfg)

    inference = cfg.MODEL.INFERENCE = CfgNode()
    # Run inference on an optimised copy of the model: norms folded, weights channels-last, faster
    # heads on the CPU. Results are the model's own to rounding (1e-6); False: bit for bit.
    inference.OPTIMIZE = False
    # Of convolutions and matrix products: "float32", "bfloat16", or on a GPU "float16". ROIAlign
    # and boxes stay in float32. Other than float32 needs OPTIMIZE; judge it by AP.
    inference.PRECISION = "float32"
    # torch.compile (on a GPU as CUDA graphs) for the parts whose shapes depend on the padded image
    # alone. Each padded size costs up to a minute once. Needs OPTIMIZE.
    inference.COMPILE = False
    # Pad images to multiples of this many pixels, so that few sizes are compiled; >= 0, 0: only to
    # the backbone's coarsest stride. 128 gives COCO nine sizes. Needs OPTIMIZE.
    inference.SIZE_MULTIPLE = 0

    cfg.MODEL.ROUTER = CfgNode()
    # What the router sees, in any order (docs/routing.md): "features", pooled F1 (eq. 7); "map",
    # sums over an objectness map of F1, about as cheap; "rpn", numbers of detector1's proposals,
    # for which hard images pass neck and RPN twice; "detections", numbers of its detections, for
    # which they pass neck and heads twice.
    cfg.MODEL.ROUTER.INPUTS = ["features"]
    # Whether inputs are taken less their mean and by their standard deviation over the training
    # images. None: unless INPUTS is ["features"], as in the paper.
    cfg.MODEL.ROUTER.STANDARDIZE = None
    # The router's hidden layer has floor(d / REDUCTION) units (section 3.2), REDUCTION in 1..d;
    # at least 8 where "features", which are many, is not among the d inputs.
    cfg.MODEL.ROUTER.REDUCTION = 4


def _add_dense_keys(cfg: CfgNode) -> None:
    cfg.MODEL.DENSE = CfgNode()
    # The dense detector behind the backbones of a DynamicDenseDetector: "RetinaNet", by
    # Detectron2's MODEL.RETINANET, or "FCOS", by MODEL.FCOS.
    cfg.MODEL.DENSE.HEAD = "RetinaNet"

    fcos = cfg.MODEL.FCOS = CfgNode()
    # Classes without background, >= 1.
    fcos.NUM_CLASSES = 80
    # Levels of the FPN that the head reads, from fine to coarse.
    fcos.IN_FEATURES = ["p3", "p4", "p5", "p6", "p7"]
    # 3x3 convolutions of either branch before the predictions, >= 1, and the norm behind each:
    # "GN" or another norm of Detectron2, "": none.
    fcos.NUM_CONVS = 4
    fcos.NORM = "GN"
    # Score of every class that training begins with, in (0, 1).
    fcos.PRIOR_PROB = 0.01
    # Positions so many strides around a box's centre are positives, > 0.
    fcos.CENTER_SAMPLING_RADIUS = 1.5
    # Of the focal loss: weight of positives in [0, 1], and exponent >= 0.
    fcos.FOCAL_LOSS_ALPHA = 0.25
    fcos.FOCAL_LOSS_GAMMA = 2.0
    # Detections need this score, the root of class score x centreness, in [0, 1]; of each level
    # so many best ones, >= 1, enter NMS, which drops overlaps above this IoU, in [0, 1].
    fcos.SCORE_THRESH_TEST = 0.2
    fcos.TOPK_CANDIDATES_TEST = 1000
    fcos.NMS_THRESH_TEST = 0.6


def _add_solver_keys(cfg: CfgNode) -> None:
    # Optimizer of phase "detectors": "SGD" (Detectron2's), or "ADAMW", without decay of norms
    # where WEIGHT_DECAY_NORM is 0 and never of position tables.
    cfg.SOLVER.OPTIMIZER = "SGD"
    router = cfg.SOLVER.ROUTER = CfgNode()
    # "cached": the router trains on the pooled features and losses that the loss offset's pass
    # has seen, so the phase costs one pass over the data. "online": the paper's procedure, with
    # the training augmentations and new losses at every step.
    router.MODE = "cached"
    # What the router learns: "loss", the loss gap (eq. 12); "ap", which detector has the better AP
    # on an image (the paper's ablation, section 4.4.2; mode "cached" only). Random routing, the
    # third of that ablation, needs no training: every report has it.
    router.OBJECTIVE = "loss"
    # AdamW, constant (section 4.1).
    router.BASE_LR = 1e-5
    router.WEIGHT_DECAY = 5e-3
    # Images a step over all processes (section 4.1 has 1), and passes over the training set.
    router.IMS_PER_BATCH = 1
    router.EPOCHS = 2
    # Proposals (and anchors) an image that L1 and L2 are taken over, in the offset's pass and in
    # phase "router". 64 leave the gap L1 - L2 noisy (quartiles +-0.09), 300 did not (+-0.01).
    router.LOSS_PROPOSALS = 512


def _add_data_keys(cfg: CfgNode) -> None:
    # Own data without code: a list of [name, COCO json, image folder]; the names can then stand
    # in DATASETS.TRAIN and DATASETS.TEST.
    cfg.DATASETS.COCO_JSON = []
    # Read the annotations of DATASETS.TRAIN and TEST before training and name what is wrong.
    cfg.DATASETS.CHECK = True
    # Leave out images that cannot be read (each is named and counted) instead of stopping.
    cfg.DATALOADER.SKIP_CORRUPT_IMAGES = False


def _add_test_keys(cfg: CfgNode) -> None:
    cfg.TEST.DYNAMIC = CfgNode()
    # Operating points of the trade-off table, each in [0, 1].
    cfg.TEST.DYNAMIC.HARD_FRACTIONS = [0.0, 0.1, 0.5, 0.9, 1.0]
    # Images that latency is measured on, at batch 1, and leading ones that are not counted.
    cfg.TEST.DYNAMIC.LATENCY_IMAGES = 50
    cfg.TEST.DYNAMIC.LATENCY_WARMUP = 5
    # Random routings that the expected AP of random routing is averaged over.
    cfg.TEST.DYNAMIC.RANDOM_DRAWS = 20
    # Score from which a detection counts in the report's precision and recall, in [0, 1].
    cfg.TEST.DYNAMIC.MIN_SCORE = 0.5
    # Also compute L1 and L2 of every test image, for the rank correlation of the difficulty with
    # the true loss gap. Needs annotations, and makes the pass over the images about twice as long.
    cfg.TEST.DYNAMIC.LOSS_GAP = False
    # Images in each row of the report's pictures (easiest, hardest, sent the wrong way), >= 0;
    # 0: no pictures.
    cfg.TEST.DYNAMIC.GALLERY = 4
    # Further INPUT.MIN_SIZE_TEST, in pixels, to evaluate both ends at (Fig. 10): one more pass
    # over the images for each. INPUT.MAX_SIZE_TEST grows or shrinks in proportion.
    cfg.TEST.DYNAMIC.INPUT_SIZES = []
    # Count the two matrix products of attention as work; the paper's FLOPs leave them out.
    cfg.TEST.DYNAMIC.ATTENTION_MATMUL = True
