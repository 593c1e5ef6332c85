# SPDX-License-Identifier: Apache-2.0
"""The command that exports: what it writes and says, and what it refuses."""

import json
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
import yaml

from dynamicdet_d2.calibration.run import calibrate, calibration_config
from dynamicdet_d2.calibration.targets import HardFraction
from dynamicdet_d2.commands import main
from dynamicdet_d2.commands.export import logger
from dynamicdet_d2.export import open_exported
from tests.support.coco_files import clean_catalogs
from tests.support.exported import SIZES, own_data_set
from tests.support.optimized import decided
from tests.support.toy import toy_cfg, toy_model


def command(folder: Path, *more: str) -> int:
    """Its exit status, on a toy detector."""
    weights, config = folder / "model.pth", folder / "config.yaml"
    torch.save({"model": toy_model().state_dict()}, weights)
    config.write_text(toy_cfg().dump())
    paths = ["--config-file", str(config), "--weights", str(weights), "--format", "torch"]
    return main.run("dynamicdet export", "export", [*paths, *more])


def test_a_folder_that_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture, caplog: pytest.LogCaptureFixture
) -> None:
    output = tmp_path / "exported"
    sizes = "--output", str(output), "--sizes", "64x96"
    assert command(tmp_path, *sizes, "INPUT.MIN_SIZE_TEST", "0") == 0
    assert "is written and tried; dynamicdet_d2.export.open_exported(" in capsys.readouterr().out
    assert "No class names are known: detections will have numbers in their " in caplog.text
    detector = open_exported(output, threshold=1.0)
    assert detector([np.zeros((64, 96, 3), np.uint8)])[0].route == "easy"


INT8 = ["--precision", "int8", "--calibration-data", "own"]


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--sizes", "64"], "--sizes 64 is not a list of heights and widths, such as 512x672,"),
        (["--sizes", "64x90"], "--sizes has 64x90; heights and widths must be multiples of 32,"),
        (
            ["--sizes", "0x64"],
            "--sizes has 0x64; heights and widths must be multiples of 32, from ",
        ),
        (["--weights", ""], "--weights is empty."),
        (
            ["--calibration", "a.json", "MODEL.DYNAMIC.CALIBRATION", "b.json"],
            "--calibration and MODEL.DYNAMIC.CALIBRATION both name a file; give one.",
        ),
        (["--calibration", "gone.json"], "Calibration gone.json cannot be read"),
        (["--config-file", "gone.yaml"], "--config-file gone.yaml does not exist."),
        (["--precision", "int8"], "--precision int8 needs --calibration-data, a data set whose"),
        (["--calibration-images", "9"], "--calibration-images is for --precision int8."),
        (["--check-data", "own"], "--check-data is for --precision int8."),
        ([*INT8, "--calibration-images", "0"], "--calibration-images is 0; it must be at least 1."),
        ([*INT8, "--check-images", "-1"], "--check-images is -1; it must be at least 1."),
        ([*INT8, "DATASETS.TEST", "()"], "--check-data names no data set, and DATASETS.TEST"),
        ([*INT8, "--check-data", "gone"], "--calibration-data names 'own', which is not regist"),
    ],
)
def test_refused(tmp_path: Path, capsys: pytest.CaptureFixture, more: list[str], says: str) -> None:
    with pytest.raises(SystemExit) as stop:
        command(tmp_path, "--output", str(tmp_path / "exported"), *more)
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("dynamicdet export: error: ") and says in said
    assert not (tmp_path / "exported").exists()


@pytest.fixture
def labelled(tmp_path: Path) -> Iterator[Path]:
    """A folder with weights, and a config whose images the hard route is right in."""
    model, keys = decided(toy_model(*SIZES)), SIZES
    paths = own_data_set(model, toy_cfg(*keys), tmp_path / "data")
    names = ("DATASETS.TEST", ("own",), "DATASETS.COCO_JSON", [["own", *paths]])
    cfg = toy_cfg(*keys, *names)
    torch.save({"model": model.state_dict()}, tmp_path / "model.pth")
    (tmp_path / "config.yaml").write_text(cfg.dump())
    with clean_catalogs():
        yield tmp_path


def check_export(folder: Path, *more: str) -> int:
    files = ["--config-file", str(folder / "config.yaml"), "--weights", str(folder / "model.pth")]
    arguments = ["--folder", str(folder / "exported"), *files, *more]
    return main.run("dynamicdet check-export", "check-export", arguments)


def exported(folder: Path, *more: str) -> None:
    files = ["--config-file", str(folder / "config.yaml"), "--weights", str(folder / "model.pth")]
    arguments = [*files, "--output", str(folder / "exported"), *more]
    assert main.run("dynamicdet export", "export", arguments) == 0


def test_an_export_is_checked(labelled: Path, capsys: pytest.CaptureFixture) -> None:
    exported(labelled, "--format", "torch")
    figures = labelled / "figures.json"
    capsys.readouterr()
    assert check_export(labelled, "--images", "3", "--output", str(figures)) == 0
    said = capsys.readouterr().out
    assert said.startswith("3 images of own; difficulties differ by ")
    content = json.loads(figures.read_text())
    assert content["num_images"] == 3 and content["compared"] == ["PyTorch", "exported"]
    assert content["points"][-1]["ap"]["box"][0] > 80
    assert abs(content["largest_ap_drop"]) < 0.05
    # A goal that cannot be met is said, and is an exit status.
    assert check_export(labelled, "--images", "3", "--most-ap", "-1") == 1
    assert "exported loses" in capsys.readouterr().out


