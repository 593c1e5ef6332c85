# SPDX-License-Identifier: Apache-2.0
"""Ground truth of data sets with and without a COCO file, and what is refused."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import register_lvis_instances
from detectron2.evaluation import COCOEvaluator
from detectron2.structures import Boxes, BoxMode, Instances
from detectron2.utils import comm

from dynamicdet_d2.data import register_coco_json
from dynamicdet_d2.evaluation.coco_evaluator import coco_evaluator
from dynamicdet_d2.evaluation.ground_truth import read_ground_truth
from tests.support.coco_files import clean_catalogs, image_entry, object_entry, write_coco

BOX = {"bbox": [4, 4, 14, 10], "bbox_mode": BoxMode.XYXY_ABS, "category_id": 1}
IMAGE = {"file_name": "a.png", "image_id": "a", "height": 30, "width": 40, "annotations": [BOX]}


@pytest.fixture(autouse=True)
def _catalogs() -> Iterator[None]:
    with clean_catalogs():
        yield


def register(name: str, images: list[dict], **metadata: object) -> None:
    DatasetCatalog.register(name, lambda: images)
    MetadataCatalog.get(name).set(**metadata)


def test_a_coco_file_is_read_as_it_is(tmp_path: Path) -> None:
    categories = [{"id": 7, "name": "disc"}, {"id": 9, "name": "ring"}]
    objects = [object_entry(5, 2, category_id=9)]
    files = write_coco(tmp_path, [image_entry(2)], objects, categories=categories, draw=False)
    register_coco_json([["own", *files]])
    truth = read_ground_truth("own")
    assert truth.coco.loadAnns(5) == objects
    assert truth.category_ids == {0: 7, 1: 9}


def test_a_data_set_without_a_file_is_converted() -> None:
    register(
        "own", [IMAGE, {**IMAGE, "image_id": "b", "annotations": []}], thing_classes=["x", "y"]
    )
    truth = read_ground_truth("own")
    assert truth.coco.getImgIds() == ["a", "b"]
    (found,) = truth.coco.loadAnns(truth.coco.getAnnIds(["a"]))
    assert (found["bbox"], found["area"], found["iscrowd"]) == ([4, 4, 10, 6], 60, 0)
    # No mapping: categories are classes as the model counts them.
    assert truth.category_ids == {0: 0, 1: 1}


@pytest.mark.parametrize("of_ours", [True, False])
@pytest.mark.parametrize("name", ["own", "our/own"])
def test_what_an_evaluator_of_detectron2s_converted_is_not_taken_for_the_data_set(
    tmp_path: Path, name: str, of_ours: bool
) -> None:
    """Neither by it, where the file is of an earlier run, nor by what reads the data set next."""
    earlier = {"images": [], "annotations": [], "categories": []}
    file = tmp_path / f"{name}_coco_format.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(earlier))
    register(name, [IMAGE], thing_classes=["x", "y"])
    if of_ours:
        assert len(coco_evaluator(name, str(tmp_path))._coco_api.anns) == 1
        assert "json_file" not in MetadataCatalog.get(name).as_dict()
    else:
        COCOEvaluator(name, output_dir=str(tmp_path), use_fast_impl=False)
    assert len(read_ground_truth(name).coco.anns) == 1
    assert len(coco_evaluator(name, str(tmp_path / "more"))._coco_api.anns) == 1


def test_each_process_has_the_annotations_that_code_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On another machine than the main one's, whose folder it need not share."""
    register("own", [IMAGE], thing_classes=["x", "y"])
    monkeypatch.setattr(comm, "get_rank", lambda: 1)
    assert len(coco_evaluator("own", str(tmp_path))._coco_api.anns) == 1


def test_an_object_without_polygons_has_the_area_of_its_box(tmp_path: Path) -> None:
    """Its size decides on APs, APm and APl; the data set's own dicts stay as they are."""
    bare = {**BOX, "segmentation": []}
    register("own", [{**IMAGE, "annotations": [bare]}], thing_classes=["x", "y"])
    for coco in (read_ground_truth("own").coco, coco_evaluator("own", str(tmp_path))._coco_api):
        (found,) = coco.dataset["annotations"]
        assert found["area"] == 60
    assert bare["segmentation"] == []


def test_keypoints_of_a_data_set_by_code_stay_where_they_are(tmp_path: Path) -> None:
    """Detectron2 moves them into COCO's pixels in place: half a pixel more in each evaluation."""
    posed = {**BOX, "keypoints": [7.5, 8.5, 2]}
    register("own", [{**IMAGE, "annotations": [posed]}], thing_classes=["x", "y"])
    for _ in range(2):
        for coco in (read_ground_truth("own").coco, coco_evaluator("own", str(tmp_path))._coco_api):
            assert coco.dataset["annotations"][0]["keypoints"] == [7, 8, 2]
    assert posed["keypoints"] == [7.5, 8.5, 2]


