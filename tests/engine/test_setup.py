# SPDX-License-Identifier: Apache-2.0
"""What a run's ``config.yaml`` says, so that it can be used elsewhere."""

import logging
from argparse import Namespace
from pathlib import Path

import pytest
import torch

from dynamicdet_d2.config import read_config
from dynamicdet_d2.engine import run_log, setup
from tests.support.coco_files import clean_catalogs, image_entry, object_entry, write_coco
from tests.support.toy import toy_cfg


def test_paths_are_absolute_in_the_config_of_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_coco(tmp_path / "data", [image_entry(1)], [object_entry(1, 1)])
    (tmp_path / "start.pth").touch()
    entries = [["own", "data/set.json", "data/images"]]
    keys = ("DATASETS.COCO_JSON", entries, "DATASETS.TEST", ("own",), "DATASETS.TRAIN", ("own",))
    cfg = toy_cfg(*keys, "MODEL.WEIGHTS", "start.pth", "MODEL.ROI_HEADS.NUM_CLASSES", 2)
    cfg.MODEL.COMPOSITE.WEIGHTS2 = "detectron2://somewhere.pkl"
    (tmp_path / "toy.yaml").write_text(cfg.dump())
    monkeypatch.chdir(tmp_path)
    # Detectron2's loggers are the process's.
    monkeypatch.setattr(setup, "begin_log", lambda *_: None)
    monkeypatch.setattr(setup, "keep_memory", lambda: True)
    keys = ["OUTPUT_DIR", "run"]
    args = Namespace(config_file="toy.yaml", opts=keys, eval_only=True, resume=False)
    with clean_catalogs(), setup.setup(args) as used:
        pass
    # The run itself goes on as it was typed.
    assert (used.OUTPUT_DIR, used.MODEL.WEIGHTS) == ("run", "start.pth")
    saved = read_config(str(tmp_path / "run" / "config.yaml"))
    assert saved.OUTPUT_DIR == str(tmp_path / "run")
    assert saved.MODEL.WEIGHTS == str(tmp_path / "start.pth")
    assert saved.MODEL.COMPOSITE.WEIGHTS2 == "detectron2://somewhere.pkl"
    assert [list(entry) for entry in saved.DATASETS.COCO_JSON] == [
        ["own", str(tmp_path / "data" / "set.json"), str(tmp_path / "data" / "images")]
    ]
    saved.OUTPUT_DIR, saved.MODEL.WEIGHTS = used.OUTPUT_DIR, used.MODEL.WEIGHTS
    saved.DATASETS.COCO_JSON = used.DATASETS.COCO_JSON
    assert saved == used


@pytest.mark.parametrize(("trained", "resume"), [(True, False), (True, True), (False, False)])
def test_an_evaluation_leaves_the_config_of_a_training_as_does_who_may_not_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trained: bool, resume: bool
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    config = run / "config.yaml"
    config.write_text(toy_cfg("SEED", 5).dump())
    if trained:
        (run / "last_checkpoint").write_text("model_final.pth")
    monkeypatch.setattr(run_log, "setup_logger", lambda *_, **__: None)
    monkeypatch.setattr(setup, "keep_memory", lambda: True)
    there = config.stat()
    files = write_coco(tmp_path / "data", [image_entry(1)], [object_entry(1, 1)])
    keys = ["OUTPUT_DIR", str(run), "SEED", "6", "DATASETS.COCO_JSON", str([["own", *files]])]
    keys += ["DATASETS.TRAIN", "('own',)", "MODEL.ROI_HEADS.NUM_CLASSES", "2"]
    keys += ["DATASETS.TEST", "('own',)"]
    args = Namespace(config_file=str(config), opts=keys, eval_only=not resume, resume=resume)
    with clean_catalogs(), setup.setup(args) as used:
        assert used.SEED == 6
    assert read_config(str(config)).SEED == (5 if trained else 6)
    # The very file: nothing was written in its place, not even for a moment.
    left = config.stat()
    same = (left.st_ino, left.st_mtime_ns) == (there.st_ino, there.st_mtime_ns)
    assert same == trained


def test_a_log_begins_with_what_is_run_and_seeds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "own.yaml"
    file.write_text("SEED: 5  # mine, \u4e2d\n", encoding="utf-8")
    monkeypatch.setattr(run_log, "setup_logger", lambda *_, **__: None)
    cfg = toy_cfg("SEED", 5, "CUDNN_BENCHMARK", True)
    torch.backends.cudnn.benchmark = False
    drawn = []
    for eval_only in (True, False):
        with caplog.at_level(logging.INFO):
            run_log.begin_log(cfg, Namespace(config_file=str(file), eval_only=eval_only))
        drawn.append(torch.rand(3).tolist())
        assert torch.backends.cudnn.benchmark is not eval_only
    torch.backends.cudnn.benchmark = False
    torch.manual_seed(5)
    assert drawn == [torch.rand(3).tolist()] * 2
    assert "# mine, \u4e2d" in caplog.text
    assert f"Config of this run:\n{cfg.dump()}" in caplog.text
