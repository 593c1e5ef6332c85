# SPDX-License-Identifier: Apache-2.0
"""The check of a config: every key's range, every rule, all sentences at once."""

import re
from pathlib import Path

import pytest
import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.engine import DefaultPredictor
from detectron2.modeling import META_ARCH_REGISTRY, build_model
from detectron2.utils import comm
from hypothesis import given
from hypothesis import strategies as st

from dynamicdet_d2.config import (
    Use,
    check,
    keys,
    read_config,
    recipe_keys,
    training_limits,
    yolo_keys,
)
from dynamicdet_d2.config.checking import problems, value_of
from dynamicdet_d2.config.declare import KEYS, RULES
from dynamicdet_d2.config.leaves import leaves
from dynamicdet_d2.config.ranges import Each
from dynamicdet_d2.modeling import DynamicRCNN
from tests.config.test_ranges import plain
from tests.support.toy import toy_cfg

FOLDER = Path(__file__).parents[2] / "configs"
# Without data of a user's own, own_data.yaml has no classes: test_classes.py
CONFIGS = sorted(str(x) for x in FOLDER.glob("*.yaml") if x.name != "own_data.yaml")
GPU = ("MODEL.DEVICE", "cuda:0")
CALIBRATED = ("MODEL.DYNAMIC.CALIBRATION", "c.json", "MODEL.DYNAMIC.HARD_FRACTION", 0.5)


def changed(*pairs: object) -> CfgNode:
    """The demo's config with keys set to whatever values."""
    cfg = read_config("configs/quickstart.yaml")
    for name, value in zip(pairs[::2], pairs[1::2], strict=True):
        *sections, last = str(name).split(".")
        node = cfg
        for section in sections:
            node = node[section]
        node[last] = value
    return cfg


@pytest.fixture
def one_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)


@pytest.mark.parametrize("file", CONFIGS)
@pytest.mark.parametrize("use", list(Use))
def test_every_config_is_right(file: str, use: Use) -> None:
    assert problems(read_config(file), use) == []


# Ranges

