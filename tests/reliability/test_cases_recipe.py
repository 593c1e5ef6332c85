# SPDX-License-Identifier: Apache-2.0
"""Keys of recipe, router, composition and heads that are out of range or do not go together."""

from typing import Any

import pytest
import torch
from detectron2.modeling import build_model

from dynamicdet_d2.config import Use, read_config, training_limits
from dynamicdet_d2.config.checking import problems
from dynamicdet_d2.engine.upgrade import stock_file
from dynamicdet_d2.modeling.architecture import building
from tests.support.toy import toy_cfg
from tests.support.toy_yolo import DYNAMIC, yolo_cfg

NAN, INF = float("nan"), float("inf")
CROP = ("INPUT.CROP.ENABLED", True, "INPUT.CROP.TYPE")
SETS = ("DATASETS.TRAIN", ("shapes_train",), "DATASETS.TEST", ("shapes_test",))

# Of a two-stage detector: keys and values, and what is said.
KEYS: list[tuple[tuple, str]] = [
    (("INPUT.MOSAIC.NINE", NAN), "INPUT.MOSAIC.NINE is nan; it must lie in [0, 1]."),
    (("INPUT.MOSAIC.FILL", 300), "INPUT.MOSAIC.FILL is 300; it must be a whole number in"),
    (("INPUT.MOSAIC.OFF_LAST_STEPS", 10**9), "it must be at most SOLVER.MAX_ITER"),
    (("INPUT.AFFINE.SCALE", [1.0]), "INPUT.AFFINE.SCALE is [1.0]; it must be a list of 2."),
    (("INPUT.AFFINE.SCALE", [1.0, INF]), "INPUT.AFFINE.SCALE has inf; each must be a number"),
    (("INPUT.AFFINE.SCALE", [2.0, 1.0]), "the first must not be above the second."),
    (
        ("INPUT.MOSAIC.ENABLED", True, "INPUT.MAX_SIZE_TRAIN", 1_000_000),
        "INPUT.MAX_SIZE_TRAIN is 1000000; it is the side of a mosaic's square",
    ),
    (("INPUT.MOSAIC.ENABLED", True, "INPUT.MAX_SIZE_TRAIN", 1), "must lie in [32, 8192]."),
    (("INPUT.HSV.GAINS", [2, 0, 0]), "INPUT.HSV.GAINS has 2; each must lie in [0, 1]."),
    (("SOLVER.EMA.DECAY", 1.0), "SOLVER.EMA.DECAY is 1.0; it must be a number in [0, 1)."),
    (("SOLVER.EMA.DECAY", -1.0), "SOLVER.EMA.DECAY is -1.0"),
    (("SOLVER.EMA.DECAY", NAN), "SOLVER.EMA.DECAY is nan"),
    (("SOLVER.EMA.TAU", 0.0), "SOLVER.EMA.TAU is 0.0; it must be a number above 0."),
    (("SOLVER.BEST.PATIENCE", 3), "SOLVER.BEST.METRIC must name one"),
    (("SOLVER.BEST.METRIC", "AP"), "METRIC is 'AP'; its last parts must be as in 'bbox/AP'."),
    (("SOLVER.BEST.METRIC", "segm/AP"), "is 'segm/AP', which needs MODEL.MASK_ON True."),
    (
        ("SOLVER.BEST.METRIC", "bbox/AP", "DATASETS.TEST", ("shapes_test", "shapes_val")),
        "must begin with one of ['shapes_test', 'shapes_val'], such as 'shapes_test/bbox/AP'.",
    ),
    (
        ("SOLVER.BEST.METRIC", "shapes_val/losses/L2")
        + ("DATASETS.TEST", ("shapes_test", "shapes_val")),
        "is 'shapes_val/losses/L2', which needs TEST.EVAL_LOSS True.",
    ),
    (("SOLVER.STEPS", (9, 5)), "SOLVER.STEPS is (9, 5); it must be a list of numbers that rise."),
    (("SOLVER.STEPS", (5, 5)), "SOLVER.STEPS is (5, 5); it must be a list of numbers that rise."),
    (
        ("SOLVER.CLIP_GRADIENTS.CLIP_TYPE", "gone"),
        "CLIP_TYPE is 'gone'; it must be 'value'",
    ),
    (
        ("SOLVER.CLIP_GRADIENTS.CLIP_VALUE", -1.0),
        "CLIP_VALUE is -1.0; it must be a number",
    ),
    (("SOLVER.OPTIMIZER", "LION"), "SOLVER.OPTIMIZER is 'LION'; it must be 'SGD' or 'ADAMW'."),
    (("SOLVER.ROUTER.OBJECTIVE", "gone"), "SOLVER.ROUTER.OBJECTIVE is 'gone'; it must be 'loss'"),
    (
        ("SOLVER.ROUTER.OBJECTIVE", "gain", "SOLVER.ROUTER.MODE", "online"),
        "SOLVER.ROUTER.OBJECTIVE 'gain' needs SOLVER.ROUTER.MODE 'cached'; found 'online'.",
    ),
    (
        ("SOLVER.ROUTER.OBJECTIVE", "auto", "SOLVER.ROUTER.VALIDATION", "shapes_train"),
        "SOLVER.ROUTER.VALIDATION is 'shapes_train', one of DATASETS.TRAIN",
    ),
    (("MODEL.ROUTER.INPUTS", ["scores"]), "MODEL.ROUTER.INPUTS has 'scores'; each must be"),
    (("MODEL.ROUTER.STANDARDIZE", "maybe"), "MODEL.ROUTER.STANDARDIZE is 'maybe'; it must be None"),
    (("MODEL.DYNAMIC.EASY_PROPOSALS", -5), "EASY_PROPOSALS is -5; it must be a whole number"),
    (("MODEL.DYNAMIC.EASY_PROPOSALS", 10**30), "EASY_PROPOSALS is 1000"),
    (("MODEL.DYNAMIC.LOSS_WEIGHTS", [1.0]), "LOSS_WEIGHTS is [1.0]; it must be a list of 2."),
    (("MODEL.COMPOSITE.NUM_BLOCKS1", [0, 1, 1, 1]), "NUM_BLOCKS1 has 0; each must be a whole"),
    (("MODEL.COMPOSITE.NUM_BLOCKS1", [1, 1, 1, 1.5]), "NUM_BLOCKS1 has 1.5; each must be a whole"),
    (("MODEL.COMPOSITE.NUM_BLOCKS1", "1,1"), "NUM_BLOCKS1 is '1,1'; it must be a list."),
    (("MODEL.COMPOSITE.SHARE_NECK", "perhaps"), "SHARE_NECK is 'perhaps'; it must be True or"),
    (("MODEL.EFFICIENTNET_LITE.SIZE", 9), "EFFICIENTNET_LITE.SIZE is 9; it must be 0, 1, 2, 3"),
    (("MODEL.EFFICIENTNET_LITE.SIZE", "lite0"), "EFFICIENTNET_LITE.SIZE is 'lite0'"),
    (("MODEL.META_ARCHITECTURE", "GeneralizedRCNN"), "two backbones are of dynamic detectors"),
    (("MODEL.META_ARCHITECTURE", "YOLOv7"), "two backbones are of dynamic detectors"),
    (("MODEL.META_ARCHITECTURE", "DynamicYOLO"), "of a DynamicYOLO it must be build_elan_"),
    (("MODEL.BACKBONE.NAME", "build_resnet_fpn_backbone"), "a dynamic detector needs two, which"),
    (("MODEL.BACKBONE.NAME", "build_elan_backbone"), "a dynamic detector needs two, which"),
    (
        ("MODEL.ANCHOR_GENERATOR.SIZES", [[0], [64]]),
        "SIZES has [0]; each must be a list of",
    ),
    (("MODEL.ANCHOR_GENERATOR.SIZES", [[-32]]), "SIZES has [-32]; each must be a list of numbers"),
    (("MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS", [[-1.0]]), "ASPECT_RATIOS has [-1.0]; each must be"),
    (("MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS", []), "it must be a list of at least 1."),
    (("MODEL.ANCHOR_GENERATOR.OFFSET", 2.0), "OFFSET is 2.0; it must be a number in [0, 1)."),
    (("MODEL.RPN.IOU_THRESHOLDS", [0.9, 0.1]), "IOU_THRESHOLDS is [0.9, 0.1]; it must be a list"),
    (("MODEL.RPN.BBOX_REG_WEIGHTS", (1.0, 1.0)), "BBOX_REG_WEIGHTS is (1.0, 1.0); it must be a"),
    (("MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS", (0.0,) * 4), "BBOX_REG_WEIGHTS has 0.0; each must"),
    (("MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION", 0), "POOLER_RESOLUTION is 0; it must be a whole"),
    (("MODEL.ROI_BOX_HEAD.POOLER_TYPE", "Gone"), "POOLER_TYPE is 'Gone'; it must be 'ROIAlign'"),
    (("INPUT.FORMAT", "XYZ"), "INPUT.FORMAT is 'XYZ'; it must be 'BGR', 'RGB', 'L'"),
    (("INPUT.MIN_SIZE_TRAIN", ()), "INPUT.MIN_SIZE_TRAIN is (); it must be a list of at least 1."),
    (("INPUT.CROP.TYPE", "gone"), "INPUT.CROP.TYPE is 'gone'; it must be 'relative'"),
    (("INPUT.CROP.SIZE", [0.5]), "INPUT.CROP.SIZE is [0.5]; it must be a list of 2."),
    (("TEST.AUG.MIN_SIZES", ()), "TEST.AUG.MIN_SIZES is (); it must be a list of at least 1."),
    (("TEST.EXPECTED_RESULTS", [["bbox"]]), "has ['bbox']; each must be a list [task, metric,"),
    (
        ("TEST.EXPECTED_RESULTS", [["bbox", "AP", 40.0, 1.0]], "DATASETS.TEST", ()),
        "figures of one data set, but DATASETS.TEST is []; it must name one.",
    ),
    (
        ("TEST.EXPECTED_RESULTS", [["bbox", "AP", 40.0, 1.0]], "DATASETS.TEST", ("a", "b")),
        "figures of one data set, but DATASETS.TEST is ['a', 'b']; it must name one.",
    ),
    (
        ("MODEL.RESNETS.DEPTH", 18, "MODEL.RESNETS.RES2_OUT_CHANNELS", 256),
        "as of ResNets of 50 layers and more; with 18 or 34 it must be 64, or less.",
    ),
    (("MODEL.YOLO.WIDTH", 50.0), "MODEL.YOLO.WIDTH is 50.0; it must be a number in (0, 8)."),
    (("MODEL.ROI_HEADS.NAME", "CascadeROIHeads"), "CLS_AGNOSTIC_BBOX_REG must be True."),
    (("MODEL.ROI_HEADS.NAME", "Res5ROIHeads"), "it must name one, or the heads be 'StandardROIHe"),
    (("RUN.TIMEOUT", INF), "RUN.TIMEOUT is inf; it must be a number in (0, 1e+08)."),
    (("RUN.TIMEOUT", 1e300), "RUN.TIMEOUT is 1e+300; it must be a number in (0, 1e+08)."),
    (("TEST.EXPECTED_RESULTS", [["bbox", "AP", "x", 1]]), "each must be a list [task, metric,"),
    (("SOLVER.IMS_PER_BATCH", 100_000), "IMS_PER_BATCH is 100000; it must be a whole number in"),
    (("SOLVER.ROUTER.IMS_PER_BATCH", 10**9), "it must be a whole number in [1, 65536]."),
    (("DATALOADER.NUM_WORKERS", 100_000), "it must be a whole number in [0, 256]."),
    (("DATALOADER.REPEAT_THRESHOLD", -1.0), "REPEAT_THRESHOLD is -1.0; it must lie in [0, 1]."),
    (("SOLVER.WEIGHT_DECAY_NORM", -1.0), "WEIGHT_DECAY_NORM is -1.0; it must be a number in"),
    (("SOLVER.WEIGHT_DECAY_BIAS", "x"), "WEIGHT_DECAY_BIAS is 'x'; it must be None or be a num"),
    (("SOLVER.BIAS_LR_FACTOR", NAN), "BIAS_LR_FACTOR is nan; it must be a number in [0, 1e+31)."),
    (("SOLVER.WARMUP_METHOD", "burnin"), "METHOD is 'burnin'; it must be 'linear' or 'constant'."),
    (("SOLVER.NESTEROV", True, "SOLVER.MOMENTUM", 0.0), "SOLVER.MOMENTUM is 0; it must be above"),
    (("SOLVER.REFERENCE_WORLD_SIZE", 5), "which is 16, must be a multiple of it."),
    (("SOLVER.STEPS", (0,)), "SOLVER.STEPS has 0; each must be above 0 and below SOLVER.MAX_ITER"),
    (("SOLVER.STEPS", (9,), "SOLVER.MAX_ITER", 9), "SOLVER.STEPS has 9; each must be above 0 and"),
    (
        ("SOLVER.CLIP_GRADIENTS.ENABLED", True, "SOLVER.CLIP_GRADIENTS.CLIP_TYPE", "full_model"),
        "which the project's optimizers do not have",
    ),
    (
        ("INPUT.MIN_SIZE_TRAIN_SAMPLING", "range", "INPUT.MIN_SIZE_TRAIN", (72, 64)),
        "it must be two numbers, the least first.",
    ),
    (
        ("INPUT.MIN_SIZE_TRAIN_SAMPLING", "range", "INPUT.MIN_SIZE_TRAIN", (64,)),
        "INPUT.MIN_SIZE_TRAIN is [64]; with INPUT.MIN_SIZE_TRAIN_SAMPLING 'range'",
    ),
    ((*CROP, "relative", "INPUT.CROP.SIZE", [2.0, 2.0]), "be two shares of the image, in [0.01, 1"),
    ((*CROP, "relative_range", "INPUT.CROP.SIZE", [1e-9, 1.0]), "be two shares of the image"),
    ((*CROP, "absolute", "INPUT.CROP.SIZE", [0.5, 0.5]), "must be two whole numbers of pixels."),
    ((*CROP, "absolute_range", "INPUT.CROP.SIZE", [50, 10]), "pixels, the least first."),
    (("TEST.AUG.MAX_SIZE", -4), "TEST.AUG.MAX_SIZE is -4; it must be a whole number in"),
    (("MODEL.FPN.FUSE_TYPE", "max"), "FUSE_TYPE is 'max'; it must be 'sum' or 'avg'."),
    (("MODEL.ANCHOR_GENERATOR.NAME", "gone"), "MODEL.ANCHOR_GENERATOR.NAME is 'gone'"),
    (("MODEL.ANCHOR_GENERATOR.NAME", "RotatedAnchorGenerator"), "of rotated boxes, which a Dyn"),
    (("MODEL.ROI_HEADS.NAME", "RROIHeads"), "of rotated boxes, which a DynamicRCNN does not"),
    (
        ("MODEL.RPN.HEAD_NAME", ""),
        "MODEL.RPN.HEAD_NAME is ''; it must be a name that is",
    ),
    (("MODEL.RPN.BBOX_REG_LOSS_TYPE", "gone"), "RPN.BBOX_REG_LOSS_TYPE is 'gone'; it must be 's"),
    (("MODEL.RPN.LOSS_WEIGHT", -1.0), "MODEL.RPN.LOSS_WEIGHT is -1.0; it must be a number at le"),
    (("MODEL.RPN.CONV_DIMS", [0]), "CONV_DIMS has 0; each must be a number of channels, or -1"),
    (("MODEL.RPN.IOU_LABELS", [0, 1]), "RPN.IOU_LABELS is [0, 1]; with 2 IOU_THRESHOLDS it must h"),
    (("MODEL.ROI_HEADS.IOU_LABELS", [1, 0]), "the last label, of the largest overlaps, must be 1"),
    (("MODEL.ROI_BOX_HEAD.POOLER_SAMPLING_RATIO", 1000), "it must be a whole number in [0, 64]."),
    (("MODEL.ROI_BOX_HEAD.NAME", ""), "MODEL.ROI_BOX_HEAD.NAME is ''; it must be a name that is"),
    (("MODEL.MASK_ON", True, "MODEL.ROI_MASK_HEAD.NAME", "gone"), "MODEL.ROI_MASK_HEAD.NAME is"),
    (("MODEL.ROI_MASK_HEAD.NUM_CONV", 100_000), "it must be a whole number in [0, 100]."),
    (("MODEL.ROI_BOX_CASCADE_HEAD.IOUS", (0.5,)), "has 1 stages and BBOX_REG_WEIGHTS has 3"),
    (
        ("MODEL.ROI_HEADS.NAME", "CascadeROIHeads", "MODEL.ROI_HEADS.IOU_THRESHOLDS", [0.4]),
        "IOU_THRESHOLDS is [0.4]; for CascadeROIHeads it must be [0.5], as MODEL.ROI_BOX_CASC",
    ),
    (("MODEL.ROI_MASK_HEAD.POOLER_TYPE", "ROIAlignRotated"), "'ROIAlignV2' or 'ROIPool'"),
    (("MODEL.RESNETS.RES5_DILATION", 3), "RES5_DILATION is 3; it must be 1 or 2."),
    (("MODEL.RESNETS.NUM_GROUPS", 0), "NUM_GROUPS is 0; it must be a whole number in"),
    (("MODEL.RESNETS.RES5_DILATION", 2), "stands an FPN, for whose levels it must be 1."),
    (("MODEL.ROI_BOX_HEAD.NUM_FC", 0), "NUM_FC and NUM_CONV are 0; one of them must be at least"),
    (("MODEL.DYNAMIC.LOSS_WEIGHTS", [0.0, 0.0]), "LOSS_WEIGHTS are 0: no detector would learn."),
    (("MODEL.ANCHOR_GENERATOR.SIZES", [[32], [64]]), "but MODEL.ANCHOR_GENERATOR.SIZES has 2"),
    (("MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS", [[1e9]]), "be a list of numbers in [0.01, 100]."),
    (("MODEL.COMPOSITE.NORM", "LN1"), "COMPOSITE.NORM is 'LN1'; it must be a norm whose affine"),
    (("MODEL.RPN.IOU_THRESHOLDS", []), "with 0 IOU_THRESHOLDS it must have 1."),
    (("MODEL.ROI_HEADS.IOU_THRESHOLDS", [0.0]), "IOU_THRESHOLDS has 0.0; each must lie in (0, 1]"),
    (("INPUT.FORMAT", "L"), "with INPUT.FORMAT 'L' each must have 1, one a channel."),
    (("MODEL.PIXEL_STD", [1e300] * 3), "PIXEL_STD has 1e+300; each must be a number in"),
    (("MODEL.RETINANET.PRIOR_PROB", 0.0), "PRIOR_PROB is 0.0; it must be a number in (0, 1)."),
    (("MODEL.RETINANET.FOCAL_LOSS_ALPHA", 5.0), "it must lie in [0, 1], or be -1 for none."),
]
YOLO: list[tuple[tuple, str]] = [
    (("MODEL.YOLO.VARIANT", "yolov9"), "MODEL.YOLO.VARIANT is 'yolov9'; it must be 'yolov7'"),
    (("MODEL.YOLO.WIDTH", NAN), "MODEL.YOLO.WIDTH is nan; it must be a number in (0, 8)."),
    (("MODEL.YOLO.DEPTHS", [0, 1, 1, 1, 1]), "MODEL.YOLO.DEPTHS has 0"),
    (("MODEL.YOLO.ANCHORS", [[[0, 2]]]), "MODEL.YOLO.ANCHORS has [[0, 2]]; each must be a list"),
    (("MODEL.YOLO.LOSS.MAX_RATIO", 1.0), "MAX_RATIO is 1.0; it must be a number above 1."),
    (("MODEL.YOLO.PADDING", "middle"), "MODEL.YOLO.PADDING is 'middle'; it must be 'corner'"),
    (("MODEL.YOLO.PAD_VALUE", 256.0), "MODEL.YOLO.PAD_VALUE is 256.0; it must lie in [0, 255]."),
    (("MODEL.YOLO.SCORE_THRESH_TEST", 1.0), "SCORE_THRESH_TEST is 1.0; it must be a number in"),
    (("MODEL.META_ARCHITECTURE", "YOLOv7"), "two backbones are of dynamic detectors"),
]


