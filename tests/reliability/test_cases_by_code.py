# SPDX-License-Identifier: Apache-2.0
"""Data sets that code registers and that are malformed, each with what its sentence names."""

from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode
from pycocotools import mask as mask_api

from dynamicdet_d2.data.loading.images import images_hash, images_of, training_dicts
from dynamicdet_d2.data.loading.loaders import build_test_loader
from dynamicdet_d2.engine.learnt_classes import check_classes
from dynamicdet_d2.evaluation.passes import build_evaluation_loader
from tests.support.coco_files import clean_catalogs
from tests.support.toy import toy_cfg

NAN = float("nan")
GONE = object()
WORDS = ["5", "6", "10", "8"]
POLYGON = [5, 6, 15, 6, 15, 14]
MASK = np.zeros((30, 40), np.uint8, order="F")
MASK[6:14, 5:15] = 1


def changed(entry: dict, changes: dict) -> dict:
    both = {**entry, **changes}
    return {key: value for key, value in both.items() if value is not GONE}


def an_object(**changes: Any) -> dict:
    entry = {"bbox": [5, 6, 10, 8], "bbox_mode": BoxMode.XYWH_ABS, "category_id": 0}
    return changed({**entry, "segmentation": [POLYGON]}, changes)


def an_image(number: int, **changes: Any) -> dict:
    entry = {"file_name": f"{number}.jpg", "image_id": number, "height": 30, "width": 40}
    return changed({**entry, "annotations": [an_object()]}, changes)


def read(given: Any, *keys: object, learnt: bool = True) -> list[dict]:
    """A data set's images as a training or an evaluation reads them."""
    with clean_catalogs():
        DatasetCatalog.register("by_code", lambda: given)
        if learnt:
            return training_dicts(toy_cfg("DATASETS.TRAIN", ("by_code",), *keys))
        return images_of("DATASETS.TEST", ["by_code"], filter_empty=False)


OBJECTS = [
    ({"bbox": GONE}, "without 'bbox'; it must be 4 numbers in pixels, XYWH_ABS"),
    ({"bbox": None}, "with the bbox None"),
    ({"bbox": "5 6 10 8"}, "with the bbox '5 6 10 8'"),
    ({"bbox": WORDS}, "with the bbox ['5', '6', '10', '8']"),
    ({"bbox": [5, 6, 10]}, "with the bbox [5, 6, 10]"),
    ({"bbox": [[5, 6, 10, 8]]}, "with the bbox [[5, 6, 10, 8]]"),
    ({"bbox": [5, [6], 10, 8]}, "with the bbox [5, [6], 10, 8]"),
    ({"bbox": [5, 6, NAN, 8]}, "with the bbox [5, 6, nan, 8]"),
    ({"bbox": {"x": 5}}, "with the bbox {'x': 5}"),
    ({"bbox_mode": BoxMode.XYWHA_ABS}, "it must be 5 numbers in pixels, XYWHA_ABS"),
    ({"bbox_mode": GONE}, "without 'bbox_mode'; it must be BoxMode.XYXY_ABS or BoxMode.XYWH_ABS"),
    ({"bbox_mode": "XYWH_ABS"}, "with the bbox_mode 'XYWH_ABS'"),
    ({"bbox_mode": BoxMode.XYWH_REL}, "with the bbox_mode <BoxMode.XYWH_REL: 3>"),
    ({"bbox_mode": 9}, "with the bbox_mode 9"),
    ({"category_id": GONE}, "without 'category_id'; it must be a whole number, from 0 on"),
    ({"category_id": None}, "with the category_id None"),
    ({"category_id": "0"}, "with the category_id '0'"),
    ({"category_id": 1.7}, "with the category_id 1.7"),
    ({"category_id": np.float32(0.5)}, "with the category_id "),
    ({"category_id": NAN}, "with the category_id nan"),
    ({"iscrowd": "0"}, "with iscrowd '0'; it must be 0 or 1"),
    ({"iscrowd": None}, "with iscrowd None"),
    ({"iscrowd": 2}, "with iscrowd 2"),
]


@pytest.mark.parametrize("number", range(len(OBJECTS)))
@pytest.mark.parametrize("learnt", [True, False])
def test_an_object(number: int, learnt: bool) -> None:
    change, says = OBJECTS[number]
    images = [an_image(1), an_image(2, annotations=[an_object(), an_object(**change)])]
    with pytest.raises(ValueError) as refused:
        read(images, learnt=learnt)
    start = "Data sets ['by_code']: Image 2.jpg (id 2) has an object "
    assert str(refused.value).startswith(start) and says in str(refused.value)