def test_what_no_figures_can_be_of_is_said_before_the_pass(tmp_path: Path) -> None:
    turned = {"bbox": [9, 7, 10, 6, 30], "bbox_mode": BoxMode.XYWHA_ABS, "category_id": 1}
    register("turned", [{**IMAGE, "annotations": [turned]}], thing_classes=["x", "y"])
    with pytest.raises(ValueError, match=r"^Data set turned: image 'a' has a box of .* XYWHA_ABS,"):
        read_ground_truth("turned")
    bare = object_entry(5, 1)
    del bare["area"]
    register_coco_json([["own", *write_coco(tmp_path, [image_entry(1)], [bare], draw=False)]])
    with pytest.raises(ValueError, match=r"^Data set own: annotation 5 has no 'area'; a number of"):
        read_ground_truth("own")


def test_images_that_were_not_seen_are_no_missed_objects(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As in a trade-off: of two images with an object each, one cannot be read."""
    objects = [object_entry(1, 1), object_entry(2, 2)]
    files = write_coco(tmp_path, [image_entry(1), image_entry(2)], objects, draw=False)
    register_coco_json([["own", *files]])
    found = Instances(
        (30, 40),
        pred_boxes=Boxes(torch.tensor([[5.0, 6, 15, 14]])),
        scores=torch.ones(1),
        pred_classes=torch.zeros(1, dtype=torch.long),
    )
    evaluator = coco_evaluator("own", str(tmp_path / "results"))
    for seen, says in ((1,), "1 images of own were not seen; its figures are"), ((1, 2), ""):
        evaluator.reset()
        caplog.clear()
        with caplog.at_level(logging.WARNING, "dynamicdet_d2"):
            for image_id in seen:
                evaluator.process([{"image_id": image_id}], [{"instances": found}])
            assert evaluator.evaluate()["bbox"]["AP"] == pytest.approx(100)
        assert caplog.text.count("not seen") == bool(says) and says in caplog.text


@pytest.mark.parametrize("given", [{}, {"segmentation": []}])
def test_an_object_without_a_mask_is_named_where_masks_are_measured(
    tmp_path: Path, given: dict
) -> None:
    """pycocotools stops at it, by a word that names no image."""
    register("own", [{**IMAGE, "annotations": [{**BOX, **given}]}], thing_classes=["x", "y"])
    found = Instances(
        (30, 40),
        pred_boxes=Boxes(torch.tensor([[4.0, 4, 14, 10]])),
        scores=torch.ones(1),
        pred_classes=torch.ones(1, dtype=torch.long),
    )
    evaluator = coco_evaluator("own", str(tmp_path))
    evaluator.reset()
    evaluator.process([{"image_id": "a"}], [{"instances": found}])
    assert evaluator.evaluate()["bbox"]["AP"] == pytest.approx(100)
    found.pred_masks = torch.ones(1, 30, 40, dtype=torch.bool)
    evaluator.reset()
    evaluator.process([{"image_id": "a"}], [{"instances": found}])
    with pytest.raises(ValueError, match="^Data set own: annotation 1 of image 'a' has the segm"):
        evaluator.evaluate()


def test_two_categories_that_are_one_class_are_refused(tmp_path: Path) -> None:
    """Objects of one of them would never be found."""
    mapping = {1: 0, 2: 0}
    files = write_coco(tmp_path, [image_entry(1)], [object_entry(1, 1)], draw=False)
    register("own", [], json_file=files[0], thing_dataset_id_to_contiguous_id=mapping)
    says = "^Data set own: by thing_dataset_id_to_contiguous_id categories 1 and 2 are one class, "
    with pytest.raises(ValueError, match=says):
        _ = read_ground_truth("own").category_ids
    # Without a file the annotations are by class, and nothing is lost.
    box = {**BOX, "category_id": 0}
    metadata = {"thing_classes": ["x"], "thing_dataset_id_to_contiguous_id": mapping}
    register("code", [{**IMAGE, "annotations": [box]}], **metadata)
    truth = read_ground_truth("code")
    assert truth.category_ids == {0: 2} and truth.coco.getCatIds() == [2]


def test_a_data_set_of_lvis_is_refused(tmp_path: Path) -> None:
    """Its category 1 is class 0, of which its metadata say nothing: all classes were one off."""
    files = write_coco(tmp_path, [image_entry(1)], [object_entry(1, 1)], draw=False)
    register_lvis_instances("own", {"thing_classes": ["disc", "ring"]}, *files)
    for read in (read_ground_truth, lambda name: coco_evaluator(name, str(tmp_path))):
        with pytest.raises(ValueError, match="^Data set own is one of LVIS, .* LVISEvaluator, not"):
            read("own")


def test_classes_may_be_known_only_after_loading(tmp_path: Path) -> None:
    path = tmp_path / "own.json"
    content = {"images": [], "annotations": [], "categories": [{"id": 7, "name": "disc"}]}
    path.write_text(json.dumps(content))
    MetadataCatalog.get("own").json_file = str(path)
    truth = read_ground_truth("own")
    MetadataCatalog.get("own").thing_dataset_id_to_contiguous_id = {7: 0}
    assert truth.category_ids == {0: 7}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "own.json is not JSON"),
        ("[]", "own.json holds a list"),
        ('{"images": []}', "Data set own has no 'annotations' in .*own.json"),
        (
            '{"annotations": [{"id": 1}]}',
            "Data set own is not in COCO's format: there is no 'image_id'",
        ),
    ],
)
def test_files_that_are_no_ground_truth_are_refused(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "own.json"
    path.write_text(text)
    MetadataCatalog.get("own").json_file = str(path)
    with pytest.raises(ValueError, match=says):
        read_ground_truth("own")


@pytest.mark.parametrize(
    ("image", "metadata", "says"),
    [
        ({**IMAGE, "annotations": []}, {"thing_classes": ["x"]}, "own has no 'annotations': with"),
        (IMAGE, {}, "^Data set own: its metadata have no thing_classes, the names of its classes,"),
        (
            IMAGE,
            {"thing_classes": ["x", "y"], "thing_dataset_id_to_contiguous_id": {1: 1, 2: 2}},
            "^Data set own: thing_dataset_id_to_contiguous_id in its metadata leads to no class 0; "
            "by thing_classes it must lead to each of 0 to 1.$",
        ),
        (
            {"annotations": []},
            {"thing_classes": ["x"]},
            "own'.*: Entry 0 has no 'file_name'; it mu",
        ),
        (
            {**IMAGE, "annotations": [{**BOX, "segmentation": None}]},
            {"thing_classes": ["x", "y"]},
            "own'.*: Image a.png .* has an object with the segmentation None; it must be a list of",
        ),
        (
            {**IMAGE, "annotations": [{**BOX, "bbox": torch.ones(4)}]},
            {"thing_classes": ["x", "y"]},
            "own cannot be converted to COCO's format.*too many indices",
        ),
        (
            {**IMAGE, "annotations": [{**BOX, "segmentation": [[1, 1, 5, 5]]}]},
            {"thing_classes": ["x", "y"]},
            "own cannot be converted to COCO's format.*Cannot create a polygon from 4 coor",
        ),
        (
            {**IMAGE, "annotations": [{**BOX, "segmentation": {"size": [1, 2], "counts": [2]}}]},
            {"thing_classes": ["x", "y"]},
            "own'.*: Image a.png .*with the segmentation {.*}; it must be a list of polygons, or ",
        ),
        (
            {**IMAGE, "image_id": [1]},
            {"thing_classes": ["x", "y"]},
            r"own'.*: Image a.png .* has the image_id \[1\]; it must be a whole number or text",
        ),
    ],
)
def test_data_sets_that_cannot_be_converted_are_refused(
    image: dict, metadata: dict, says: str
) -> None:
    register("own", [image], **metadata)
    with pytest.raises(ValueError, match=says):
        read_ground_truth("own")


@pytest.mark.parametrize("of_detectron2", [False, True])
def test_boxes_by_code_that_nothing_finds_are_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, of_detectron2: bool
) -> None:
    """Sides that are said to be corners, a box of another image, and one that is half outside."""
    given = ([30, 20, 10, 8], [50, 4, 60, 10], [30, 4, 50, 10], [4, 4, 14, 10], [0, 0, 41, 30])
    boxes = [{**BOX, "bbox": box} for box in given]
    register("own", [{**IMAGE, "annotations": boxes}], thing_classes=["x", "y"])
    if of_detectron2:  # for static detectors
        coco_evaluator("own", str(tmp_path))
    else:
        read_ground_truth("own")
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        "Data sets ['own']: 1 of 5 boxes have no area by their bbox_mode, and count as objects "
        "that nothing finds (the first: [30, 20, 10, 8] as XYXY_ABS of a.png).",
        "Data sets ['own']: 1 of 5 boxes lie outside of their images, and count as objects that "
        "nothing finds (the first: [50, 4, 60, 10] as XYXY_ABS of a.png).",
        "Data sets ['own']: 1 of 5 boxes reach out of their images (the first: [30, 4, 50, 10] as "
        "XYXY_ABS of a.png).",
    ]
