# SPDX-License-Identifier: Apache-2.0
"""Trainings: those that are missing are run, and one makes its steps."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from dynamicdet_d2.config import read_config
from evidence import drawn, training
from evidence.setups import CONFIGS, planned
from tests.support import runs

ONE_STEP = (
    *("SOLVER.MAX_ITER", 1, "SOLVER.IMS_PER_BATCH", 1, "SOLVER.WARMUP_ITERS", 0),
    *("MODEL.COMPOSITE.STATISTICS_IMAGES", 0, "DATASETS.TEST", ()),
    *("INPUT.MIN_SIZE_TRAIN", (96,), "INPUT.MAX_SIZE_TRAIN", 128),
)


def test_one_training_ends_with_its_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drawn, "SIZES", {"train": 3, "val": 1, "test": 1})
    data = drawn.drawn_data(tmp_path / "few")
    folder = tmp_path / "short_s1"
    keys = [*data.keys(), "OUTPUT_DIR", folder, *ONE_STEP]
    options = ["--config-file", CONFIGS / "short.yaml", "--resume", *keys]
    done = runs.run("evidence/training.py", options, folder)
    assert done.status == 0, done.err
    assert (folder / "model_final.pth").is_file() and (folder / "config.yaml").is_file()


@pytest.mark.parametrize(("setup", "router"), [("short", True), ("static0", False)])
def test_keys_for_all_setups_reach_those_that_read_them(setup: str, router: bool) -> None:
    cfg = read_config(str(CONFIGS / f"{setup}.yaml"))
    cfg.SOLVER.PHASES = ["detectors", "router"]
    steps, epochs = ["SOLVER.MAX_ITER", "60"], ["SOLVER.ROUTER.EPOCHS", "5"]
    assert training.read_by(cfg, [*steps, *epochs]) == [*steps, *(epochs if router else [])]


def test_trainings_that_are_missing_are_begun_and_failures_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = []

    def fake(command: list[str], **options: object) -> SimpleNamespace:
        begun.append(command[command.index("OUTPUT_DIR") + 1])
        if "upgraded" in begun[-1]:
            weights = command[command.index("MODEL.WEIGHTS") + 1]
            assert weights == str(tmp_path / "static0_s1" / "model_final.pth")
        return SimpleNamespace(returncode=int("static0" in begun[-1]))

    monkeypatch.setattr(training.subprocess, "run", fake)
    ours = planned(tmp_path, ["upgraded", "short", "static0"], [1, 2])
    ours = [run for run in ours if run != ours[3]]
    ours[1].folder.mkdir()
    ours[1].weights.touch()
    data = SimpleNamespace(keys=list)
    with pytest.raises(ValueError, match=r"static0_s1, .*static0_s2 \(stdout.txt in them"):
        training.train_missing(ours, data, [], jobs=1)
    assert begun == [str(run.folder) for run in (*ours[2:], ours[0])]
