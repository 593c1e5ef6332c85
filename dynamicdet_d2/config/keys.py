# SPDX-License-Identifier: Apache-2.0
"""Every config key of the project: meaning, range, symbol in the paper.

A key is declared by its full name, its default, and what it may be (the words are in
``ranges.py``). What several keys must agree in is in ``rules.py``.
"""

from dynamicdet_d2.config.classes import number_of_classes
from dynamicdet_d2.config.declare import key
from dynamicdet_d2.config.limits import is_norm, norm
from dynamicdet_d2.config.ranges import (
    MOST_IMAGES,
    MOST_LAYERS,
    MOST_PROPOSALS,
    Range,
    above,
    between,
    each,
    integer,
    none_or,
    number,
    one_of,
    rate,
    side,
    text,
    true_or_false,
)

trainable_norm = Range(
    "be a norm whose affine trains, such as 'BN', 'SyncBN' or 'GN'",
    lambda name: name not in ("", "FrozenBN") and is_norm(name),
)
name_json_and_images = Range(
    "be three strings [name, json file, image folder]",
    lambda entry: (
        isinstance(entry, (list, tuple))
        and len(entry) == 3
        and all(isinstance(part, str) and part for part in entry)
    ),
)

# An image is hard, and goes through both backbones, iff difficulty > THRESHOLD (tau of eq. 15, in
# terms of difficulty). In [0, 1]; 1: all images easy, 0: all images hard.
key("MODEL.DYNAMIC.THRESHOLD", 0.5, between(0, 1))
# calibration.json written by calibrate.py. When given, the threshold comes from it and from exactly
# one of the two keys below, and THRESHOLD is not read; one that is typed is refused.
key("MODEL.DYNAMIC.CALIBRATION", "", text)
# Share of hard images to calibrate to, in [0, 1] (k of eq. 14). Needs CALIBRATION.
key("MODEL.DYNAMIC.HARD_FRACTION", None, none_or(between(0, 1)))
# Mean latency of an image to calibrate to, in milliseconds (lat_t of eq. 14), between the latencies
# of the two routes. Needs CALIBRATION.
key("MODEL.DYNAMIC.TARGET_LATENCY_MS", None, none_or(number(at_least=0)))
# Boxes that the RPN keeps of an easy image, its best ones; of dense detectors candidates before NMS
# (RetinaNet and FCOS: per level). 0: as many as of a hard one. A second knob beside the threshold.
key("MODEL.DYNAMIC.EASY_PROPOSALS", 0, integer(at_least=0, at_most=MOST_PROPOSALS))
# Above 0 a hard image gives both detectors' detections and not detector2's alone (the paper): boxes
# of one class that overlap by this IoU or more are one object, whose score is the mean of both, and
# what one detector alone has found keeps half its score. Hard images then pass detector1's tail as
# well. 0.6 is good where both detectors are about as good. In [0, 1]; 0: off. For boxes alone.
key("MODEL.DYNAMIC.MERGE_EXITS_IOU", 0.0, between(0, 1))
# Weights of detector1's and detector2's loss in phase "detectors" (eq. 9 has 1 and 1), >= 0.
key("MODEL.DYNAMIC.LOSS_WEIGHTS", [1.0, 1.0], each(number(at_least=0), length=2))

# Blocks in each stage of backbone 1; empty: what the depth of the backbone's family says.
key("MODEL.COMPOSITE.NUM_BLOCKS1", [], each(integer(at_least=1, at_most=1000)))
# Blocks in each stage of backbone 2; empty: as many as backbone 1 (the paper). Channels are those
# of the family. A stage that backbone 2 takes over from backbone
# 1 (res2) has no blocks of its own: its entry must equal backbone 1's.
key("MODEL.COMPOSITE.NUM_BLOCKS2", [], each(integer(at_least=1, at_most=1000)))
# Whether backbone 2 takes over the stem, and the leading stages that its family shares, from
# backbone 1 (the paper). False: it is complete and starts from the image, which costs more, but
# lets it have pretrained weights of its own throughout. Of YOLOs it is complete in any case.
key("MODEL.COMPOSITE.SHARE_STEM", True, true_or_false)
# Weights that backbone 2 starts from, of the kinds that MODEL.WEIGHTS takes; "": from
# MODEL.WEIGHTS, as backbone 1. Not read where MODEL.WEIGHTS is a whole dynamic detector.
key("MODEL.COMPOSITE.WEIGHTS2", "", text)
# Whether images of both routes pass one neck, and one set of heads (the paper). With a neck of its
# own detector2 has its own lateral convolutions, so that backbone 2 may have other widths; with
# heads of its own the hard route learns what detector1's would forget. Both start from the weights
# of a complete detector where MODEL.WEIGHTS is one. Of two-stage and dense detectors; the two
# detectors of a YOLO share nothing in any case.
key("MODEL.COMPOSITE.SHARE_NECK", True, true_or_false)
key("MODEL.COMPOSITE.SHARE_HEADS", True, true_or_false)
# Training images on which the fixed statistics ("FrozenBN") of backbone 1's own stages are measured
# anew before a training of backbone 1: for one shorter than the network its weights come from; 0:
# none.
key("MODEL.COMPOSITE.STATISTICS_IMAGES", 0, integer(at_least=0))
# Norm behind the 1x1 convolutions of the composite connections (G of eq. 4) of ResNets and
# EfficientNet-Lite: "BN", "SyncBN", "GN" or another Detectron2 norm whose affine trains. FrozenBN
# is refused. Those of Swin and YOLOs have none.
key("MODEL.COMPOSITE.NORM", "BN", trainable_norm)