WRONG = {
    "MODEL.DYNAMIC.THRESHOLD": (1.5, "in [0, 1]"),
    "MODEL.DYNAMIC.CALIBRATION": (None, "a string"),
    "MODEL.DYNAMIC.HARD_FRACTION": (-0.1, "None or lie in [0, 1]"),
    "MODEL.DYNAMIC.TARGET_LATENCY_MS": (-1.0, "None or be a number at least 0"),
    "MODEL.DYNAMIC.LOSS_WEIGHTS": ([1.0], "a list of 2"),
    "MODEL.COMPOSITE.NUM_BLOCKS1": ([1, 0], "in [1, 1000]"),
    "MODEL.COMPOSITE.NUM_BLOCKS2": ([1.5], "a whole number"),
    "MODEL.COMPOSITE.SHARE_STEM": ("no", "True or False"),
    "MODEL.COMPOSITE.WEIGHTS2": (None, "a string"),
    "MODEL.COMPOSITE.NORM": ("FrozenBN", "'BN', 'SyncBN' or 'GN'"),
    "MODEL.BACKBONE.GRADIENT_CHECKPOINTING": (1, "True or False"),
    "MODEL.SWIN.SIZE": ("XL", "'T', 'S' or 'B'"),
    "MODEL.SWIN.WINDOW_SIZE": (0, "at least 1"),
    "MODEL.SWIN.DROP_PATH_RATE": (1.0, "in [0, 1)"),
    "MODEL.EFFICIENTNET_LITE.SIZE": (5, "0, 1, 2, 3 or 4"),
    "MODEL.EFFICIENTNET_LITE.SIZE2": (-1, "None or be 0, 1, 2, 3 or 4"),
    "MODEL.EFFICIENTNET_LITE.NORM": ("GN", "'FrozenBN', 'BN', 'SyncBN'"),
    "MODEL.INFERENCE.OPTIMIZE": (None, "True or False"),
    "MODEL.INFERENCE.PRECISION": ("int8", "'float32', 'bfloat16' or 'float16'"),
    "MODEL.INFERENCE.COMPILE": (0, "True or False"),
    "MODEL.INFERENCE.SIZE_MULTIPLE": (-1, "at least 0"),
    "MODEL.ROUTER.REDUCTION": (0, "at least 1"),
    "SOLVER.OPTIMIZER": ("ADAM", "'SGD' or 'ADAMW'"),
    "SOLVER.ROUTER.MODE": ("x", "'cached' or 'online'"),
    "MODEL.FPN.TOP_BLOCK": ("p6", "'maxpool' or 'p6p7'"),
    "MODEL.FPN.TOP_BLOCK_INPUT": (None, "a string"),
    "MODEL.DENSE.HEAD": ("SSD", "'RetinaNet' or 'FCOS'"),
    "MODEL.FCOS.NUM_CLASSES": (-1, "in [1, 100000]"),
    "MODEL.FCOS.IN_FEATURES": ([3], "each must be a string"),
    "MODEL.FCOS.NUM_CONVS": (0, "in [1, 100]"),
    "MODEL.FCOS.NORM": ("Foo", "a norm of Detectron2's"),
    "MODEL.FCOS.PRIOR_PROB": (1.0, "in (0, 1)"),
    "MODEL.FCOS.CENTER_SAMPLING_RADIUS": (0, "above 0"),
    "MODEL.FCOS.FOCAL_LOSS_ALPHA": (2, "in [0, 1]"),
    "MODEL.FCOS.FOCAL_LOSS_GAMMA": (-1, "at least 0"),
    "MODEL.FCOS.SCORE_THRESH_TEST": (2, "in [0, 1]"),
    "MODEL.FCOS.TOPK_CANDIDATES_TEST": (0, "at least 1"),
    "MODEL.FCOS.NMS_THRESH_TEST": (2, "in [0, 1]"),
    "SOLVER.PHASES": (["detector"], "each must be 'detectors', 'detector2' or 'router'"),
    "SOLVER.ROUTER.OBJECTIVE": ("luck", "'gain', 'gain_rank' or 'auto'"),
    "SOLVER.ROUTER.BASE_LR": (float("nan"), "in [0, 1e+31)"),
    "SOLVER.ROUTER.WEIGHT_DECAY": (-1.0, "in [0, 1e+31)"),
    "SOLVER.ROUTER.IMS_PER_BATCH": (0, "in [1, 65536]"),
    "SOLVER.ROUTER.EPOCHS": (2**63 - 1, "in [0, 1000000]"),
    "SOLVER.ROUTER.LOSS_PROPOSALS": (0, "at least 1"),
    "DATASETS.COCO_JSON": ([["a", "b"]], "three strings [name, json file, image folder]"),
    "DATASETS.CHECK": ("x", "True or False"),
    "DATALOADER.SKIP_CORRUPT_IMAGES": (2, "True or False"),
    "TEST.DYNAMIC.HARD_FRACTIONS": ([0.5, 2.0], "in [0, 1]"),
    "TEST.DYNAMIC.LATENCY_IMAGES": (-1, "at least 0"),
    "TEST.DYNAMIC.LATENCY_WARMUP": (-1, "in [0, 10000]"),
    "TEST.DYNAMIC.RANDOM_DRAWS": (0, "in [1, 100000]"),
    "TEST.DYNAMIC.MIN_SCORE": (2, "in [0, 1]"),
    "TEST.DYNAMIC.LOSS_GAP": (None, "True or False"),
    "TEST.DYNAMIC.GALLERY": (51, "in [0, 50]"),
    "TEST.DYNAMIC.INPUT_SIZES": ([640, 0], "in [1, 32768]"),
    "TEST.DYNAMIC.PLAN.EASY_PROPOSALS": ([300, 2**63], "in [0, 100000]"),
    "TEST.DYNAMIC.PLAN.INPUT_SIZES": ([640, 0], "in [1, 32768]"),
    "TEST.DYNAMIC.PLAN.PRECISIONS": (["int8"], "'float32', 'bfloat16' or 'float16'"),
    "TEST.DYNAMIC.ATTENTION_MATMUL": ("", "True or False"),
    "INPUT.MOSAIC.ENABLED": (1, "True or False"),
    "INPUT.MOSAIC.PROBABILITY": (1.1, "in [0, 1]"),
    "INPUT.MOSAIC.NINE": (-0.1, "in [0, 1]"),
    "INPUT.MOSAIC.FILL": (256, "a whole number in [0, 255]"),
    "INPUT.MOSAIC.OFF_LAST_STEPS": (-1, "at least 0"),
    "INPUT.AFFINE.TRANSLATE": (0.6, "in [0, 0.5]"),
    "INPUT.AFFINE.DEGREES": (-1.0, "in [0, 180]"),
    "INPUT.AFFINE.SHEAR": (90.0, "in [0, 60]"),
    "INPUT.AFFINE.PERSPECTIVE": (0.5, "in [0, 0.5)"),
    "INPUT.AFFINE.SCALE": ([0.5, 0.0], "above 0"),
    "INPUT.AFFINE.MIN_SIDE": (-1, "at least 0"),
    "INPUT.AFFINE.MAX_ASPECT": (0.5, "at least 1"),
    "INPUT.AFFINE.MIN_SHARE": (1, "in [0, 1)"),
    "INPUT.AFFINE.MIN_SHARE_OUTLINED": (-0.1, "in [0, 1)"),
    "INPUT.MIXUP.PROBABILITY": (2, "in [0, 1]"),
    "INPUT.MIXUP.ALPHA": (0.0, "above 0"),
    "INPUT.HSV.GAINS": ([0.1, 0.2], "a list of 3"),
    "INPUT.PASTE_IN.PROBABILITY": (None, "in [0, 1]"),
    "SOLVER.EMA.ENABLED": ("yes", "True or False"),
    "SOLVER.EMA.DECAY": (1.0, "in [0, 1)"),
    "SOLVER.EMA.TAU": (0, "above 0"),
    "SOLVER.BASE_LR_END": (-0.1, "in [0, 1e+31)"),
    "SOLVER.WARMUP_BIAS_LR": (-0.1, "None or be a number in [0, 1e+31)"),
    "SOLVER.WARMUP_MOMENTUM": (1.0, "None or be a number in [0, 1)"),
    "INPUT.FORMAT": (None, "'BGR', 'RGB', 'L'"),
    "INPUT.MAX_SIZE_TRAIN": (0, "at least 1"),
    "INPUT.RANDOM_FLIP": ("both", "'horizontal', 'vertical' or 'none'"),
    "INPUT.CROP.ENABLED": (1, "True or False"),
    "MODEL.KEYPOINT_ON": (1, "True or False"),
    "SOLVER.LR_SCHEDULER_NAME": (None, "a string"),
    "SOLVER.MOMENTUM": (1.0, "in [0, 1)"),
    "SOLVER.WARMUP_ITERS": (-1, "at least 0"),
    "SOLVER.WARMUP_FACTOR": (1e40, "in [0, 1e+31)"),
    "VERSION": (1, "be 2"),
    "OUTPUT_DIR": (None, "a string"),
    "VIS_PERIOD": (-1, "at least 0"),
    "MODEL.DEVICE": (0, "a string"),
    "MODEL.META_ARCHITECTURE": ("DynamicRCN", "The nearest is 'DynamicRCNN'."),
    "MODEL.BACKBONE.NAME": ("resnet50", "registered with Detectron2"),
    "MODEL.BACKBONE.FREEZE_AT": (-1, "at least 0"),
    "MODEL.PROPOSAL_GENERATOR.NAME": ("rpn", "registered with Detectron2"),
    "MODEL.ROI_HEADS.NAME": ("StandardRoiHeads", "The nearest is 'StandardROIHeads'."),
    "MODEL.ROI_HEADS.NUM_CLASSES": (-1, "in [1, 100000]"),
    "MODEL.RESNETS.NORM": ("bn", "'FrozenBN', 'BN' or 'GN'"),
    "MODEL.FPN.NORM": (None, "'FrozenBN', 'BN' or 'GN'"),
    "MODEL.LOAD_PROPOSALS": (True, "be False: proposals are the detector's own"),
    "INPUT.MASK_FORMAT": ("rle", "'polygon' or 'bitmask'"),
    "DATASETS.TRAIN": ("shapes_train", "a list"),
    "DATASETS.TEST": ([3], "a string"),
    "DATALOADER.NUM_WORKERS": (-1, "in [0, 256]"),
    "SOLVER.MAX_ITER": (2**62, "in [0, 1000000000]"),
    "SOLVER.CHECKPOINT_PERIOD": (0, "at least 1"),
    "SOLVER.IMS_PER_BATCH": (0, "in [1, 65536]"),
    "SOLVER.BASE_LR": (float("inf"), "in [0, 1e+31)"),
    "SOLVER.AMP.ENABLED": (1, "True or False"),
    "TEST.EVAL_PERIOD": (-1, "at least 0"),
    "TEST.PRECISE_BN.ENABLED": ("x", "True or False"),
}


