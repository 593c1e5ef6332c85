# SPDX-License-Identifier: Apache-2.0
"""Reading a config: what files and overrides give, what is wrong with them, and no code runs."""

import copy
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from detectron2.config import CfgNode, get_cfg
from detectron2.data import MetadataCatalog
from detectron2.engine import DefaultPredictor
from detectron2.utils.visualizer import ColorMode, Visualizer

from dynamicdet_d2 import config as ours
from dynamicdet_d2.config import Config, add_dynamicdet_config, read_config
from dynamicdet_d2.config.declare import KEYS
from dynamicdet_d2.engine.upgrade import stock_file
from tests.support.toy import toy_cfg, toy_model


def write(path: Path, text: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


def refusal(file: str, *overrides: str) -> list[str]:
    """The lines that reading is refused with."""
    with pytest.raises(ValueError) as refused:
        read_config(file, overrides)
    return str(refused.value).splitlines()


# What is read


def by_detectron2(file: str, *overrides: str) -> CfgNode:
    cfg = get_cfg()
    add_dynamicdet_config(cfg)
    cfg.merge_from_file(file)
    cfg.merge_from_list(list(overrides))
    return cfg


def test_plain_detectron2_reads_the_same(tmp_path: Path) -> None:
    file = "configs/dy_cascade_mask_rcnn_R_50_FPN_3x.yaml"
    overrides = ("SOLVER.MAX_ITER", "7", "DATASETS.TEST", "('a', 'b')", "MODEL.DEVICE", "cpu")
    cfg = by_detectron2(file, *overrides)
    assert read_config(file, overrides) == cfg
    dumped = write(tmp_path / "config.yaml", cfg.dump())  # what a run leaves
    assert read_config(dumped) == by_detectron2(dumped)


def test_keys_that_are_there_keep_their_values() -> None:
    cfg = by_detectron2("configs/quickstart.yaml", "MODEL.DYNAMIC.THRESHOLD", "0.7")
    before = cfg.clone()
    del cfg.MODEL.DYNAMIC["MERGE_EXITS_IOU"]  # as of a config from before there was such a key
    add_dynamicdet_config(cfg)
    assert cfg == before
    plain = get_cfg()  # a later Detectron2's, and another project's section
    plain.SOLVER.BASE_LR_END, plain.MODEL.SWIN = 1e-4, CfgNode({"DROP_PATH_RATE": 0.3})
    add_dynamicdet_config(plain)
    assert (plain.SOLVER.BASE_LR_END, plain.MODEL.SWIN.DROP_PATH_RATE) == (1e-4, 0.3)
    assert plain.MODEL.SWIN.SIZE == "T"


def test_later_files_and_overrides_win(tmp_path: Path) -> None:
    write(tmp_path / "one.yaml", "SOLVER: {MAX_ITER: 1, BASE_LR: 1.0, STEPS: [1]}")
    write(tmp_path / "parts" / "two.yaml", "_BASE_: ../one.yaml\nSOLVER: {MAX_ITER: 2}")
    write(tmp_path / "three.yaml", "SOLVER: {STEPS: [3]}")
    both = "_BASE_: [parts/two.yaml, three.yaml]\nMODEL: {WEIGHTS: w.pth}"
    solver = read_config(write(tmp_path / "leaf.yaml", both)).SOLVER
    assert (solver.MAX_ITER, solver.BASE_LR, solver.STEPS) == (2, 1.0, (3,))
    assert read_config(str(tmp_path / "leaf.yaml"), ["SOLVER.MAX_ITER", "4"]).SOLVER.MAX_ITER == 4


def test_a_file_may_stand_twice_below_another(tmp_path: Path) -> None:
    write(tmp_path / "root.yaml", "SEED: 3")
    for name in ("a.yaml", "b.yaml"):
        write(tmp_path / name, "_BASE_: root.yaml")
    assert read_config(write(tmp_path / "c.yaml", "_BASE_: [a.yaml, b.yaml]")).SEED == 3


@pytest.mark.parametrize(("typed", "read"), [("1", 1.0), ("1e-3", 1e-3), ("0.5", 0.5)])
def test_a_whole_number_is_taken_for_one_with_a_fraction(
    tmp_path: Path, typed: str, read: float
) -> None:
    assert read_config("", ["SOLVER.BASE_LR", typed]).SOLVER.BASE_LR == read
    file = write(tmp_path / "f.yaml", f"SOLVER: {{BASE_LR: {typed}}}")
    found = read_config(file).SOLVER.BASE_LR
    assert found == read and type(found) is float


def test_without_a_gpu_the_device_is_the_cpu(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert read_config("").MODEL.DEVICE == "cpu"
    assert not caplog.text
    assert read_config("", ["MODEL.DEVICE", "cuda"]).MODEL.DEVICE == "cpu"
    assert "No GPU is found; MODEL.DEVICE cuda, which was typed, becomes cpu." in caplog.text
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert read_config("").MODEL.DEVICE == "cuda"


def test_defaults_are_each_configs_own() -> None:
    first, second = read_config(""), read_config("")
    first.TEST.DYNAMIC.HARD_FRACTIONS.append(0.3)
    assert 0.3 not in second.TEST.DYNAMIC.HARD_FRACTIONS
    assert 0.3 not in KEYS["TEST.DYNAMIC.HARD_FRACTIONS"].default


def test_keys_of_another_project_stay() -> None:
    cfg = get_cfg()
    cfg.MODEL.SWIN = CfgNode({"EMBED_DIM": 96})
    add_dynamicdet_config(cfg)
    assert (cfg.MODEL.SWIN.EMBED_DIM, cfg.MODEL.SWIN.SIZE) == (96, "T")


# Wrong keys


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("MODEL: {SOLVER: {MAX_ITER: 5}}", "MODEL.SOLVER is no key. The nearest is 'SOLVER'."),
        ("ROI_HEADS: {NUM_CLASSES: 5}", "ROI_HEADS is no key. The nearest is 'MODEL.ROI_HEADS'."),
        ("MODEL: {DYNAMICS: {THRESHOLD: 1}}", "The nearest is 'MODEL.DYNAMIC'."),
    ],
)
def test_a_section_in_another_place(tmp_path: Path, text: str, says: str) -> None:
    """As by spaces too many, or lost."""
    with pytest.raises(ValueError) as refused:
        read_config(write(tmp_path / "f.yaml", text))
    assert says in str(refused.value)


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("MODEL.DYNAMIC.TRESHOLD", "MODEL.DYNAMIC.THRESHOLD"),
        ("MODEL.DINAMIC.THRESHOLD", "MODEL.DYNAMIC.THRESHOLD"),
        ("SOLVER.MAX_ITERS", "SOLVER.MAX_ITER"),
        ("MODEL.RESNET.DEPTH", "MODEL.RESNETS.DEPTH"),
        ("RANDOM_DRAWS", "TEST.DYNAMIC.RANDOM_DRAWS"),
        ("model.mask_on", "MODEL.MASK_ON"),
        ("x", ""),
        ("", ""),
    ],
)
def test_a_misspelt_key_gets_the_nearest(tmp_path: Path, key: str, nearest: str) -> None:
    name = key or "''"
    said = f"{name} is no key." + (f" The nearest is '{nearest}'." if nearest else "")
    assert refusal("", key, "1") == [said]
    *sections, last = key.split(".")
    text = "1"
    for name in (last, *reversed(sections)):
        text = f"{{'{name}': {text}}}"
    file = write(tmp_path / "wrong.yaml", text)
    assert refusal(file)[0].startswith(f"{file}: ")


