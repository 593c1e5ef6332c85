# SPDX-License-Identifier: Apache-2.0
"""The command that exports: what it writes and says, and what it refuses."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from dynamicdet_d2.commands import main
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


def test_a_folder_that_runs(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    output = tmp_path / "exported"
    sizes = "--output", str(output), "--sizes", "64x96"
    assert command(tmp_path, *sizes, "INPUT.MIN_SIZE_TEST", "0") == 0
    assert "is written and tried; dynamicdet_d2.export.open_exported(" in capsys.readouterr().out
    detector = open_exported(output, threshold=1.0)
    assert detector([np.zeros((64, 96, 3), np.uint8)])[0].route == "easy"


INT8 = ["--precision", "int8", "--calibration-data", "own"]


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--sizes", "64"], "--sizes 64 is not a list of heights and widths, such as 512x672,"),
        (["--sizes", "64x90"], "--sizes has 64x90; heights and widths must be multiples of 32."),
        (["--weights", ""], "--weights is empty."),
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
    assert said.startswith("3 images of own; * the export's own threshold\n")
    content = json.loads(figures.read_text())
    assert content["num_images"] == 3 and content["compared"] == ["PyTorch", "exported"]
    assert content["points"][-1]["ap"]["box"][0] > 80
    assert abs(content["largest_ap_drop"]) < 0.05
    # A goal that cannot be met is said, and is an exit status.
    assert check_export(labelled, "--images", "3", "--most-ap", "-1") == 1
    assert "exported loses" in capsys.readouterr().out


def test_another_model_is_not_checked(labelled: Path, capsys: pytest.CaptureFixture) -> None:
    exported(labelled, "--format", "torch")
    torch.save({"model": toy_model(seed=1).state_dict()}, labelled / "model.pth")
    with pytest.raises(SystemExit) as stop:
        check_export(labelled)
    assert stop.value.code == 2
    assert "was exported from other weights, or for another input" in capsys.readouterr().err


def test_int8_says_what_it_costs(labelled: Path, capsys: pytest.CaptureFixture) -> None:
    pytest.importorskip("onnx", reason="the package onnx is not installed")
    pytest.importorskip("onnxruntime", reason="the package onnxruntime is not installed")
    exported(labelled, "--format", "onnx", *INT8, "--check-images", "3")
    said = capsys.readouterr().out
    assert "3 images of own" in said and "Runner(" in said
    about = json.loads((labelled / "exported" / "manifest.json").read_text())["quantisation"]
    assert about["calibration"] == {"dataset": "own", "num_images": 4}
    assert about["check"]["compared"] == ["float32", "int8"]
    before, after = about["check"]["points"][-1]["ap"]["box"]
    assert before > 80 and after < before