@pytest.mark.parametrize("name", KEYS)
def test_every_range_refuses_something(name: str) -> None:
    allowed = KEYS[name].range
    wrong = next(value for value in (None, "!") if not allowed.holds(value))
    assert problems(changed(name, wrong)) == [f"{name} is {wrong!r}; it must {allowed.must}."]


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_value_is_one_sentence(name: str) -> None:
    value, allowed = WRONG[name]
    (said,) = problems(changed(name, value))
    assert said.startswith(f"{name} ") and allowed in said
    wrong = value[-1] if isinstance(KEYS[name].range, Each) and "has" in said else value
    assert repr(wrong) in said


@pytest.mark.parametrize(
    "name",
    [
        *("SOLVER.BASE_LR", "SOLVER.WARMUP_BIAS_LR", "SOLVER.BIAS_LR_FACTOR"),
        *("SOLVER.WEIGHT_DECAY", "SOLVER.WEIGHT_DECAY_NORM", "SOLVER.WEIGHT_DECAY_BIAS"),
        *("SOLVER.CLIP_GRADIENTS.CLIP_VALUE", "MODEL.PIXEL_MEAN", "MODEL.PIXEL_STD"),
        *("SOLVER.ROUTER.BASE_LR", "SOLVER.ROUTER.WEIGHT_DECAY"),
    ],
)
def test_what_float32_cannot_hold_is_refused(name: str) -> None:
    (said,) = problems(changed(name, [1e38] * 3 if "PIXEL" in name else 1e38))
    assert said.startswith(f"{name} ") and "1e+38" in said


