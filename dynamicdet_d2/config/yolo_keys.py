# SPDX-License-Identifier: Apache-2.0
"""The config keys of YOLOv7 and Dy-YOLOv7: meaning and range.

Keys of Detectron2's own that YOLOs read as well: ``MODEL.PIXEL_MEAN`` and ``PIXEL_STD``,
``INPUT.FORMAT``, ``TEST.DETECTIONS_PER_IMAGE`` (300 in the published figures) and
``MODEL.BACKBONE.FREEZE_AT`` (stem 1, p1 2, p2 3, ...).
"""

from dynamicdet_d2.config.classes import number_of_classes
from dynamicdet_d2.config.declare import key
from dynamicdet_d2.config.ranges import (
    MOST_LAYERS,
    Range,
    above,
    between,
    each,
    integer,
    number,
    one_of,
    side,
    text,
    true_or_false,
)

anchors_of_a_level = Range(
    "be a list of pairs of numbers in [0.1, 100000]",
    lambda level: (
        isinstance(level, (list, tuple))
        and all(isinstance(pair, (list, tuple)) and len(pair) == 2 for pair in level)
        and all(between(0.1, 1e5).holds(side) for pair in level for side in pair)
    ),
)

# Layers and their widths: "yolov7", "yolov7x" or "yolov7_w6".
key("MODEL.YOLO.VARIANT", "yolov7", one_of("yolov7", "yolov7x", "yolov7_w6"))
# Every number of channels is multiplied by it, > 0; rounded to multiples of 4, at least 4. A
# detector of 8 would fill 10 GB.
key("MODEL.YOLO.WIDTH", 1.0, above(0, below=8))
# 3x3 convolutions in the blocks of each level of the backbone, p1 (the finest) first, at least
# 1 each; empty: the variant's own. MODEL.COMPOSITE.NUM_BLOCKS1 and 2 override composite ones.
key("MODEL.YOLO.DEPTHS", [], each(integer(at_least=1, at_most=MOST_LAYERS)))
# 3x3 convolutions in each block of the neck, >= 0; 0: the variant's own.
key("MODEL.YOLO.NECK_DEPTH", 0, integer(at_least=0, at_most=MOST_LAYERS))
# Classes of the data set, at least 1; 0 in a file: as many as the training set's JSON has.
key("MODEL.YOLO.NUM_CLASSES", 80, number_of_classes)
# Width and height in pixels of each anchor of each level, fine to coarse, as lists of lists of
# pairs; empty: the variant's own, which were found on COCO.
key("MODEL.YOLO.ANCHORS", [], each(anchors_of_a_level))
# Train an auxiliary head on the neck's top-down maps beside the detection head (static W6).
key("MODEL.YOLO.AUXILIARY", False, true_or_false)
# Norm behind every convolution: "BN", "SyncBN" or "FrozenBN", with YOLOv7's constants.
key("MODEL.YOLO.NORM", "BN", one_of("BN", "SyncBN", "FrozenBN"))

# How composite connections start: "default" (PyTorch's, as the published models were trained
# from scratch) or "zero", for starting from a trained single YOLOv7: detector2 then begins as
# that one.
key("MODEL.YOLO.CONNECTION_INIT", "default", one_of("default", "zero"))
# Levels at which a strided branch of backbone 2 reads backbone 1's map of the level before
# instead of its own. The published Dy-YOLOv7-X was trained so at p3, by an oversight: its
# weights need ["p3"]; all others [].
key("MODEL.YOLO.STRIDED_FROM_BACKBONE1", [], each(text))

# The loss is a mean over what it compares. The published training multiplies it by the images
# of the batch; so here SOLVER.BASE_LR is the published rate times the images of a batch
# (0.01 x 128), and SOLVER.WEIGHT_DECAY the published one divided by them (5e-4 / 64).
# Weights of boxes, objectness and classes, >= 0, for three levels, 80 classes and TRAIN_SIZE
# 640; the model adapts them to its own.
key("MODEL.YOLO.LOSS.BOX_GAIN", 0.05, number(at_least=0))
key("MODEL.YOLO.LOSS.OBJECTNESS_GAIN", 0.7, number(at_least=0))
key("MODEL.YOLO.LOSS.CLASS_GAIN", 0.3, number(at_least=0))
# Weights of the objectness on each level, fine to coarse; empty: 4, 1, 0.4 for three levels
# and 4, 1, 0.25, 0.06 for four.
key("MODEL.YOLO.LOSS.BALANCE", [], each(number(at_least=0)))
# Side of the training images in pixels, >= 1, which the objectness' weight grows with.
key("MODEL.YOLO.LOSS.TRAIN_SIZE", 640, side)
# An anchor can learn an object if no side is this many times the other's, > 1.
key("MODEL.YOLO.LOSS.MAX_RATIO", 4.0, above(1))
# An object takes as many candidates as the sum of this many largest IoUs says, >= 1 (SimOTA). It
# does not change by itself: with an auxiliary head the published value is 20.
key("MODEL.YOLO.LOSS.TOP_K", 10, integer(at_least=1))
# Weight of the auxiliary head's loss, >= 0.
key("MODEL.YOLO.LOSS.AUXILIARY_GAIN", 0.25, number(at_least=0))

# Objectness, and score, that a detection must be above, in [0, 1).
key("MODEL.YOLO.SCORE_THRESH_TEST", 0.001, number(at_least=0, below=1))
# IoU above which NMS drops the lower score of a class, in [0, 1].
key("MODEL.YOLO.NMS_THRESH_TEST", 0.65, between(0, 1))
# Best candidates of an image that NMS looks at, at least 1.
key("MODEL.YOLO.TOPK_CANDIDATES_TEST", 30000, integer(at_least=1))
# Every class of a prediction is a candidate of its own; False: only its best class.
key("MODEL.YOLO.MULTI_LABEL", True, true_or_false)
# Where an image lies in its batch at inference: "corner" (Detectron2's: padding right and
# below), "center" (padding on both sides), or "letterbox" (as "center", with half a coarsest
# stride more, as the published figures were measured). In training always "corner".
key("MODEL.YOLO.PADDING", "corner", one_of("corner", "center", "letterbox"))
# Of the padding, as pixels of the image have values; the published grey.
key("MODEL.YOLO.PAD_VALUE", 114.0, between(0, 255))
