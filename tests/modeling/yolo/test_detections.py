# SPDX-License-Identifier: Apache-2.0
"""From logits to detections, by hand; and where images lie in a padded batch."""

import math

import pytest
import torch
from detectron2.structures import ImageList
from torch import Tensor

from dynamicdet_d2.modeling.yolo.detections import (
    DetectionSettings,
    YOLODetections,
    detect,
    scored,
)
from dynamicdet_d2.modeling.yolo.grid import AnchorGrid, Grid, flattened
from dynamicdet_d2.modeling.yolo.padding import Padding, padded_side, padding_before

NOTHING = -20.0


def logit(probability: float) -> float:
    return math.log(probability / (1 - probability))


def scene(*rows: tuple[int, float, tuple], classes: int = 2) -> tuple[Tensor, Grid]:
    """1 x 4 cells of 8 pixels, one anchor of 8 x 8; rows are (cell, objectness, probabilities)."""
    logits = torch.full((1, 1, 1, 4, 5 + classes), NOTHING, dtype=torch.float64)
    logits[..., :4] = 0.0
    for cell, objectness, probabilities in rows:
        values = [logit(x) for x in (objectness, *probabilities)]
        logits[0, 0, 0, cell, 4:] = torch.tensor(values, dtype=torch.float64)
    grid = AnchorGrid([[[8, 8]]], [8]).double()([logits])
    return flattened([logits])[0], grid


def test_every_class_is_a_candidate() -> None:
    logits, _ = scene((1, 0.5, (0.8, 0.4)), (2, 0.9, (0.0005, 0.5)), (3, 0.0009, (0.9, 0.9)))
    rows, scores, classes = scored(logits, DetectionSettings())
    assert rows.tolist() == [1, 1, 2]  # 0.9 x 0.0005 and an objectness of 0.0009 are too little
    assert scores.tolist() == pytest.approx([0.4, 0.2, 0.45])
    assert classes.tolist() == [0, 1, 1]


def test_best_class_alone() -> None:
    logits, _ = scene((1, 0.5, (0.8, 0.4)), (2, 0.9, (0.3, 0.5)))
    rows, scores, classes = scored(logits, DetectionSettings(multi_label=False))
    assert (rows.tolist(), classes.tolist()) == ([1, 2], [0, 1])
    assert scores.tolist() == pytest.approx([0.4, 0.45])
    _, none, _ = scored(logits, DetectionSettings(multi_label=False, score_threshold=0.5))
    assert none.shape == (0,)


def test_a_single_class_scores_its_objectness() -> None:
    logits, _ = scene((0, 0.5, (0.3,)), classes=1)
    for multi_label in (True, False):
        settings = DetectionSettings(multi_label=multi_label)
        rows, scores, classes = scored(logits, settings)
        assert (rows.tolist(), classes.tolist()) == ([0], [0])
        assert scores.tolist() == pytest.approx([0.5])


def test_detections_come_best_first() -> None:
    logits, grid = scene((0, 0.5, (0.5, 0.1)), (2, 0.9, (0.9, 0.1)))
    boxes, scores, classes = detect(logits, grid, DetectionSettings())
    assert scores.tolist() == pytest.approx([0.81, 0.25, 0.09, 0.05])
    assert classes.tolist() == [0, 0, 1, 1]
    assert boxes[:2].tolist() == [[16, 0, 24, 8], [0, 0, 8, 8]]
    assert len(detect(logits, grid, DetectionSettings(max_detections=2))[0]) == 2
    best = detect(logits, grid, DetectionSettings(max_candidates=3))
    assert best[1].tolist() == pytest.approx([0.81, 0.25, 0.09])


def test_nms_is_by_class() -> None:
    """Cells 1 and 2 see one box (4 pixels to the right, and to the left): IoU 1."""
    logits, grid = scene((1, 0.9, (0.9, 0.001)), (2, 0.9, (0.8, 0.5)))
    logits[1, 0], logits[2, 0] = logit(0.75), logit(0.25)
    boxes, scores, classes = detect(logits, grid, DetectionSettings(score_threshold=0.01))
    assert boxes.tolist() == [[12, 0, 20, 8]] * 2
    assert classes.tolist() == [0, 1]
    assert scores.tolist() == pytest.approx([0.81, 0.45])
    kept = detect(logits, grid, DetectionSettings(score_threshold=0.01, nms_threshold=1.0))
    assert len(kept[0]) == 3