def test_everything_is_said_at_once() -> None:
    pairs = [item for name, (value, _) in WRONG.items() for item in (name, value)]
    cfg = changed(*pairs)
    names = [sentence.split()[0] for sentence in problems(cfg, Use.TRAIN)]
    assert names == [name for name in KEYS if name in WRONG]
    with pytest.raises(ValueError) as refused:
        check(cfg)
    lines = str(refused.value).splitlines()
    assert [line.split()[0] for line in lines[:-1]] == names[: len(lines) - 1]
    assert lines[-1] == f"There are {len(names) - len(lines) + 1} more."


def test_a_model_needs_its_own_keys_alone() -> None:
    cfg = changed("SOLVER.ROUTER.EPOCHS", -1, "TEST.DYNAMIC.RANDOM_DRAWS", 0, "MODEL.SWIN.SIZE", 1)
    assert [line.split()[0] for line in problems(cfg, Use.MODEL)] == ["MODEL.SWIN.SIZE"]
    assert len(problems(cfg, Use.EVALUATE)) == 3


def test_a_model_needs_detections_to_give() -> None:
    """Of 0 Detectron2 keeps none, and says nothing."""
    assert problems(changed("TEST.DETECTIONS_PER_IMAGE", 0), Use.MODEL) == [
        "TEST.DETECTIONS_PER_IMAGE is 0; it must be a whole number, at least 1."
    ]


