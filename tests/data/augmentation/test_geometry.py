# SPDX-License-Identifier: Apache-2.0
"""Boxes, polygons and masks through matrices and windows, by hand."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynamicdet_d2.data.augmentation.affine import (
    AffineRanges,
    BoxRules,
    affine_matrix,
    draw_affine,
    keeps,
    viewed,
)
from dynamicdet_d2.data.augmentation.flip import flipped
from dynamicdet_d2.data.augmentation.picture import Picture, clipped, moved, transformed
from dynamicdet_d2.data.augmentation.polygons import bounds, clipped_polygon, through

ANY = BoxRules(min_side=0, max_aspect=1e9, min_share=0, min_share_outlined=0)


def box(*numbers: float, **more: Any) -> dict[str, Any]:
    return {"bbox": np.array(numbers, dtype=np.float64), "category_id": 0, **more}


def boxes(annotations: list[dict[str, Any]]) -> list[list[float]]:
    return [annotation["bbox"].tolist() for annotation in annotations]


def rectangle(*numbers: float) -> np.ndarray:
    x0, y0, x1, y1 = numbers
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], dtype=np.float64)


def triangle(x: float, y: float, side: float) -> np.ndarray:
    return np.array([[x, y], [x + side, y], [x, y + side]], dtype=np.float64)


# Polygons in a window


def test_a_triangle_cut_by_hand() -> None:
    """(0,0) (4,0) (0,4), of which a window of 3 x 2 shows a pentagon."""
    shown = clipped_polygon(triangle(0, 0, 4), height=2, width=3)
    corners = {(0, 0), (3, 0), (3, 1), (2, 2), (0, 2)}
    assert {tuple(point) for point in shown.tolist()} == corners
    assert shoelace(shown) == 3 * 2 - 0.5


def test_polygons_inside_and_outside_of_the_window() -> None:
    inside = triangle(1, 1, 2)
    assert np.array_equal(clipped_polygon(inside, 5, 5), inside)
    assert clipped_polygon(triangle(-9, 1, 4), 5, 5).shape == (0, 2)
    # No point of it is inside, and yet it fills the window.
    around = clipped_polygon(rectangle(-1, -1, 9, 9), 5, 5)
    assert bounds(around).tolist() == [0, 0, 5, 5]


def shoelace(polygon: np.ndarray) -> float:
    x, y = polygon.T
    return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2


@given(st.lists(st.tuples(*[st.integers(-8, 16)] * 2), min_size=3, max_size=9))
def test_a_clipped_polygon_covers_the_pixels_that_it_covered(points: list[tuple]) -> None:
    polygon = np.array(points, dtype=np.float64)
    shown = clipped_polygon(polygon, 8, 8)
    assert ((shown >= 0) & (shown <= 8)).all()
    centres = np.stack(np.meshgrid(np.arange(8) + 0.5, np.arange(8) + 0.503), -1).reshape(-1, 2)
    assert [odd(polygon, c) for c in centres] == [odd(shown, c) for c in centres]


def odd(polygon: np.ndarray, point: np.ndarray) -> bool:
    """Whether a ray to the right meets an odd number of edges."""
    meets = False
    for (x0, y0), (x1, y1) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        if (y0 > point[1]) != (y1 > point[1]):
            meets ^= x0 + (point[1] - y0) * (x1 - x0) / (y1 - y0) > point[0]
    return bool(meets)


# Annotations behind a matrix

DOUBLED = np.diag([2.0, 2.0, 1.0])


def test_a_box_through_a_known_matrix() -> None:
    """A quarter turn clockwise of a 10 x 6 image: (x, y) goes to (6 - y, x)."""
    turn = np.array([[0, -1, 6], [1, 0, 0], [0, 0, 1.0]])
    assert boxes(transformed([box(1, 2, 4, 3)], turn, 10, 6)) == [[3, 1, 4, 4]]


def test_boxes_are_clipped_and_those_outside_left_out() -> None:
    found = transformed([box(1, 1, 4, 4), box(6, 0, 7, 1), box(5, 0, 6, 1)], DOUBLED, 6, 10)
    assert boxes(found) == [[2, 2, 8, 6]]


def test_with_a_polygon_the_box_is_that_of_the_part_in_view() -> None:
    """The triangle's part below 6: the window cuts what its box does not know of."""
    annotation = box(0, 0, 4, 4, segmentation=[triangle(0, 0, 4)])
    (found,) = transformed([annotation], DOUBLED @ np.diag([1, 1, 1.0]), 6, 20)
    assert found["bbox"].tolist() == [0, 0, 8, 6]
    down = np.array([[1, 0, 0], [0, 1, -3], [0, 0, 1.0]])
    (found,) = transformed([annotation], down, 20, 20)
    assert found["bbox"].tolist() == [0, 0, 1, 1]  # its box alone would say [0, 0, 4, 1]
    assert annotation["segmentation"][0].tolist() == triangle(0, 0, 4).tolist()


