# SPDX-License-Identifier: Apache-2.0
"""No file of any kind runs code, by any way that is documented: a test per kind and way.

Configs and their ``_BASE_``: tests/config/test_reading.py. Files that ``convert`` reads:
tests/checkpoint/test_convert.py.
"""

import pickle
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import CfgNode
from detectron2.data import get_detection_dataset_dicts
from detectron2.engine import DefaultPredictor

from dynamicdet_d2.commands.main import main
from dynamicdet_d2.commands.train import evaluate
from dynamicdet_d2.data import build_test_loader, register_coco_json, training_dicts
from dynamicdet_d2.engine.loss_table.file import LossTableFile
from dynamicdet_d2.operating_point import Calibration
from tests.reliability.payload import Payload
from tests.support.coco_files import clean_catalogs, image_entry, object_entry, write_coco
from tests.support.toy import toy_cfg

REFUSED = r"evil\.(pkl|pth|pyth) refers to (posix|nt)\.mkdir, which is not loaded"
ENDINGS = ("pkl", "pth", "pyth")
STATIC = (
    *("MODEL.META_ARCHITECTURE", "GeneralizedRCNN"),
    *("MODEL.BACKBONE.NAME", "build_resnet_fpn_backbone"),
    *("MODEL.RESNETS.RES2_OUT_CHANNELS", 64),
)


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Path]:
    """What the payload would make; it is not there at the end."""
    yield tmp_path / "made"
    assert not (tmp_path / "made").exists()


def evil(folder: Path, ending: str) -> str:
    """A checkpoint with the payload beside a weight."""
    path = folder / f"evil.{ending}"
    payload = Payload(folder / "made")
    if ending == "pkl":
        content = {"model": {"weight": np.ones(1)}, "__author__": "x", "more": payload}
        path.write_bytes(pickle.dumps(content))
    else:
        content = {"model": {"weight": torch.ones(1)}, "model_state": {}, "more": payload}
        torch.save(content, path)
    return str(path)


def test_pickle_would_have_run_it(tmp_path: Path) -> None:
    with open(evil(tmp_path, "pkl"), "rb") as file:
        pickle.load(file)
    assert (tmp_path / "made").is_dir()


def by_predictor(cfg: CfgNode, path: str) -> None:
    DefaultPredictor(cfg)


def by_detectron2s_checkpointer(cfg: CfgNode, path: str) -> None:
    DetectionCheckpointer(torch.nn.Linear(1, 1)).load(path)


class OwnPredictor(DefaultPredictor):
    """A user's own, which Detectron2's checkpointer loads for."""


def by_own_predictor(cfg: CfgNode, path: str) -> None:
    OwnPredictor(cfg)


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("keys", [(), STATIC], ids=["dynamic", "static"])
@pytest.mark.parametrize("way", [by_predictor, by_own_predictor, by_detectron2s_checkpointer])
def test_a_checkpoint(
    tmp_path: Path, made: Path, ending: str, keys: tuple, way: Callable[[CfgNode, str], None]
) -> None:
    path = evil(tmp_path, ending)
    cfg = toy_cfg("MODEL.WEIGHTS", path, "DATASETS.TEST", (), *keys)
    with pytest.raises(ValueError, match=REFUSED):
        way(cfg, path)


@pytest.mark.parametrize("ending", ENDINGS)
def test_weights_of_backbone_2(tmp_path: Path, made: Path, ending: str) -> None:
    cfg = toy_cfg("MODEL.COMPOSITE.WEIGHTS2", evil(tmp_path, ending), "DATASETS.TEST", ())
    with pytest.raises(ValueError, match=REFUSED):
        DefaultPredictor(cfg)


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("command", ["predict", "calibrate", "convert"])
def test_a_checkpoint_by_a_command(
    tmp_path: Path, made: Path, capsys: pytest.CaptureFixture, command: str, ending: str
) -> None:
    path, config = evil(tmp_path, ending), tmp_path / "toy.yaml"
    config.write_text(toy_cfg("DATASETS.TEST", (), "DATASETS.TRAIN", ()).dump())
    data = write_coco(tmp_path / "data", [image_entry(1)], [object_entry(1, 1)])
    image = "docs/demo_gallery.jpg"
    words = {
        "predict": ["--config-file", str(config), "--weights", path, "--input", image]
        + ["--output", str(tmp_path / "out")],
        "calibrate": ["--config-file", str(config), "--weights", path]
        + ["--output", str(tmp_path / "c.json"), "DATASETS.TEST", "('own',)"]
        + ["DATASETS.COCO_JSON", repr([["own", *data]])],
        "convert": ["--weights", path, "--output", str(tmp_path / "converted.pth")],
    }
    with pytest.raises(SystemExit) as stop, clean_catalogs():
        main([command, *words[command]])
    assert stop.value.code == 2
    assert f"evil.{ending}" in capsys.readouterr().err.splitlines()[-1]


