# SPDX-License-Identifier: Apache-2.0
"""Mosaics, mixup, HSV gains and paste-in, by hand on pictures of a few pixels."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from detectron2.structures import BoxMode
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco_masks

from dynamicdet_d2.data.augmentation.hsv import hsv_scaled
from dynamicdet_d2.data.augmentation.mixup import mixed
from dynamicdet_d2.data.augmentation.mosaic import (
    letterboxed,
    mosaic_of_four,
    mosaic_of_nine,
    placed,
)
from dynamicdet_d2.data.augmentation.paste_in import (
    SLOTS,
    cut_out,
    draw_cutouts,
    draw_slots,
    pasted,
)
from dynamicdet_d2.data.augmentation.picture import Picture
from dynamicdet_d2.data.augmentation.samples import finished, read_picture, resized

GREY = 114


def box(*numbers: float, **more: Any) -> dict[str, Any]:
    return {"bbox": np.array(numbers, dtype=np.float64), "category_id": 0, **more}


def boxes(picture: Picture) -> list[list[float]]:
    return [annotation["bbox"].tolist() for annotation in picture.annotations]


def plain(value: int, height: int = 2, width: int = 2) -> Picture:
    """A picture of one value, all of which is one object."""
    image = np.full((height, width, 3), value, dtype=np.uint8)
    return Picture(image, [box(0, 0, width, height, category_id=value)])


def values(picture: Picture) -> list[list[int]]:
    assert (picture.image == picture.image[..., :1]).all()
    return picture.image[..., 0].tolist()


# Mosaics


def test_a_mosaic_of_four_by_hand() -> None:
    pictures = [plain(value) for value in (10, 20, 30, 40)]
    found = mosaic_of_four(pictures, (2, 2), 2, GREY)
    assert values(found) == [
        [10, 10, 20, 20],
        [10, 10, 20, 20],
        [30, 30, 40, 40],
        [30, 30, 40, 40],
    ]
    assert boxes(found) == [[0, 0, 2, 2], [2, 0, 4, 2], [0, 2, 2, 4], [2, 2, 4, 4]]
    assert [a["category_id"] for a in found.annotations] == [10, 20, 30, 40]


def test_a_mosaic_of_four_with_its_centre_elsewhere() -> None:
    found = mosaic_of_four([plain(value) for value in (10, 20, 30, 40)], (1, 3), 2, GREY)
    assert values(found) == [
        [GREY, GREY, GREY, GREY],
        [10, 20, 20, GREY],
        [10, 20, 20, GREY],
        [30, 40, 40, GREY],
    ]
    assert boxes(found) == [[0, 1, 1, 3], [1, 1, 3, 3], [0, 3, 1, 4], [1, 3, 3, 4]]


def test_a_mosaic_of_nine_by_hand() -> None:
    """The one in the middle, then clockwise from the upper one; the middle row is 1 high."""
    shapes = [(1, 2), (2, 1), (2, 2), (1, 1), (2, 2), (2, 2), (2, 2), (1, 2), (2, 2)]
    pictures = [plain(10 * (i + 1), *shape) for i, shape in enumerate(shapes)]
    found = mosaic_of_nine(pictures, (0, 0), 2, GREY)
    assert values(found) == [
        [90, 90, 20, GREY],
        [90, 90, 20, GREY],
        [80, 80, 10, 10],
        [70, 70, 60, 60],
    ]
    found = mosaic_of_nine(pictures, (2, 2), 2, GREY)
    assert values(found) == [
        [10, 10, 40, GREY],
        [60, 60, 50, 50],
        [60, 60, 50, 50],
        [GREY, GREY, GREY, GREY],
    ]
    shown = {a["category_id"]: a["bbox"].tolist() for a in found.annotations}
    assert shown == {10: [0, 0, 2, 1], 40: [2, 0, 3, 1], 50: [2, 1, 4, 3], 60: [0, 1, 2, 3]}


@given(st.data())
def test_pictures_of_a_mosaic_never_overlap(data: st.DataObject) -> None:
    size = data.draw(st.integers(2, 9))
    sides = st.integers(1, size)
    count = data.draw(st.sampled_from([4, 9]))
    pictures = [plain(i + 1, data.draw(sides), data.draw(sides)) for i in range(count)]
    low, high = (size // 2, size + size // 2) if count == 4 else (0, size)
    point = data.draw(st.tuples(st.integers(low, high), st.integers(low, high)))
    mosaic = mosaic_of_four if count == 4 else mosaic_of_nine
    found = mosaic(pictures, point, size, 0)
    for annotation in found.annotations:
        x0, y0, x1, y1 = annotation["bbox"].astype(int)
        value = annotation["category_id"]
        assert (found.image[y0:y1, x0:x1] == value).all()
        assert (found.image == value).all(axis=2).sum() == (x1 - x0) * (y1 - y0)


def test_a_single_picture_stands_in_the_middle() -> None:
    found = letterboxed(plain(10, 1, 4), 4, GREY)
    assert values(found) == [[GREY] * 4, [10] * 4, [GREY] * 4, [GREY] * 4]
    assert boxes(found) == [[0, 1, 4, 2]]


def test_pictures_beyond_the_canvas() -> None:
    found = placed([plain(10), plain(20), plain(30)], [(-2, 0), (5, 1), (1, -1)], 3, GREY)
    assert values(found) == [[GREY, 30, 30], [GREY] * 3, [GREY] * 3]
    assert boxes(found) == [[1, 0, 3, 1]]


# Mixup


def test_mixup_by_hand() -> None:
    found = mixed(plain(200), plain(100), 0.75)
    assert values(found) == [[175, 175], [175, 175]]
    assert [a["category_id"] for a in found.annotations] == [200, 100]
    assert values(mixed(plain(200), plain(100), 1.0)) == values(plain(200))


# HSV gains

COLOURS = np.random.RandomState(0).randint(0, 256, (8, 8, 3)).astype(np.uint8)


def test_no_gain_leaves_the_image_as_it_is() -> None:
    assert hsv_scaled(COLOURS, (1, 1, 1), "RGB") is COLOURS


def test_gains_by_hand() -> None:
    """Red (hue 0), and a green of hue 60 of 180 steps, saturation 255."""
    image = np.array([[[200, 0, 0], [0, 100, 0]]], dtype=np.uint8)
    assert hsv_scaled(image, (1, 1, 0.5), "RGB").tolist() == [[[100, 0, 0], [0, 50, 0]]]
    assert hsv_scaled(image, (1, 1, 9), "RGB").tolist() == [[[255, 0, 0], [0, 255, 0]]]
    assert hsv_scaled(image, (1, 0, 1), "RGB").tolist() == [[[200] * 3, [100] * 3]]
    # Hue 60 becomes 120, blue; 60 x 4 = 240 wraps around to 60 again.
    assert hsv_scaled(image, (2, 1, 1), "RGB").tolist() == [[[200, 0, 0], [0, 0, 100]]]
    assert hsv_scaled(image, (4, 1, 1), "RGB").tolist() == image.tolist()


def test_both_orders_of_channels_are_the_same_colours() -> None:
    factors = (1.01, 1.4, 0.8)
    bgr = hsv_scaled(np.ascontiguousarray(COLOURS[..., ::-1]), factors, "BGR")
    assert np.array_equal(bgr[..., ::-1], hsv_scaled(COLOURS, factors, "RGB"))


def test_grey_stays_grey() -> None:
    found = hsv_scaled(plain(90).image, (1.1, 1.7, 1.2), "RGB")
    assert (found == 108).all()


# Paste-in


def with_object(value: int = 200, side: int = 40) -> Picture:
    """A bright square of 20 pixels at (10, 10) in the dark, as polygon."""
    image = np.zeros((side, side, 3), dtype=np.uint8)
    image[10:30, 10:30] = value
    outline = np.array([[10, 10], [30, 10], [30, 30], [10, 30]], dtype=np.float64)
    return Picture(image, [box(10, 10, 30, 30, segmentation=[outline], category_id=5)])


def test_an_object_is_cut_out_by_its_mask() -> None:
    (cutout,) = draw_cutouts(with_object(), np.random.RandomState(0))
    assert cutout.mask.shape == (20, 20) and cutout.mask.all()
    assert (cutout.image == 200).all()
    assert cutout.annotation["bbox"].tolist() == [0, 0, 20, 20]
    triangle = np.array([[10.0, 10], [30, 10], [10, 30]])
    picture = Picture(with_object().image, [box(10, 10, 30, 30, segmentation=[triangle])])
    half = cut_out(picture, picture.annotations[0])
    assert half is not None
    assert abs(int(half.mask.sum()) - 200) <= 20
    assert half.mask[0, 0] and not half.mask[-1, -1]


def test_crowds_and_boxes_alone_are_not_cut_out() -> None:
    outline = with_object().annotations[0]
    crowd, alone = {**outline, "iscrowd": 1}, box(0, 0, 20, 20)
    picture = Picture(with_object().image, [crowd, alone])
    assert draw_cutouts(picture, np.random.RandomState(0)) == []
    three = Picture(with_object().image, [outline, outline, outline])
    assert len(draw_cutouts(three, np.random.RandomState(0))) == 2


def test_an_object_in_a_free_slot_by_hand() -> None:
    """A slot of 30 x 25 takes a square of 20 at 25 x 25."""
    (cutout,) = draw_cutouts(with_object(), np.random.RandomState(0))
    picture = Picture(np.full((60, 60, 3), 50, dtype=np.uint8), [box(0, 0, 8, 8)])
    found = pasted(picture, np.array([[10.0, 20, 40, 45]]), [cutout])
    assert boxes(found) == [[0, 0, 8, 8], [10, 20, 35, 45]]
    assert found.annotations[1]["category_id"] == 5
    assert (found.image[20:45, 10:35] == 200).all()
    assert (found.image == 200).all(axis=2).sum() == 25 * 25
    assert (picture.image == 50).all()


@pytest.mark.parametrize(
    "slot",
    [
        (0, 0, 20, 50),  # a side that is not longer than 20 pixels
        (30, 30, 55, 55),  # 25 of the 80 of the box that is there
    ],
)
def test_slots_that_are_not_free(slot: tuple) -> None:
    (cutout,) = draw_cutouts(with_object(), np.random.RandomState(0))
    picture = Picture(np.zeros((60, 60, 3), dtype=np.uint8), [box(50, 50, 58, 60)])
    assert boxes(pasted(picture, np.array([slot], float), [cutout])) == [[50, 50, 58, 60]]


def test_what_would_get_too_small_is_not_pasted() -> None:
    """An object of 20 x 5 in a slot of 25 x 25: 25 x 6."""
    outline = np.array([[10, 10], [30, 10], [30, 15], [10, 15]], dtype=np.float64)
    picture = Picture(with_object().image, [box(10, 10, 30, 15, segmentation=[outline])])
    (cutout,) = draw_cutouts(picture, np.random.RandomState(0))
    empty = Picture(np.zeros((60, 60, 3), dtype=np.uint8), [])
    assert pasted(empty, np.array([[0.0, 0, 25, 25]]), [cutout]).annotations == []


def test_what_is_pasted_takes_its_place() -> None:
    (cutout,) = draw_cutouts(with_object(), np.random.RandomState(0))
    empty = Picture(np.zeros((60, 60, 3), dtype=np.uint8), [])
    slots = np.array([[0, 0, 30, 30], [5, 5, 35, 35], [30, 30, 60, 60]], dtype=np.float64)
    assert boxes(pasted(empty, slots, [cutout] * 3)) == [[0, 0, 30, 30], [30, 30, 60, 60]]


def test_slots_lie_in_the_picture() -> None:
    drawn = [draw_slots(np.random.RandomState(seed), 64) for seed in range(50)]
    every = np.concatenate(drawn)
    assert every.min() >= 0 and every.max() <= 64
    assert (every[:, 2:] - every[:, :2]).max() <= 0.75 * 64
    assert len(SLOTS) == 20
    assert 0.75 * 1000 < len(every) < 0.85 * 1000


# Reading and finishing


def test_resizing_by_hand() -> None:
    found = resized(plain(90, 2, 4), 8)
    assert found.image.shape == (4, 8, 3) and boxes(found) == [[0, 0, 8, 4]]
    found = resized(plain(90, 100, 4), 10)  # 0.4 pixels wide
    assert found.image.shape == (10, 1, 3) and boxes(found) == [[0, 0, 1, 10]]
    stripes = np.zeros((4, 4, 3), dtype=np.uint8)
    stripes[:, ::2] = 200
    assert (resized(Picture(stripes, []), 2).image == 100).all()


def dataset_dict(tmp_path: Path, **annotation: Any) -> dict[str, Any]:
    path = str(tmp_path / "1.png")
    cv2.imwrite(path, np.full((20, 40), 90, dtype=np.uint8))
    annotation = {
        "bbox": [4, 2, 8, 6],
        "bbox_mode": BoxMode.XYWH_ABS,
        "category_id": 3,
    } | annotation
    return {
        "file_name": path,
        "image_id": 9,
        "height": 20,
        "width": 40,
        "annotations": [annotation],
    }


def test_a_grey_image_and_back_to_detectron2(tmp_path: Path) -> None:
    polygon = [4, 2, 12, 2, 12, 8, 4, 8]
    source = dataset_dict(tmp_path, segmentation=[polygon], iscrowd=0)
    picture = read_picture(source, "RGB", 80, masks=True)
    assert picture.image.shape == (40, 80, 3) and (picture.image == 90).all()
    assert boxes(picture) == [[8, 4, 24, 16]]
    sample = finished(picture, source, masks=True, mask_format="polygon")
    assert sample["image"].shape == (3, 40, 80) and sample["image"].dtype.is_floating_point is False
    assert (sample["height"], sample["width"], sample["image_id"]) == (40, 80, 9)
    assert "annotations" not in sample
    instances = sample["instances"]
    assert instances.gt_boxes.tensor.tolist() == [[8, 4, 24, 16]]
    assert instances.gt_classes.tolist() == [3]
    assert instances.gt_masks.polygons[0][0].tolist() == [8, 4, 24, 4, 24, 16, 8, 16]
    alone = finished(picture, source, masks=False, mask_format="polygon")["instances"]
    assert not alone.has("gt_masks")
    assert source["annotations"][0]["bbox"] == [4, 2, 8, 6]


def test_run_lengths_become_masks_where_they_are_trained(tmp_path: Path) -> None:
    mask = np.zeros((20, 40), dtype=np.uint8, order="F")
    mask[2:8, 4:12] = 1
    source = dataset_dict(tmp_path, segmentation=coco_masks.encode(mask))
    picture = read_picture(source, "RGB", 80, masks=True)
    sample = finished(picture, source, masks=True, mask_format="bitmask")
    assert sample["instances"].gt_masks.tensor.sum() == 12 * 16
    assert sample["instances"].gt_boxes.tensor.tolist() == [[8, 4, 24, 16]]
    assert "segmentation" not in read_picture(source, "RGB", 80, masks=False).annotations[0]


def test_crowds_are_not_trained_on(tmp_path: Path) -> None:
    source = dataset_dict(tmp_path, iscrowd=1)
    picture = read_picture(source, "RGB", 40, masks=False)
    assert len(picture.annotations) == 1
    assert len(finished(picture, source, False, "polygon")["instances"]) == 0


@pytest.mark.parametrize(
    "outlines", [[4, 2, 12, 2, 12, 8], [[4, 2, 12, 2, 12, 8, 4]], [[[4, 2], [12, 2], [12, 8]]], "?"]
)
def test_what_is_no_polygon_moves_no_box(tmp_path: Path, outlines: object) -> None:
    """Where masks are not learnt, nobody has looked at it."""
    source = dataset_dict(tmp_path, segmentation=outlines)
    (found,) = read_picture(source, "RGB", 80, masks=False).annotations
    assert found["bbox"].tolist() == [8, 4, 24, 16] and "segmentation" not in found


def test_outlines_of_crowds_are_not_read(tmp_path: Path) -> None:
    source = dataset_dict(tmp_path, iscrowd=1, segmentation={"size": [20, 40], "counts": [800]})
    (found,) = read_picture(source, "RGB", 40, masks=True).annotations
    assert found["bbox"].tolist() == [4, 2, 12, 8] and "segmentation" not in found
