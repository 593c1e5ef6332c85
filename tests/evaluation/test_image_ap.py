# SPDX-License-Identifier: Apache-2.0
"""AP of single images under each exit."""

import pytest
import torch
from detectron2.structures import Boxes, Instances

from dynamicdet_d2.evaluation.image_ap import ap_gain


def detections(boxes: list[list[float]], classes: list[int]) -> Instances:
    found = Instances((64, 96))
    found.pred_boxes = Boxes(torch.tensor(boxes).reshape(-1, 4))
    found.scores = torch.linspace(0.9, 0.5, len(boxes))
    found.pred_classes = torch.tensor(classes, dtype=torch.long)
    return found


def objects(boxes: list[list[float]], classes: list[int]) -> Instances:
    truth = Instances((64, 96))
    truth.gt_boxes = Boxes(torch.tensor(boxes).reshape(-1, 4))
    truth.gt_classes = torch.tensor(classes, dtype=torch.long)
    return truth


def test_gains_by_hand() -> None:
    box, other = [10.0, 10.0, 50.0, 50.0], [60.0, 10.0, 90.0, 40.0]
    right, nothing = detections([box], [1]), detections([], [])
    one, two = objects([box], [1]), objects([box, other], [0, 2])
    # A class found whole has AP 100, one not found 0; the last image shows two classes.
    assert ap_gain({"detector1": nothing, "detector2": right}, one) == pytest.approx(100)
    assert ap_gain({"detector1": right, "detector2": nothing}, one) == pytest.approx(-100)
    assert ap_gain({"detector1": right, "detector2": right}, one) == 0
    one_of_two = {"detector1": nothing, "detector2": detections([box], [0])}
    assert ap_gain(one_of_two, two) == pytest.approx(50)


def test_an_image_without_objects_has_no_gain() -> None:
    exits = {"detector1": detections([], []), "detector2": detections([[1.0, 1, 9, 9]], [0])}
    assert ap_gain(exits, objects([], [])) == 0.0
