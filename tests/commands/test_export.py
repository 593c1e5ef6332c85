# SPDX-License-Identifier: Apache-2.0
"""The command that exports: what it writes and says, and what it refuses."""

from pathlib import Path

import numpy as np
import pytest
import torch

from dynamicdet_d2.commands import main
from dynamicdet_d2.export import open_exported
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


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--sizes", "64"], "--sizes 64 is not a list of heights and widths, such as 512x672,"),
        (["--sizes", "64x90"], "--sizes has 64x90; heights and widths must be multiples of 32."),
        (["--weights", ""], "There are no weights: name a file with --weights or MODEL.WEIGHTS."),
        (["--calibration", "gone.json"], "Calibration gone.json cannot be read"),
        (["--config-file", "gone.yaml"], "--config-file gone.yaml does not exist."),
    ],
)
def test_refused(tmp_path: Path, capsys: pytest.CaptureFixture, more: list[str], says: str) -> None:
    with pytest.raises(SystemExit) as stop:
        command(tmp_path, "--output", str(tmp_path / "exported"), *more)
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("dynamicdet export: error: ") and says in said
    assert not (tmp_path / "exported").exists()