IMAGES = [
    (None, "Entry 1 is None; it must be a dict"),
    ("2.jpg", "Entry 1 is '2.jpg'; it must be a dict"),
    ({"file_name": GONE}, "Image 2 has no 'file_name'; it must be the path of an image file"),
    ({"file_name": 3}, "Image 3 (id 2) has the file_name 3"),
    ({"height": "30"}, "Image 2.jpg (id 2) has the height '30'; it must be a whole number of pix"),
    ({"width": 0}, "has the width 0"),
    ({"annotations": {"a": 1}}, "has the annotations {'a': 1}; it must be a list, empty where"),
    ({"annotations": [[5, 6, 10, 8]]}, "has an object that is [5, 6, 10, 8]; it must be a dict"),
]
LEARNT = [
    ({"annotations": GONE}, "has no 'annotations'; it must be a list, empty where there is no ob"),
    ({"annotations": None}, "has the annotations None"),
]
MEASURED = [
    ({"image_id": GONE}, "Image 2.jpg has no 'image_id'; it must be a whole number or text"),
    ({"image_id": [2]}, "has the image_id [2]"),
    ({"image_id": 1}, "Image 2.jpg (id 1) has the image_id of entry 0, too"),
    (
        {"image_id": "2"},
        "Image 2.jpg (id '2') has the image_id '2' and entry 0 has 1; all must be numbers, or all ",
    ),
    ({"height": GONE}, "has no 'height'; it must be a whole number of pixels"),
]
CASES = [
    *((case, learnt) for case in IMAGES for learnt in (True, False)),
    *((case, True) for case in LEARNT),
    *((case, False) for case in MEASURED),
]


@pytest.mark.parametrize("number", range(len(CASES)))
def test_an_image(number: int) -> None:
    (change, says), learnt = CASES[number]
    second = an_image(2, **change) if isinstance(change, dict) else change
    with pytest.raises(ValueError) as refused:
        read([an_image(1), second], "DATALOADER.FILTER_EMPTY_ANNOTATIONS", False, learnt=learnt)
    assert says in str(refused.value)


@pytest.mark.parametrize("given", [None, 3, iter([an_image(1)])])
def test_what_is_no_list(given: Any) -> None:
    with pytest.raises(ValueError, match=r"gives an object of type \w+; it must be a list of dict"):
        read(given)


MASKS: list[tuple[Any, str, bool]] = [
    ([POLYGON], "polygon", True),
    ([np.array(POLYGON, float)], "polygon", True),
    (GONE, "polygon", False),
    (None, "polygon", False),
    ([], "polygon", False),
    (POLYGON, "polygon", False),
    ([[5, 6, 15, 6]], "polygon", False),
    ([[5, 6, 15, 6, 15]], "polygon", False),
    ([[[5, 6], [15, 6], [15, 14]]], "polygon", False),
    ([[5, 6, 15, 6, NAN, 14]], "polygon", False),
    (mask_api.encode(MASK), "polygon", False),
    (mask_api.encode(MASK), "bitmask", True),
    (MASK, "bitmask", False),
    (mask_api.encode(np.asfortranarray(MASK[:9])), "bitmask", False),
    ({"size": [30, 40], "counts": [1200]}, "bitmask", False),
    ({"counts": "abc"}, "bitmask", False),
    ("abc", "bitmask", False),
]


@pytest.mark.parametrize("number", range(len(MASKS)))
def test_a_mask(number: int) -> None:
    given, kind, good = MASKS[number]
    images = [an_image(2, annotations=[an_object(segmentation=given)])]
    keys = ("MODEL.MASK_ON", True, "INPUT.MASK_FORMAT", kind)
    if good:
        assert len(read(images, *keys)) == 1
        return
    with pytest.raises(ValueError, match=r"2.jpg .* with(out '| the )segmentation.*MODEL.MASK_ON"):
        read(images, *keys)
    assert len(read(images)) == 1  # where masks are not learnt


