# SPDX-License-Identifier: Apache-2.0
"""The upgrade's benchmark: its configs are the shipped ones, and its table says what it read."""

import json
from pathlib import Path

import pytest

from benchmarks import upgrade
from dynamicdet_d2.config import Use, check, read_config
from dynamicdet_d2.engine.upgrade import dynamic_keys
from dynamicdet_d2.evaluation.tradeoff.points import Task


def test_the_three_detectors_configs(tmp_path: Path) -> None:
    keys = {**upgrade.STOCK, "DATASETS.TRAIN": ["shapes_demo"], "OUTPUT_DIR": str(tmp_path)}
    stock = read_config(str(upgrade.write_config(tmp_path / "stock.yaml", keys)), [])
    assert (stock.MODEL.META_ARCHITECTURE, stock.MODEL.WEIGHTS) == (
        "GeneralizedRCNN",
        "efficientnet-lite0",
    )
    joint_keys = {**keys, **dynamic_keys(stock), **upgrade.JOINT}
    joint = read_config(str(upgrade.write_config(tmp_path / "joint.yaml", joint_keys)), [])
    check(joint, Use.TRAIN)
    assert list(joint.SOLVER.PHASES) == ["detectors", "router"]
    for cfg in (stock, joint):
        assert list(cfg.DATASETS.TRAIN) == ["shapes_demo"]
        assert not cfg.MODEL.INFERENCE.OPTIMIZE
        assert cfg.INPUT.MIN_SIZE_TEST == 192
    assert joint.SOLVER.BASE_LR == stock.SOLVER.BASE_LR


def point(fraction: float, ap: float) -> dict:
    """Masks are 10 AP below boxes."""
    boxes = {"box": {"AP": ap}, "random_AP": ap - 1, "oracle_AP": ap + 1}
    masks = {"mask": {"AP": ap - 10}, "mask_random_AP": ap - 11, "mask_oracle_AP": ap - 9}
    return {"hard_fraction": fraction, **boxes, **masks}


@pytest.mark.parametrize(("task", "below"), [("box", 0), ("mask", 10)])
def test_what_is_read_and_the_table(task: Task, below: int, tmp_path: Path) -> None:
    lines = [{"loss": 1}, {"bbox/AP": 40.0, "segm/AP": 30.0}, {"bbox/AP": 41.0, "segm/AP": 31.0}]
    (tmp_path / "metrics.json").write_text("\n".join(map(json.dumps, [*lines, {"loss": 2}])))
    assert upgrade.stock_ap(tmp_path, task) == 41 - below
    (folder := tmp_path / "inference" / "dynamic").mkdir(parents=True)
    points = [point(0.0, 41.0), point(0.1, 42.0), point(0.5, 44.0), point(1.0, 45.0)]
    (folder / "tradeoff.json").write_text(json.dumps({"points": points}))
    found = upgrade.dynamic_figures(tmp_path, task, 7.0)
    content = {"stock": {"AP": 41.0 - below, "minutes": 3.0}, "upgraded": found, "joint": found}
    rows = upgrade.table({"steps": 300, "task": task, **content}).splitlines()
    assert f"{task} AP, 300 steps each" in rows[0]
    shown = " | ".join(f"{ap - below:.2f}" for ap in (41, 45, 44, 43, 45))
    assert rows[2:] == [
        f"| stock detector | {41 - below:.2f} |  |  |  |  | 3.0 |",
        f"| upgraded | {shown} | 7.0 |",
        f"| trained jointly | {shown} | 7.0 |",
    ]


def test_a_command_that_fails_ends_it() -> None:
    with pytest.raises(upgrade.subprocess.CalledProcessError):
        upgrade.timed("-c", "raise SystemExit(3)")