# Compute the inside of the backbones' blocks again in the backward pass instead of keeping it: less
# memory, about a third more time. Of all backbones but single ResNets; not with BN.
key("MODEL.BACKBONE.GRADIENT_CHECKPOINTING", False, true_or_false)

# What the FPN has above its coarsest level: "maxpool", one level for RPNs, or "p6p7", two strided
# convolutions for dense detectors. Not of Detectron2's own FPN builders.
key("MODEL.FPN.TOP_BLOCK", "maxpool", one_of("maxpool", "p6p7"))
# The level that "p6p7" starts from: one of the backbone's (RetinaNet: res5) or of the FPN's; "":
# the FPN's coarsest (FCOS: p5).
key("MODEL.FPN.TOP_BLOCK_INPUT", "", text)

# "T", "S" or "B" (tiny, small, base). MODEL.COMPOSITE.NUM_BLOCKS1 and 2 override the blocks of
# composite ones. MODEL.BACKBONE.FREEZE_AT freezes the patch embedding (1), stage1 (2), ...
key("MODEL.SWIN.SIZE", "T", one_of("T", "S", "B"))
# Side of the attention's windows in positions, >= 1; weights of other windows are fitted.
key("MODEL.SWIN.WINDOW_SIZE", 7, integer(at_least=1))
# Stochastic depth: how often the last block's branches are left out in training, in [0, 1).
key("MODEL.SWIN.DROP_PATH_RATE", 0.2, number(at_least=0, below=1))

# Member of the family, 0 to 4. MODEL.COMPOSITE.NUM_BLOCKS1 and 2 override the blocks of composite
# ones and have seven numbers, one for each group of equal blocks. Weights of ImageNet
# ("efficientnet-lite0" to 2 in MODEL.WEIGHTS) expect RGB with PIXEL_MEAN 127 and PIXEL_STD 128.
key("MODEL.EFFICIENTNET_LITE.SIZE", 0, one_of(*range(5)))
# Member that backbone 2 is, 0 to 4. Only 0 and 1 are equally wide; any other two need
# MODEL.COMPOSITE.SHARE_NECK False, and SHARE_STEM False where their first stages differ (3 and 4).
# None: the same member.
key("MODEL.EFFICIENTNET_LITE.SIZE2", None, none_or(one_of(*range(5))))
# "FrozenBN" (statistics and affine fixed), "BN", "SyncBN", "nnSyncBN" or "naiveSyncBN".
key(
    "MODEL.EFFICIENTNET_LITE.NORM",
    "FrozenBN",
    one_of("FrozenBN", "BN", "SyncBN", "nnSyncBN", "naiveSyncBN"),
)

# The dense detector behind the backbones of a DynamicDenseDetector: "RetinaNet", by Detectron2's
# MODEL.RETINANET, or "FCOS", by MODEL.FCOS.
key("MODEL.DENSE.HEAD", "RetinaNet", one_of("RetinaNet", "FCOS"))

# Classes without background, >= 1; 0 in a file: as many as the training set's JSON has. So with
# MODEL.ROI_HEADS.NUM_CLASSES and MODEL.RETINANET.NUM_CLASSES.
key("MODEL.FCOS.NUM_CLASSES", 80, number_of_classes)
# Levels of the FPN that the head reads, from fine to coarse.
key("MODEL.FCOS.IN_FEATURES", ["p3", "p4", "p5", "p6", "p7"], each(text))
# 3x3 convolutions of either branch before the predictions, >= 1, and the norm behind each: "GN" or
# another norm of Detectron2, "": none.
key("MODEL.FCOS.NUM_CONVS", 4, integer(at_least=1, at_most=MOST_LAYERS))
key("MODEL.FCOS.NORM", "GN", norm)
# Score of every class that training begins with, in (0, 1).
key("MODEL.FCOS.PRIOR_PROB", 0.01, above(0, below=1))
# Positions so many strides around a box's centre are positives, > 0.
key("MODEL.FCOS.CENTER_SAMPLING_RADIUS", 1.5, above(0))
# Of the focal loss: weight of positives in [0, 1], and exponent >= 0.
key("MODEL.FCOS.FOCAL_LOSS_ALPHA", 0.25, between(0, 1))
key("MODEL.FCOS.FOCAL_LOSS_GAMMA", 2.0, number(at_least=0))
# Detections need this score, the root of class score x centreness, in [0, 1]; of each level so many
# best ones, >= 1, enter NMS, which drops overlaps above this IoU, in [0, 1].
key("MODEL.FCOS.SCORE_THRESH_TEST", 0.2, between(0, 1))
key("MODEL.FCOS.TOPK_CANDIDATES_TEST", 1000, integer(at_least=1))
key("MODEL.FCOS.NMS_THRESH_TEST", 0.6, between(0, 1))

