# SPDX-License-Identifier: Apache-2.0
"""What keys of the training recipe must agree in."""

import pytest

from dynamicdet_d2.config import Use
from dynamicdet_d2.config.checking import problems
from tests.config.test_checking import changed

MOSAIC = ("INPUT.MOSAIC.ENABLED", True)
STATIC = (
    *("MODEL.META_ARCHITECTURE", "GeneralizedRCNN"),
    *("MODEL.BACKBONE.NAME", "build_resnet_fpn_backbone"),
)
POSES = (*STATIC, "MODEL.KEYPOINT_ON", True, "MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS")


@pytest.mark.parametrize(
    ("pairs", "says"),
    [
        (["INPUT.AFFINE.SCALE", [2.0, 0.5]], "INPUT.AFFINE.SCALE is [2.0, 0.5]; the first must"),
        (
            [*MOSAIC, "INPUT.FORMAT", "HSV"],
            "INPUT.FORMAT is 'HSV'; with INPUT.MOSAIC.ENABLED it must",
        ),
        ([*MOSAIC, "INPUT.CROP.ENABLED", True], "INPUT.CROP.ENABLED is True; with INPUT.MOSAIC"),
        (
            [*MOSAIC, "MODEL.KEYPOINT_ON", True, *STATIC],
            "MODEL.KEYPOINT_ON is True; with INPUT.MOSAIC",
        ),
        (
            ["SOLVER.BEST.PATIENCE", 3],
            "SOLVER.BEST.PATIENCE is 3, which counts evaluations of a metric: SOLVER.BEST.METRIC",
        ),
        (
            ["SOLVER.BEST.METRIC", "bbox/AP", *STATIC],
            "SOLVER.BEST.METRIC is 'bbox/AP', but MODEL.META_ARCHITECTURE is 'GeneralizedRCNN'; it",
        ),
        (
            ["SOLVER.BEST.METRIC", "losses/L2"],
            "SOLVER.BEST.METRIC is 'losses/L2', which needs TEST.EVAL_LOSS True.",
        ),
        (
            ["SOLVER.BEST.METRIC", "bbox/AP", "DATASETS.TEST", []],
            "SOLVER.BEST.METRIC is 'bbox/AP', but DATASETS.TEST names no data set.",
        ),
        (
            ["INPUT.MOSAIC.OFF_LAST_STEPS", 11, "SOLVER.MAX_ITER", 10],
            "INPUT.MOSAIC.OFF_LAST_STEPS is 11; it must be at most SOLVER.MAX_ITER, which is 10.",
        ),
        (
            ["SOLVER.EMA.ENABLED", True, "TEST.PRECISE_BN.ENABLED", True, *STATIC],
            "TEST.PRECISE_BN.ENABLED is True, but SOLVER.EMA.ENABLED evaluates averaged",
        ),
        (
            ["SOLVER.BASE_LR_END", 0.2, "SOLVER.BASE_LR", 0.1]
            + ["SOLVER.LR_SCHEDULER_NAME", "WarmupCosineLR"],
            "SOLVER.BASE_LR_END is 0.2; it must be at most SOLVER.BASE_LR, which is 0.1.",
        ),
        (
            ["SOLVER.WARMUP_MOMENTUM", 0.8, "SOLVER.OPTIMIZER", "ADAMW"],
            "SOLVER.WARMUP_MOMENTUM is 0.8, but SOLVER.OPTIMIZER 'ADAMW' has no momentum",
        ),
        (
            ["SOLVER.WARMUP_BIAS_LR", 0.1, "SOLVER.LR_SCHEDULER_NAME", "Own"],
            "SOLVER.WARMUP_BIAS_LR is 0.1, which needs SOLVER.LR_SCHEDULER_NAME 'Warmup",
        ),
    ],
)
def test_rules(pairs: list, says: str) -> None:
    cfg = changed(*pairs)
    (said,) = problems(cfg, Use.TRAIN)
    assert said.startswith(says) and said.endswith(".")
    assert problems(cfg, Use.EVALUATE) == []


@pytest.mark.parametrize(
    "pairs",
    [
        ["INPUT.FORMAT", "HSV", "INPUT.CROP.ENABLED", True],
        [*MOSAIC, "INPUT.FORMAT", "BGR", "INPUT.MOSAIC.OFF_LAST_STEPS", 10],
        ["SOLVER.BASE_LR_END", 9.0],
        ["SOLVER.WARMUP_BIAS_LR", 0.1, "SOLVER.OPTIMIZER", "ADAMW"],
        ["SOLVER.WARMUP_MOMENTUM", 0.8, "SOLVER.OPTIMIZER", "SGD"],
    ],
)
def test_what_agrees_is_let_through(pairs: list) -> None:
    assert problems(changed(*pairs)) == []


@pytest.mark.parametrize(
    ("count", "sigmas", "found"),
    [
        (2, [], "is empty, for COCO's 17"),
        (17, [0.1, 0.1], "has 2 numbers"),
        (17, [], None),
        (2, [0.1, 0.1], None),
    ],
)
def test_each_keypoint_has_a_sigma(count: int, sigmas: list[float], found: str | None) -> None:
    cfg = changed(*POSES, count, "TEST.KEYPOINT_OKS_SIGMAS", sigmas)
    says = (
        f"TEST.KEYPOINT_OKS_SIGMAS {found}; it must have one for each of the {count} keypoints of "
        "MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS."
    )
    assert problems(cfg, Use.EVALUATE) == ([says] if found else [])
    assert problems(cfg, Use.MODEL) == []
    cfg.DATASETS.TEST = ()
    assert problems(cfg, Use.TRAIN) == []
