# SPDX-License-Identifier: Apache-2.0
"""Configs that are wrong, each with what its sentence names; as files and as overrides."""

from functools import reduce
from pathlib import Path

import pytest
from detectron2.modeling import build_model

from dynamicdet_d2.config import Use, check, read_config
from dynamicdet_d2.modeling.architecture import building
from tests.support.toy import dense_cfg, toy_cfg

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)
DEEP = "{a: " * 2000 + "1" + "}" * 2000
HUGE = "9" * 400
DIGITS = "9" * 5000

# Name -> content of f.yaml, and what the sentence has beside the file's name.
FILES = {
    "empty": ("", "holds nothing; it must hold keys and their values."),
    "a comment": ("# no keys\n", "holds nothing"),
    "a null": ("null", "holds nothing"),
    "a list": ("[1, 2]", "holds [1, 2]; it must hold keys"),
    "a list of pairs": ("- SEED: 1\n- SEED: 2", "it must hold keys"),
    "a word": ("word", "holds 'word'; it must hold keys"),
    "a number": ("3.5", "holds 3.5; it must hold keys"),
    "a date": ("2001-01-01", "it must hold keys"),
    "a date that is none": ("SEED: 2001-99-99", "SEED is '2001-99-99'; it must be a whole"),
    "two documents": ("SEED: 1\n---\nSEED: 2", "is not YAML"),
    "an open list": ("SOLVER: [1", "is not YAML"),
    "an open quote": ("OUTPUT_DIR: 'x", "is not YAML"),
    "a tab": ("SOLVER:\n\tMAX_ITER: 1", "is not YAML"),
    "byte 0": ("\x00", "is not YAML"),
    "an unknown alias": ("SEED: *gone", "is not YAML"),
    "an unknown tag": ("SEED: !gone 3", "holds more than plain values"),
    "a Python tag": ("SEED: !!python/tuple [1]", "holds more than plain values"),
    "a Python name": ("SEED: !!python/name:os.system ''", "holds more than plain values"),
    "a list for a key": ("? [1, 2]\n: 3", "f.yaml"),
    "deep lists": ("[" * 5000, "f.yaml"),
    "deep mappings": (DEEP, "f.yaml"),
    "a bomb of aliases": (BOMB, "has more than 100000 values, with its aliases."),
    "a bomb below a key": (f"{BOMB}SEED: *i", "has more than 100000 values, with its aliases."),
    "a list that holds itself": ("DATASETS: {TRAIN: &a [*a]}", "at line 1 that holds itself."),
    "a section that merges itself": ("SOLVER: &s {<<: *s}", "at line 1 that holds itself."),
    "a number of thousands of bits": (f"SEED: 0x{'f' * 5000}", "SEED is a number of 20000 bits"),
    "base 60 of thousands of digits": (
        f"SEED: {':'.join(['59'] * 3000)}",
        "which YAML reads as a number of",
    ),
    "base 8": ("SOLVER:\n  MAX_ITER: 0300", "has 0300 at line 2, which YAML reads as 192: write"),
    "base 60": ("SEED: 1:30", "has 1:30 at line 1, which YAML reads as 90: write that, or 1:30 in"),
    "a key twice, once by its full name": (
        "SOLVER: {MAX_ITER: 9}\nSOLVER.MAX_ITER: 7",
        "SOLVER.MAX_ITER stands there twice, in its section and by its full name.",
    ),
    "a base in small letters": ("_base_: x.yaml", "_base_ is no key. _BASE_ names other files, at"),
    "a base without lines": (
        "BASE: x.yaml",
        "BASE is no key. _BASE_ names other files, at the top",
    ),
    "a base in a section": (
        "MODEL: {_BASE_: x.yaml}",
        "MODEL._BASE_ is no key. _BASE_ names other",
    ),
    "itself": ("_BASE_: f.yaml", "includes itself by _BASE_"),
    "itself by a detour": ("_BASE_: ./x/../f.yaml", "includes itself by _BASE_"),
    "itself in a list": ("_BASE_: [f.yaml]", "includes itself by _BASE_"),
    "a base that is missing": ("_BASE_: gone.yaml", "gone.yaml does not exist."),
    "a base that is a number": ("_BASE_: 3", "_BASE_ is 3; it must name yaml files."),
    "a base of lone halves of characters": (r'_BASE_: "\ud800\udc00"', "it must name yaml files."),
    "a base that is empty": ("_BASE_: ['']", "_BASE_ is ''; it must name yaml files."),
    "a base that is a mapping": ("_BASE_: {a: 1}", "it must name yaml files."),
    "a base that is a folder": ("_BASE_: .", "cannot be read: Is a directory"),
    "a key that is a number": ("3: 4", "3 is no key."),
    "a key that is null": ("~: 4", "None is no key."),
    "a key that is empty": ("'': 4", "is no key."),
    "a key in another case": ("seed: 4", "seed is no key. The nearest is 'SEED'."),
    "a misspelt key": ("SOLVER: {MAX_ITERS: 4}", "The nearest is 'SOLVER.MAX_ITER'."),
    "a misspelt section": ("SOLVR: {MAX_ITER: 4}", "SOLVR is no key."),
    "a key below a value": ("SEED: {X: 1}", "SEED is {'X': 1}"),
    "a section with a value": ("MODEL: 3", "MODEL is 3, but it is a section"),
    "a section with a list": ("SOLVER: [1]", "SOLVER is [1], but it is a section"),
    "a section with nothing": ("SOLVER:", "SOLVER is None, but it is a section"),
    "a section twice": ("SOLVER: {GAMMA: 1}\nSEED: 1\nSOLVER: {MAX_ITER: 1}", "'SOLVER' twice"),
    "a key twice": ("SEED: 1\nSEED: 2", "has 'SEED' twice in the mapping at line 1."),
    "a word for a number": ("SOLVER: {MAX_ITER: many}", "SOLVER.MAX_ITER is 'many'"),
    "a list for a number": ("SOLVER: {MAX_ITER: [1]}", "SOLVER.MAX_ITER is [1]"),
    "thousands of digits": (f"SEED: {DIGITS}", "is not YAML"),
    "binary": ("OUTPUT_DIR: !!binary aGVsbG8=", "OUTPUT_DIR is "),
    "a set": ("SEED: !!set {a, b}", "SEED is "),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file(tmp_path: Path, name: str) -> None:
    text, says = FILES[name]
    file = tmp_path / "f.yaml"
    file.write_text(text)
    with pytest.raises(ValueError) as refused:
        read_config(str(file))
    said = str(refused.value)
    assert says in said and "f.yaml" in said
    assert len(said) < 2000
    assert all(line.startswith(("--config-file", str(file), "_BASE_")) for line in said.split("\n"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("SOLVER: {MAX_ITER: }", "SOLVER.MAX_ITER is None; it must be a whole number"),
        ("SOLVER: {BASE_LR: .inf}", "SOLVER.BASE_LR is inf; it must be a number"),
        ("SOLVER: {BASE_LR: .nan}", "SOLVER.BASE_LR is nan; it must be a number"),
        ("MODEL: {DYNAMIC: {LOSS_WEIGHTS: [1, .nan]}}", "LOSS_WEIGHTS has nan; each must"),
        ("DATASETS: {TEST: [[a]]}", "DATASETS.TEST has ['a']; each must be a string."),
    ],
)
def test_a_value_in_a_file(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "f.yaml").write_text(text)
    with pytest.raises(ValueError) as refused:
        check(read_config(str(tmp_path / "f.yaml")))
    assert says in str(refused.value)


OVERRIDES = [
    (("SEED", "x"), "SEED is 'x'; it must be a whole number below 2^32."),
    (("SEED", str(2**32)), "SEED is 4294967296; it must be a whole number below 2^32."),
    (("SEED", HUGE), "SEED is 99"),
    (("SEED", "-"), "SEED is '-'"),
    (("SOLVER.MAX_ITER", HUGE), "it must lie within 2^63."),
    (("SOLVER.MAX_ITER", "1.5"), "SOLVER.MAX_ITER is '1.5'; it must be a whole number"),
    (
        ("SOLVER.MAX_ITER", "-1"),
        "SOLVER.MAX_ITER is -1; it must be a whole number in [0, 10",
    ),
    (("SOLVER.BASE_LR", HUGE), "SOLVER.BASE_LR is "),
    (("SOLVER.BASE_LR", "nan"), "SOLVER.BASE_LR is nan; it must be a number in [0, 1e+31)."),
    (("SOLVER.BASE_LR", "1e999"), "SOLVER.BASE_LR is inf; it must be a number in [0, 1e+31)."),
    (("SOLVER.BASE_LR", "-1e-3"), "SOLVER.BASE_LR is -0.001"),
    (("SOLVER.IMS_PER_BATCH", "0"), "SOLVER.IMS_PER_BATCH is 0"),
    (("SOLVER.STEPS", "(-5,)"), "SOLVER.STEPS has -5"),
    (("SOLVER.STEPS", "(1 2)"), "it must be a list of numbers that rise, in plain numbers with"),
    (("SOLVER.STEPS", "[1/3]"), "with commas between, such as [1, 2]; nothing is computed."),
    (("SOLVER.GAMMA", "-1"), "SOLVER.GAMMA is -1.0"),
    (("SOLVER.PHASES", "[]"), "SOLVER.PHASES is empty"),
    (("SOLVER.PHASES", "['router', 'detectors']"), "'router' must be the last"),
    (("SOLVER.PHASES", "['router', 'router']"), "SOLVER.PHASES has 'router' more than once"),
    (("MODEL.WEIGHTS", "{[]: 1}"), "MODEL.WEIGHTS is {[]: 1}; it must be a string."),
    (("MODEL.WEIGHTS", "{'a': {}}"), "MODEL.WEIGHTS is "),
    (("MODEL.WEIGHTS", "3"), "MODEL.WEIGHTS is 3; it must be a string."),
    (("MODEL.WEIGHTS", "None"), "MODEL.WEIGHTS is None; it must be a string."),
    (("MODEL.COMPOSITE.WEIGHTS2", "None"), "MODEL.COMPOSITE.WEIGHTS2 is None; it must be a string"),
    (("MODEL.DYNAMIC.CALIBRATION", "None"), "CALIBRATION is None; it must be a string."),
    (("MODEL.DEVICE", "gpu"), "MODEL.DEVICE is 'gpu', which torch refuses"),
    (("MODEL.DEVICE", "cuda:99"), "MODEL.DEVICE is 'cuda:99'; this machine has"),
    (("MODEL.DEVICE", ""), "MODEL.DEVICE is ''"),
    (("MODEL.DEVICE", "cpu:x"), "MODEL.DEVICE is 'cpu:x'"),
    (("MODEL.META_ARCHITECTURE", "DynamicRCN"), "The nearest is 'DynamicRCNN'."),
    (("MODEL.BACKBONE.NAME", ""), "MODEL.BACKBONE.NAME is ''"),
    (("MODEL.PIXEL_MEAN", "[1.0, 2.0]"), "MODEL.PIXEL_MEAN has 2 numbers"),
    (("MODEL.PIXEL_STD", "[1.0, 0.0, 1.0]"), "MODEL.PIXEL_STD has 0.0; each must be a number"),
    (("MODEL.PIXEL_MEAN", "[1.0, 1e999, 2.0]"), "MODEL.PIXEL_MEAN has inf"),
    (("MODEL.RESNETS.DEPTH", "51"), "MODEL.RESNETS.DEPTH is 51"),
    (("MODEL.FPN.OUT_CHANNELS", "0"), "MODEL.FPN.OUT_CHANNELS is 0"),
    (("MODEL.ROI_HEADS.NUM_CLASSES", "0"), "MODEL.ROI_HEADS.NUM_CLASSES is 0"),
    (("MODEL.ROI_HEADS.NUM_CLASSES", "(" * 3000), "MODEL.ROI_HEADS.NUM_CLASSES is "),
    (("MODEL.ROI_HEADS.SCORE_THRESH_TEST", "2"), "it must lie in [0, 1]."),
    (("MODEL.ROI_HEADS.NMS_THRESH_TEST", "-1"), "MODEL.ROI_HEADS.NMS_THRESH_TEST is -1.0"),
    (("MODEL.RPN.POST_NMS_TOPK_TEST", "0"), "MODEL.RPN.POST_NMS_TOPK_TEST is 0"),
    (("MODEL.LOAD_PROPOSALS", "True"), "MODEL.LOAD_PROPOSALS is True; it must be False"),
    (("MODEL.DYNAMIC.THRESHOLD", "2"), "MODEL.DYNAMIC.THRESHOLD is 2.0"),
    (("MODEL.DYNAMIC.THRESHOLD", "nan"), "MODEL.DYNAMIC.THRESHOLD is nan"),
    (("MODEL.DYNAMIC.HARD_FRACTION", "0.5"), "needs MODEL.DYNAMIC.CALIBRATION"),
    (("MODEL.DYNAMIC.CALIBRATION", "c.json"), "needs exactly one of"),
    (("MODEL.INFERENCE.PRECISION", "int8"), "MODEL.INFERENCE.PRECISION is 'int8'"),
    (("MODEL.INFERENCE.COMPILE", "True", "MODEL.INFERENCE.OPTIMIZE", "False"), "need MODEL.INFER"),
    (("MODEL.ROUTER.INPUTS", "['sound']"), "MODEL.ROUTER.INPUTS has 'sound'"),
    (("INPUT.MIN_SIZE_TEST", "-1"), "INPUT.MIN_SIZE_TEST is -1"),
    (("INPUT.MAX_SIZE_TEST", "0"), "INPUT.MAX_SIZE_TEST is 0"),
    (("INPUT.MIN_SIZE_TRAIN", "(0,)"), "INPUT.MIN_SIZE_TRAIN has 0"),
    (("INPUT.MIN_SIZE_TRAIN_SAMPLING", "any"), "must be 'choice' or 'range'"),
    (("DATASETS.TRAIN", "()"), "DATASETS.TRAIN names no data set."),
    (
        ("DATASETS.TRAIN", "('a')"),
        "is '('a')'; it must be a list, with words in quotes: ['a', 'b']",
    ),
    (("DATASETS.TRAIN", "a"), "is 'a'; it must be a list, with words in quotes: ['a', 'b']."),
    (("INPUT.MIN_SIZE_TRAIN", "64"), "is '64'; it must be a list of at least 1, such as [1, 2]."),
    (("DATASETS.TRAIN", "('shape_train',)"), "The nearest is 'shapes_train'."),
    (("DATASETS.TEST", "'shapes_test'"), "DATASETS.TEST is "),
    (("DATASETS.COCO_JSON", "[['a', 'gone.json', '.']]"), "the json file of 'a' does not exist"),
    (("DATASETS.COCO_JSON", "[['a', 'setup.py', 'gone']]"), "image folder of 'a' does not exist"),
    (("DATASETS.COCO_JSON", "[['a', 'tests', '.']]"), "the json file of 'a' is no file: "),
    (("DATASETS.COCO_JSON", "[['a', 'setup.py', 'setup.py']]"), "folder of 'a' is no folder: "),
    (("DATASETS.COCO_JSON", "[['../a', 'setup.py', '.']]"), "'../a' cannot be that of a folder"),
    (("DATASETS.COCO_JSON", "[['..', 'setup.py', '.']]"), "and be neither '.' nor '..'."),
    (("DATASETS.COCO_JSON", "[['a/b', 'setup.py', '.']]"), "'a/b' cannot be that of a folder"),
    (("DATASETS.COCO_JSON", r"[['a\\b', 'setup.py', '.']]"), "cannot be that of a folder"),
    (("DATASETS.COCO_JSON", r"[['a', 'b\0', '.']]"), "a path of 'a' holds the character 0"),
    (("DATASETS.COCO_JSON", "[['a', 'b']]"), "DATASETS.COCO_JSON has ['a', 'b']"),
    (("DATASETS.COCO_JSON", "[[1, 2, 3]]"), "DATASETS.COCO_JSON has [1, 2, 3]"),
    (("OUTPUT_DIR", ""), "OUTPUT_DIR is ''; it must be a string in UTF-8 that can name a folder"),
    (("OUTPUT_DIR", "a\udcffb"), "it must be a string in UTF-8 that can name a folder, without"),
    (("OUTPUT_DIR", "s3://bucket/run"), "OUTPUT_DIR is 's3://bucket/run'; it must be"),
    (("OUTPUT_DIR", "file:///tmp/run"), "can name a folder, without an address"),
    (("OUTPUT_DIR", "${oc.env:HOME}/run"), "without an address, a variable, a ~ for a home"),
    (("OUTPUT_DIR", "~nobody_of_this_name/run"), "without an address, a variable, a ~ for a home"),
    (
        ("OUTPUT_DIR", "\u201coutput/x\u201d"),
        "a variable, a ~ for a home or typographic quotes.",
    ),
    (("OUTPUT_DIR", "setup.py"), "OUTPUT_DIR is 'setup.py', which is a file"),
    (("TEST.DETECTIONS_PER_IMAGE", "-3"), "TEST.DETECTIONS_PER_IMAGE is -3"),
    (("TEST.DYNAMIC.HARD_FRACTIONS", "[2]"), "TEST.DYNAMIC.HARD_FRACTIONS has 2"),
    (("INPUT", "{}"), "INPUT is '{}', but it is a section, whose keys have values."),
    (("INPUT.MIN_SIZE_TEST", "1000000"), "it must be a whole number in [0, 32768]."),
    (("INPUT.MIN_SIZE_TRAIN", "(32769,)"), "each must be a whole number in [1, 32768]."),
    (("TEST.DYNAMIC.INPUT_SIZES", "[1000000]"), "each must be a whole number in [1, 32768]."),
    (("TEST.DYNAMIC.PLAN.INPUT_SIZES", "[1000000]"), "TEST.DYNAMIC.PLAN.INPUT_SIZES has 1000000"),
    (("MODEL.ROI_HEADS.NUM_CLASSES", "100000000"), "a whole number in [1, 100000], or 0 for as"),
    (("MODEL.ROI_BOX_HEAD.NUM_FC", "1000000"), "it must be a whole number in [0, 100]."),
    (("MODEL.COMPOSITE.NUM_BLOCKS1", "[1, 1, 1, 1000000]"), "must be a whole number in [1, 1000]."),
    (("MODEL.RPN.IOU_LABELS", "[5, 5, 5]"), "MODEL.RPN.IOU_LABELS has 5; each must be -1, 0 or 1."),
    (("SEED",), "'SEED' has no value."),
    (("SEDE", "1"), "SEDE is no key. The nearest is 'SEED'."),
    (("", "1"), " is no key."),
    (("MODEL..WEIGHTS", "1"), "MODEL..WEIGHTS is no key."),
    (("_BASE_", "x.yaml"), "_BASE_ is no key."),
    (("\x17", "3"), r"'\x17' is no key."),
    (("", "3"), "'' is no key."),
]


@pytest.mark.parametrize(("words", "says"), OVERRIDES)
def test_an_override(words: tuple[str, ...], says: str) -> None:
    with pytest.raises(ValueError) as refused:
        check(read_config("configs/quickstart.yaml", words), Use.TRAIN)
    lines = str(refused.value).split("\n")
    assert any(says in line for line in lines) and max(map(len, lines)) < 1000


# What goes wrong only when the model is built.
MODELS = [
    (("MODEL.RPN.IN_FEATURES", ["p2", "p9"]), "MODEL.RPN.IN_FEATURES is ['p2', 'p9']"),
    (("MODEL.RPN.IN_FEATURES", []), "MODEL.RPN.IN_FEATURES is []"),
    (("MODEL.ROI_HEADS.IN_FEATURES", ["res4"]), "MODEL.ROI_HEADS.IN_FEATURES is ['res4']"),
    (("MODEL.FPN.IN_FEATURES", ["res9"]), "MODEL.FPN.IN_FEATURES is ['res9']"),
    (("MODEL.ANCHOR_GENERATOR.SIZES", [[32], [64]]), "MODEL.ANCHOR_GENERATOR.SIZES has 2 lists"),
    (("MODEL.ANCHOR_GENERATOR.NAME", "Gone"), "MODEL.ANCHOR_GENERATOR.NAME is 'Gone'"),
    (("MODEL.ROI_BOX_HEAD.NAME", "Gone"), "MODEL.ROI_BOX_HEAD.NAME is 'Gone'"),
    (("MODEL.RPN.BOUNDARY_THRESH", None), "MODEL.RPN.BOUNDARY_THRESH is None; it must be a number"),
    (("MODEL.RPN.HEAD_NAME", "Gone"), "MODEL.RPN.HEAD_NAME is 'Gone'"),
    (("MODEL.FPN.FUSE_TYPE", "max"), "MODEL.FPN.FUSE_TYPE is 'max'"),
    (("MODEL.FPN.NORM", "GN"), "NORM below MODEL is 'GN', which needs multiples of 32 channels"),
    (("MODEL.PROPOSAL_GENERATOR.NAME", "PrecomputedProposals"), "PROPOSAL_GENERATOR.NAME is"),
]


@pytest.mark.parametrize(("keys", "says"), MODELS)
def test_keys_that_do_not_go_together(keys: tuple, says: str) -> None:
    with pytest.raises(ValueError) as refused, building():
        build_model(toy_cfg(*keys))
    assert says in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("head", "key"),
    [("FCOS", "MODEL.FCOS.IN_FEATURES"), ("RetinaNet", "MODEL.RETINANET.IN_FEATURES")],
)
def test_levels_of_dense_heads(head: str, key: str) -> None:
    with pytest.raises(ValueError, match=rf"{key} is \['p2'\]"):
        build_model(dense_cfg(head, key, ["p2"]))