def test_what_detectron2_reads_as_it_is_meant() -> None:
    objects = [
        an_object(bbox=np.array([5, 6, 15, 14]), bbox_mode=BoxMode.XYXY_ABS, iscrowd=False),
        an_object(bbox=(5.0, 6, 10, 8), bbox_mode=int(BoxMode.XYXY_ABS), category_id=1.0),
        an_object(bbox=torch.tensor([5.0, 6, 15, 14]), bbox_mode=BoxMode.XYXY_ABS),
        an_object(category_id=np.int64(2), segmentation=GONE),
    ]
    image = an_image(1, file_name=Path("1.jpg"), annotations=objects, height=np.int64(30))
    assert read([image]) == [image]
    assert read((changed(image, {"image_id": GONE, "height": GONE}),))
    assert read([an_image("a")], learnt=False)


@pytest.mark.parametrize("bbox", [np.array([5, 6, 10, 8]), torch.tensor([5.0, 6, 10, 8])])
def test_sides_in_an_array(bbox: Any) -> None:
    """Detectron2 converts a list, or an array of several boxes, and fails on one of one box."""
    images = [an_image(1, annotations=[an_object(bbox=bbox)])]
    kind = type(bbox).__name__
    with pytest.raises(ValueError, match=f"of type {kind}; as XYWH_ABS it must be a list of numb"):
        read(images)
    assert read(images, learnt=False) == images  # it takes those where they are measured


@pytest.mark.parametrize("annotations", [[], [an_object(iscrowd=1)]])
def test_nothing_to_learn(annotations: list) -> None:
    keys = ("DATALOADER.FILTER_EMPTY_ANNOTATIONS", False)
    images = [an_image(1, annotations=annotations)] * 2
    with pytest.raises(
        ValueError, match=r"^DATASETS.TRAIN \['by_code'\]: no image has an object t"
    ):
        read(images, *keys)
    assert read(images, *keys, "DATASETS.CHECK", False) == images
    assert len(read([*images, an_image(2)], *keys)) == 3


def test_a_class_without_a_name() -> None:
    """No figures would count its objects."""
    images = [an_image(1), an_image(2, annotations=[an_object(category_id=2)])]
    with clean_catalogs():
        DatasetCatalog.register("by_code", lambda: images)
        assert images_of("DATASETS.TEST", ["by_code"], filter_empty=False)
        MetadataCatalog.get("by_code").set(thing_classes=["disc", "ring"])
        with pytest.raises(ValueError) as refused:
            images_of("DATASETS.TEST", ["by_code"], filter_empty=False)
    assert str(refused.value) == (
        "Data sets ['by_code']: Image 2.jpg (id 2) has an object with the category_id 2; by the "
        "metadata's thing_classes classes are 0 to 1."
    )


@pytest.mark.parametrize("classes", ["disc", [1, 2], ["disc", None], {0: "disc"}, np.array(["a"])])
def test_classes_that_are_no_list_of_names(classes: Any) -> None:
    with clean_catalogs():
        DatasetCatalog.register("by_code", lambda: [an_image(1)])
        MetadataCatalog.get("by_code").set(thing_classes=classes)
        with pytest.raises(
            ValueError, match="Data set 'by_code' has the thing_classes .*a list of"
        ):
            images_of("DATASETS.TEST", ["by_code"], filter_empty=False)


@pytest.mark.parametrize("mask", [None, MASK, "abc"])
def test_a_mask_that_figures_are_not_computed_with(mask: Any) -> None:
    images = [an_image(1), an_image(2, annotations=[an_object(segmentation=mask)])]
    with pytest.raises(ValueError, match=r"2.jpg .* with the segmentation .* or be left out\."):
        read(images, learnt=False)
    assert read(images) == images  # where boxes are learnt


def test_a_whole_file_in_the_place_of_images() -> None:
    with pytest.raises(ValueError, match=r"Entry 0 is 'images'; .* registered a list of such dict"):
        read({"images": [], "annotations": []})


def test_data_sets_that_are_not_looked_at() -> None:
    images = [an_image(1, annotations=[{"points": 3}])]
    assert read(images, "DATASETS.CHECK", False) == images


@pytest.mark.parametrize("class_", [-1, 3])
def test_a_class_that_the_model_does_not_have(class_: int) -> None:
    cfg = toy_cfg()
    with clean_catalogs():
        check_classes(cfg, [an_image(1), an_image(2)])
        images = [an_image(1), an_image(2, annotations=[an_object(category_id=class_)])]
        with pytest.raises(ValueError) as refused:
            check_classes(cfg, images)
    assert str(refused.value) == (
        f"Image 2.jpg (id 2) has an object with the category_id {class_}; by "
        "MODEL.ROI_HEADS.NUM_CLASSES classes are 0 to 2."
    )