@pytest.mark.parametrize("number", range(len(KEYS) + len(YOLO)))
def test_keys_are_checked(number: int) -> None:
    keys, says = [*KEYS, *YOLO][number]
    cfg = toy_cfg(*SETS) if number < len(KEYS) else yolo_cfg(*DYNAMIC, *SETS)
    for name, value in zip(keys[::2], keys[1::2], strict=True):
        *sections, last = name.split(".")
        node: Any = cfg
        for section in sections:
            node = node[section]
        node[last] = value  # as a file has it: of whatever type
    said = problems(cfg, Use.TRAIN)
    assert any(says in sentence for sentence in said), said
    assert all(len(sentence) < 500 and "\n" not in sentence for sentence in said)


ZOO = [
    "COCO-Detection/faster_rcnn_X_101_32x8d_FPN_3x.yaml",
    "COCO-Detection/retinanet_R_101_FPN_3x.yaml",
    "COCO-InstanceSegmentation/mask_rcnn_R_50_C4_1x.yaml",
    "COCO-Keypoints/keypoint_rcnn_R_50_FPN_1x.yaml",
    "COCO-PanopticSegmentation/panoptic_fpn_R_50_1x.yaml",
    "LVISv1-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml",
    "Misc/cascade_mask_rcnn_X_152_32x8d_FPN_IN5k_gn_dconv.yaml",
    "Misc/mask_rcnn_R_50_FPN_1x_dconv_c3-c5.yaml",
    "Misc/scratch_mask_rcnn_R_50_FPN_3x_gn.yaml",
    "PascalVOC-Detection/faster_rcnn_R_50_C4.yaml",
]


