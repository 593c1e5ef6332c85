# SPDX-License-Identifier: Apache-2.0
"""Data sets in COCO's format that are wrong, each with what its sentence names."""

import json
import os
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from detectron2.data import DatasetCatalog, DatasetMapper
from detectron2.data.transforms import ResizeShortestEdge
from detectron2.structures import BoxMode
from PIL import Image

from dynamicdet_d2.calibration.run import ground_truth
from dynamicdet_d2.data.check.run import check_dataset, check_datasets
from dynamicdet_d2.data.image_files import decoding_fault
from dynamicdet_d2.data.loading.corrupt import CorruptImageError, NamedErrors
from dynamicdet_d2.data.loading.images import images_of, training_dicts
from dynamicdet_d2.data.register import register_coco_json
from dynamicdet_d2.evaluation.ground_truth import read_ground_truth
from tests.support.coco_files import (
    CATEGORIES,
    clean_catalogs,
    image_entry,
    object_entry,
    toy_cfg,
    write_coco,
)
from tests.support.toy import toy_cfg as small_cfg

NAN, INF = float("nan"), float("inf")
HUGE = 10**400
HALF = "\ud800"  # of a character


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two images that are as they should be, with their json."""
    folder = tmp_path_factory.mktemp("data")
    write_coco(folder, [image_entry(1), image_entry(2)], [object_entry(1, 1)])
    return folder


def findings(folder: Path, text: str, **options: Any) -> str:
    """What is said of a json, errors first."""
    file = folder / "changed.json"
    file.write_text(text, encoding="utf-8", errors="surrogatepass")
    report = check_dataset("own", str(file), str(folder / "images"), 2, **options)
    text = report.text()
    text.encode()  # as it is written to the terminal
    return text


# Whole files

FILES = {
    "empty": ("", "is not JSON"),
    "a word": ("hello", "is not JSON"),
    "a mark of its encoding": (
        "\ufeff{}",
        "is not JSON: it begins with a mark of its encoding (BOM)",
    ),
    "cut short": ('{"images": [{"id": 1', "is not JSON"),
    "byte 0": ("\0", "is not JSON"),
    "half a character": (HALF, "is not JSON: it is no text in UTF-8."),
    "a list": ("[]", "holds a list"),
    "a number": ("3", "holds a int"),
    "null": ("null", "holds a NoneType"),
    "an empty object": ("{}", "has no list of 'categories'"),
    "deep lists": ("[" * 100_000 + "]" * 100_000, "is nested too deeply"),
    "deep objects": ('{"categories":' * 50_000 + "1" + "}" * 50_000, "is nested too deeply"),
    "thousands of digits": ('{"categories": [{"id": ' + "9" * 5000 + "}]}", "is not JSON"),
    "lists of predictions": ('[{"image_id": 1, "bbox": [1, 2, 3, 4]}]', "holds a list"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file(folder: Path, name: str) -> None:
    text, says = FILES[name]
    said = findings(folder, text)
    assert "changed.json" in said and says in said and "error(s)" in said
    with clean_catalogs(), pytest.raises(ValueError, match=r"changed\.json"):
        register_coco_json([["own", str(folder / "changed.json"), str(folder / "images")]])


def test_files_that_are_no_files(folder: Path) -> None:
    os.mkfifo(folder / "pipe.json")
    for path, says in {
        "pipe.json": "is a pipe or a device; it must be a file.",
        "gone.json": "cannot be read: No such file",
        "images": "cannot be read: Is a directory",
    }.items():
        assert says in check_dataset("own", str(folder / path), str(folder / "images")).text()
    assert "is a pipe or a device" in check_dataset("own", "/dev/zero", str(folder)).text()


# Parts of a file

Change = dict[str, Any]
ONE, TWO = image_entry(1), image_entry(2)
PARTS: dict[str, tuple[Change, str]] = {
    "categories null": ({"categories": None}, "has no list of 'categories'"),
    "categories an object": ({"categories": {"1": "a"}}, "has no list of 'categories'"),
    "categories of words": ({"categories": ["a", "b"]}, "the category 'a' needs an integer 'id'"),
    "category id text": ({"categories": [{"id": "1", "name": "a"}]}, "needs an integer 'id'"),
    "category id true": ({"categories": [{"id": True, "name": "a"}]}, "needs an integer 'id'"),
    "category id huge": ({"categories": [{"id": HUGE, "name": "a"}]}, "needs an integer 'id'"),
    "category name null": ({"categories": [{"id": 1, "name": None}]}, "and a 'name'"),
    "category name empty": ({"categories": [{"id": 1, "name": ""}]}, "and a 'name'"),
    "category name half": ({"categories": [{"id": 1, "name": HALF}]}, "and a 'name'"),
    "category name endless": ({"categories": [{"id": 1, "name": "a" * 10**6}]}, "and a 'name'"),
    "category name of two lines": (
        {"categories": [{"id": 1, "name": "a\nb"}]},
        "of 1 to 200 characters in one line.",
    ),
    "categories empty": ({"categories": []}, "has no list of 'categories', or it is empty."),
    "category twice": ({"categories": [*CATEGORIES, CATEGORIES[0]]}, "category id 1 stands for"),
    "a category more": ({"categories": [*CATEGORIES, {"id": 3, "name": "x"}]}, "NUM_CLASSES is 2"),
    "images null": ({"images": None}, "no list of 'images'"),
    "images empty": ({"images": []}, "no list of 'images', or it is empty"),
    "images an object": ({"images": {"1": "a.jpg"}}, "no list of 'images'"),
    "image null": ({"images": [None, TWO]}, "The image None needs an 'id'"),
    "image id a list": ({"images": [{**ONE, "id": [1]}, TWO]}, "needs an 'id'"),
    "image id true": ({"images": [{**ONE, "id": True}, TWO]}, "needs an 'id'"),
    "image id a fraction": ({"images": [{**ONE, "id": 1.5}, TWO]}, "needs an 'id'"),
    "image id huge": ({"images": [{**ONE, "id": HUGE}, TWO]}, "needs an 'id'"),
    "image ids mixed": ({"images": [{**ONE, "id": "one"}, TWO]}, "Some image ids are integers"),
    "image id twice": ({"images": [ONE, {**TWO, "id": 1}]}, "image id 1 is used more than once"),
    "file name null": ({"images": [{**ONE, "file_name": None}, TWO]}, "and a 'file_name'"),
    "file name empty": ({"images": [{**ONE, "file_name": ""}, TWO]}, "and a 'file_name'"),
    "file name with 0": ({"images": [{**ONE, "file_name": "a\0"}, TWO]}, "and a 'file_name'"),
    "file name half": ({"images": [{**ONE, "file_name": HALF}, TWO]}, "and a 'file_name'"),
    "file missing": ({"images": [{**ONE, "file_name": "x.jpg"}, TWO]}, "x.jpg does not exist"),
    "file name too long": ({"images": [{**ONE, "file_name": "x" * 999}, TWO]}, "that a file can"),
    "width missing": ({"images": [{"id": 1, "file_name": "001.jpg"}, TWO]}, "has width None"),
    "width text": ({"images": [{**ONE, "width": "40"}, TWO]}, "has width '40'"),
    "width 0": ({"images": [{**ONE, "width": 0}, TWO]}, "has width 0"),
    "width negative": ({"images": [{**ONE, "width": -40}, TWO]}, "has width -40"),
    "width NaN": ({"images": [{**ONE, "width": NAN}, TWO]}, "has width nan"),
    "width infinite": ({"images": [{**ONE, "width": INF}, TWO]}, "has width inf"),
    "width huge": ({"images": [{**ONE, "width": HUGE}, TWO]}, "whole numbers of pixels"),
    "width a billion": ({"images": [{**ONE, "width": 10**9}, TWO]}, "1000000 at most"),
    "height a fraction": ({"images": [{**ONE, "height": 30.5}, TWO]}, "height 30.5"),
    "sides exchanged": ({"images": [image_entry(1, 30, 40), TWO]}, "the json says 30x40"),
    "annotations an object": ({"annotations": {}}, "no list of 'annotations'"),
    "annotations null": ({"annotations": None}, "no list of 'annotations'"),
    "annotations empty": ({"annotations": []}, "No image has an object to train or judge by."),
    "annotation null": ({"annotations": [None]}, "The annotation None has no integer 'id'"),
    "annotation a list": ({"annotations": [[1, 2]]}, "The annotation [1, 2] has no integer 'id'"),
}


@pytest.mark.parametrize("name", PARTS)
def test_a_part(folder: Path, name: str) -> None:
    change, says = PARTS[name]
    content = {"images": [ONE, TWO], "annotations": [object_entry(1, 1)], "categories": CATEGORIES}
    said = findings(folder, json.dumps({**content, **change}))
    assert says in said and "error(s)" in said and len(said) < 3000


@pytest.mark.parametrize("annotations", [{"1": object_entry(1, 1)}, None])
def test_annotations_that_are_no_list_are_not_measured(folder: Path, annotations: object) -> None:
    content = {"images": [ONE, TWO], "annotations": annotations, "categories": CATEGORIES}
    said = findings(folder, json.dumps(content), training=False, testing=True)
    assert "error(s)" in said and "There is no list of 'annotations' to learn or measure." in said


# One annotation

ANNOTATIONS: dict[str, tuple[Change, str]] = {
    "id missing": ({"id": None}, "has no integer 'id'"),
    "id text": ({"id": "1"}, "has no integer 'id'"),
    "id huge": ({"id": HUGE}, "has no integer 'id'"),
    "image unknown": ({"image_id": 99}, "has the image_id 99"),
    "image id text": ({"image_id": "1"}, "has the image_id '1'"),
    "image id as text": ({"image_id": "1"}, "'1', which the json does not define: it has 1, for"),
    "image id NaN": ({"image_id": NAN}, "has the image_id nan"),
    "image id an object": ({"image_id": {}}, "has the image_id {}"),
    "category unknown": ({"category_id": 9}, "has the category_id 9"),
    "category null": ({"category_id": None}, "has the category_id None"),
    "box missing": ({"bbox": None}, "has the bbox None"),
    "box empty": ({"bbox": []}, "has the bbox []"),
    "box of three": ({"bbox": [1, 2, 3]}, "has the bbox [1, 2, 3]"),
    "box of words": ({"bbox": ["a", "b", "c", "d"]}, "four numbers [x, y, width, height]"),
    "box an object": ({"bbox": {"x": 1}}, "four numbers"),
    "box nested": ({"bbox": [[1], [2], [3], [4]]}, "four numbers"),
    "box NaN": ({"bbox": [NAN, 1, 2, 3]}, "four numbers"),
    "box infinite": ({"bbox": [1, 1, INF, 3]}, "four numbers"),
    "box beyond float": ({"bbox": [1, 1, HUGE, 3]}, "four numbers"),
    "box without width": ({"bbox": [5, 6, 0, 8]}, "no area"),
    "box of a width that is rounding": ({"bbox": [5, 6, 1e-6, 8]}, "no area"),
    "box negative": ({"bbox": [5, 6, -3, 8]}, "no area"),
    "box far away": ({"bbox": [1e9, 6, 10, 8]}, "most of it outside the image"),
    "box of hundreds of digits": ({"bbox": [0, 0, 10**300, 10**300]}, "most of it outside the"),
    "box immense": ({"bbox": [0, 0, 1e9, 1e9]}, "most of it outside the image"),
    "fractions": ({"bbox": [0.1, 0.1, 0.5, 0.5]}, "look like fractions"),
    "area NaN": ({"area": NAN}, "has the area nan"),
    "area infinite": ({"area": INF}, "has the area inf"),
    "area negative": ({"area": -5}, "has the area -5"),
    "area text": ({"area": "80"}, "has the area '80'"),
    "area null": ({"area": None}, "has the area None"),
    "area beyond float": ({"area": HUGE}, "has the area 1000"),
    "crowd of words": ({"iscrowd": "no"}, "has 'iscrowd' 'no'; it must be 0 or 1."),
    "crowd of two": ({"iscrowd": 2}, "has 'iscrowd' 2; it must be 0 or 1."),
    "keypoints of words": ({"keypoints": "abc"}, "has the keypoints 'abc'; a list [x1,"),
    "keypoints null": ({"keypoints": None}, "has the keypoints None"),
    "keypoints NaN": ({"keypoints": [1, NAN, 2]}, "has the keypoints [1, nan, 2]"),
    "keypoints cut short": ({"keypoints": [1, 2, 2, 3]}, "has the keypoints [1, 2, 2, 3]"),
    "ignored": ({"ignore": 1}, "has 'ignore' set"),
    "polygon flat": ({"segmentation": [5, 6, 15, 6, 15, 14]}, "a list of polygons"),
    "polygon of words": ({"segmentation": [["a", "b"]]}, "a list of polygons"),
    "polygon NaN": ({"segmentation": [[5, 6, NAN, 6, 15, 14]]}, "a list of polygons"),
    "polygon beyond float": ({"segmentation": [[5, 6, HUGE, 6, 15, 14]]}, "a list of polygons"),
    "polygon far away": ({"segmentation": [[5, 6, 1e9, 6, 15, 14]]}, "the coordinate 1000000000.0"),
    "polygon far before": ({"segmentation": [[5, 6, 15, -1e9, 15, 14]]}, "the coordinate -1000"),
    "polygon of half a point": (
        {"segmentation": [[5, 6, 15, 6, 15, 14], [5, 6, 15, 6, 15, 14, 5]]},
        "Annotation 1 of image 1 has a polygon of 7 numbers, two a point; Detectron2 leaves it out",
    ),
    "polygon of two points": ({"segmentation": [[5, 6, 15, 6]]}, "no polygon of three points"),
    "crowd without a mask": (
        {"iscrowd": 1, "segmentation": []},
        "Annotation 1 of image 1 has no segmentation, but MODEL.MASK_ON is True.",
    ),
    "a word": ({"segmentation": "abc"}, "a list of polygons"),
    "runs of another size": (
        {"segmentation": {"size": [40, 30], "counts": [1200]}},
        "'size': [40, 30]}; run lengths that cover size [30, 40] are needed.",
    ),
    "runs too short": ({"segmentation": {"size": [30, 40], "counts": [5]}}, "run lengths that"),
    "runs negative": ({"segmentation": {"size": [30, 40], "counts": [-5, 1205]}}, "run lengths"),
    "runs of words": ({"segmentation": {"size": [30, 40], "counts": ["a"]}}, "run lengths that"),
    "runs missing": ({"segmentation": {"size": [30, 40]}}, "run lengths that"),
    "runs empty": ({"segmentation": {"size": [30, 40], "counts": ""}}, "run lengths that"),
    "runs of nonsense": ({"segmentation": {"size": [30, 40], "counts": "é!"}}, "run lengths that"),
    "runs cut short": ({"segmentation": {"size": [30, 40], "counts": "oP"}}, "run lengths that"),
    "runs of no pixel": (
        {"segmentation": {"size": [30, 40], "counts": [1200]}},
        "Annotation 1 of image 1 has run lengths without a pixel of the object;",
    ),
    "runs endless": ({"segmentation": {"size": [30, 40], "counts": "o" * 999}}, "run lengths"),
}


@pytest.mark.parametrize("name", ANNOTATIONS)
def test_an_annotation(folder: Path, name: str) -> None:
    change, says = ANNOTATIONS[name]
    annotations = [{**object_entry(1, 1), **change}]
    content = {"images": [ONE, TWO], "annotations": annotations, "categories": CATEGORIES}
    said = findings(folder, json.dumps(content), testing=True, mask_format="bitmask")
    assert says in said and "error(s)" in said and len(said) < 2000


@pytest.mark.parametrize("name", [f"../images/{ONE['file_name']}", "absolute"])
def test_files_outside_of_the_folder_are_remarked_on(folder: Path, name: str) -> None:
    name = str(folder / "images" / "001.jpg") if name == "absolute" else name
    content = {
        "images": [{**ONE, "file_name": name}],
        "annotations": [object_entry(1, 1)],
        "categories": CATEGORIES,
    }
    said = findings(folder, json.dumps(content))
    lies_outside = name.startswith("..")  # a whole path may be one of the folder's own files
    assert ("warning: 1 file(s) lie outside of " in said and name in said) == lies_outside


def test_objects_that_are_listed_twice_are_remarked_on(folder: Path) -> None:
    annotations = [object_entry(1, 1), object_entry(2, 1), object_entry(3, 2)]
    content = {"images": [ONE, TWO], "annotations": annotations, "categories": CATEGORIES}
    said = findings(folder, json.dumps(content))
    assert "warning: 1 of 3 objects have the class and the box of another one" in said


@pytest.mark.parametrize(
    ("boxes", "says"),
    [
        ([[5, 6, 15, 14], [0, 0, 10, 8]], True),
        ([[5, 6, 15, 14], [5, 6, 10, 8]], False),
        ([[0, 0, 10, 8], [0, 0, 8, 10]], False),
    ],
)
@pytest.mark.parametrize("testing", [True, False])
def test_areas_that_boxes_have_as_corners_are_remarked_on(
    folder: Path, boxes: list[list[int]], says: bool, testing: bool
) -> None:
    annotations = [object_entry(i, i, bbox=box, area=80) for i, box in enumerate(boxes, start=1)]
    content = {"images": [ONE, TWO], "annotations": annotations, "categories": CATEGORIES}
    said = findings(folder, json.dumps(content), testing=testing)
    sentence = "All 2 objects have the area of boxes [x1, y1, x2, y2] and not of [x, y, width,"
    assert (sentence in said) == says


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["Disc", "disc"], "The classes ['Disc', 'disc'] differ in capitals and spaces alone"),
        (["disc", "disc "], "The classes ['disc', 'disc '] differ in capitals"),
        (["traffic light", "trafficlight"], "The classes ['traffic light', 'trafficlight'] diff"),
        (["disc", "disc"], "Several categories have the same name: disc."),
        (["disc", "discs"], ""),
    ],
)
def test_classes_that_are_likely_one_are_remarked_on(
    folder: Path, names: list[str], says: str
) -> None:
    categories = [{"id": id_, "name": name} for id_, name in enumerate(names, start=1)]
    annotations = [object_entry(1, 1), object_entry(2, 2, category_id=2)]
    content = {"images": [ONE, TWO], "annotations": annotations, "categories": categories}
    said = findings(folder, json.dumps(content))
    assert said.count("warning") == bool(says) and says in said


def test_some_fractions_are_remarked_on(folder: Path) -> None:
    annotations = [object_entry(1, 1, bbox=[0.1, 0.1, 0.5, 0.5]), object_entry(2, 2)]
    content = {"images": [ONE, TWO], "annotations": annotations, "categories": CATEGORIES}
    said = findings(folder, json.dumps(content))
    assert "warning: 1 of 2 boxes lie within their image's first pixel: are they fra" in said


@pytest.mark.parametrize("again", [True, False])
def test_images_that_are_learnt_and_measured_are_remarked_on(tmp_path: Path, again: bool) -> None:
    """As where a line of the config was copied, or a folder is known by two names."""
    json_file, root = write_coco(tmp_path, [ONE, TWO], [object_entry(1, 1)])
    content = json.loads(Path(json_file).read_text())
    other = tmp_path / "other.json"
    other.write_text(json.dumps({**content, "images": [ONE]}))
    link = tmp_path / "link"
    link.symlink_to(root)
    cfg = toy_cfg(("own",))
    cfg.DATASETS.TEST = ("own",) if again else ("more",)
    with clean_catalogs():
        register_coco_json([["own", json_file, root], ["more", str(other), str(link)]])
        reports = check_datasets(cfg, "MODEL.ROI_HEADS.NUM_CLASSES")
    says = "2 of its 2 images" if again else "1 of its 1 images"
    assert f"{says} are in DATASETS.TRAIN as well, so that" in reports[-1].text()


AREAS = ({"area": area} for area in (0, 0.01, 1e6))
MASKS = [
    {"segmentation": [polygon]}
    for polygon in ([25, 16, 35, 16, 35, 24, 25, 24], [0.1, 0.2, 0.3, 0.2, 0.3, 0.4])
] + [{"segmentation": {"size": [30, 40], "counts": [610, 3, 587]}}]  # pixels of column 20


@pytest.mark.parametrize(
    ("change", "says"),
    [
        *((change, "have an area that no object in their box has, and AP") for change in AREAS),
        *((change, "have a mask elsewhere than their box, and one of both") for change in MASKS),
    ],
)
def test_parts_that_contradict_each_other_are_remarked_on(
    folder: Path, change: Change, says: str
) -> None:
    annotations = [object_entry(1, 1), object_entry(2, 2, **change)]
    content = {"images": [ONE, TWO], "annotations": annotations, "categories": CATEGORIES}
    said = findings(folder, json.dumps(content), testing=True, mask_format="polygon")
    assert f"warning: 1 of 2 objects {says}" in said and "annotation 2 has" in said
    boxes = findings(folder, json.dumps(content), testing=True)  # of boxes alone
    assert f"warning: 1 of 2 objects {says}" in boxes
    content["annotations"] = annotations[:1]
    said = findings(folder, json.dumps(content), testing=True, mask_format="polygon")
    assert "elsewhere" not in said and "an area" not in said


@pytest.mark.parametrize(
    ("boxes", "mode", "says"),
    [
        ([[5, 6, 10, 8], [30, 20, 10, 8]], BoxMode.XYXY_ABS, "1 of 2 boxes have no area by their"),
        ([[5, 6, 10, 8], [9, 6, 9 + 1e-6, 8]], BoxMode.XYXY_ABS, "1 of 2 boxes have no area by th"),
        ([[5, 6, 10, 0]], BoxMode.XYWH_ABS, "(the first: [5, 6, 10, 0] as XYWH_ABS of a.jpg)"),
        ([[0.1, 0.2, 0.3, 0.4]], BoxMode.XYXY_ABS, "(the first: [0.1, 0.2, 0.3, 0.4] as XYXY_ABS"),
        ([[0.1, 0.2, 0.3, 0.4]], BoxMode.XYWH_ABS, "no box is larger than 1"),
        ([[5, 6, 10, 8]], BoxMode.XYXY_ABS, ""),
        ([np.array([5.0, 6, 15, 14])], BoxMode.XYXY_ABS, ""),
        ([[5, 6, 10, 8, 30]], BoxMode.XYWHA_ABS, ""),
        (
            [[50, 60, 10, 8], [39, 5, 9, 9]],
            BoxMode.XYWH_ABS,
            "1 of 2 boxes lie outside of their im",
        ),
        ([[-9, 6, 0, 8]], BoxMode.XYXY_ABS, "(the first: [-9, 6, 0, 8] as XYXY_ABS of a.jpg)"),
        ([[39, 29, 40.5, 30.9]], BoxMode.XYXY_ABS, ""),
        ([[25, 20, 35, 28]], BoxMode.XYWH_ABS, "1 of 1 boxes reach out of their images (the first"),
    ],
)
def test_boxes_of_another_mode_by_code_are_remarked_on(
    caplog: pytest.LogCaptureFixture, boxes: list, mode: BoxMode, says: str
) -> None:
    annotations = [{"bbox": box, "bbox_mode": mode, "category_id": 0} for box in boxes]
    image = {"file_name": "a.jpg", "image_id": 1, "height": 30, "width": 40}
    images = [{**image, "annotations": annotations}]
    keys = ("DATASETS.TRAIN", ("by_code",), "DATALOADER.FILTER_EMPTY_ANNOTATIONS", False)
    with clean_catalogs():
        DatasetCatalog.register("by_code", lambda: images)
        training_dicts(small_cfg(*keys))
    assert (says in caplog.text) if says else not caplog.text


@pytest.mark.parametrize("files", [["a.jpg", "b.jpg"], ["a.jpg", "b.jpg", "a.jpg", "a.jpg"]])
def test_rows_of_a_table_as_images_are_remarked_on(
    caplog: pytest.LogCaptureFixture, files: list[str]
) -> None:
    """An entry an object: the others of its image would be background."""
    box = {"bbox": [5, 6, 10, 8], "bbox_mode": BoxMode.XYWH_ABS, "category_id": 0}
    image = {"height": 30, "width": 40, "annotations": [box]}
    images = [{**image, "file_name": file, "image_id": i} for i, file in enumerate(files)]
    with clean_catalogs():
        DatasetCatalog.register("by_code", lambda: images)
        training_dicts(small_cfg("DATASETS.TRAIN", ("by_code",)))
    says = "1 image file(s) have several entries (a.jpg has 3)"
    assert (says in caplog.text) == (len(files) > 2)


@pytest.mark.parametrize("area", [NAN, INF, "80", None, HUGE])
def test_evaluation_refuses_what_no_check_has_seen(folder: Path, area: object) -> None:
    paths = write_coco(folder / "unchecked", [ONE], [object_entry(1, 1, area=area)])
    with clean_catalogs():
        register_coco_json([["own", *paths]])
        with pytest.raises(ValueError, match="Data set own: annotation 1 has the area"):
            read_ground_truth("own")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"images": None}, "TypeError"),
        ({"images": [{}]}, "there is no 'id'"),
        ({"images": [{"id": 1}]}, "there is no "),
        ({"annotations": [{}]}, "there is no "),
        ({"annotations": [3]}, "TypeError"),
        ({"annotations": [{**object_entry(1, 1), "keypoints": "a"}]}, "TypeError"),
    ],
)
def test_what_no_check_has_seen_is_said_when_it_is_loaded(
    folder: Path, change: Change, says: str
) -> None:
    content = {"images": [ONE, TWO], "annotations": [object_entry(1, 1)], "categories": CATEGORIES}
    file = folder / "unchecked.json"
    file.write_text(json.dumps({**content, **change}))
    with clean_catalogs():
        register_coco_json([["own", str(file), str(folder / "images")]])
        with pytest.raises(ValueError) as refused:
            images_of("DATASETS.TEST", ["own"], filter_empty=False)
    said = str(refused.value)
    assert said.startswith("DATASETS.TEST ['own'] cannot be loaded: ") and says in said


# Image files


def deep_png(path: Path) -> None:
    Image.fromarray(np.full((30, 40), 40_000, np.uint16)).save(path, "PNG")


def deep_tiff(path: Path) -> None:
    Image.fromarray(np.full((30, 40), 70_000, np.int32)).save(path, "TIFF")


def float_tiff(path: Path) -> None:
    Image.fromarray(np.full((30, 40), 0.5, np.float32)).save(path, "TIFF")


def dark_png(path: Path) -> None:
    """12 bits in the 16 of each colour: 4095 of 65535 are 15 of 255."""
    cv2.imwrite(str(path), np.full((30, 40, 3), 4095, np.uint16))


def dark_tiff(path: Path) -> None:
    cv2.imwrite(str(path.with_suffix(".tif")), np.full((30, 40, 3), 1023, np.uint16))
    path.with_suffix(".tif").rename(path)


def dark(path: Path, ending: str) -> None:
    """4080 of 65535, which some decoders round up to 16 of 255; JPEG 2000 needs some pixels."""
    cv2.imwrite(str(path.with_suffix(ending)), np.full((64, 96, 3), 4080, np.uint16))
    path.with_suffix(ending).rename(path)


def dark_sgi(path: Path) -> None:
    header = struct.pack(">hBBHHHH", 474, 0, 2, 3, 40, 30, 3).ljust(512, b"\0")
    path.write_bytes(header + np.full((3, 30, 40), 4080, ">u2").tobytes())


def bomb(path: Path) -> None:
    """A PNG of 20000 x 20000 black pixels, in half a megabyte."""
    Image.new("1", (20_000, 20_000)).save(path, "PNG")


def cut_short(path: Path) -> None:
    Image.new("RGB", (400, 300)).save(path, "PNG")
    path.write_bytes(path.read_bytes()[:200])


def broken_off(path: Path) -> None:
    """A PNG with zeros in a block of its data, of which a decoder reads the upper half."""
    noise = np.random.RandomState(0).randint(0, 255, (30, 40, 3), np.uint8)
    Image.fromarray(noise).save(path, "PNG")
    content = path.read_bytes()
    middle = len(content) // 2
    path.write_bytes(content[:middle] + bytes(64) + content[middle + 64 :])


def with_text(path: Path) -> None:
    path.write_text("<svg/>")


def empty(path: Path) -> None:
    path.touch()


def smaller(path: Path) -> None:
    Image.new("RGB", (20, 30)).save(path, "PNG")


IMAGES: list[tuple[Callable[[Path], None], str]] = [
    (deep_png, "has more than 8 bits a pixel (Pillow's mode 'I;16')"),
    (deep_tiff, "has more than 8 bits a pixel (Pillow's mode 'I')"),
    (float_tiff, "has more than 8 bits a pixel (Pillow's mode 'F')"),
    (dark_png, "has 16 bits a channel, of which Detectron2 keeps the upper 8, and values of 12"),
    (dark_tiff, "has 16 bits a channel, of which Detectron2 keeps the upper 8, and values of 12"),
    (partial(dark, ending=".ppm"), "has 16 bits a channel, of which Detectron2 keeps the upper 8"),
    (partial(dark, ending=".jp2"), "has 16 bits a channel, of which Detectron2 keeps the upper 8"),
    (dark_sgi, "has 16 bits a channel, of which Detectron2 keeps the upper 8"),
    (bomb, "cannot be read: DecompressionBombError"),
    (cut_short, "cannot be read: OSError"),
    (broken_off, "cannot be read: SyntaxError: broken PNG file"),
    (with_text, "cannot be read: UnidentifiedImageError"),
    (empty, "cannot be read: UnidentifiedImageError"),
    (smaller, "is 20x30 pixels (EXIF rotation applied), but the data set says 40x30"),
    (os.mkfifo, "is a folder, a pipe or a device, not a file"),
    (os.mkdir, "is a folder, a pipe or a device, not a file"),
    (lambda path: path.symlink_to("/dev/zero"), "is a folder, a pipe or a device, not a file"),
    (lambda path: path.symlink_to("nowhere"), "does not exist"),
    (lambda path: None, "does not exist"),
]


@pytest.fixture
def reading() -> NamedErrors:
    """As every loader reads."""
    return NamedErrors(DatasetMapper(is_train=False, augmentations=[], image_format="BGR"))


@pytest.mark.filterwarnings("ignore:Image size:PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(("make", "says"), IMAGES)
def test_an_image(
    tmp_path: Path, reading: NamedErrors, make: Callable[[Path], None], says: str
) -> None:
    path = tmp_path / "image.png"
    make(path)
    with pytest.raises(CorruptImageError) as refused:
        reading({"file_name": str(path), "image_id": 7, "width": 40, "height": 30})
    sentence = refused.value.sentence
    assert sentence.startswith(f"Image {path} (id 7) ") and says in sentence
    report = findings_of_image(tmp_path)
    assert "error(s)" in report and "image.png" in report


def findings_of_image(folder: Path) -> str:
    (folder / "images").mkdir()
    if os.path.lexists(folder / "image.png"):
        (folder / "image.png").rename(folder / "images" / "image.png")
    write_coco(folder, [image_entry(2)], [])
    images = [{**ONE, "file_name": "image.png"}, TWO]
    content = {"images": images, "annotations": [object_entry(1, 1)], "categories": CATEGORIES}
    return findings(folder, json.dumps(content))


def test_an_image_that_resizing_would_leave_nothing_of(tmp_path: Path) -> None:
    """Of 200 x 1 pixels at most 40 x 0.2, which Pillow refuses by a word that names no image."""
    path = tmp_path / "strip.png"
    Image.new("RGB", (200, 1)).save(path)
    resize = ResizeShortestEdge(30, 40, "choice")
    reading = NamedErrors(DatasetMapper(is_train=False, augmentations=[resize], image_format="BGR"))
    with pytest.raises(CorruptImageError) as refused:
        reading({"file_name": str(path), "image_id": 7})
    assert refused.value.sentence == (
        f"Image {path} (id 7) is so narrow that its shorter side would vanish, as INPUT has it "
        "resized."
    )


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"])
def test_eight_bits_are_read(tmp_path: Path, reading: NamedErrors, mode: str) -> None:
    path = tmp_path / ("image.tiff" if mode in ("CMYK", "YCbCr") else "image.png")
    Image.new(mode, (40, 30)).save(path)
    assert decoding_fault(str(path)) is None
    assert reading({"file_name": str(path)})["image"].shape == (3, 30, 40)


@pytest.mark.parametrize("objects", [[], [object_entry(1, 1, iscrowd=1, segmentation=[])]])
def test_a_calibration_by_ap_needs_an_object(tmp_path: Path, objects: list) -> None:
    with clean_catalogs():
        register_coco_json([["bare", *write_coco(tmp_path, [image_entry(1)], objects)]])
        with pytest.raises(ValueError, match="Data set bare has no object, so that there is no AP"):
            ground_truth(toy_cfg(("bare",)))
