# SPDX-License-Identifier: Apache-2.0
"""From a trained detector to its result file, with the shipped weights on a few drawn images."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from dynamicdet_d2.checkpoint import DynamicCheckpointer
from dynamicdet_d2.config import read_config
from dynamicdet_d2.data.loading.loaders import build_test_loader
from dynamicdet_d2.engine.trainer import DynamicTrainer
from dynamicdet_d2.evaluation.coco.sweep import CocoSweep
from dynamicdet_d2.evaluation.exit_records import coco_results
from dynamicdet_d2.evaluation.ground_truth import read_ground_truth
from dynamicdet_d2.evaluation.observe import observe
from evidence import drawn
from evidence.measure import measure
from evidence.passes import INPUTS, passes, run_config
from evidence.records import Result, read_all
from evidence.setups import Data, Run
from evidence.timing import measure_times

FEW = {"train": 9, "val": 6, "test": 5}
KEYS = ["SOLVER.ROUTER.EPOCHS", "1", "DATALOADER.NUM_WORKERS", "0"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drawn, "SIZES", FEW)
        return drawn.drawn_data(tmp_path_factory.mktemp("data") / "few")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("runs") / "quickstart_s3"
    folder.mkdir()
    (folder / "config.yaml").write_text(read_config("configs/quickstart.yaml", KEYS).dump())
    shutil.copy("configs/weights/quickstart.pth", folder / "model_final.pth")
    return Run.of(folder)


def _quick(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("evidence.routers.ROUTER_SEEDS", (1,))
    patch.setattr("evidence.routers.DRAWS", 5)
    patch.setattr("dynamicdet_d2.engine.auto.judge.DRAWS", 2)


@pytest.fixture(scope="module")
def result(run: Run, data: Data, tmp_path_factory: pytest.TempPathFactory) -> Result:
    results = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch:
        _quick(patch)
        path = measure(run, data, results, test=True)
    assert path.name == "few_quickstart_seed3.json"
    return read_all(results)[0]


def test_all_inputs_of_all_splits_are_measured(result: Result) -> None:
    assert result.origin.command == "python -m evidence measure quickstart_s3 --data few --test"
    assert {name: split.images for name, split in result.dynamic.items()} == {"val": 6, "test": 5}
    for split in result.dynamic.values():
        assert list(split.cost) == ["+".join(inputs) for inputs in INPUTS]
        hard = {name: route.hard for name, route in split.cost.items()}
        assert hard["features"] < hard["map"] < hard["rpn"] < hard["detections"]
        assert hard["rpn+detections"] == hard["detections"]


def test_ends_are_those_of_coco(run: Run, data: Data, result: Result) -> None:
    """Boxes in pixels of the network's input, and of the file: AP is the same."""
    cfg = run_config(run, data, "test")
    model = DynamicTrainer.build_model(cfg).eval()
    DynamicCheckpointer(model).load(run.weights)
    name = data.split("test")
    records = observe(model, build_test_loader(cfg, name), 0, detections=True).records
    truth = read_ground_truth(name)
    exits = coco_results(records, truth.category_ids)
    sweep = CocoSweep(truth.coco, exits, "bbox", [record.image_id for record in records])
    everything = np.ones(len(records), dtype=bool)
    found = result.dynamic["test"]
    ends = [sweep.evaluate(hard).ap for hard in (~everything, everything)]
    assert [found.easy_ap, found.hard_ap] == pytest.approx(ends, abs=1e-3)
    assert min(ends) > 50


def test_tables_are_measured_once(
    run: Run, data: Data, result: Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*args: object) -> None:
        raise AssertionError("a second pass")

    monkeypatch.setattr("evidence.passes.teach_map", never)
    monkeypatch.setattr("dynamicdet_d2.engine.loss_table.obtain.measure_losses", never)
    tables = passes(run, data, ["train", "val"]).tables
    assert {split: len(table) for split, table in tables.items()} == {"train": 9, "val": 6}


def test_routes_of_all_inputs_are_timed(run: Run, data: Data) -> None:
    found = measure_times([run], data, rounds=1)
    assert found.origin.command == "python -m evidence times quickstart_s3 --data few"
    assert list(found.setups["quickstart"]) == ["+".join(inputs) for inputs in INPUTS]
    assert all(0 < x.easy and 0 < x.hard for x in found.setups["quickstart"].values())


def test_a_training_that_has_not_ended_is_named(data: Data, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="short_s1/config.yaml is not there"):
        measure(Run.of(tmp_path / "short_s1"), data, tmp_path, test=False)
