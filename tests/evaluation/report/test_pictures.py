# SPDX-License-Identifier: Apache-2.0
"""Which images are shown, and what is drawn in them."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as mask_api

from dynamicdet_d2.evaluation.report import drawing, pictures
from dynamicdet_d2.evaluation.report.drawing import draw
from dynamicdet_d2.evaluation.report.pictures import Album
from dynamicdet_d2.evaluation.tradeoff.routes import ImageCounts, ImageRoute
from tests.support.tradeoffs import ROUTES

GREY = np.full((80, 120, 3), 90, dtype=np.uint8)


def test_rows_of_the_pictures() -> None:
    def ids(rows: list[pictures.Row]) -> list[list[int]]:
        return [[image.image_id for image in row.images] for row in rows]

    rows = pictures.extremes(ROUTES, 1)
    assert ids(rows) == [[0], [0], [3], [3]]
    # The exit taken, then what is there.
    assert [row.drawn for row in rows] == [(0,), (pictures.TRUTH,), (1,), (pictures.TRUTH,)]
    # No image is both.
    assert ids(pictures.extremes(ROUTES, 9)[::2]) == [[0, 1], [3, 2]]
    assert ids(pictures.extremes(ROUTES[:3], 9)[::2]) == [[0, 1], [2]]
    assert ids(pictures.extremes(ROUTES[:1], 9)) == [[0], [0]]
    rows = pictures.wrong(ROUTES, 4)
    assert ids(rows) == [[1], [1], [1], [3], [3], [3]]
    # The exit taken, the other one, and what is there.
    truth = (pictures.TRUTH,)
    assert [row.drawn for row in rows] == [(0,), (1,), truth, (1,), (0,), truth]
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
    found = [detection([30, 20, 60, 40], 0.9)]
    drawn = draw(GREY, found, ["disc"]).astype(int)
    assert drawn.shape == (320, 480, 3)  # four times as large
    plain = draw(GREY, [], [])
    assert (plain == 90).all()
    changed = (np.abs(drawn - 90) > 10).any(axis=2)
    # Inside of the mask (x 30 to 60), inside of the box only, and on the box's left edge.
    assert changed[150:200, 140:220].all()
    assert not changed[150:200, 270:340].any()
    assert changed[100:200, 119:122].any(axis=1).all()
    # Nothing beyond the box and its name.
    assert not changed[:60, :100].any() and not changed[260:].any()
    without = [{k: v for k, v in found[0].items() if k != "segmentation"}]
    changed = (np.abs(draw(GREY, without, ["disc"]).astype(int) - 90) > 10).any(axis=2)
    assert not changed[150:200, 140:340].any() and changed[100:200, 119:122].any()


@pytest.mark.parametrize("name", ["$x_$", "$", "a_b^c", "<b>", ""])
def test_class_names_are_drawn_as_they_are(name: str) -> None:
    draw(GREY, [detection([30, 20, 60, 40], 0.9)], [name])
    # A class without a name is a number.
    assert drawing._label(detection([0, 0, 9, 9], 0.9, category=1), [name]) == "1 90"


def test_objects_are_drawn_with_their_names_alone() -> None:
    disc = {"bbox": [30, 20, 60, 40], "category_id": 0}
    drawn = draw(GREY, [disc], ["disc"]).astype(int)
    changed = (np.abs(drawn - 90) > 10).any(axis=2)
    assert changed[100:200, 119:122].any(axis=1).all() and not changed[150:200, 140:340].any()
    assert drawing._label(disc, ["disc"]) == "disc"
    # A polygon and a run-length code count as masks; one object without leaves all without.
    polygon = [[30, 20, 90, 20, 90, 60, 30, 60]]
    rle = {"size": [80, 120], "counts": [0, 9600]}
    for mask in (polygon, rle):
        filled = np.abs(draw(GREY, [{**disc, "segmentation": mask}], []).astype(int) - 90) > 10
        assert filled.any(axis=2)[150:200, 140:340].all()
    both = [{**disc, "segmentation": polygon}, {**disc, "segmentation": None}]
    assert not (np.abs(draw(GREY, both, []).astype(int) - 90) > 10).any(axis=2)[160, 200]


# Sides that a picture is drawn with: 480 pixels wide, unless it is more than four times as high.
@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ((80, 120), (320, 480)),
        ((4, 1000), (1, 480)),
        ((1000, 4), (1920, 7)),
        ((3000, 1), (3000, 1)),
        ((1, 3000), (1, 3000)),
    ],
)
def test_a_picture_of_a_few_pixels_width_is_drawn_narrower(
    given: tuple[int, int], expected: tuple[int, int]
) -> None:
    pixels = np.full((*given, 3), 90, np.uint8)
    drawn = draw(pixels, [detection([0, 0, 1, 1], 0.9)], ["disc"])
    assert drawn.shape == (*expected, 3)


@pytest.fixture
def routes(tmp_path: Path) -> list[ImageRoute]:
    """With an image file each."""
    found = []
    for route in ROUTES:
        path = tmp_path / f"{route.image_id}.png"
        Image.fromarray(GREY).save(path)
        found.append(dataclasses.replace(route, file_name=str(path)))
    return found


OBJECT = {"bbox": [5, 5, 20, 20], "category_id": 1, "segmentation": [[5, 5, 25, 5, 25, 25]]}


def an_album(count: int) -> Album:
    found = [detection([5, 5, 20, 20], score, 1) for score in (0.9, 0.4)]
    results = {route.image_id: (found, []) for route in ROUTES}
    return Album(results, lambda _: [OBJECT], ["disc", "$ring$"], masks=False, count=count)


def test_pictures_are_written_where_images_are(tmp_path: Path, routes: list[ImageRoute]) -> None:
    album = an_album(2)
    album.write(tmp_path, routes)
    shapes = [Image.open(tmp_path / name).size for name in (pictures.GALLERY, pictures.MISROUTED)]
    # Two images of 3.2 inches at 110 dots per inch; one a row where one alone went wrong.
    assert [width for width, _ in shapes] == [704, 352]
    assert shapes[1][1] > 1.4 * shapes[0][1]  # six rows, not four
    # A cell is at most four times as high as wide, and so a picture of such images can be written.
    for route in routes:
        Image.fromarray(np.full((500, 2, 3), 90, np.uint8)).save(route.file_name)
    album.write(tmp_path, routes)
    width, height = Image.open(tmp_path / pictures.GALLERY).size
    assert width == 704 and 110 * 4 * 4 * 3.2 < height < 110 * 4 * (4 * 3.2 + 1)
    # Nothing went the wrong way any more, and image files are gone.
    right = [route for route in routes if route.image_id in (0, 2)]
    album.write(tmp_path, right)
    assert (tmp_path / pictures.GALLERY).exists() and not (tmp_path / pictures.MISROUTED).exists()
    album.write(tmp_path, ROUTES)
    assert not (tmp_path / pictures.GALLERY).exists()


def test_a_file_that_is_no_image_costs_its_pictures_alone(
    tmp_path: Path, routes: list[ImageRoute], caplog: pytest.LogCaptureFixture
) -> None:
    """As an own mapper reads, of arrays."""
    Path(routes[0].file_name).write_bytes(b"an array")
    album = an_album(4)
    album.write(tmp_path, routes)
    assert not (tmp_path / pictures.GALLERY).exists()
    assert album.both_exits(routes) is None
    assert routes[0].file_name in caplog.messages[0]


@pytest.mark.parametrize(
    "wrong",
    [
        {"bbox": [1e9, 1e9, 5, 5]},  # where Matplotlib cannot write the class's name
        {"segmentation": {"size": [3, 2], "counts": [6]}},  # of an image of another size
    ],
)
def test_an_object_that_cannot_be_drawn_costs_the_pictures_alone(
    tmp_path: Path, routes: list[ImageRoute], caplog: pytest.LogCaptureFixture, wrong: dict
) -> None:
    """As a data set by code may have it, of which figures are taken all the same."""
    album = dataclasses.replace(an_album(2), objects=lambda _: [{**OBJECT, **wrong}], masks=True)
    album.write(tmp_path, routes)
    assert not (tmp_path / pictures.GALLERY).exists()
    assert caplog.messages[0].startswith("No picture of ")


def test_both_exits_beside_the_ground_truth(
    routes: list[ImageRoute], monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[list[dict]] = []
    monkeypatch.setattr(
        pictures, "draw", lambda pixels, found, _: drawn.append(list(found)) or pixels
    )
    picture = an_album(3).both_exits(routes)
    assert picture is not None and picture.dtype == np.uint8
    assert picture.shape[1:] == (1056, 3)  # three images wide
    # Detector1's better detection, detector2's none, and an object without the mask that it has.
    assert [len(found) for found in drawn] == [1, 1, 1, 0, 0, 0, 1, 1, 1]
    assert drawn[-1] == [{**OBJECT, "segmentation": None}]
    # As many as the counts below them are of, whatever score these begin at.
    dataclasses.replace(an_album(1), min_score=0.4).both_exits(routes)
    assert [len(found) for found in drawn[9:]] == [2, 0, 1]
    assert an_album(0).both_exits(routes) is None
    assert an_album(3).both_exits(ROUTES) is None  # whose files are nowhere


def test_captions_say_what_was_found() -> None:
    counts = ImageCounts(objects=5, found=(2, 4), false=(1, 0))
    image = dataclasses.replace(ROUTES[1], counts=counts)
    assert [pictures._caption(image, drawn) for drawn in range(3)] == [
        "difficulty 0.200, easy, gain +2.000\nfound 2 of 5, 1 false",
        "found 4 of 5, 0 false",
        "5 objects",
    ]
    assert pictures._caption(ROUTES[1], pictures.TRUTH) == ""
