# SPDX-License-Identifier: Apache-2.0
"""The check of a data set names each mistake, and stays silent about what works."""

import json
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as masks

from dynamicdet_d2.commands.main import main
from dynamicdet_d2.data.check.findings import DatasetReport, Findings
from dynamicdet_d2.data.check.run import check_dataset, check_datasets
from dynamicdet_d2.data.register import register_coco_json
from tests.support.coco_files import (
    CATEGORIES,
    clean_catalogs,
    image_entry,
    object_entry,
    toy_cfg,
    write_coco,
)

Checker = Callable[..., DatasetReport]


@pytest.fixture(autouse=True)
def _catalogs() -> Iterator[None]:
    with clean_catalogs():
        yield


@pytest.fixture
def check(tmp_path: Path) -> Checker:
    """Writes a data set of two images and checks it."""

    def run(
        annotations: list[Any] | None = None,
        *,
        images: list[Any] | None = None,
        categories: Any = CATEGORIES,
        **options: Any,
    ) -> DatasetReport:
        drawn = [image_entry(1), image_entry(2)]
        write_coco(tmp_path, drawn, [])
        annotations = [object_entry(1, 1)] if annotations is None else annotations
        images = drawn if images is None else images
        paths = write_coco(tmp_path, images, annotations, categories=categories, draw=False)
        return check_dataset("own", *paths, options.pop("num_classes", 2), **options)

    return run


CLASSES = "MODEL.ROI_HEADS.NUM_CLASSES"


def errors(report: DatasetReport) -> str:
    return "\n".join(report.errors.lines())


def warnings(report: DatasetReport) -> str:
    return "\n".join(report.warnings.lines(20))


def test_findings_take_kinds_in_turn_and_count_the_rest() -> None:
    found = Findings()
    for i in range(7):
        found.add("duplicate ids", f"id {i}")
    found.add("missing files", "no file")
    assert found.lines(limit=3) == [
        "id 0",
        "no file",
        "id 1",
        "... and 5 more (5 duplicate ids).",
    ]
    assert Findings().lines() == []


@given(st.lists(st.sampled_from("abc")), st.integers(1, 8))
def test_findings_lose_none(kinds: list[str], limit: int) -> None:
    found = Findings()
    for i, kind in enumerate(kinds):
        found.add(kind, f"sentence {i}")
    lines = found.lines(limit)
    shown = [line for line in lines if line.startswith("sentence")]
    rest = int(lines[-1].split()[2]) if len(shown) < len(lines) else 0
    assert len(shown) <= limit
    assert len(shown) + rest == len(found) == len(kinds)


def test_a_good_data_set_has_no_findings(check: Checker) -> None:
    annotations = [object_entry(1, 1), object_entry(2, 2, category_id=2)]
    report = check(annotations, testing=True, mask_format="polygon")
    assert (len(report.errors), len(report.warnings)) == (0, 0)
    assert report.class_names == ["disc", "ring"]
    assert (report.num_images, report.num_annotations) == (2, 2)
    assert report.text().endswith("No errors.\n")
    report.raise_errors()


