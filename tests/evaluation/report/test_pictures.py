# SPDX-License-Identifier: Apache-2.0
"""Which images are shown, and what is drawn in them."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as mask_api

from dynamicdet_d2.evaluation.exit_records import ExitRecord
from dynamicdet_d2.evaluation.report import pictures
from dynamicdet_d2.evaluation.tradeoff.routes import ImageRoute
from tests.support.tradeoffs import ROUTES

GREY = np.full((80, 120, 3), 90, dtype=np.uint8)


def test_rows_of_the_pictures() -> None:
    def ids(rows: list[pictures.Row]) -> list[list[int]]:
        return [[image.image_id for image in row.images] for row in rows]

    assert ids(pictures.extremes(ROUTES, 1)) == [[0], [3]]
    # No image is both.
    assert ids(pictures.extremes(ROUTES, 9)) == [[0, 1], [3, 2]]
    assert ids(pictures.extremes(ROUTES[:3], 9)) == [[0, 1], [2]]
    assert ids(pictures.extremes(ROUTES[:1], 9)) == [[0]]
    rows = pictures.wrong(ROUTES, 4)
    assert ids(rows) == [[1], [1], [3], [3]]
    # The exit taken, then the other one.
    assert [row.exits for row in rows] == [(0,), (1,), (1,), (0,)]
    assert pictures.wrong(ROUTES[:1], 4) == pictures.extremes([], 4) == []


def detection(box: list[float], score: float, category: int = 0) -> dict:
    """With a mask of the left half of the box."""
    x, y, width, height = map(int, box)
    mask = np.zeros(GREY.shape[:2], dtype=np.uint8, order="F")
    mask[y : y + height, x : x + width // 2] = 1
    rle = mask_api.encode(mask)
    rle["counts"] = rle["counts"].decode()
    return {"bbox": box, "category_id": category, "score": score, "segmentation": rle}


def test_boxes_and_masks_are_drawn() -> None:
    found = [detection([30, 20, 60, 40], 0.9), detection([0, 0, 20, 20], 0.4)]
    drawn = pictures.draw(GREY, found, ["disc"]).astype(int)
    assert drawn.shape == (320, 480, 3)  # four times as large
    plain = pictures.draw(GREY, [], [])
    assert (plain == 90).all()
    changed = (np.abs(drawn - 90) > 10).any(axis=2)
    # Inside of the mask (x 30 to 60), inside of the box only, and on the box's left edge.
    assert changed[150:200, 140:220].all()
    assert not changed[150:200, 270:340].any()
    assert changed[100:200, 119:122].any(axis=1).all()
    # Nothing of what is below the score, and nothing beyond the box and its name.
    assert not changed[:60, :100].any() and not changed[260:].any()
    without = [{k: v for k, v in found[0].items() if k != "segmentation"}]
    changed = (np.abs(pictures.draw(GREY, without, ["disc"]).astype(int) - 90) > 10).any(axis=2)
    assert not changed[150:200, 140:340].any() and changed[100:200, 119:122].any()


@pytest.mark.parametrize("name", ["$x_$", "$", "a_b^c", "<b>", ""])
def test_class_names_are_drawn_as_they_are(name: str) -> None:
    pictures.draw(GREY, [detection([30, 20, 60, 40], 0.9)], [name])
    # A class without a name is a number.
    assert pictures._label(detection([0, 0, 9, 9], 0.9, category=1), [name]) == "1 90"


@pytest.fixture
def routes(tmp_path: Path) -> list[ImageRoute]:
    """With an image file each."""
    found = []
    for route in ROUTES:
        path = tmp_path / f"{route.image_id}.png"
        Image.fromarray(GREY).save(path)
        found.append(dataclasses.replace(route, file_name=str(path)))
    return found


def test_pictures_are_written_where_images_are(tmp_path: Path, routes: list[ImageRoute]) -> None:
    found = [detection([5, 5, 20, 20], score, 1) for score in (0.9, 0.4)]
    records = [ExitRecord(r.image_id, "", 0.5, (40, 60), (found, [])) for r in routes]
    pictures.write_pictures(tmp_path, routes, records, ["disc", "$ring$"], 2)
    shapes = [Image.open(tmp_path / name).size for name in (pictures.GALLERY, pictures.MISROUTED)]
    # Two images of 3.2 inches at 110 dots per inch; one a row where one alone went wrong.
    assert [width for width, _ in shapes] == [704, 352]
    assert shapes[1][1] > 1.9 * shapes[0][1]  # four rows, not two
    # Nothing went the wrong way any more, and image files are gone.
    right = [route for route in routes if route.image_id in (0, 2)]
    pictures.write_pictures(tmp_path, right, records, [], 2)
    assert (tmp_path / pictures.GALLERY).exists() and not (tmp_path / pictures.MISROUTED).exists()
    pictures.write_pictures(tmp_path, ROUTES, records, [], 2)
    assert not (tmp_path / pictures.GALLERY).exists()