def test_a_config_without_the_projects_keys_is_told_so() -> None:
    with pytest.raises(ValueError, match="MODEL.DYNAMIC.THRESHOLD is missing: add_dynamicdet_con"):
        check(get_cfg())


def test_keys_of_other_versions_of_detectron2_may_be_missing() -> None:
    cfg = changed()
    del cfg.SOLVER["AMP"], cfg.TEST["PRECISE_BN"]
    assert problems(cfg) == []


# Rules


def test_every_key_of_a_rule_has_a_range() -> None:
    """So that a rule never meets a value of another type."""
    assert {name for rule in RULES for name in rule.keys} <= set(KEYS)


@pytest.mark.parametrize(
    ("pairs", "use", "says"),
    [
        (["MODEL.DEVICE", "cuda:7"], Use.MODEL, "MODEL.DEVICE is 'cuda:7'; this machine has 1"),
        (
            ["MODEL.DEVICE", "0"],
            Use.MODEL,
            "MODEL.DEVICE is '0', which torch refuses: it must be 'cpu', 'cuda' or one of several "
            "GPUs, such as 'cuda:1' (Invalid device string: '0').",
        ),
        (["MODEL.DEVICE", ""], Use.MODEL, "MODEL.DEVICE is '', which torch refuses: "),
        (
            ["MODEL.DYNAMIC.HARD_FRACTION", 0.5],
            Use.MODEL,
            "MODEL.DYNAMIC.HARD_FRACTION needs MODEL.DYNAMIC.CALIBRATION",
        ),
        (
            ["MODEL.DYNAMIC.TARGET_LATENCY_MS", 5],
            Use.MODEL,
            "MODEL.DYNAMIC.TARGET_LATENCY_MS needs MODEL.DYNAMIC.CALIBRATION",
        ),
        (
            ["MODEL.DYNAMIC.CALIBRATION", "c.json"],
            Use.MODEL,
            "exactly one of MODEL.DYNAMIC.HARD_FRACTION and MODEL.DYNAMIC.TARGET_LATENCY_MS; "
            "found 0.",
        ),
        ([*CALIBRATED, "MODEL.DYNAMIC.TARGET_LATENCY_MS", 5], Use.MODEL, "found 2."),
        (
            ["MODEL.INFERENCE.OPTIMIZE", False, "MODEL.INFERENCE.COMPILE", True],
            Use.MODEL,
            "COMPILE and SIZE_MULTIPLE need MODEL.INFERENCE.OPTIMIZE True; found float32, True",
        ),
        (
            ["MODEL.INFERENCE.PRECISION", "float16"],
            Use.MODEL,
            "MODEL.INFERENCE.PRECISION is 'float16', which is for GPUs; with MODEL.DEVICE 'cpu'",
        ),
        (["OUTPUT_DIR", __file__], Use.EVALUATE, f"OUTPUT_DIR is '{__file__}', which is a file"),
        (
            ["DATASETS.TEST", ["shapes_tst"]],
            Use.EVALUATE,
            "DATASETS.TEST names 'shapes_tst', which is not registered: DATASETS.COCO_JSON "
            "registers [name, json file, image folder]. The nearest is 'shapes_test'.",
        ),
        (
            ["DATASETS.COCO_JSON", [["a", __file__, "."], ["b", "gone.json", "."]]],
            Use.EVALUATE,
            "DATASETS.COCO_JSON: the json file of 'b' does not exist: ",
        ),
        (["DATASETS.TRAIN", ["gone"]], Use.TRAIN, "DATASETS.TRAIN names 'gone', which is not reg"),
        (
            ["INPUT.MIN_SIZE_TEST", 0, "TEST.DYNAMIC.INPUT_SIZES", [640]],
            Use.EVALUATE,
            "TEST.DYNAMIC.INPUT_SIZES is [640], but INPUT.MIN_SIZE_TEST is 0",
        ),
        (["DATASETS.TRAIN", []], Use.TRAIN, "DATASETS.TRAIN names no data set."),
        (["DATASETS.TEST", []], Use.CALIBRATE, "DATASETS.TEST names no data set to calibrate on."),
        (["TEST.DYNAMIC.LATENCY_IMAGES", 0], Use.CALIBRATE, "TEST.DYNAMIC.LATENCY_IMAGES is 0;"),
        (["SOLVER.AMP.ENABLED", True], Use.TRAIN, "SOLVER.AMP.ENABLED is True, but MODEL.DEVICE"),
        ([*CALIBRATED], Use.TRAIN, "MODEL.DYNAMIC.CALIBRATION is 'c.json', but training changes"),
        (["TEST.PRECISE_BN.ENABLED", True], Use.TRAIN, "TEST.PRECISE_BN.ENABLED is True, but"),
        (
            ["MODEL.META_ARCHITECTURE", "DynamicDenseDetector", "VIS_PERIOD", 20]
            + ["MODEL.ANCHOR_GENERATOR.SIZES", [[32]]],
            Use.TRAIN,
            "VIS_PERIOD is 20, but a DynamicDenseDetector has no proposals to draw;",
        ),
        (
            ["MODEL.META_ARCHITECTURE", "DynamicYOLO", "VIS_PERIOD", 20]
            + ["MODEL.BACKBONE.NAME", "build_composite_elan_backbone"],
            Use.TRAIN,
            "VIS_PERIOD is 20, but a DynamicYOLO has no proposals to draw;",
        ),
        (
            ["INPUT.CROP.ENABLED", True, "MODEL.MASK_ON", True],
            Use.TRAIN,
            "crops the polygons of MODEL.MASK_ON by a package that is not installed: pip install s",
        ),
        (["SOLVER.PHASES", []], Use.TRAIN, "SOLVER.PHASES is empty;"),
        (
            ["SOLVER.PHASES", ["detectors", "detectors"]],
            Use.TRAIN,
            "SOLVER.PHASES has 'detectors' more than once:",
        ),
        (["SOLVER.PHASES", ["router", "detectors"]], Use.TRAIN, "'router' must be the last,"),
        (
            ["SOLVER.ROUTER.OBJECTIVE", "ap", "SOLVER.ROUTER.MODE", "online"]
            + ["SOLVER.ROUTER.IMS_PER_BATCH", 2],
            Use.TRAIN,
            "SOLVER.ROUTER.OBJECTIVE 'ap' needs SOLVER.ROUTER.MODE 'cached'; found 'online'.",
        ),
        (
            ["SOLVER.ROUTER.MODE", "online"],
            Use.TRAIN,
            "SOLVER.ROUTER.IMS_PER_BATCH is 1; mode 'online' on 2 processes needs a multiple of 2.",
        ),
    ],
)
def test_rules(
    one_gpu: None, monkeypatch: pytest.MonkeyPatch, pairs: list, use: Use, says: str
) -> None:
    monkeypatch.setattr(comm, "get_world_size", lambda: 2)
    monkeypatch.setattr(training_limits, "find_spec", lambda name: None)
    cfg = changed(*pairs)
    (said,) = problems(cfg, use)
    assert says in said and said.endswith(".")
    # It matters for this use and those that contain it, and for no other.
    assert all((said in problems(cfg, other)) == (use in other) for other in Use)


