# SPDX-License-Identifier: Apache-2.0
"""Detectron2's own evaluator on what its own loaders and a training take."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import Boxes, BoxMode, Instances

from dynamicdet_d2.data import register_coco_json
from dynamicdet_d2.engine.static import StaticTrainer
from dynamicdet_d2.evaluation.coco_evaluator import coco_evaluator
from tests.support.coco_files import clean_catalogs, image_entry, object_entry, write_coco
from tests.support.toy import toy_cfg

SQUARE = [5, 6, 15, 6, 15, 14, 5, 14]


@pytest.fixture(autouse=True)
def _catalogs() -> Iterator[None]:
    with clean_catalogs():
        yield


def register(folder: Path, *changes: dict) -> None:
    """An image, and an object in it, for each of the changes to that object."""
    objects = [object_entry(i, i, **change) for i, change in enumerate(changes, start=1)]
    images = [image_entry(item["image_id"]) for item in objects]
    register_coco_json([["own", *write_coco(folder, images, objects, draw=False)]])


def found(**fields: Any) -> dict:
    """What a detector says that finds the object's box."""
    boxes = Boxes(torch.tensor([[5.0, 6, 15, 14]]))
    classes = torch.zeros(1, dtype=torch.long)
    scores = torch.ones(1)
    instances = Instances((30, 40), pred_boxes=boxes, scores=scores, pred_classes=classes, **fields)
    return {"instances": instances}


def figures(evaluator: Any, outputs: list[dict], task: str) -> dict[str, float]:
    evaluator.reset()
    for number, output in enumerate(outputs, start=1):
        evaluator.process([{"image_id": number}], [output])
    return evaluator.evaluate()[task]


@pytest.mark.parametrize(
    ("second", "ap"),
    [
        ([[5, 6, 15, 14], SQUARE], 100),  # by its first polygon all were taken for boxes
        ([SQUARE, [5, 6]], 100),
        ([[5, 6, 15, 14]], 100 * 51 / 101),  # no pixel: one of two is found, to a recall of 0.5
        ([[5, 6]], 100 * 51 / 101),
    ],
)
def test_polygons_of_one_or_two_points_draw_nothing(
    tmp_path: Path, second: list[list[int]], ap: float
) -> None:
    register(tmp_path, {}, {"segmentation": second})
    mask = torch.zeros(1, 30, 40, dtype=torch.bool)
    mask[:, 6:14, 5:15] = True
    outputs = [found(pred_masks=mask), found(pred_masks=mask)]
    own = figures(coco_evaluator("own", str(tmp_path / "results")), outputs, "segm")
    assert own["AP"] == pytest.approx(ap)


def test_ids_may_be_numbers_of_numpys(tmp_path: Path) -> None:
    """As those of a table's columns; the results are written with them."""
    entry = {"bbox": [5, 6, 15, 14], "bbox_mode": BoxMode.XYXY_ABS, "category_id": 0}
    image = {"file_name": "1.jpg", "image_id": np.int64(1), "height": 30, "width": 40}
    DatasetCatalog.register("own", lambda: [{**image, "annotations": [entry]}])
    MetadataCatalog.get("own").thing_classes = ["disc"]
    evaluator = coco_evaluator("own", str(tmp_path))
    evaluator.reset()
    evaluator.process([image], [found()])
    assert evaluator.evaluate()["bbox"]["AP"] == pytest.approx(100)
    (result,) = json.loads((tmp_path / "coco_instances_results.json").read_text())
    assert (result["image_id"], result["bbox"]) == (1, [5, 6, 10, 8])


@pytest.mark.parametrize(("sigma", "ap"), [(0.5, 90), (0.1, 0)])
def test_keypoints_are_judged_by_the_configs_sigmas(
    tmp_path: Path, sigma: float, ap: float
) -> None:
    """Both of an object of 80 square pixels are 4 pixels off: exp(-16 / (2 sigma)^2 / 80 / 2)."""
    register(tmp_path, {"keypoints": [7, 8, 2, 9, 9, 2], "num_keypoints": 2})
    MetadataCatalog.get("own").set(keypoint_names=["a", "b"], keypoint_flip_map=[])
    points = torch.tensor([[[11.5, 8.5, 1], [13.5, 9.5, 1]]])  # of pixels' corners
    cfg = toy_cfg("TEST.KEYPOINT_OKS_SIGMAS", [sigma, sigma], "DATASETS.TEST", ("own",))
    coco = StaticTrainer.build_evaluator(cfg, "own", str(tmp_path / "results"))._evaluators[0]
    own = figures(coco, [found(pred_keypoints=points)], "keypoints")
    assert own["AP"] == pytest.approx(ap)