@pytest.mark.parametrize("name", ZOO)
def test_detectron2s_own_configs_lie_within_all_limits(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(training_limits, "find_spec", lambda package: True)  # one crops polygons
    assert problems(read_config(stock_file(name), ("MODEL.DEVICE", "cpu"))) == []


# What the builders alone find.
MODELS: list[tuple[Any, tuple, str]] = [
    (toy_cfg, ("MODEL.ROUTER.INPUTS", []), "of a DynamicRCNN it must be some of"),
    (toy_cfg, ("MODEL.ROUTER.INPUTS", ["map", "map"]), "each once."),
    (toy_cfg, ("MODEL.COMPOSITE.NUM_BLOCKS2", [1, 1, 1]), "one for each of res2..res5."),
    (
        toy_cfg,
        ("MODEL.FPN.IN_FEATURES", ["res2", "res4"]),
        "it must name neighbours among the backbone's levels, ['res2', 'res3', 'res4', 'res5'].",
    ),
    (
        toy_cfg,
        ("MODEL.ROI_HEADS.IN_FEATURES", ["p3", "p2"]),
        "MODEL.ROI_HEADS.IN_FEATURES is ['p3', 'p2']; it must name some of the neck's levels",
    ),
    (toy_cfg, ("MODEL.ROI_BOX_HEAD.FC_DIM", 10**12), "does not fit into memory"),
    (yolo_cfg, ("MODEL.YOLO.DEPTHS", [1]), "one for each of p1..p5."),
    (yolo_cfg, ("MODEL.YOLO.ANCHORS", [[], [], []]), "MODEL.YOLO.ANCHORS must have for each of 3"),
    (yolo_cfg, ("MODEL.YOLO.LOSS.BALANCE", [1.0]), "MODEL.YOLO.LOSS.BALANCE is [1.0]"),
    (yolo_cfg, ("MODEL.YOLO.STRIDED_FROM_BACKBONE1", ["p9"]), "it must be some of p3, p4, p5."),
    (yolo_cfg, ("MODEL.ROUTER.INPUTS", ["rpn"]), "of a DynamicYOLO it must be some of"),
]


@pytest.mark.parametrize("number", range(len(MODELS)))
def test_models_that_cannot_be(number: int) -> None:
    config, keys, says = MODELS[number]
    cfg = config(*(DYNAMIC if config is yolo_cfg else ()), *keys)
    with pytest.raises(ValueError) as refused, building():
        build_model(cfg)
    assert says in str(refused.value)


def test_what_detectron2_complains_of_names_the_section() -> None:
    """Its own errors are of the same type as our sentences."""
    with (
        pytest.raises(ValueError, match=r"keys below MODEL, .*: five is no number \(in"),
        building(),
    ):
        torch.utils._pytree.tree_map(_complain, [1])


def _complain(_: int) -> None:
    exec(compile("raise ValueError('five is no number')", "/elsewhere/builder.py", "exec"))