def test_what_is_unusual_but_fine(check: Checker) -> None:
    pixels = np.asfortranarray(np.arange(1200).reshape(30, 40) % 7 < 3, dtype=np.uint8)
    encoded = masks.encode(pixels)
    compressed = {**encoded, "counts": encoded["counts"].decode()}
    annotations = [
        object_entry(1, 1, segmentation=[[5, 6, 9, 6, 9, 9], [10, 6, 15, 6, 15, 14]]),
        object_entry(2, 1, iscrowd=1, segmentation={"size": [30, 40], "counts": [600, 600]}),
        object_entry(3, 1, iscrowd=1, segmentation=compressed),
        object_entry(4, 1, bbox=[35, 6, 6.5, 8], segmentation=[]),  # 1.5 of 6.5 pixels outside
        object_entry(
            5, 1, bbox=[34, 6, 6.5, 8.0], segmentation=[]
        ),  # half a pixel outside: rounding
    ]
    report = check(annotations)
    assert not report.errors
    assert warnings(report).splitlines() == [
        "1 of 2 images have no object.",
        "1 of 3 boxes reach out of their images.",
        "2 annotations are crowds, which are not trained on.",
        "1 categories have no object: ids [2].",
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"id": "x"}, "has no integer 'id'"),
        ({"image_id": 9}, "Annotation 1 has the image_id 9, which the json does not define"),
        ({"image_id": [1]}, r"Annotation 1 has the image_id \[1\]"),
        ({"category_id": 0}, "Annotation 1 has the category_id 0, which"),
        ({"ignore": 1}, "Annotation 1 has 'ignore' set"),
        ({"bbox": [5, 6, 10]}, r"Annotation 1 of image 1 has the bbox \[5, 6, 10\]; four"),
        ({"bbox": None}, "has the bbox None; four"),
        ({"bbox": [5, 6, "10", 8]}, "four numbers"),
        ({"bbox": [5, 6, float("nan"), 8]}, "four numbers"),
        ({"bbox": [5, 6, 0, 8]}, r"has the bbox \[5, 6, 0, 8\]: no area"),
        ({"bbox": [5, 6, 10, -8]}, "no area"),
        ({"bbox": [50, 6, 10, 8]}, r"\[50, 6, 10, 8\], most of it outside .* 40x30 pixels"),
        ({"bbox": [36, 6, 10, 8]}, "most of it outside"),  # 4 of 10 columns inside
        ({"bbox": [0.1, 0.2, 0.5, 0.5]}, "look like fractions"),
        ({"segmentation": [5, 6, 15, 6, 15, 14]}, r"a list of polygons .* are needed"),
        ({"segmentation": [[5, 6, 15, "6", 15, 14]]}, "a list of polygons"),
        ({"segmentation": [[5, 6, 15, 6]]}, "no polygon of three points"),
        ({"segmentation": [[]]}, "no polygon of three points"),
        (
            {"segmentation": {"size": [40, 30], "counts": "abc"}},
            r"cover size \[30, 40\] are needed",
        ),
        ({"segmentation": {"size": [30, 40], "counts": [600, 599]}}, r"cover size \[30, 40\]"),
        ({"iscrowd": 1}, "No image has an object to train or judge by"),
    ],
)
def test_one_bad_annotation(check: Checker, changes: dict[str, Any], message: str) -> None:
    report = check([{**object_entry(1, 1), **changes}])
    with pytest.raises(ValueError, match=message):
        report.raise_errors()


def test_duplicate_ids(check: Checker) -> None:
    images = [image_entry(1), {**image_entry(2), "id": 1}]
    report = check([object_entry(1, 1), object_entry(1, 1)], images=images)
    assert "image id 1 is used more than once (again by 002.jpg)" in errors(report)
    assert "annotation id 1 is used more than once" in errors(report)


def test_keys_that_only_evaluation_needs(check: Checker) -> None:
    annotation = object_entry(1, 1)
    del annotation["area"], annotation["iscrowd"]
    assert not check([annotation]).errors
    report = check([annotation], testing=True)
    assert "Annotation 1 has no 'area'" in errors(report)
    assert "Annotation 1 has no 'iscrowd'" in errors(report)
    assert "id 0 never counts" in warnings(check([object_entry(0, 1)], testing=True))


def test_masks(check: Checker) -> None:
    run_lengths = {"size": [30, 40], "counts": [600, 600]}
    annotations = [object_entry(1, 1, segmentation=run_lengths), object_entry(2, 1)]
    assert "MASK_FORMAT is 'polygon'" in errors(check(annotations, mask_format="polygon"))
    assert not check(annotations, mask_format="bitmask").errors
    assert not check(annotations).errors
    report = check([object_entry(1, 1, segmentation=[])], mask_format="bitmask")
    assert "Annotation 1 of image 1 has no segmentation" in errors(report)


def test_a_thousandth_of_unusable_boxes_is_only_a_warning(check: Checker) -> None:
    good = [object_entry(i, 1) for i in range(1, 1000)]
    report = check([*good, object_entry(1000, 2, bbox=[5, 6, 3, 0])])
    assert not report.errors
    assert "Annotation 1000 of image 2 has the bbox [5, 6, 3, 0]" in warnings(report)
    two = [object_entry(i, 2, bbox=[5, 6, 3, 0]) for i in (1000, 1001)]
    assert len(check([*good, *two]).errors) == 2