def test_an_object_of_two_polygons_loses_the_one_that_is_out_of_view() -> None:
    parts = [triangle(0, 0, 2), triangle(10, 0, 2)]
    (found,) = transformed([box(0, 0, 12, 2, segmentation=parts)], np.eye(3), 5, 5)
    assert len(found["segmentation"]) == 1
    assert found["bbox"].tolist() == [0, 0, 2, 2]


def test_a_mask_goes_the_way_of_the_pixels() -> None:
    mask = np.zeros((4, 5), dtype=np.uint8)
    mask[1:3, 2:4] = 1
    (found,) = transformed([box(2, 1, 4, 3, segmentation=mask)], DOUBLED, 8, 10)
    assert found["segmentation"].sum() == 16
    assert found["segmentation"][2:6, 4:8].all()
    assert found["bbox"].tolist() == [4, 2, 8, 6]
    assert transformed([box(2, 1, 4, 3, segmentation=mask)], DOUBLED, 2, 10) == []


def test_other_entries_pass_through() -> None:
    annotation = box(0, 0, 1, 1, iscrowd=1, category_id=7, id=3)
    (found,) = transformed([annotation], DOUBLED, 4, 4)
    assert {name: found[name] for name in ("iscrowd", "category_id", "id")} == {
        "iscrowd": 1,
        "category_id": 7,
        "id": 3,
    }
    assert annotation["bbox"].tolist() == [0, 0, 1, 1]


# Flips


@pytest.mark.parametrize(("horizontal", "expected"), [(True, [3, 1, 5, 2]), (False, [1, 2, 3, 3])])
def test_flips_by_hand(horizontal: bool, expected: list[int]) -> None:
    image = np.zeros((4, 6, 3), dtype=np.uint8)
    image[1, 1:3] = 200
    found = flipped(Picture(image, [box(1, 1, 3, 2)]), horizontal=horizontal)
    assert boxes(found.annotations) == [expected]
    assert lit(found.image) == expected
    again = flipped(found, horizontal=horizontal)
    assert np.array_equal(again.image, image)
    assert boxes(again.annotations) == [[1, 1, 3, 2]]


def lit(image: np.ndarray) -> list[int]:
    """The box around what is brighter than half."""
    rows, columns = np.nonzero(image[..., 0] > 100)
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


# The affine view


def test_the_view_by_hand() -> None:
    """Of a canvas of 8, a view of 4 at scale 1 shows the middle: (2, 2) becomes (0, 0)."""
    assert np.allclose(affine_matrix(8, 4), [[1, 0, -2], [0, 1, -2], [0, 0, 1]])
    # Twice as large, and moved right by a quarter of 4: the centre (4, 4) is at (3, 2).
    matrix = affine_matrix(8, 4, scale=2, translate=(0.25, 0))
    assert np.allclose(through(np.array([[4, 4], [5, 4]]), matrix), [[3, 2], [5, 2]])
    # A quarter turn clockwise: what was right of the centre is below it.
    matrix = affine_matrix(8, 4, degrees=90)
    assert np.allclose(through(np.array([[5, 4]]), matrix), [[2, 3]])
    # Sheared by 45 degrees in x: a pixel below the centre goes right by one.
    matrix = affine_matrix(8, 4, shear=(45, 0))
    assert np.allclose(through(np.array([[4, 5]]), matrix), [[3, 3]])
    # The right edge, 4 from the centre, shrinks by 1 / 1.25; the left one grows by 1 / 0.75.
    matrix = affine_matrix(8, 8, perspective=(0.25, 0))
    edges = through(np.array([[8, 8], [0, 8]]), matrix)
    assert np.allclose(edges, [[4 + 4 / 1.25, 4 + 4 / 1.25], [4 - 4 / 0.75, 4 + 4 / 0.75]])


def bright_square(side: int, x0: int, y0: int, x1: int, y1: int) -> Picture:
    image = np.zeros((side, side, 3), dtype=np.uint8)
    image[y0:y1, x0:x1] = 255
    return Picture(image, [box(x0, y0, x1, y1)])


@pytest.mark.parametrize(
    "drawn",
    [
        {"scale": 2.0},
        {"scale": 0.5},
        {"degrees": 90},
        {"degrees": -90, "scale": 2.0, "translate": (0.125, -0.125)},
        {"translate": (0.25, 0.125)},
    ],
)
def test_boxes_go_the_way_of_the_pixels(drawn: dict[str, Any]) -> None:
    """To the pixel, which they would not if a pixel's middle were taken for its corner."""
    picture = bright_square(64, 24, 28, 40, 36)
    found = viewed(picture, affine_matrix(64, 32, **drawn), 32, 0, ANY)
    assert found.image.shape == (32, 32, 3)
    assert np.allclose(found.annotations[0]["bbox"], lit(found.image))