@pytest.mark.parametrize(
    "pairs",
    [
        [*GPU, "MODEL.INFERENCE.PRECISION", "float16", "SOLVER.AMP.ENABLED", True],
        ["DATASETS.TEST", ["a", "coco_2017_val"], "DATASETS.COCO_JSON", [["a", __file__, "."]]],
        ["TEST.PRECISE_BN.ENABLED", True, "MODEL.META_ARCHITECTURE", "GeneralizedRCNN"]
        + ["MODEL.BACKBONE.NAME", "build_resnet_fpn_backbone"],
        ["SOLVER.ROUTER.OBJECTIVE", "ap"],
        ["VIS_PERIOD", 20],
    ],
)
def test_what_agrees_is_let_through(one_gpu: None, pairs: list) -> None:
    assert problems(changed(*pairs)) == []


def test_a_detector_made_from_a_dynamic_one_is_dynamic(monkeypatch: pytest.MonkeyPatch) -> None:
    class Own(DynamicRCNN):
        """Registered by a user."""

    monkeypatch.setitem(META_ARCH_REGISTRY._obj_map, "Own", Own)
    pairs = ("TEST.PRECISE_BN.ENABLED", True, "MODEL.META_ARCHITECTURE", "Own")
    assert len(problems(changed(*pairs))) == 1


