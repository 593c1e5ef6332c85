# SPDX-License-Identifier: Apache-2.0
"""The config keys of YOLOv7 and Dy-YOLOv7: meaning, range."""

from detectron2.config import CfgNode


def add_yolo_config(cfg: CfgNode) -> None:
    """Add ``MODEL.YOLO`` to a Detectron2 config, in place.

    Keys of Detectron2's own that YOLOs read as well: ``MODEL.PIXEL_MEAN`` and ``PIXEL_STD``,
    ``INPUT.FORMAT``, ``TEST.DETECTIONS_PER_IMAGE`` (300 in the published figures) and
    ``MODEL.BACKBONE.FREEZE_AT`` (stem 1, p1 2, p2 3, ...).
    """
    yolo = cfg.MODEL.YOLO = CfgNode()
    _add_size_keys(yolo)
    _add_composite_keys(yolo)
    _add_loss_keys(yolo)
    _add_test_keys(yolo)


def _add_size_keys(yolo: CfgNode) -> None:
    # Layers and their widths: "yolov7", "yolov7x" or "yolov7_w6".
    yolo.VARIANT = "yolov7"
    # Every number of channels is multiplied by it, > 0; rounded to multiples of 4, at least 4.
    yolo.WIDTH = 1.0
    # 3x3 convolutions in the blocks of each level of the backbone, p1 (the finest) first, at least
    # 1 each; empty: the variant's own. MODEL.COMPOSITE.NUM_BLOCKS1 and 2 override composite ones.
    yolo.DEPTHS = []
    # 3x3 convolutions in each block of the neck, >= 0; 0: the variant's own.
    yolo.NECK_DEPTH = 0
    # Classes of the data set, at least 1.
    yolo.NUM_CLASSES = 80
    # Width and height in pixels of each anchor of each level, fine to coarse, as lists of lists of
    # pairs; empty: the variant's own, which were found on COCO.
    yolo.ANCHORS = []
    # Train an auxiliary head on the neck's top-down maps beside the detection head (static W6).
    yolo.AUXILIARY = False
    # Norm behind every convolution: "BN", "SyncBN" or "FrozenBN", with YOLOv7's constants.
    yolo.NORM = "BN"


def _add_composite_keys(yolo: CfgNode) -> None:
    # How composite connections start: "default" (PyTorch's, as the published models were trained
    # from scratch) or "zero", for starting from a trained single YOLOv7: detector2 then begins as
    # that one.
    yolo.CONNECTION_INIT = "default"
    # Levels at which a strided branch of backbone 2 reads backbone 1's map of the level before
    # instead of its own. The published Dy-YOLOv7-X was trained so at p3, by an oversight: its
    # weights need ["p3"]; all others [].
    yolo.STRIDED_FROM_BACKBONE1 = []


def _add_loss_keys(yolo: CfgNode) -> None:
    # The loss is a mean over what it compares. The published training multiplies it by the images
    # of the batch; so here SOLVER.BASE_LR is the published rate times the images of a batch
    # (0.01 x 128), and SOLVER.WEIGHT_DECAY the published one divided by them (5e-4 / 64).
    loss = yolo.LOSS = CfgNode()
    # Weights of boxes, objectness and classes, >= 0, for three levels, 80 classes and TRAIN_SIZE
    # 640; the model adapts them to its own.
    loss.BOX_GAIN = 0.05
    loss.OBJECTNESS_GAIN = 0.7
    loss.CLASS_GAIN = 0.3
    # Weights of the objectness on each level, fine to coarse; empty: 4, 1, 0.4 for three levels
    # and 4, 1, 0.25, 0.06 for four.
    loss.BALANCE = []
    # Side of the training images in pixels, >= 1, which the objectness' weight grows with.
    loss.TRAIN_SIZE = 640
    # An anchor can learn an object if no side is this many times the other's, > 1.
    loss.MAX_RATIO = 4.0
    # An object takes as many candidates as the sum of this many largest IoUs says, >= 1
    # (SimOTA); 20 with an auxiliary head.
    loss.TOP_K = 10
    # Weight of the auxiliary head's loss, >= 0.
    loss.AUXILIARY_GAIN = 0.25


def _add_test_keys(yolo: CfgNode) -> None:
    # Objectness, and score, that a detection must be above, in [0, 1).
    yolo.SCORE_THRESH_TEST = 0.001
    # IoU above which NMS drops the lower score of a class, in [0, 1].
    yolo.NMS_THRESH_TEST = 0.65
    # Best candidates of an image that NMS looks at, at least 1.
    yolo.TOPK_CANDIDATES_TEST = 30000
    # Every class of a prediction is a candidate of its own; False: only its best class.
    yolo.MULTI_LABEL = True
    # Where an image lies in its batch at inference: "corner" (Detectron2's: padding right and
    # below), "center" (padding on both sides), or "letterbox" (as "center", with half a coarsest
    # stride more, as the published figures were measured). In training always "corner".
    yolo.PADDING = "corner"
    # Of the padding, as pixels of the image have values; the published grey.
    yolo.PAD_VALUE = 114.0