def test_a_perspective_takes_boxes_and_pixels_along() -> None:
    picture = bright_square(128, 60, 40, 100, 80)
    found = viewed(picture, affine_matrix(128, 128, perspective=(0.2, 0.1)), 128, 0, ANY)
    assert np.allclose(found.annotations[0]["bbox"], lit(found.image), atol=1)


def test_what_no_picture_covers_is_grey() -> None:
    found = viewed(bright_square(8, 0, 0, 8, 8), affine_matrix(8, 8, scale=0.5), 8, 114, ANY)
    assert (found.image[0] == 114).all()
    assert (found.image[3:5, 3:5] == 255).all()


RULES = BoxRules(min_side=2, max_aspect=20, min_share=0.1, min_share_outlined=0.01)


@pytest.mark.parametrize(
    ("shown", "whole", "outlined", "kept"),
    [
        ((0, 0, 3, 3), (0, 0, 3, 3), False, True),
        ((0, 0, 2, 9), (0, 0, 2, 9), False, False),  # not longer than 2
        ((0, 0, 3, 59), (0, 0, 3, 59), False, True),
        ((0, 0, 3, 60), (0, 0, 3, 60), False, False),  # not below 20
        ((0, 0, 10, 10), (-90, 0, 10, 10), False, False),  # a tenth is not more than a tenth
        ((0, 0, 11, 10), (-89, 0, 11, 10), False, True),
        ((0, 0, 10, 10), (-90, 0, 10, 10), True, True),
        ((0, 0, 10, 10), (-990, 0, 10, 10), True, False),
    ],
)
def test_rules_by_hand(shown: tuple, whole: tuple, outlined: bool, kept: bool) -> None:
    assert keeps(np.array(shown, float), np.array(whole, float), outlined, RULES) is kept


RANGES = AffineRanges(translate=0.3, scale=(0.1, 2), degrees=180, shear=30, perspective=0.4)


@given(st.integers(0, 2**32 - 1), st.tuples(*[st.integers(0, 56)] * 4))
def test_boxes_stay_inside_and_polygons_agree_with_them(seed: int, drawn: tuple) -> None:
    x0, y0, dx, dy = drawn
    numbers = (x0, y0, x0 + 1 + dx, y0 + 1 + dy)
    picture = Picture(
        np.zeros((64, 64, 3), np.uint8),
        [box(*numbers), box(*numbers, segmentation=[rectangle(*numbers)])],
    )
    matrix = draw_affine(np.random.RandomState(seed), RANGES, 64, 32)
    found = viewed(picture, matrix, 32, 0, RULES).annotations
    for annotation in found:
        a0, b0, a1, b1 = annotation["bbox"]
        assert 0 <= a0 < a1 <= 32 and 0 <= b0 < b1 <= 32
        assert min(a1 - a0, b1 - b0) > RULES.min_side
        if "segmentation" in annotation:
            assert np.array_equal(
                bounds(np.concatenate(annotation["segmentation"])), [a0, b0, a1, b1]
            )
    # What corners know of is at least what the outline covers.
    whole = [moved(a, matrix, 32, 32) for a in picture.annotations]
    assert np.allclose(whole[0]["bbox"], whole[1]["bbox"])
    shown = [clipped(a, 32, 32) for a in whole]
    if shown[1] is not None:
        assert (shown[0]["bbox"][:2] <= shown[1]["bbox"][:2] + 1e-9).all()
        assert (shown[0]["bbox"][2:] >= shown[1]["bbox"][2:] - 1e-9).all()


def test_drawn_views_lie_in_their_ranges() -> None:
    ranges = AffineRanges(translate=0.1, scale=(0.5, 1.5), degrees=0, shear=0, perspective=0)
    matrices = [draw_affine(np.random.RandomState(i), ranges, 64, 32) for i in range(200)]
    scales = np.array([matrix[0, 0] for matrix in matrices])
    assert 0.5 <= scales.min() < 0.6 and 1.4 < scales.max() <= 1.5
    centres = np.stack([through(np.array([[32.0, 32.0]]), matrix)[0] for matrix in matrices])
    assert 2.9 < np.abs(centres - 16).max() <= 3.2
    still = AffineRanges(translate=0, scale=(1, 1), degrees=0, shear=0, perspective=0)
    assert np.allclose(draw_affine(np.random.RandomState(0), still, 32, 32), np.eye(3))


def test_a_view_between_pixels() -> None:
    """One that changes nothing changes no pixel; half a pixel further are means of two."""
    image = np.random.RandomState(0).randint(0, 256, (16, 16, 3)).astype(np.uint8)
    found = viewed(Picture(image, []), affine_matrix(16, 16), 16, 0, ANY)
    assert np.array_equal(found.image, image)
    half = viewed(Picture(image, []), affine_matrix(16, 16, translate=(0.5 / 16, 0)), 16, 0, ANY)
    mean = image.astype(int)[:, 2:8].mean(axis=2) + image.astype(int)[:, 3:9].mean(axis=2)
    assert np.abs(half.image[:, 3:9].mean(axis=2) - mean / 2).max() <= 1
