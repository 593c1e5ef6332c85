# SPDX-License-Identifier: Apache-2.0
"""Set-ups have a config each, folders say which run they are, data sets their keys."""

import json
from pathlib import Path

import pytest
import torch
from detectron2.modeling import build_model

from dynamicdet_d2.config import Use, check, read_config
from dynamicdet_d2.modeling.architecture import is_dynamic
from evidence.setups import CONFIGS, LEAST_IOU, SETUPS, SPLITS, Data, Run, planned, title


@pytest.mark.parametrize("name", SETUPS)
def test_every_setup_has_a_config_that_builds(name: str) -> None:
    cfg = read_config(str(CONFIGS / f"{name}.yaml"), ["MODEL.DEVICE", "meta"])
    check(cfg, Use.MODEL)
    with torch.device("meta"):
        build_model(cfg)
    assert is_dynamic(cfg) == (not name.startswith("static"))
    steps = 6000 if name.endswith("_6000") else 3000
    assert (cfg.SOLVER.MAX_ITER, cfg.SOLVER.IMS_PER_BATCH) == (steps, 4)


def test_every_config_is_a_setup() -> None:
    assert {path.stem for path in CONFIGS.glob("*.yaml")} == {*SETUPS, "recipe"}


def test_folders_say_which_run_they_are(tmp_path: Path) -> None:
    runs = planned(tmp_path, ["short", "static0"], [1, 12])
    assert [(run.setup, run.seed) for run in runs] == [
        ("short", 1),
        ("static0", 1),
        ("short", 12),
        ("static0", 12),
    ]
    assert [Run.of(run.folder) for run in runs] == runs
    with pytest.raises(ValueError, match="SETUP_sSEED"):
        Run.of(tmp_path / "short")


def trained(folder: Path, setup: str) -> Run:
    """Its config, and something in the place of its weights."""
    run = Run(setup, 1, folder / f"{setup}_s1")
    run.folder.mkdir()
    run.config.write_text(read_config(str(CONFIGS / f"{setup}.yaml")).dump())
    run.weights.write_bytes(b"weights")
    return run


def test_a_static_detector_at_another_size_is_a_run_of_its_own(tmp_path: Path) -> None:
    run = trained(tmp_path, "static0")
    other = run.at_size(160)
    assert run.at_size(160) == other == Run.of(tmp_path / "static0_at160_s1")
    assert other.weights.read_bytes() == b"weights"
    keys = read_config(str(other.config)).INPUT
    assert (keys.MIN_SIZE_TEST, keys.MAX_SIZE_TEST, keys.MIN_SIZE_TRAIN) == (160, 229, (224,))
    assert title(other.setup) == "static Lite0, tested at 160 pixels"


def test_merged_exits_are_the_same_weights_with_a_key(tmp_path: Path) -> None:
    run = trained(tmp_path, "same_256")
    other = run.with_merged_exits()
    assert other == Run.of(tmp_path / "same_256_merged_s1")
    assert read_config(str(other.config)).MODEL.DYNAMIC.MERGE_EXITS_IOU == LEAST_IOU
    assert other.weights.read_bytes() == b"weights"
    assert title(other.setup) == "Lite0 + Lite0, trained at 256 pixels, merged exits"


def test_data_are_keys_of_a_config(tmp_path: Path) -> None:
    (tmp_path / "birds" / "images").mkdir(parents=True)
    content = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "wren"}] * 2}
    for split in SPLITS:
        (tmp_path / "birds" / f"instances_{split}.json").write_text(json.dumps(content))
    cfg = read_config(str(CONFIGS / "short.yaml"), Data(tmp_path / "birds").keys())
    assert cfg.DATASETS.TRAIN == ("birds_train",)
    assert [entry[0] for entry in cfg.DATASETS.COCO_JSON] == [f"birds_{s}" for s in SPLITS]
    assert cfg.MODEL.ROI_HEADS.NUM_CLASSES == 2
    with pytest.raises(ValueError, match="instances_train.json cannot be read"):
        Data(tmp_path / "fish").keys()