def test_a_key_without_its_section_gets_all_of_its_name() -> None:
    """Which one is read depends on the model."""
    said = "MODEL.NMS_THRESH_TEST is no key. There are MODEL.ROI_HEADS.NMS_THRESH_TEST, "
    others = ", ".join(f"MODEL.{x}.NMS_THRESH_TEST" for x in ("RETINANET", "FCOS"))
    assert refusal("", "MODEL.NMS_THRESH_TEST", "0.5") == [
        f"{said}{others} and MODEL.YOLO.NMS_THRESH_TEST."
    ]


def test_a_date_is_text(tmp_path: Path) -> None:
    file = write(tmp_path / "f.yaml", "OUTPUT_DIR: 2026-11-29")
    assert read_config(file).OUTPUT_DIR == "2026-11-29"


def test_a_section_by_its_full_name_in_a_file(tmp_path: Path) -> None:
    file = write(tmp_path / "f.yaml", "MODEL.ROI_HEADS: {NUM_CLASSES: 6}")
    [said] = refusal(file)
    assert said == (
        f"{file}: MODEL.ROI_HEADS is {{'NUM_CLASSES': 6}}, but it is a section, whose keys have "
        "values. In a file its parts stand below each other, or its keys have full names."
    )


def test_all_that_is_wrong_is_said_with_its_file(tmp_path: Path) -> None:
    base = write(tmp_path / "base.yaml", "SOLVER: {MAX_ITER: many, GAMA: 1}")
    leaf = write(
        tmp_path / "leaf.yaml", "_BASE_: base.yaml\nMODEL: {MASK_ON: 1}\nTEST: [3]\nSEED:\n"
    )
    assert refusal(
        leaf, "INPUT", "{}", "SOLVER.AMP", "True", "MODEL.SWIN.SIZE", "[1]", "GONE", "1"
    ) == [
        f"{base}: SOLVER.MAX_ITER is 'many'; it must be a whole number in [0, 1000000000].",
        f"{base}: SOLVER.GAMA is no key. The nearest is 'SOLVER.GAMMA'.",
        f"{leaf}: MODEL.MASK_ON is 1; it must be True or False.",
        f"{leaf}: TEST is [3], but it is a section, whose keys have values.",
        "INPUT is '{}', but it is a section, whose keys have values.",
        "SOLVER.AMP is 'True', but it is a section, whose keys have values. There is "
        "SOLVER.AMP.ENABLED.",
        "MODEL.SWIN.SIZE is '[1]'; it must be 'T', 'S' or 'B'.",
        "GONE is no key.",
    ]