def test_boxes_given_as_corners(check: Checker) -> None:
    corners = [object_entry(i, 1, bbox=[20 + i % 3, 15, 38, 28]) for i in range(1, 21)]
    assert "look like corners" in "\n".join(check(corners).errors.lines(limit=30))
    assert "look like corners" not in "\n".join(check(corners[:5]).errors.lines(limit=30))


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ({"id": 1}, r"needs an 'id' \(an integer of 64 bits, or text\) and a 'file_name' that a "),
        ({"id": [1], "file_name": "001.jpg"}, "needs an 'id'"),
        ("001.jpg", "needs an 'id'"),
        ({"id": 1, "file_name": "001.jpg", "width": 40}, "width 40 and height None; whole"),
        ({**image_entry(1), "height": 30.5}, "height 30.5; whole"),
        ({**image_entry(1), "width": 0}, "width 0 and"),
        (image_entry(1, 30, 40), r"001\.jpg is 40x30 pixels .* the json says 30x40"),
    ],
)
def test_one_bad_image(check: Checker, image: Any, message: str) -> None:
    report = check([object_entry(1, 2)], images=[image, image_entry(2)])
    with pytest.raises(ValueError, match=message):
        report.raise_errors()


def test_missing_and_unreadable_files(check: Checker, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "004.jpg").touch()
    images = [image_entry(i) for i in range(1, 5)]
    report = check(images=images)
    assert len(report.errors) == 2
    assert "003.jpg does not exist" in errors(report)
    assert "004.jpg cannot be read as an image" in errors(report)
    skipping = check(images=images, skip_corrupt=True)
    assert not skipping.errors
    assert "003.jpg does not exist" in warnings(skipping)


def test_wrong_image_folder_is_an_error_even_when_skipping(check: Checker) -> None:
    images = [{**image_entry(i), "file_name": f"sub/{i}.jpg"} for i in (1, 2)]
    report = check(images=images, skip_corrupt=True)
    assert errors(report).startswith("None of the 2 image files is in ")
    paths = report.json_file, str(Path(report.json_file).parent / "nowhere")
    assert "nowhere does not exist" in errors(check_dataset("own", *paths, 2))


def test_folders_below_the_image_folder(check: Checker, tmp_path: Path) -> None:
    (tmp_path / "images" / "sub").mkdir(parents=True)
    image = np.zeros((30, 40), np.uint8)
    cv2.imwrite(str(tmp_path / "images" / "sub" / "9.png"), image)
    names = ["sub/9.png", "./001.jpg", "sub/../002.jpg", "sub/8.png"]
    images = [{**image_entry(i), "file_name": name} for i, name in enumerate(names, 1)]
    report = check(images=images)
    assert len(report.errors) == 1
    assert "8.png does not exist" in errors(report)


@pytest.mark.parametrize(
    ("named", "there", "says"),
    [
        ("CAT.jpg", "cat.JPG", "CAT.jpg does not exist; its folder has 'cat.JPG'."),
        ("sub/cat.jpg", "sub/cat.png", "cat.jpg does not exist; its folder has 'cat.png'."),
        (
            "caf\u00e9.jpg",
            "cafe\u0301.jpg",
            "; its folder has 'cafe\\u0301.jpg', the same name in another form of Unicode.",
        ),
        ("cat.jpg", "cat.txt", "cat.jpg does not exist."),
    ],
)
def test_what_a_folder_has_instead_of_a_missing_image(
    check: Checker, tmp_path: Path, named: str, there: str, says: str
) -> None:
    file = tmp_path / "images" / there
    file.parent.mkdir(parents=True)
    file.touch()
    missing = {**image_entry(2), "file_name": named}
    assert says in errors(check(images=[image_entry(1), missing]))
    alone = errors(check(images=[missing]))
    hint = says.split("does not exist")[-1].rstrip(".")
    assert alone.startswith("None of the 1 image files") and f"{named}{hint})?" in alone