@pytest.mark.parametrize(
    ("section", "name", "says"),
    [
        ("SOLVER", "MAX_ITR", "SOLVER.MAX_ITR is no key, and nothing of Detectron2 or this"),
        ("SOLVER", "BASE_LRS", "The nearest is 'SOLVER.BASE_LR'."),
        ("MODEL.ROI_HEADS", "NUM_CLASS", "The nearest is 'MODEL.ROI_HEADS.NUM_CLASSES'."),
        ("MODEL.DYNAMIC", "MERGE_EXITS", "The nearest is 'MODEL.DYNAMIC.MERGE_EXITS_IOU'."),
        ("MODEL.DYNAMIC", "TRESHOLD", "The nearest is 'MODEL.DYNAMIC.THRESHOLD'."),
        ("DATASETS", "TRAINS", "The nearest is 'DATASETS.TRAIN'."),
        ("MODEL.DYNAMIC", "merge_exits_iou", "The nearest is 'MODEL.DYNAMIC.MERGE_EXITS_IOU'."),
        ("MODEL.DYNAMIC", "OWN", "MODEL.DYNAMIC.OWN is no key"),
        ("MODEL.ROUTER", "EPOCHS", "reads it. There is SOLVER.ROUTER.EPOCHS."),
        (
            "",
            "MAX_ITER",
            "MAX_ITER is no key, and nothing of Detectron2 or this project reads i",
        ),
        ("", "OWN", ""),
        ("MODEL.RESNETS", "NUM_EXPERTS", ""),
        ("MODEL", "OWN", ""),
    ],
)
def test_a_key_that_a_program_misspelt_is_said(
    caplog: pytest.LogCaptureFixture, section: str, name: str, says: str
) -> None:
    """An assignment makes a key of it; one of the user's own model is no mistake."""
    cfg = toy_cfg()
    cfg.merge_from_list(["DATASETS.TRAIN", ("shapes_train",), "DATASETS.TEST", ()])
    setattr(reduce(getattr, section.split(".") if section else [], cfg), name, 3)
    check(cfg, Use.TRAIN)
    assert (says in caplog.text) if says else not caplog.text


@pytest.mark.parametrize(
    ("section", "value", "says"),
    [
        ("SOLVER.AMP", True, "SOLVER.AMP is True; it must be the section that it was, of SOLVER.A"),
        ("SOLVER.CLIP_GRADIENTS", True, "SOLVER.CLIP_GRADIENTS is True; it must be the section"),
        (
            "SOLVER.ROUTER",
            None,
            "SOLVER.ROUTER is None; it must be the section that it was, of SOLVER.ROUTER.BASE_LR, "
            "SOLVER.ROUTER.EPOCHS, SOLVER.ROUTER.IMS_PER_BATCH.",
        ),
        ("DATASETS", "own", "DATASETS is 'own'; it must be the section that it was, of DATASETS."),
    ],
)
def test_a_section_that_a_program_replaced(section: str, value: object, says: str) -> None:
    cfg = toy_cfg()
    *outer, name = section.split(".")
    setattr(reduce(getattr, outer, cfg), name, value)
    with pytest.raises(ValueError) as refused:
        check(cfg, Use.TRAIN)
    assert str(refused.value).startswith(says) and "missing" not in str(refused.value)