def register_without(tmp_path: Path, *names: str) -> None:
    """Two objects of one image, the second of which has no keypoints, without some keys."""
    objects = [object_entry(1, 1, keypoints=[7, 8, 2, 9, 9, 2], num_keypoints=2)]
    objects.append(object_entry(2, 1, bbox=[20, 20, 5, 5]))
    bare = [{k: v for k, v in entry.items() if k not in names} for entry in objects]
    register_coco_json([["own", *write_coco(tmp_path, [image_entry(1)], bare)]])
    MetadataCatalog.get("own").set(keypoint_names=["a", "b"], keypoint_flip_map=[])


@pytest.mark.parametrize("lacking", [(), ("iscrowd", "num_keypoints")])
def test_objects_of_a_set_that_nobody_checked(tmp_path: Path, lacking: tuple) -> None:
    """Keypoints of the one object that has some are found; its boxes are half of all."""
    register_without(tmp_path, *lacking)
    points = torch.tensor([[[7.5, 8.5, 1], [9.5, 9.5, 1]]])
    outputs = [found(pred_keypoints=points)]
    for kind, ap in (("keypoints", 100), ("bbox", 50.495)):
        evaluator = coco_evaluator("own", str(tmp_path / kind), [0.5, 0.5], 2)
        assert figures(evaluator, outputs, kind)["AP"] == pytest.approx(ap, abs=0.01)


def test_an_area_that_a_set_lacks_is_said_before_the_pass(tmp_path: Path) -> None:
    register_without(tmp_path, "area")
    with pytest.raises(ValueError, match="^Data set own: annotation 1 has no 'area'; a number of"):
        coco_evaluator("own", str(tmp_path))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"bbox": [1, 2, 3]}, r"has the box \[1, 2, 3\]; four numbers are needed"),
        ({"bbox": None}, "has the box None; four numbers are needed"),
        ({"iscrowd": "0"}, "has 'iscrowd' '0'; it must be 0 or 1"),
        ({"keypoints": "5"}, "has the keypoints '5'; a list"),
        ({"keypoints": [1, 2]}, r"has the keypoints \[1, 2\]; a list"),
    ],
)
def test_objects_that_nobody_could_measure(tmp_path: Path, change: dict, says: str) -> None:
    register(tmp_path, {}, change)
    with pytest.raises(ValueError, match=f"^Data set own: annotation 2 {says}"):
        coco_evaluator("own", str(tmp_path / "results"), keypoints=2)


@pytest.mark.parametrize("number", [0, 3, None])
@pytest.mark.parametrize("empty", [[], None])
def test_empty_keypoints_are_of_an_object_without_any(
    tmp_path: Path, empty: list | None, number: int | None
) -> None:
    """Of two objects one has keypoints, which are found."""
    points = {"keypoints": [7, 8, 2, 9, 9, 2], "num_keypoints": 2}
    register(tmp_path, {"keypoints": empty, "num_keypoints": number, "iscrowd": None}, points)
    outputs = [found(pred_keypoints=torch.tensor([[[7.5, 8.5, 1], [9.5, 9.5, 1]]]))] * 2
    evaluator = coco_evaluator("own", str(tmp_path / "results"), [0.5, 0.5], 2)
    MetadataCatalog.get("own").set(keypoint_names=["a", "b"], keypoint_flip_map=[])
    assert figures(evaluator, outputs, "keypoints")["AP"] == pytest.approx(100)


def test_keypoints_of_a_set_without_objects(tmp_path: Path) -> None:
    register_coco_json([["own", *write_coco(tmp_path, [image_entry(1)], [])]])
    evaluator = coco_evaluator("own", str(tmp_path / "results"), [0.5, 0.5])
    evaluator.reset()
    evaluator.process([{"image_id": 1}], [found(pred_keypoints=torch.zeros(1, 2, 3))])
    assert evaluator.evaluate().keys() == {"bbox"}


@pytest.mark.parametrize("points", [[], [7, 8, 2]])
def test_keypoints_that_nobody_measures_are_left_alone(tmp_path: Path, points: list) -> None:
    """As of a detector of boxes, on objects of several skeletons."""
    register(tmp_path, {"keypoints": points}, {"keypoints": [7, 8, 2, 9, 9, 2]})
    evaluator = coco_evaluator("own", str(tmp_path / "results"))
    assert figures(evaluator, [found(), found()], "bbox")["AP"] == pytest.approx(100)