def test_boxes_without_area_are_no_fractions(caplog: pytest.LogCaptureFixture) -> None:
    swapped = an_object(bbox=[15, 14, 5, 6], bbox_mode=BoxMode.XYXY_ABS)
    read([an_image(1, annotations=[swapped])])
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        "Data sets ['by_code']: 1 of 1 boxes have no area by their bbox_mode, and are not trained "
        "on (the first: [15, 14, 5, 6] as XYXY_ABS of 1.jpg)."
    ]


def test_a_json_file_in_the_metadata_alone() -> None:
    """Detectron2's COCOEvaluator sets one of any data set."""
    with clean_catalogs():
        DatasetCatalog.register(
            "by_code", lambda: [an_image(1, annotations=[an_object(iscrowd=2)])]
        )
        MetadataCatalog.get("by_code").json_file = "by_code_coco_format.json"
        with pytest.raises(
            ValueError, match="^Data sets .*1.jpg .* with iscrowd 2; it must be 0 or"
        ):
            training_dicts(toy_cfg("DATASETS.TRAIN", ("by_code",)))


def test_run_lengths_elsewhere(caplog: pytest.LogCaptureFixture) -> None:
    """Pixels of column 20, which the box is not in: as of a mask encoded along its rows."""
    other = np.zeros((30, 40), np.uint8, order="F")
    other[10:13, 20] = 1
    masks = [mask_api.encode(mask) for mask in (MASK, other)]
    keys = ("MODEL.MASK_ON", True, "INPUT.MASK_FORMAT", "bitmask")
    read([an_image(1, annotations=[an_object(segmentation=mask) for mask in masks])], *keys)
    assert [r.getMessage() for r in caplog.records if "elsewhere" in r.getMessage()] == [
        "Data sets ['by_code']: 1 of 2 boxes have a mask elsewhere, which is learnt (the first: "
        "[5, 6, 10, 8] as XYWH_ABS of 1.jpg)."
    ]


@pytest.mark.parametrize(("keys", "said"), [((), 0), (("INPUT.MOSAIC.ENABLED", True), 1)])
def test_polygons_elsewhere(caplog: pytest.LogCaptureFixture, keys: tuple, said: int) -> None:
    """The boxes of mosaics follow from them."""
    shares = an_object(segmentation=[[0.1, 0.2, 0.4, 0.2, 0.4, 0.5]])
    read([an_image(1, annotations=[an_object(), shares, an_object(segmentation="?")])], *keys)
    found = [r.getMessage() for r in caplog.records if "mask elsewhere" in r.getMessage()]
    assert found == said * [
        "Data sets ['by_code']: 1 of 3 boxes have a mask elsewhere, which is learnt (the first: "
        "[5, 6, 10, 8] as XYWH_ABS of 1.jpg)."
    ]


def test_the_hash_of_images_with_fields_of_ones_own() -> None:
    """JSON has no keys of two kinds and no sets, whose order is another one in each process."""

    class Own:
        pass

    image = an_image(1, attributes={1: "a", "b": 2, (3, 4): 5}, tags={"x", "y"}, own=Own())
    first = images_hash([image])
    assert first == images_hash([{**image, "tags": {"y", "x"}, "own": Own()}])
    assert first != images_hash([{**image, "tags": {"x"}}])
    assert images_hash([{"a": 1}]) == sha256(b'{"a": 1}').hexdigest()[:16]


def test_crowds_are_not_said_to_be_learnt(caplog: pytest.LogCaptureFixture) -> None:
    """Neither for their masks nor for boxes that would not be learnt."""
    crowds = [
        an_object(segmentation=[[0, 0, 1, 0, 1, 1]], iscrowd=1),
        an_object(bbox=[0, 0, 0, 0], iscrowd=1),
    ]
    read([an_image(1, annotations=[an_object(), *crowds])], "INPUT.MOSAIC.ENABLED", True)
    assert [r.getMessage() for r in caplog.records if "boxes" in r.getMessage()] == []


@pytest.mark.parametrize("size", [3, None, 2.5])
def test_run_lengths_whose_size_is_no_list(size: object) -> None:
    mask = {"counts": "PP1", "size": size}
    with pytest.raises(ValueError, match=r"Image 1\.jpg .* has an object with the segmentation \{"):
        keys = ("MODEL.MASK_ON", True, "INPUT.MASK_FORMAT", "bitmask")
        read([an_image(1, annotations=[an_object(segmentation=mask)])], *keys)