def test_a_checkpoint_that_is_evaluated(tmp_path: Path, made: Path) -> None:
    for name in ENDINGS:
        cfg = toy_cfg("MODEL.WEIGHTS", evil(tmp_path, name), "OUTPUT_DIR", str(tmp_path / "out"))
        with pytest.raises(ValueError, match=REFUSED):
            evaluate(cfg, resume=False)


def test_a_checkpoint_to_resume_from(tmp_path: Path, made: Path) -> None:
    evil(tmp_path, "pth")
    (tmp_path / "last_checkpoint").write_text("evil.pth")
    with pytest.raises(ValueError, match=REFUSED):
        DetectionCheckpointer(torch.nn.Linear(1, 1), str(tmp_path)).resume_or_load("")


def test_a_loss_table(tmp_path: Path, made: Path) -> None:
    torch.save({"columns": Payload(made), "of": {}}, tmp_path / "loss_table.pth")
    assert LossTableFile(str(tmp_path), {}).load(["losses"]) is None


@pytest.mark.parametrize("way", ["detectron2", "training", "test"])
def test_proposals(tmp_path: Path, made: Path, way: str) -> None:
    file = tmp_path / "evil.pkl"
    file.write_bytes(pickle.dumps({"ids": [1], "boxes": Payload(made)}))
    paths = write_coco(tmp_path / "data", [image_entry(1)], [object_entry(1, 1)])
    with clean_catalogs():
        register_coco_json([["own", *paths]])
        cfg = toy_cfg("MODEL.LOAD_PROPOSALS", True)
        cfg.DATASETS.TRAIN = cfg.DATASETS.TEST = ("own",)
        cfg.DATASETS.PROPOSAL_FILES_TRAIN = cfg.DATASETS.PROPOSAL_FILES_TEST = (str(file),)
        ways: dict[str, Callable[[], object]] = {
            "detectron2": lambda: get_detection_dataset_dicts(["own"], proposal_files=[str(file)]),
            "training": lambda: training_dicts(cfg),
            "test": lambda: build_test_loader(cfg, "own"),
        }
        with pytest.raises(ValueError, match=REFUSED):
            ways[way]()


def test_harmless_proposals_are_read_as_ever(tmp_path: Path) -> None:
    file = tmp_path / "proposals.pkl"
    boxes = np.array([[1.0, 2.0, 9.0, 9.0]])
    content = {"ids": [1], "boxes": [boxes], "objectness_logits": [np.array([0.5])]}
    file.write_bytes(pickle.dumps(content))
    paths = write_coco(tmp_path / "data", [image_entry(1)], [object_entry(1, 1)])
    with clean_catalogs():
        register_coco_json([["own", *paths]])
        (image,) = get_detection_dataset_dicts(["own"], proposal_files=[str(file)])
    assert np.array_equal(image["proposal_boxes"], boxes)


@pytest.mark.parametrize("kind", ["calibration", "tradeoff", "data set"])
def test_a_pickle_under_the_name_of_a_json_file(
    tmp_path: Path, made: Path, capsys: pytest.CaptureFixture, kind: str
) -> None:
    file = tmp_path / "tradeoff.json"
    file.write_bytes(pickle.dumps(Payload(made)))
    if kind == "calibration":
        with pytest.raises(ValueError, match="is not a JSON file"):
            Calibration.from_json(file)
    elif kind == "tradeoff":
        with pytest.raises(SystemExit):
            main(["report", str(tmp_path)])
    else:
        assert main(["check-data", "--json", str(file), "--images", str(tmp_path)]) == 1
        assert "is not JSON" in capsys.readouterr().out


def test_values_of_overrides_are_words(made: Path) -> None:
    value = f"__import__('os').mkdir('{made}')"
    cfg = toy_cfg("MODEL.WEIGHTS", value, "DATASETS.TEST", ())
    with pytest.raises(ValueError, match=r"os.*mkdir"):
        DefaultPredictor(cfg)