def test_an_override_without_its_value_is_named() -> None:
    assert refusal("", "SEED", "1", "MODEL.WEIGHTS") == [
        "Config overrides are KEY VALUE pairs; 'MODEL.WEIGHTS' has no value."
    ]


@pytest.mark.parametrize("value", ["(" * 5000, "-" * 100_000 + "1", "[" * 5000 + "]" * 5000])
def test_values_nested_without_end_are_refused(value: str) -> None:
    (line,) = refusal("", "MODEL.ROI_HEADS.NUM_CLASSES", value)
    assert line.startswith("MODEL.ROI_HEADS.NUM_CLASSES is ") and len(line) < 500


# Wrong files


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "holds nothing; it must hold keys and their values."),
        ("# a comment\n", "holds nothing"),
        ("[1, 2]", "holds [1, 2]; it must hold keys and their values."),
        ("word", "holds 'word'; it must hold keys"),
        ("3", "holds 3; it must hold keys"),
        ("SOLVER: [1", "is not YAML: "),
        ("SEED: 1\nSOLVER: {{ keys }}", "has a list or mapping in the place of a key at line 2."),
        ("\x00", "is not YAML: "),
        ("[" * 5000, "is "),
        ("_BASE_: f.yaml", "includes itself by _BASE_: "),
        ("_BASE_: ./parts/../f.yaml", "includes itself by _BASE_: "),
        ("_BASE_: gone.yaml", "gone.yaml does not exist."),
        ("_BASE_: 3", "_BASE_ is 3; it must name yaml files."),
        ("_BASE_: [3]", "_BASE_ is 3; it must name yaml files."),
    ],
)
def test_a_file_that_is_no_config_is_one_sentence(tmp_path: Path, text: str, says: str) -> None:
    file = write(tmp_path / "f.yaml", text)
    (line,) = refusal(file)
    assert file in line and says in line


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    assert refusal("gone.yaml") == ["--config-file gone.yaml does not exist."]
    assert refusal(str(tmp_path)) == [f"--config-file {tmp_path} cannot be read: Is a directory."]
    (tmp_path / "latin.yaml").write_bytes(b"OUTPUT_DIR: \xe9\xff")
    assert "latin.yaml is no text in UTF-8: " in refusal(str(tmp_path / "latin.yaml"))[0]