# Run inference on an optimised copy of the model: norms folded, weights channels-last, faster heads
# on the CPU. Results are the model's own to rounding (1e-6); False: bit for bit.
key("MODEL.INFERENCE.OPTIMIZE", False, true_or_false)
# Of convolutions and matrix products: "float32", "bfloat16", or on a GPU "float16". ROIAlign and
# boxes stay in float32. Other than float32 needs OPTIMIZE; judge it by AP.
key("MODEL.INFERENCE.PRECISION", "float32", one_of("float32", "bfloat16", "float16"))
# torch.compile (on a GPU as CUDA graphs) for the parts whose shapes depend on the padded image
# alone. Each padded size costs up to a minute once. Needs OPTIMIZE.
key("MODEL.INFERENCE.COMPILE", False, true_or_false)
# Pad images to multiples of this many pixels, so that few sizes are compiled; >= 0, 0: only to the
# backbone's coarsest stride. 128 gives COCO nine sizes. Needs OPTIMIZE.
key("MODEL.INFERENCE.SIZE_MULTIPLE", 0, integer(at_least=0))

# What the router sees, in any order (docs/routing.md): "features", pooled F1 (eq. 7); "map", sums
# over an objectness map of F1, about as cheap; "rpn", numbers of detector1's proposals, for which
# hard images pass neck and RPN twice; "detections", numbers of its detections, for which they pass
# neck and heads twice.
key("MODEL.ROUTER.INPUTS", ["features"], each(one_of("features", "map", "rpn", "detections")))
# Whether inputs are taken less their mean and by their standard deviation over the training images.
# None: unless INPUTS is ["features"], as in the paper.
key("MODEL.ROUTER.STANDARDIZE", None, none_or(true_or_false))
# The router's hidden layer has floor(d / REDUCTION) units (section 3.2), REDUCTION in 1..d; at
# least 8 where "features", which are many, is not among the d inputs.
key("MODEL.ROUTER.REDUCTION", 4, integer(at_least=1))

# The phases of a run, in order: "detectors", joint training of both (eq. 9); "detector2",
# connections and backbone 2 of a trained detector that stays as it is; "router", the last.
# SOLVER.MAX_ITER counts the steps of each of the first two.
key("SOLVER.PHASES", ["detectors", "router"], each(one_of("detectors", "detector2", "router")))
# Optimizer of the phases that train detectors: "SGD" (Detectron2's), or "ADAMW", without decay of
# norms where WEIGHT_DECAY_NORM is 0 and never of position tables.
key("SOLVER.OPTIMIZER", "SGD", one_of("SGD", "ADAMW"))
# "cached": the router trains on the pooled features and losses that the loss offset's pass has
# seen, so the phase costs one pass over the data. "online": the paper's procedure, with the
# training augmentations and new losses at every step.
key("SOLVER.ROUTER.MODE", "cached", one_of("cached", "online"))
# What the router learns: "loss", the loss gap (eq. 12); "hardness", L1 against its median;
# "hardness_regression", the rank of L1, by least squares; and in mode "cached" only: "gain", what
# an image adds to the whole set's AP by detector2 (first order), against its median; "gain_rank",
# the same by ranks; "ap", which detector has the better AP on an image (the paper's ablation,
# section 4.4.2); "auto", whichever of these routes images kept aside best, at whichever of three
# learning rates. Random routing, the third of the ablation, needs no training: every report has it.
key(
    "SOLVER.ROUTER.OBJECTIVE",
    "loss",
    one_of("loss", "ap", "hardness", "hardness_regression", "gain", "gain_rank", "auto"),
)
# Data set that "auto" judges on beside parts of the training set in turn, each image counting once;
# none of DATASETS.TEST. "": those parts alone.
key("SOLVER.ROUTER.VALIDATION", "", text)
# AdamW, constant (section 4.1). BASE_LR is not read by "auto".
key("SOLVER.ROUTER.BASE_LR", 1e-5, rate)
key("SOLVER.ROUTER.WEIGHT_DECAY", 5e-3, rate)
# Images a step over all processes (section 4.1 has 1), and passes over the training set.
key("SOLVER.ROUTER.IMS_PER_BATCH", 1, integer(at_least=1, at_most=MOST_IMAGES))
key("SOLVER.ROUTER.EPOCHS", 2, integer(at_least=0, at_most=10**6))
# Proposals (and anchors) an image that L1 and L2 are taken over, in the offset's pass and in phase
# "router". 64 leave the gap L1 - L2 noisy (quartiles +-0.09), 300 did not (+-0.01).
key("SOLVER.ROUTER.LOSS_PROPOSALS", 512, integer(at_least=1))