# Where it is asked


@pytest.mark.parametrize("build", [build_model, DefaultPredictor])
def test_a_model_is_built_from_right_keys_alone(build: type) -> None:
    cfg = toy_cfg("MODEL.DYNAMIC.LOSS_WEIGHTS", [1.0, -1.0], "MODEL.DYNAMIC.HARD_FRACTION", 2.0)
    with pytest.raises(ValueError) as refused:
        build(cfg)
    assert str(refused.value).splitlines() == [
        "MODEL.DYNAMIC.HARD_FRACTION is 2.0; it must be None or lie in [0, 1].",
        "MODEL.DYNAMIC.LOSS_WEIGHTS has -1.0; each must be a number at least 0.",
    ]


# Whatever the values


@given(st.dictionaries(st.sampled_from(sorted(KEYS)), plain, max_size=6), st.sampled_from(Use))
def test_any_plain_values_are_right_or_refused(values: dict[str, object], use: Use) -> None:
    cfg = BASE.clone()
    for name, value in values.items():
        *sections, last = name.split(".")
        node = value_of(cfg, ".".join(sections)) if sections else cfg
        node[last] = value
    try:
        check(cfg, use)
    except ValueError as error:
        assert all(re.match(r"[A-Z][A-Z0-9_.]+ .*\.$", line) for line in str(error).split("\n"))


BASE = read_config(str(Path(__file__).parents[2] / "configs/quickstart.yaml"))


# Keys for which None is a value of its own, or which nothing reads.
MAY_BE_NONE = {
    *("GLOBAL.HACK", "MODEL.DYNAMIC.HARD_FRACTION", "MODEL.DYNAMIC.TARGET_LATENCY_MS"),
    *("MODEL.ROUTER.STANDARDIZE", "SOLVER.WARMUP_BIAS_LR", "SOLVER.WARMUP_MOMENTUM"),
    "SOLVER.WEIGHT_DECAY_BIAS",
}


@pytest.mark.parametrize("file", ["dy_mask_rcnn_R_50_FPN_1x.yaml", "dy_fcos_R_50_FPN_1x.yaml"])
def test_null_is_refused_wherever_a_value_is_needed(file: str) -> None:
    """Which Detectron2 takes for every key, and compares with a number much later."""
    taken = set()
    for name, _ in leaves(read_config(str(FOLDER / file))):
        try:
            check(read_config(str(FOLDER / file), [name, "None"]))
        except ValueError as error:
            assert name in str(error)
        else:
            taken.add(name)
    assert taken - {"DATALOADER.SAMPLER_TRAIN"} <= MAY_BE_NONE  # whose name the trainer refuses


# The reference manual


def test_every_key_is_explained() -> None:
    """By the comment above it, or above its neighbour where one comment serves both."""
    texts = [Path(file.__file__).read_text() for file in (keys, recipe_keys, yolo_keys)]
    lines = "\n".join(texts).splitlines()
    declared = [number for number, line in enumerate(lines) if line.startswith("key(")]
    assert len(declared) == sum(key.ours for key in KEYS.values())
    for number in declared:
        before = lines[number - 1]
        assert before.startswith(("# ", "key(")), lines[number]
