# SPDX-License-Identifier: Apache-2.0
"""Keys of recipe, router, composition and heads that are out of range or do not go together."""

from typing import Any

import pytest
import torch
from detectron2.modeling import build_model

from dynamicdet_d2.config import Use
from dynamicdet_d2.config.checking import problems
from dynamicdet_d2.modeling.architecture import building
from tests.support.toy import toy_cfg
from tests.support.toy_yolo import DYNAMIC, yolo_cfg

NAN, INF = float("nan"), float("inf")
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
    (("RUN.TIMEOUT", INF), "RUN.TIMEOUT is inf; it must be a number above 0."),
]
YOLO: list[tuple[tuple, str]] = [
    (("MODEL.YOLO.VARIANT", "yolov9"), "MODEL.YOLO.VARIANT is 'yolov9'; it must be 'yolov7'"),
    (("MODEL.YOLO.WIDTH", NAN), "MODEL.YOLO.WIDTH is nan; it must be a number above 0."),
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


# What the builders alone find.
MODELS: list[tuple[Any, tuple, str]] = [
    (toy_cfg, ("MODEL.ROUTER.INPUTS", []), "of a DynamicRCNN it must be some of"),
    (toy_cfg, ("MODEL.ROUTER.INPUTS", ["map", "map"]), "each once."),
    (toy_cfg, ("MODEL.COMPOSITE.NUM_BLOCKS2", [1, 1, 1]), "one for each of res2..res5."),
    (toy_cfg, ("MODEL.ROI_BOX_HEAD.FC_DIM", 10**12), "does not fit into memory"),
    (yolo_cfg, ("MODEL.YOLO.WIDTH", 1e9), "does not fit into memory"),
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