# Seconds, > 0, that a process of a run waits for another: for those of other machines at the start,
# for all at every exchange, and for one that loads images. Whoever is late is then said to be.
key("RUN.TIMEOUT", 1800.0, above(0, below=1e8))

# Own data without code: a list of [name, COCO json, image folder]; the names can then stand in
# DATASETS.TRAIN and DATASETS.TEST. Programs of one's own register them by
# dynamicdet_d2.data.register_coco_json(cfg.DATASETS.COCO_JSON).
key("DATASETS.COCO_JSON", [], each(name_json_and_images))
# Read the annotations of DATASETS.TRAIN, TEST and SOLVER.ROUTER.VALIDATION before a training, and
# of TEST before an evaluation, and name what is wrong, of images that code registers too.
key("DATASETS.CHECK", True, true_or_false)
# Leave out images that cannot be read (each is named and counted) instead of stopping.
key("DATALOADER.SKIP_CORRUPT_IMAGES", False, true_or_false)

# Operating points of the trade-off table beside 0, 0.1, 0.5, 0.9 and 1, which it always has, each
# in [0, 1].
key("TEST.DYNAMIC.HARD_FRACTIONS", [0.0, 0.1, 0.5, 0.9, 1.0], each(between(0, 1)))
# Images that latency is measured on, at batch 1 (0: none), and calls at each threshold beforehand
# that are not counted.
key("TEST.DYNAMIC.LATENCY_IMAGES", 50, integer(at_least=0))
key("TEST.DYNAMIC.LATENCY_WARMUP", 5, integer(at_least=0, at_most=10_000))
# Random routings that the expected AP of random routing is averaged over.
key("TEST.DYNAMIC.RANDOM_DRAWS", 20, integer(at_least=1, at_most=100_000))
# Score from which a detection counts in the report's precision and recall, and is drawn in its
# pictures, in [0, 1].
key("TEST.DYNAMIC.MIN_SCORE", 0.5, between(0, 1))
# Also compute L1 and L2 of every test image, for the rank correlation of the difficulty with the
# true loss gap. Needs annotations, and makes the pass over the images about twice as long.
key("TEST.DYNAMIC.LOSS_GAP", False, true_or_false)
# Put the means of L1 and L2 over the test images into the results of every evaluation, as losses/L1
# and losses/L2, for SOLVER.BEST.METRIC, metrics.json and TensorBoard; needs what LOSS_GAP needs.
key("TEST.EVAL_LOSS", False, true_or_false)
# Images in each row of the report's pictures (easiest, hardest, sent the wrong way); 0: no
# pictures. More than 50 take minutes to draw, and then no file can take them.
key("TEST.DYNAMIC.GALLERY", 4, integer(at_least=0, at_most=50))
# Further INPUT.MIN_SIZE_TEST, in pixels, to evaluate both ends at (Fig. 10): one more pass over the
# images for each. INPUT.MAX_SIZE_TEST grows or shrinks in proportion.
key("TEST.DYNAMIC.INPUT_SIZES", [], each(side))
# What 'calibrate.py --plan' looks at beside the config's own values, every combination of it:
# MODEL.DYNAMIC.EASY_PROPOSALS (0: as many as of a hard image), INPUT.MIN_SIZE_TEST in pixels
# (INPUT.MAX_SIZE_TEST grows or shrinks in proportion), MODEL.INFERENCE.PRECISION. One pass over the
# images for each size and precision.
key("TEST.DYNAMIC.PLAN.EASY_PROPOSALS", [], each(integer(at_least=0, at_most=MOST_PROPOSALS)))
key("TEST.DYNAMIC.PLAN.INPUT_SIZES", [], each(side))
key("TEST.DYNAMIC.PLAN.PRECISIONS", [], each(one_of("float32", "bfloat16", "float16")))
# Count the two matrix products of attention as work; the paper's FLOPs leave them out.
key("TEST.DYNAMIC.ATTENTION_MATMUL", True, true_or_false)
