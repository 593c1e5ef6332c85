# SPDX-License-Identifier: Apache-2.0
"""Trainers of a program of somebody's own register and check data sets as the commands do."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import register_coco_instances
from detectron2.structures import BoxMode
from detectron2.utils import comm

from dynamicdet_d2.engine.alike import check_same_images, check_same_sets
from dynamicdet_d2.engine.distributed import said_once
from dynamicdet_d2.engine.run_data import (
    prepare_data,
    prepare_test,
)
from dynamicdet_d2.engine.static import StaticTrainer
from dynamicdet_d2.engine.trainer import DynamicTrainer
from dynamicdet_d2.utils.remarks import remarks_kept
from tests.support.coco_files import clean_catalogs, image_entry, object_entry, write_coco
from tests.support.toy import toy_cfg

SWAPPED = [{"id": 2, "name": "disc"}, {"id": 1, "name": "ring"}]
KEY = "MODEL.ROI_HEADS.NUM_CLASSES"


@pytest.fixture(autouse=True)
def catalogs() -> Iterator[None]:
    with clean_catalogs():
        yield


def config(folder: Path, **measured: object) -> CfgNode:
    """With data sets in its COCO_JSON that nobody has registered."""
    learnt = write_coco(folder / "a", [image_entry(1)], [object_entry(1, 1)])
    other = write_coco(folder / "b", [image_entry(2)], [object_entry(1, 2)], **measured)
    data = [["learnt", *learnt], ["measured", *other]]
    names = ("DATASETS.TRAIN", ("learnt",), "DATASETS.TEST", ("measured",), KEY, 2)
    return toy_cfg("DATASETS.COCO_JSON", data, "OUTPUT_DIR", str(folder), *names)


@pytest.mark.parametrize("trainer", [DynamicTrainer, StaticTrainer])
def test_a_trainer_registers_and_checks(tmp_path: Path, trainer: type) -> None:
    cfg = config(tmp_path, categories=SWAPPED)
    if trainer is StaticTrainer:
        cfg.MODEL.META_ARCHITECTURE = "GeneralizedRCNN"
        cfg.MODEL.BACKBONE.NAME = "build_resnet_fpn_backbone"
    with pytest.raises(ValueError, match="Its classes are ring, disc, but those of 'learnt' are d"):
        trainer(cfg)
    assert "measured" in DatasetCatalog


def test_detectron2_s_own_way_of_registering(tmp_path: Path) -> None:
    cfg = config(tmp_path)
    file, root = write_coco(tmp_path / "c", [image_entry(3)], [object_entry(1, 3, iscrowd=1)])
    register_coco_instances("crowds", {}, file, root)
    cfg.DATASETS.TRAIN = ("crowds",)
    with pytest.raises(ValueError, match="No image has an object to train or judge by"):
        prepare_data(cfg)
    cfg.DATASETS.CHECK = False
    prepare_data(cfg)


@pytest.mark.parametrize(("second", "said"), [("b", 1), (2, 0)])
def test_a_test_set_by_code_that_no_figures_can_be_had_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, second: object, said: int
) -> None:
    """Before the training, and not at its end."""
    images = [
        {"file_name": f"{id_}.jpg", "image_id": id_, "height": 30, "width": 40, "annotations": []}
        for id_ in (1, second)
    ]
    DatasetCatalog.register("by_code", lambda: images)
    MetadataCatalog.get("by_code").set(thing_classes=["disc", "ring"])
    cfg = config(tmp_path)
    cfg.DATASETS.TEST = ("by_code",)
    prepare_data(cfg)
    assert [r.getMessage() for r in caplog.records if "by_code" in r.getMessage()] == said * [
        "Data set 'by_code': COCO's evaluation will refuse it: Image b.jpg (id 'b') has the "
        "image_id 'b' and entry 0 has 1; all must be numbers, or all text."
    ]


@pytest.mark.parametrize(
    ("metadata", "mode", "box", "says"),
    [
        ({}, BoxMode.XYWH_ABS, [5, 6, 10, 8], "its metadata have no thing_classes, the names of "),
        (
            {"thing_dataset_id_to_contiguous_id": {1: 1, 2: 2}, "thing_classes": ["disc", "ring"]},
            *(BoxMode.XYWH_ABS, [5, 6, 10, 8], "thing_dataset_id_to_contiguous_id in its metadata"),
        ),
        (
            {"thing_classes": ["disc", "ring"]},
            *(BoxMode.XYWHA_ABS, [9, 9, 8, 6, 30], "image 1 has a box of bbox_mode XYWHA_ABS, wh"),
        ),
    ],
)
def test_what_detectron2_cannot_convert_is_said_before_the_training(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    metadata: dict,
    mode: BoxMode,
    box: list[int],
    says: str,
) -> None:
    own = {"bbox": box, "bbox_mode": mode, "category_id": 0}
    image = {"file_name": "a.jpg", "image_id": 1, "height": 30, "width": 40, "annotations": [own]}
    DatasetCatalog.register("by_code", lambda: [image])
    MetadataCatalog.get("by_code").set(**metadata)
    cfg = config(tmp_path)
    cfg.DATASETS.TEST = ("by_code",)
    prepare_data(cfg)
    assert f"Data set 'by_code': COCO's evaluation will refuse it: {says}" in caplog.text


def test_classes_in_another_order_are_said_to_a_program_that_only_tests(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As Detectron2's scripts do: ``Trainer.test(cfg, model)``. A command says it once."""
    cfg = config(tmp_path)
    DatasetCatalog.register("by_code", list)
    MetadataCatalog.get("by_code").set(thing_classes=["ring", "disc"])
    cfg.DATASETS.TEST = ("by_code",)
    with remarks_kept():
        for _ in range(2):
            prepare_test(cfg)
    assert [record.getMessage() for record in caplog.records] == [
        "The classes of 'by_code' are ring, disc, but those of 'learnt', by DATASETS.TRAIN, are "
        "disc, ring: where these were learnt, classes are mixed up."
    ]


