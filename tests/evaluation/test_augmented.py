# SPDX-License-Identifier: Apache-2.0
"""Test-time augmentation keeps difficulty and route, and each image its one route."""

import json
import logging
from pathlib import Path

import pytest
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetMapper, MetadataCatalog

from dynamicdet_d2.config import Use
from dynamicdet_d2.config.checking import problems
from dynamicdet_d2.data.register import register_coco_json
from dynamicdet_d2.evaluation.augmented import DynamicRCNNWithTTA
from dynamicdet_d2.evaluation.exit_records import ExitRecord, mean_losses, routed_results
from dynamicdet_d2.evaluation.passes import evaluate
from tests.evaluation.test_passes import CATEGORIES, Ids
from tests.support.coco_files import (
    clean_catalogs,
    image_entry,
    object_entry,
    write_coco,
    write_image,
)
from tests.support.optimized import MASK, decided
from tests.support.toy import dense_keys, toy_cfg, toy_inputs, toy_model

AUGMENTED = (
    *("TEST.AUG.ENABLED", True, "TEST.AUG.MIN_SIZES", (64, 80), "TEST.AUG.MAX_SIZE", 120),
    *("INPUT.MIN_SIZE_TEST", 64, "DATALOADER.NUM_WORKERS", 0),
)


@pytest.fixture
def cfg() -> CfgNode:
    return toy_cfg(*MASK, *AUGMENTED)


@torch.no_grad()
@pytest.mark.parametrize("own", [(), ("MODEL.COMPOSITE.SHARE_HEADS", False)])
def test_all_views_take_the_route_of_the_image(cfg: CfgNode, own: tuple) -> None:
    model = decided(toy_model(*MASK, *own))
    inputs = toy_inputs(4)
    model.threshold = middle = sorted(model.difficulties(inputs))[1]
    seen = []
    hook = model.backbone.connections.register_forward_hook(lambda *_: seen.append(1))
    outputs = DynamicRCNNWithTTA(cfg, model)(inputs)
    hook.remove()
    assert model.threshold == middle
    for output, plain in zip(outputs, model(inputs), strict=True):
        assert output["route"] == plain["route"]
        assert output["difficulty"] == pytest.approx(plain["difficulty"], abs=1e-5)
        assert output["instances"].pred_masks.shape[1:] == (64, 96)
    assert {x["route"] for x in outputs} == {"easy", "hard"}
    # Two hard images, whose four views (two sizes, flips) pass three stages, for boxes and masks.
    per_pass = 3 * len({x["route"] for x in outputs})
    assert seen and len(seen) % per_pass == 0


@torch.no_grad()
def test_the_route_of_a_file_is_that_of_the_image_as_inference_sees_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Not of its own pixels, of which another difficulty is."""
    cfg, model = toy_cfg(*AUGMENTED), decided(toy_model())
    write_image(tmp_path / "7.png", width=300, height=200)
    named = {"file_name": str(tmp_path / "7.png"), "image_id": 7}
    caplog.set_level(logging.INFO, "detectron2")
    output, _ = DynamicRCNNWithTTA(cfg, model)([named, named])
    assert caplog.text.count("Augmentations used in inference") == 1  # and not of each image
    seen = DatasetMapper(cfg, is_train=False)(dict(named))
    assert seen["image"].shape[1:] == (64, 96)
    assert output["difficulty"] == model.difficulties([seen])[0]
    assert output["instances"].image_size == (200, 300)
    assert set(named) == {"file_name", "image_id"}


def two_images(folder: Path) -> tuple[str, str]:
    """JSON file and image folder of two images with an object each."""
    return write_coco(
        folder,
        [image_entry(i, width=96, height=64) for i in (1, 2)],
        [object_entry(1, 1), object_entry(2, 2)],
        categories=CATEGORIES,
    )


def test_an_evaluation_adds_its_figures(tmp_path: Path) -> None:
    files = two_images(tmp_path)
    with clean_catalogs():
        entries = [["aug", *files]]
        register_coco_json(entries)
        cfg = toy_cfg(*AUGMENTED, "OUTPUT_DIR", str(tmp_path), "DATASETS.COCO_JSON", entries)
        results = evaluate(cfg, "aug", decided(toy_model()), Ids())
        assert MetadataCatalog.get("aug").thing_classes
    assert set(results) == {"ids", "bbox_TTA"}
    assert "AP" in results["bbox_TTA"]


def test_the_loader_is_the_callers_own_and_modes_are_kept(tmp_path: Path) -> None:
    files = two_images(tmp_path)
    model = decided(toy_model("MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.0))
    model.router.train()  # a part alone, as in some phases of a training
    modes = [module.training for module in model.modules()]
    with clean_catalogs():
        register_coco_json([["aug", *files]])
        cfg = toy_cfg(*AUGMENTED, "OUTPUT_DIR", str(tmp_path))
        found = evaluate(cfg, "aug", model, Ids(), lambda *_: [[toy_inputs(2)[1]]])
    assert found["ids"] == [2]
    results = tmp_path / "inference" / "augmented" / "coco_instances_results.json"
    assert {result["image_id"] for result in json.loads(results.read_text())} == {2}
    assert [module.training for module in model.modules()] == modes


def test_kinds_without_it_refuse_it() -> None:
    dense = toy_cfg(*dense_keys("RetinaNet"), "TEST.AUG.ENABLED", True, "DATASETS.TEST", ())
    assert problems(dense, Use.EVALUATE) == [
        "TEST.AUG.ENABLED is True, but MODEL.META_ARCHITECTURE is 'DynamicDenseDetector'; "
        "augmented inference is of DynamicRCNN alone: it must be False."
    ]
    keypoints = toy_cfg("MODEL.KEYPOINT_ON", True, "DATASETS.TEST", ())
    (said,) = problems(keypoints, Use.EVALUATE)
    assert said.startswith("MODEL.KEYPOINT_ON is True, but dynamic detectors are evaluated by")


# What an evaluation keeps


def entry(image_id: int, difficulty: float, losses: tuple | None = None) -> ExitRecord:
    easy, hard = (
        [{"image_id": image_id, "category_id": 0, "bbox": [0, 0, 1, 1], "score": score}]
        for score in (0.25, 0.75)
    )
    return ExitRecord(image_id, "", difficulty, (1, 1), (easy, hard), losses)


def test_results_at_an_operating_point_by_hand() -> None:
    records = [entry(1, 0.2), entry(2, 0.5), entry(3, 0.8)]
    found = routed_results(records, 0.5, {0: 7})
    assert {x["image_id"]: x["score"] for x in found} == {1: 0.25, 2: 0.25, 3: 0.75}
    assert all(x["category_id"] == 7 for x in found)
    json.dumps(found)


def test_mean_losses_by_hand() -> None:
    assert mean_losses([entry(1, 0.5)]) == {}
    pairs = [entry(1, 0.5, (1.0, 2.0)), entry(2, 0.5, (4.0, 3.0))]
    assert mean_losses(pairs) == {"L1": 2.5, "L2": 2.5, "loss_gap": 0.0}