def test_a_folder_in_the_place_of_an_image(check: Checker, tmp_path: Path) -> None:
    report = check(images=[image_entry(1), {**image_entry(2), "file_name": "."}])
    assert f"{tmp_path}/images/. is no file." in errors(report)


def test_exif_rotation_is_the_displayed_size(check: Checker, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    exif = Image.Exif()
    exif[274] = 6
    Image.new("L", (40, 30)).save(tmp_path / "images" / "007.jpg", exif=exif)
    displayed = check([object_entry(1, 7)], images=[image_entry(7, width=30, height=40)])
    assert not displayed.errors
    stored = check([object_entry(1, 7)], images=[image_entry(7, width=40, height=30)])
    assert "007.jpg is 30x40 pixels (EXIF rotation applied)" in errors(stored)


@pytest.mark.parametrize("name", ["001.jpg", "./001.jpg"])
def test_a_file_of_two_images_is_a_warning(check: Checker, name: str) -> None:
    images = [image_entry(1), {**image_entry(1), "id": 2, "file_name": name}]
    report = check([object_entry(1, 1)], images=images)
    assert not report.errors
    assert "1 file(s) belong to several images (001.jpg to 2)" in warnings(report)


def test_class_count(check: Checker) -> None:
    report = check(num_classes=80)
    assert errors(report) == (
        "The json defines 2 categories (disc, ring), but MODEL.ROI_HEADS.NUM_CLASSES is 80."
    )
    assert not check(num_classes=None).errors
    assert "no list of 'categories'" in errors(check(categories=[]))
    same = [{"id": 1, "name": "disc"}, {"id": 2, "name": "disc"}]
    assert "have the same name: disc" in warnings(check(categories=same))


def test_missing_lists(tmp_path: Path) -> None:
    json_file, root = write_coco(tmp_path, [image_entry(1)], [])
    content = json.loads(Path(json_file).read_text())
    del content["annotations"]
    Path(json_file).write_text(json.dumps(content))
    for options in ({}, {"training": False, "testing": True}):
        report = check_dataset("own", json_file, root, **options)
        assert "There is no list of 'annotations' to learn or measure." in errors(report)
    Path(json_file).write_text('{"categories": [{"id": 1, "name": "a"}], "images": []}')
    assert "no list of 'images', or it is empty" in errors(check_dataset("own", json_file, root))
    Path(json_file).write_text("nothing")
    assert "is not JSON" in errors(check_dataset("own", json_file, root))


@pytest.mark.parametrize("losses", ["TEST.EVAL_LOSS", "TEST.DYNAMIC.LOSS_GAP"])
def test_losses_need_what_a_training_needs(tmp_path: Path, losses: str) -> None:
    """Of the images that a router's objective is judged on, and of test images by a key: Detectron2
    would refuse run lengths beside 'polygon' when the training is over."""
    images, mask = [image_entry(1)], {"size": [30, 40], "counts": [0, 1200]}
    whole = {"bbox": [0, 0, 40, 30], "area": 1200}
    polygons = write_coco(tmp_path / "a", images, [object_entry(1, 1)])
    masks = write_coco(tmp_path / "b", images, [object_entry(1, 1, segmentation=mask, **whole)])
    register_coco_json([["polygons", *polygons], ["run_lengths", *masks]])
    cfg = toy_cfg(("polygons",))
    cfg.MODEL.MASK_ON, cfg.DATASETS.TEST = True, ("run_lengths",)
    check_datasets(cfg, CLASSES)
    cfg.merge_from_list([losses, True])
    with pytest.raises(ValueError, match="run-length mask, but INPUT.MASK_FORMAT is 'polygon'"):
        check_datasets(cfg, CLASSES)
    cfg.merge_from_list([losses, False, "SOLVER.ROUTER.VALIDATION", "run_lengths"])
    cfg.DATASETS.TEST = ("polygons",)
    with pytest.raises(ValueError, match="'run_lengths' .* has 1 error"):
        check_datasets(cfg, CLASSES)


def test_a_set_that_is_named_twice(tmp_path: Path) -> None:
    files = write_coco(tmp_path, [image_entry(1)], [object_entry(1, 1)])
    register_coco_json([["once", *files]])
    cfg = toy_cfg(("once", "once"))
    cfg.DATASETS.TEST = ()
    (report,) = check_datasets(cfg, CLASSES)
    assert "DATASETS.TRAIN names it 2 times: parts that are kept aside" in warnings(report)


def test_config(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    good = write_coco(tmp_path / "a", [image_entry(1), image_entry(2)], [object_entry(1, 1)])
    swapped = [{"id": 2, "name": "disc"}, {"id": 1, "name": "ring"}]
    bad = write_coco(tmp_path / "b", [image_entry(1)], [object_entry(1, 5)], categories=swapped)
    register_coco_json([["good", *good], ["bad", *bad]])
    DatasetCatalog.register("other format", list)
    cfg = toy_cfg(("good", "other format", "not registered"))
    with caplog.at_level(logging.INFO, "dynamicdet_d2"):
        (report,) = check_datasets(cfg, CLASSES)
    assert report.name == "good"
    assert "2 images, 1 annotations, 2 classes" in caplog.text
    assert "Data set 'good': 1 of 2 images have no object." in caplog.text
    cfg.DATASETS.TEST = ("bad",)
    with pytest.raises(ValueError) as caught:
        check_datasets(cfg, CLASSES)
    text = str(caught.value)
    assert "Data set 'bad'" in text and "Data set 'good'" not in text
    assert "the image_id 5" in text
    assert "Its classes are ring, disc, but those of 'good' are disc, ring" in text
    assert "DATASETS.CHECK False" in text
    cfg.DATASETS.TRAIN = ("bad",)
    cfg.DATASETS.TEST = ("good",)
    assert [report.name for report in check_datasets(cfg, CLASSES, eval_only=True)] == ["good"]
    said = (
        "The classes of 'good' are disc, ring, but those of 'bad', by DATASETS.TRAIN, are ring, d"
    )
    assert said in caplog.text


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    json_file, root = write_coco(tmp_path, [image_entry(1)], [object_entry(1, 1)])
    arguments = ["--json", json_file, "--images", root, "--num-classes"]
    assert main(["check-data", *arguments, "2"]) == 0
    assert capsys.readouterr().out.endswith("No errors.\n")
    assert main(["check-data", *arguments, "3", "--test", "--masks", "polygon"]) == 1
    assert "MODEL.ROI_HEADS.NUM_CLASSES is 3" in capsys.readouterr().out


def by_code(name: str, files: list[str], classes: list[str]) -> None:
    images = [{"file_name": file, "annotations": [{}]} for file in files]
    DatasetCatalog.register(name, lambda: images)
    MetadataCatalog.get(name).thing_classes = classes


def test_data_sets_by_code_beside_others(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    paths = write_coco(tmp_path, [image_entry(1), image_entry(2)], [object_entry(1, 1)])
    register_coco_json([["own", *paths]])
    first = str(tmp_path / "images" / "001.jpg")
    by_code("coded", [first, "other.jpg"], ["ring", "disc"])
    DatasetCatalog.register("failing", lambda: 1 / 0)
    cfg = toy_cfg(("own",))
    cfg.DATASETS.TEST = ("coded", "failing")
    assert [report.name for report in check_datasets(cfg, CLASSES)] == ["own", "coded"]
    assert "Data set 'coded': 1 of its 2 images are in DATASETS.TRAIN as well" in caplog.text
    said = (
        "The classes of 'coded' are ring, disc, but those of 'own', by DATASETS.TRAIN, are disc, r"
    )
    assert said in caplog.text
    caplog.clear()
    cfg.DATASETS.TRAIN = cfg.DATASETS.TEST = ("coded",)
    (report,) = check_datasets(cfg, CLASSES)
    assert report.files == {first, os.path.abspath("other.jpg")}
    assert "Data set 'coded': 2 of its 2 images are in DATASETS.TRAIN" in caplog.text
    cfg.DATASETS.TEST = ()
    assert check_datasets(cfg, CLASSES) == []  # nothing is compared, and nothing is loaded


def test_two_data_sets_of_the_same_images_that_are_learnt(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    json_file, root = write_coco(tmp_path, [image_entry(1), image_entry(2)], [object_entry(1, 1)])
    register_coco_json([["one", json_file, root], ["two", json_file, root]])
    cfg = toy_cfg(("one", "two"))
    cfg.DATASETS.TEST = ()
    check_datasets(cfg, CLASSES)
    said = "Data set 'two': 2 of its 2 images are in another data set of DATASETS.TRAIN as well"
    assert said in caplog.text and "Data set 'one': 2" not in caplog.text


@pytest.mark.parametrize("ignore", [None, [], 1])
def test_ignore_is_0_or_not_there(check: Checker, ignore: object) -> None:
    """Detectron2 compares it with 0."""
    assert "Annotation 1 has 'ignore' set" in errors(check([object_entry(1, 1, ignore=ignore)]))
    assert not check([object_entry(1, 1, ignore=0)]).errors


def test_an_odd_polygon_beside_a_good_one_stops_whoever_learns_masks_alone(tmp_path: Path) -> None:
    polygons = [[1, 1, 9, 1, 9, 9], [1, 1, 5, 5, 9]]
    files = write_coco(
        tmp_path, [image_entry(1)], [object_entry(1, 1, segmentation=polygons, bbox=[1, 1, 8, 8])]
    )
    said = "Annotation 1 of image 1 has a polygon of 5 numbers, two a point; Detectron2 leaves it"
    for masked, wrong in ((None, 0), ("polygon", 1)):
        report = check_dataset("own", *files, 2, mask_format=masked)
        assert (len(report.errors), said in report.text()) == (wrong, True)
    crowd = object_entry(2, 1, segmentation=[[1, 2, 3]], iscrowd=1)
    files = write_coco(tmp_path / "crowd", [image_entry(1)], [object_entry(1, 1), crowd])
    assert len(check_dataset("own", *files, 2).errors) == 0


def test_keypoints_are_as_many_as_the_models(check: Checker) -> None:
    """Of each object that is learnt, and of crowds too where they are measured."""
    points = {"keypoints": [7, 8, 2, 9, 9, 2], "num_keypoints": 2}
    whole, bare = object_entry(1, 1, **points), object_entry(2, 1)
    crowd = object_entry(3, 2, iscrowd=1)
    assert not check([whole, object_entry(2, 1, **points), crowd], num_keypoints=2).errors
    assert not check([bare, crowd], testing=True).errors
    needed = "a list [x1, y1, v1, x2, y2, v2, ...] of 3 keypoints, by MODEL.ROI_KEYPOINT_HEAD."
    said = errors(check([whole, bare, crowd], num_keypoints=3))
    assert f"Annotation 1 has the keypoints [7, 8, 2, 9, 9, 2]; {needed}" in said
    assert f"Annotation 2 has no keypoints; {needed}" in said
    assert "Annotation 3" not in said
    said = errors(check([whole, crowd], num_keypoints=2, testing=True))
    assert "Annotation 3 has no 'num_keypoints', which COCO's evaluation needs." in said
    assert "Annotation 3 has no keypoints; a list" in said and "Annotation 1" not in said


@pytest.mark.parametrize(
    ("number", "wrong"), [(0, True), (-1, True), ("2", True), (None, True), (1, False)]
)
def test_a_number_of_keypoints_by_which_an_object_is_left_out(
    check: Checker, number: object, wrong: bool
) -> None:
    points = {"keypoints": [7, 8, 2, 9, 9, 1], "num_keypoints": number}
    report = check([object_entry(1, 1, **points)], num_keypoints=2, testing=True)
    assert ("where 2 of its keypoints are labelled" in report.text()) is wrong
    assert bool(report.errors) is wrong


def test_a_run_checks_the_keypoints_of_its_config(tmp_path: Path) -> None:
    register_coco_json([["own", *write_coco(tmp_path, [image_entry(1)], [object_entry(1, 1)])]])
    cfg = toy_cfg(("own",))
    check_datasets(cfg, CLASSES)
    cfg.MODEL.KEYPOINT_ON = True
    with pytest.raises(ValueError, match=r"has no keypoints; a list .* of 17 keypoints, by MODEL"):
        check_datasets(cfg, CLASSES)