def test_a_test_set_by_code_whose_losses_are_computed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    image = {"file_name": "a.jpg", "image_id": 1, "height": 30, "width": 40}
    DatasetCatalog.register("by_code", lambda: [image])
    MetadataCatalog.get("by_code").set(thing_classes=["disc", "ring"])
    cfg = config(tmp_path)
    cfg.DATASETS.TEST = ("by_code",)
    prepare_data(cfg)
    assert "will refuse it" not in caplog.text
    cfg.TEST.EVAL_LOSS = True
    prepare_data(cfg)
    assert "refuse it: Image a.jpg (id 1) has no 'annotations'; it must be a list" in caplog.text


def test_an_empty_test_set_by_code(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    DatasetCatalog.register("by_code", list)
    cfg = config(tmp_path)
    cfg.DATASETS.TEST = ("by_code",)
    prepare_data(cfg)
    said = "Data set 'by_code' has no image: its evaluation will be refused."
    assert said in [record.getMessage() for record in caplog.records]


def test_a_data_set_by_code_that_coco_s_figures_are_asked_of(tmp_path: Path) -> None:
    """As tutorials set it; the check is of files."""
    cfg = config(tmp_path)
    DatasetCatalog.register("by_code", list)
    MetadataCatalog.get("by_code").set(evaluator_type="coco", thing_classes=["disc", "ring"])
    cfg.DATASETS.TRAIN = ("by_code",)
    prepare_data(cfg)


@pytest.mark.parametrize(
    ("rank", "found", "says"),
    [
        (0, ["a", "a", None], True),
        (1, ["a", "a", None], False),  # rank 0 says it
        (2, ["a", "a", None], False),
        (1, [None, "b", None], True),  # a file that one machine lacks
        (1, ["a", "b", None], True),
        (0, [None, None], None),
    ],
)
def test_a_fault_is_said_by_the_first_that_finds_it(
    monkeypatch: pytest.MonkeyPatch, rank: int, found: list[str | None], says: bool | None
) -> None:
    monkeypatch.setattr(comm, "get_rank", lambda: rank)
    monkeypatch.setattr(comm, "all_gather", lambda own: [*found[:rank], own, *found[rank + 1 :]])
    ends = contextlib.nullcontext()
    if says is not None:
        ends = pytest.raises(ValueError if says else SystemExit, match=found[rank] if says else "2")
    with ends, said_once():
        if found[rank] is not None:
            raise ValueError(found[rank])


@pytest.mark.parametrize(("order", "same"), [([1, 2, 3], True), ([2, 1, 3], False)])
def test_images_in_another_order_in_another_process(
    order: list[int], same: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each takes its share by their places; folders may differ by machine."""

    def images(folder: str, ids: list[int]) -> list[dict]:
        return [{"file_name": f"/{folder}/{id_}.jpg", "image_id": id_} for id_ in ids]

    sent: list[object] = []
    monkeypatch.setattr(comm, "all_gather", lambda value: sent.append(value) or [value])
    check_same_images("DATASETS.TRAIN", ["learnt"], images("there", order))
    there = sent[0]
    monkeypatch.setattr(comm, "all_gather", lambda value: [value, value and there])
    refused = pytest.raises(ValueError, match=r"^DATASETS.TRAIN \['learnt'\]: the processes of the")
    with contextlib.nullcontext() if same else refused:
        check_same_images("DATASETS.TRAIN", ["learnt"], images("here", [1, 2, 3]))


@pytest.mark.parametrize("trainer", [DynamicTrainer, StaticTrainer])
def test_test_sets_in_other_orders_are_not_measured(
    trainer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two processes, whose registered functions give an image more or less."""
    DatasetCatalog.register("by code", lambda: [{"file_name": "/a/1.jpg", "image_id": 1}])
    gathered: list[object] = []

    def all_gather(value: object) -> list[object]:
        gathered.append(value)
        return [value, value and "another digest"]

    monkeypatch.setattr(comm, "get_world_size", lambda: 2)
    monkeypatch.setattr(comm, "all_gather", all_gather)
    says = r"^DATASETS.TEST \['by code'\]: the processes of the run have other images, or"
    with pytest.raises(ValueError, match=says):
        trainer.test(toy_cfg("DATASETS.TEST", ("by code",), "OUTPUT_DIR", str(tmp_path)), None)
    with pytest.raises(ValueError, match=says.replace("DATASETS.TEST", "SOLVER.ROUTER.VALIDATION")):
        check_same_sets("SOLVER.ROUTER.VALIDATION", ["by code"])
    told = len(gathered)
    check_same_sets("DATASETS.TEST", ["nobody's", ""])
    assert len(gathered) == told