def test_the_locale_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Text is opened in its encoding where none is named: here as in a locale of ASCII."""

    def opened(file: str, mode: str = "r", *args: object, **kwargs: object) -> object:
        encoding = kwargs.pop("encoding", None)
        if "b" not in mode:
            encoding = encoding or "ascii"
        return open(file, mode, *args, encoding=encoding, **kwargs)

    monkeypatch.setattr("iopath.common.file_io.open", opened, raising=False)
    (tmp_path / "own.yaml").write_bytes("OUTPUT_DIR: h\u00f6he".encode())
    assert read_config(str(tmp_path / "own.yaml")).OUTPUT_DIR == "h\u00f6he"


def test_a_path_names_a_file_as_well(tmp_path: Path) -> None:
    (tmp_path / "f.yaml").write_text("SEED: 7")
    assert read_config(tmp_path / "f.yaml").SEED == 7


def test_a_circle_of_files_is_shown(tmp_path: Path) -> None:
    first = write(tmp_path / "a.yaml", "_BASE_: b.yaml")
    second = write(tmp_path / "b.yaml", "_BASE_: a.yaml")
    circle = f"{first} -> {second} -> {first}"
    assert refusal(first) == [f"{first} includes itself by _BASE_: {circle}."]


@pytest.mark.parametrize(
    "value",
    [
        "!!python/object/apply:pathlib.Path.touch [!!python/object/apply:pathlib.Path [{marker}]]",
        "!!python/object/apply:os.system ['touch {marker}']",
        "!!python/object/new:os.system ['touch {marker}']",
        "!!python/name:os.system ''",
        "!!python/object/apply:eval [\"open('{marker}', 'w')\"]",
    ],
)
@pytest.mark.parametrize("included", [False, True])
def test_no_code_runs_from_a_config(tmp_path: Path, value: str, included: bool) -> None:
    marker = tmp_path / "marker"
    file = write(tmp_path / "evil.yaml", "MODEL: {WEIGHTS: " + value.format(marker=marker) + "}")
    if included:
        file = write(tmp_path / "leaf.yaml", "_BASE_: evil.yaml")
    (line,) = refusal(file)
    assert "evil.yaml holds more than plain values, and no code runs from it" in line
    assert not marker.exists()


def tagged(tmp_path: Path) -> tuple[str, Path]:
    """A config, and what the code in it makes."""
    marker, tag = tmp_path / "marker", "!!python/object/apply:os.system"
    return write(tmp_path / "evil.yaml", f"OUTPUT_DIR: {tag} ['touch {marker}']"), marker


def test_detectron2s_own_reading_would_have_run_it(tmp_path: Path) -> None:
    file, marker = tagged(tmp_path)
    with pytest.raises((AssertionError, ValueError)):  # of the value that the code gave
        get_cfg().merge_from_file(file)
    assert marker.exists()


@pytest.mark.parametrize("options", [{}, {"allow_unsafe": True}, {"allow_unsafe": False}])
@pytest.mark.parametrize("included", [False, True])
def test_no_code_runs_from_a_config_by_detectron2s_method(
    tmp_path: Path, options: dict, included: bool
) -> None:
    file, marker = tagged(tmp_path)
    if included:
        file = write(tmp_path / "leaf.yaml", "_BASE_: evil.yaml")
    cfg = get_cfg()
    add_dynamicdet_config(cfg)
    for one in (cfg, cfg.clone()):
        with pytest.raises(ValueError, match="evil.yaml holds more than plain values"):
            one.merge_from_file(file, **options)
        with pytest.raises(yaml.constructor.ConstructorError):
            one.load_yaml_with_base(file, **options)
    assert not marker.exists()


def test_configs_are_merged_as_ever() -> None:
    cfg = read_config("configs/quickstart.yaml")
    twin = get_cfg()
    add_dynamicdet_config(twin)
    twin.merge_from_other_cfg(cfg)
    twin.merge_from_other_cfg(CfgNode({"SOLVER": {"ROUTER": {"EPOCHS": 9}}}))
    cfg.SOLVER.ROUTER.EPOCHS = 9
    assert twin == cfg == copy.deepcopy(cfg) == pickle.loads(pickle.dumps(cfg))
    assert {type(x) for x in (cfg, cfg.clone(), pickle.loads(pickle.dumps(cfg)))} == {Config}
    assert {type(x) for x in (cfg.MODEL, twin.MODEL, twin.SOLVER.ROUTER)} == {CfgNode}


def test_a_key_that_stands_twice_is_named(tmp_path: Path) -> None:
    """Plain YAML would forget the first of them."""
    file = write(tmp_path / "f.yaml", "SEED: 1\nSOLVER:\n  MAX_ITER: 3\nSOLVER:\n  GAMMA: 0.1")
    assert refusal(file) == [f"--config-file {file} has 'SOLVER' twice in the mapping at line 1."]


def test_no_code_runs_from_an_override(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    value = f"__import__('pathlib').Path('{marker}').touch()"
    assert read_config("", ["MODEL.WEIGHTS", value]).MODEL.WEIGHTS == value
    assert not marker.exists()


def test_a_config_that_stands_alone_reads_no_other_file(tmp_path: Path) -> None:
    leaf = write(tmp_path / "leaf.yaml", "_BASE_: gone.yaml\nSEED: 3")
    with pytest.raises(ValueError, match="leaf.yaml has a _BASE_; this config may not read other"):
        read_config(leaf, alone=True)
    write(tmp_path / "gone.yaml", "SEED: 4")
    assert read_config(leaf).SEED == 3
    assert read_config(str(tmp_path / "gone.yaml"), ["SEED", "5"], alone=True).SEED == 5


def test_a_gpu_of_another_machine_is_none_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    file = write(tmp_path / "a.yaml", "MODEL: {DEVICE: 'cuda:1'}")
    assert read_config(file).MODEL.DEVICE == "cpu"
    # What the user types here is meant for here, and is refused by ``check``.
    assert read_config(file, ["MODEL.DEVICE", "cuda:1"]).MODEL.DEVICE == "cuda:1"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert read_config(file).MODEL.DEVICE == "cuda:1"


def test_what_comes_with_the_package_is_found_from_every_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = read_config("configs/quickstart.yaml")
    monkeypatch.chdir(tmp_path)
    there = read_config("configs/quickstart.yaml")
    assert Path(there.MODEL.WEIGHTS).is_file() and here.MODEL.WEIGHTS in there.MODEL.WEIGHTS
    there.MODEL.WEIGHTS = here.MODEL.WEIGHTS
    assert there == here


def test_the_home_folder_of_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    file = write(
        tmp_path / "c.yaml",
        "OUTPUT_DIR: '~/run'\nMODEL: {WEIGHTS: '~/w.pth', META_ARCHITECTURE: DynamicRCNN}\n",
    )
    cfg = read_config(file, ["MODEL.COMPOSITE.WEIGHTS2", "~/w2.pth"])
    assert cfg.OUTPUT_DIR == str(tmp_path / "run")
    assert cfg.MODEL.WEIGHTS == str(tmp_path / "w.pth")
    assert cfg.MODEL.COMPOSITE.WEIGHTS2 == str(tmp_path / "w2.pth")


def test_a_script_of_detectron2s_needs_one_other_import(tmp_path: Path) -> None:
    """What its demo.py does, with ``get_cfg`` of this project in the place of its own."""
    model = toy_model()
    torch.save({"model": model.state_dict()}, tmp_path / "w.pth")
    (tmp_path / "config.yaml").write_text(toy_cfg().dump())

    cfg = ours.get_cfg()
    cfg.merge_from_file(str(tmp_path / "config.yaml"))
    cfg.merge_from_list(["MODEL.WEIGHTS", str(tmp_path / "w.pth"), "INPUT.MIN_SIZE_TEST", "64"])
    cfg.MODEL.RETINANET.SCORE_THRESH_TEST = 0.5
    cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 0.0
    cfg.MODEL.PANOPTIC_FPN.COMBINE.INSTANCES_CONFIDENCE_THRESH = 0.5
    cfg.freeze()
    image = np.zeros((64, 96, 3), np.uint8)
    output = DefaultPredictor(cfg)(image)
    metadata = MetadataCatalog.get(cfg.DATASETS.TEST[0] if len(cfg.DATASETS.TEST) else "__unused")
    drawn = Visualizer(image[:, :, ::-1], metadata, instance_mode=ColorMode.IMAGE)
    instances = output["instances"].to("cpu")
    assert len(instances) > 0
    assert drawn.draw_instance_predictions(instances).get_image().shape == image.shape


def test_the_anchors_of_detectron2s_retinanets_are_known_by_their_text() -> None:
    cfg = read_config(stock_file("COCO-Detection/retinanet_R_50_FPN_1x.yaml"))
    assert cfg.MODEL.ANCHOR_GENERATOR.SIZES[1] == [64, 64 * 2 ** (1 / 3), 64 * 2 ** (2 / 3)]
    assert len(cfg.MODEL.ANCHOR_GENERATOR.SIZES) == 5


@pytest.mark.parametrize("text", ['["1 + 1"]', "[]", '["1", "2"]', "{a: 1}", "[[1]]", "x"])
def test_no_other_text_is_known(tmp_path: Path, text: str) -> None:
    file = tmp_path / "f.yaml"
    file.write_text(f"SEED: !!python/object/apply:eval {text}")
    with pytest.raises(ValueError, match="f.yaml holds more than plain values, and no code runs"):
        read_config(str(file))