def test_another_model_is_not_checked(labelled: Path, capsys: pytest.CaptureFixture) -> None:
    exported(labelled, "--format", "torch")
    with pytest.raises(SystemExit):
        check_export(labelled, "MODEL.DYNAMIC.THRESHOLD", "0.9")
    assert "MODEL.DYNAMIC.THRESHOLD would not be read: both routes are" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        check_export(labelled, "MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0.9")
    assert "it was made with boxes score_threshold 0.05 (here 0.9)." in capsys.readouterr().err
    torch.save({"model": toy_model(seed=1).state_dict()}, labelled / "model.pth")
    with pytest.raises(SystemExit) as stop:
        check_export(labelled)
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert "was exported from other weights, or for another input" in said and "weights" in said


def test_an_image_that_is_gone_cannot_be_left_out(
    labelled: Path, capsys: pytest.CaptureFixture
) -> None:
    exported(labelled, "--format", "torch")
    next((labelled / "data" / "images").iterdir()).unlink()
    with pytest.raises(SystemExit):
        check_export(labelled)
    said = capsys.readouterr().err
    assert "does not exist." in said and "SKIP_CORRUPT_IMAGES" not in said


def test_data_of_other_classes_is_said(labelled: Path, caplog: pytest.LogCaptureFixture) -> None:
    exported(labelled, "--format", "torch")
    config = labelled / "config.yaml"
    ((_, json_file, root),) = yaml.safe_load(config.read_text())["DATASETS"]["COCO_JSON"]
    content = json.loads(Path(json_file).read_text())
    content["categories"][0]["name"] = "learnt as another"
    (labelled / "learnt.json").write_text(json.dumps(content))
    sets = [["own", json_file, root], ["learnt", str(labelled / "learnt.json"), root]]
    keys = ["DATASETS.COCO_JSON", repr(sets), "DATASETS.TRAIN", "('learnt',)"]
    with (
        caplog.at_level("WARNING", logger="dynamicdet_d2"),
        mock.patch.object(logging.getLogger("dynamicdet_d2"), "propagate", True),
    ):
        check_export(labelled, "--images", "1", *keys)
    assert "classes are mixed up" in caplog.text


@pytest.fixture
def calibrated(labelled: Path) -> str:
    """A calibration with an operating point, of half hard, for the labelled detector."""
    cfg = calibration_config(
        str(labelled / "config.yaml"),
        str(labelled / "model.pth"),
        ["TEST.DYNAMIC.LATENCY_IMAGES", "1", "TEST.DYNAMIC.LATENCY_WARMUP", "0"],
    )
    calibrate(cfg, str(labelled / "c.json"), HardFraction(0.5))
    return str(labelled / "c.json")


def test_the_share_that_was_asked_for_is_exported(labelled: Path, calibrated: str) -> None:
    """And not the calibration's own, where the keys say another one."""
    share = ("MODEL.DYNAMIC.HARD_FRACTION", "0.0")
    exported(labelled, "--format", "torch", "--calibration", calibrated, *share)
    manifest = json.loads((labelled / "exported" / "manifest.json").read_text())
    assert manifest["threshold"] == 1.0
    assert manifest["calibration"]["operating_point"]["hard_fraction"] == 0.5


def test_milliseconds_of_an_export_are_not_those_of_its_calibration(
    labelled: Path, calibrated: str, caplog: pytest.LogCaptureFixture
) -> None:
    said = "Runner.latency(MILLISECONDS, PICTURES) measures and sets those."
    export_it = ("--format", "onnx", "--sizes", "64x96", "--calibration")
    exported(labelled, *export_it, calibrated)
    assert said not in caplog.text
    shutil.rmtree(labelled / "exported")
    record = json.loads(Path(calibrated).read_text())
    record["operating_point"]["target"] = {"latency_ms": 40.0}
    (labelled / "ms.json").write_text(json.dumps(record))
    exported(labelled, *export_it, str(labelled / "ms.json"))
    assert said in caplog.text


def test_a_threshold_beside_an_operating_point_is_refused(
    labelled: Path, calibrated: str, capsys: pytest.CaptureFixture
) -> None:
    typed = ("MODEL.DYNAMIC.THRESHOLD", "0.3")
    with pytest.raises(SystemExit):
        exported(labelled, "--format", "torch", "--calibration", calibrated, *typed)
    assert "has an operating point, and MODEL.DYNAMIC.THRESHOLD is 0.3: leave one out; " in (
        capsys.readouterr().err
    )


def test_int8_says_what_it_costs(
    labelled: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnx", reason="the package onnx is not installed")
    pytest.importorskip("onnxruntime", reason="the package onnxruntime is not installed")
    warned: list[str] = []
    monkeypatch.setattr(logger, "warning", lambda text, *args: warned.append(text % args))
    images = ["--calibration-images", "9", "--check-images", "3"]
    exported(labelled, "--format", "onnx", *INT8, *images)
    assert "--calibration-data and the data set of the check are both own: int8 may" in warned[0]
    assert warned[1] == (
        "--calibration-images is 9, and own has 4 images: scales are made with these."
    )
    said = capsys.readouterr().out
    assert "3 images of own" in said and "Runner(" in said
    about = json.loads((labelled / "exported" / "manifest.json").read_text())["quantisation"]
    assert about["calibration"] == {"dataset": "own", "num_images": 4}
    assert about["check"]["compared"] == ["float32", "int8"]
    before, after = about["check"]["points"][-1]["ap"]["box"]
    assert before > 80 and after < before
