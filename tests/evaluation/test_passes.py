# SPDX-License-Identifier: Apache-2.0
"""The passes of an evaluation: a caller's own loader and evaluator are the ones that are used."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.evaluation import DatasetEvaluator

from dynamicdet_d2.evaluation.evaluator import TradeoffEvaluator
from dynamicdet_d2.evaluation.passes import evaluate
from tests.support.coco_files import clean_catalogs, image_entry, object_entry
from tests.support.toy import toy_cfg, toy_inputs, toy_model

NAME = "passes_test"
CATEGORIES = [{"id": i, "name": name} for i, name in enumerate(("disc", "ring", "star"))]


class Ids(DatasetEvaluator):
    """The images that it was given."""

    def reset(self) -> None:
        self.ids = []

    def process(self, inputs: list[dict], outputs: list[dict]) -> None:
        self.ids += [image["image_id"] for image in inputs]

    def evaluate(self) -> dict:
        return {"ids": self.ids}


class Loaders:
    """Two images, whatever the data set; remembers what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, str]] = []

    def __call__(self, cfg: CfgNode, dataset: str) -> list[list[dict]]:
        self.asked.append((cfg.INPUT.MIN_SIZE_TEST, dataset))
        return [[image] for image in toy_inputs(2)]


@pytest.fixture
def cfg() -> CfgNode:
    cfg = toy_cfg("INPUT.MIN_SIZE_TEST", 64, "TEST.DYNAMIC.INPUT_SIZES", [32])
    cfg.TEST.DYNAMIC.LATENCY_IMAGES = 0
    return cfg


@pytest.fixture
def _dataset(tmp_path: Path) -> Iterator[None]:
    images = [image_entry(i, width=96, height=64) for i in (1, 2)]
    content = {"images": images, "annotations": [object_entry(1, 1)], "categories": CATEGORIES}
    (tmp_path / "set.json").write_text(json.dumps(content))
    with clean_catalogs():
        MetadataCatalog.get(NAME).json_file = str(tmp_path / "set.json")
        yield


def test_any_evaluator_and_loader_will_do(cfg: CfgNode, caplog: pytest.LogCaptureFixture) -> None:
    loaders = Loaders()
    with caplog.at_level(logging.WARNING, "dynamicdet_d2"):
        assert evaluate(cfg, NAME, toy_model(), Ids(), loaders) == {"ids": [1, 2]}
    assert loaders.asked == [(64, NAME)]
    assert "INPUT_SIZES is left out: it needs a TradeoffEvaluator, not a Ids" in caplog.text


@pytest.mark.parametrize("given", ["coco", Ids])
def test_what_is_no_evaluator(cfg: CfgNode, given: Any) -> None:
    says = rf"^The evaluator of {NAME} is .*(coco|Ids).*; it must be an instance of a DatasetEvalu"
    with pytest.raises(ValueError, match=says):
        evaluate(cfg, NAME, toy_model(), given, Loaders())


@pytest.mark.usefixtures("_dataset", "undrawn")
def test_each_input_size_is_one_more_pass(cfg: CfgNode, tmp_path: Path) -> None:
    loaders = Loaders()
    evaluator = TradeoffEvaluator(NAME, cfg, output_dir=str(tmp_path))
    evaluate(cfg, NAME, toy_model(), evaluator, loaders)
    assert loaders.asked == [(32, NAME), (64, NAME)]
    assert list(evaluator.other_sizes) == [32]
    for folder in (tmp_path, tmp_path / "size_32"):
        assert (folder / "dynamic" / "tradeoff.json").is_file()