def test_nothing_to_detect() -> None:
    logits, grid = scene()
    boxes, scores, classes = detect(logits, grid, DetectionSettings())
    assert (boxes.shape, scores.shape, classes.shape) == ((0, 4), (0,), (0,))


def test_boxes_are_moved_back_by_the_padding() -> None:
    logits, _ = scene((0, 0.9, (0.9, 0.0001)))
    levels = [logits.view(1, 1, 1, 4, 7).float()]
    grid = AnchorGrid([[[8, 8]]], [8])
    padding = Padding(multiple=8, placement="letterbox")
    mean, std = torch.zeros(3, 1, 1), torch.ones(3, 1, 1)
    images = padding.batch([torch.zeros(3, 3, 21)], mean, std)
    assert (images.tensor.shape, images.image_sizes) == ((1, 3, 8, 32), [(3, 21)])
    (result,) = YOLODetections(grid, DetectionSettings())(levels, images)
    assert result.image_size == (3, 21)
    assert result.pred_boxes.tensor.tolist() == [[-5.5, -2.5, 2.5, 5.5]]
    assert result.pred_classes.tolist() == [0]
    plain = ImageList(images.tensor, images.image_sizes)
    (result,) = YOLODetections(grid, DetectionSettings())(levels, plain)
    assert result.pred_boxes.tensor.tolist() == [[0, 0, 8, 8]]


# Padding


@pytest.mark.parametrize(
    ("placement", "side", "multiple", "expected"),
    [
        ("corner", 427, 32, 448),
        ("center", 427, 32, 448),
        ("center", 448, 32, 448),
        # YOLOv7's test loader: ceil(side / multiple + 0.5) multiples.
        ("letterbox", 480, 32, 512),
        ("letterbox", 640, 32, 672),
        ("letterbox", 427, 32, 448),
        ("letterbox", 433, 32, 480),
        ("letterbox", 1280, 64, 1344),
    ],
)
def test_padded_sides(placement: str, side: int, multiple: int, expected: int) -> None:
    assert padded_side(side, multiple, placement) == expected


@pytest.mark.parametrize(("total", "expected"), [(0, 0), (1, 0), (21, 10), (32, 16), (33, 16)])
def test_an_odd_pixel_lies_behind(total: int, expected: int) -> None:
    assert padding_before(total, "center") == expected
    assert padding_before(total, "corner") == 0


MEAN, STD = (torch.tensor(x).view(3, 1, 1) for x in ([4.0, 14.0, 24.0], [10.0, 10.0, 5.0]))


def test_a_letterboxed_image_of_427_by_640() -> None:
    """448 x 672: 10 and 11 rows above and below, 16 columns on either side."""
    images = Padding(32, "letterbox").batch([torch.zeros(3, 427, 640)], MEAN, STD)
    assert images.tensor.shape == (1, 3, 448, 672)
    assert images.shifts == [(16.0, 10.5)]
    grey = (114 - MEAN) / STD
    assert torch.equal(images.pad_values, grey)
    assert (images.tensor[0, :, 10:437, 16:656] == -MEAN / STD).all()
    for border in (
        images.tensor[0, :, :10],
        images.tensor[0, :, 437:],
        images.tensor[0, :, :, :16],
        images.tensor[0, :, :, 656:],
    ):
        assert border.numel() and (border == grey).all()


def test_batches_of_several_sizes() -> None:
    inputs = [torch.full((3, 5, 8), 14.0), torch.full((3, 9, 3), 24.0)]
    corner = Padding(4, "corner", value=4.0).batch(inputs, MEAN, STD)
    assert corner.tensor.shape == (2, 3, 12, 8)
    assert corner.shifts == [(0.0, 0.0)] * 2
    assert (corner[0][0] == 1).all() and corner[0].shape == (3, 5, 8)
    assert (corner.tensor[1, 0, 9:] == 0).all() and (corner.tensor[1, 0, :9, :3] == 2).all()
    centre = Padding(4, "center", value=4.0).batch(inputs, MEAN, STD)
    assert centre.shifts == [(0.0, 3.5), (2.5, 1.5)]
    assert (centre.tensor[0, 0, 3:8] == 1).all() and (centre.tensor[0, 0, :3] == 0).all()
    assert (centre.tensor[1, 0, 1:10, 2:5] == 2).all() and (
        centre.tensor[1, 0, 1:10, :2] == 0
    ).all()