POINTS = [7.5, 8.5, 2, 9.5, 9.5, 2]
POSES = ("MODEL.KEYPOINT_ON", True, "MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS", 2)


def named(given: Any, name: str = "by_code") -> None:
    """Registered, with two keypoints and three classes that have names."""
    DatasetCatalog.register(name, lambda: given)
    names = {"keypoint_names": ["a", "b"], "keypoint_flip_map": []}
    MetadataCatalog.get(name).set(thing_classes=["x", "y", "z"], **names)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"keypoints": POINTS}, None),
        ({"keypoints": np.reshape(POINTS, (2, 3))}, None),
        ({"keypoints": POINTS[:3]}, r"has an object that has the keypoints \[7\.5, 8\.5, 2\]; a l"),
        ({}, r"has an object that has no keypoints; a list .* of 2 keypoints, by MODEL\.ROI_KEY"),
        ({"iscrowd": 1}, None),
    ],
)
def test_keypoints(changes: dict, says: str | None) -> None:
    """Where another object of the image has them, Detectron2 would stop in the step that comes to
    it."""
    objects = [an_object(keypoints=POINTS), an_object(**changes)]
    with clean_catalogs():
        named([an_image(1, annotations=objects)])
        cfg = toy_cfg("DATASETS.TRAIN", ("by_code",), *POSES)
        if says is None:
            assert len(training_dicts(cfg)) == 1
        else:
            with pytest.raises(ValueError, match=says):
                training_dicts(cfg)


def test_other_names_than_keypoints() -> None:
    with clean_catalogs():
        named([an_image(1, annotations=[an_object(keypoints=POINTS)])])
        MetadataCatalog.get("by_code").__dict__["keypoint_names"] = ["a", "b", "c"]
        says = r"'by_code' has 3 keypoint_names in its metadata, and MODEL\.ROI_KEYPOINT_HEAD\.NUM_"
        with pytest.raises(ValueError, match=says):
            training_dicts(toy_cfg("DATASETS.TRAIN", ("by_code",), *POSES))


def test_keypoints_that_are_measured() -> None:
    """Those of crowds, too; and Detectron2 writes into them, which an array of whole numbers
    rounds."""
    for points in (GONE, np.array([7, 8, 2, 9, 9, 2])):
        objects = [an_object(keypoints=POINTS), an_object(iscrowd=1, keypoints=points)]
        with clean_catalogs():
            named([an_image(1, annotations=objects)])
            with pytest.raises(ValueError, match=r"has an object that has .*keypoints.*; a list"):
                build_test_loader(toy_cfg(*POSES), "by_code")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"segmentation": GONE}, r"has an object without 'segmentation'; with MODEL\.MASK_ON it"),
        ({"segmentation": mask_api.encode(MASK)}, r"with MODEL\.MASK_ON it must be a list of pol"),
    ],
)
def test_what_losses_are_computed_of_beside_figures(changes: dict, says: str) -> None:
    keys = ("MODEL.MASK_ON", True, "DATASETS.TEST", ("by_code",), "TEST.EVAL_LOSS")
    with clean_catalogs():
        named([an_image(1, annotations=[an_object(**changes)])])
        build_evaluation_loader(toy_cfg(*keys, False), "by_code")
        with pytest.raises(ValueError, match=says):
            build_evaluation_loader(toy_cfg(*keys, True), "by_code")


@pytest.mark.parametrize(
    ("objects", "says"),
    [
        ([an_object(category_id=3)], r"Image 2\.jpg .* has an object with the category_id 3; by"),
        ([an_object(iscrowd=1)], r"^SOLVER\.ROUTER\.VALIDATION 'v': no image has an object\.$"),
        ([an_object(bbox=GONE)], r"Image 2\.jpg .* has an object without 'bbox'"),
    ],
)
def test_what_an_objective_is_chosen_on_is_looked_at_before_the_first_step(
    objects: list[dict], says: str
) -> None:
    with clean_catalogs():
        named([an_image(1)])
        DatasetCatalog.register("v", lambda: [an_image(2, annotations=objects)])
        cfg = toy_cfg("DATASETS.TRAIN", ("by_code",), "SOLVER.ROUTER.VALIDATION", "v")
        with pytest.raises(ValueError, match=says):
            check_classes(cfg, training_dicts(cfg))
