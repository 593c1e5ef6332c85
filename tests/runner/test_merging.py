# SPDX-License-Identifier: Apache-2.0
"""Merged exits without torch: by hand, and as the model merges them."""

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances

from dynamicdet_d2.modeling.exit_merging import ExitMerging
from dynamicdet_d2.runner.detections import Found
from dynamicdet_d2.runner.merging import merged


def found(*rows: tuple[float, float, float, float, float, int]) -> Found:
    """Rows of x1, y1, x2, y2, score and class."""
    table = np.array(rows, dtype=np.float32).reshape(-1, 6)
    return Found(table[:, :4], table[:, 4], table[:, 5].astype(np.int64))


def test_by_hand() -> None:
    """One object that both have found (IoU 0.9), one of each alone; another class is no pair."""
    first = found((0, 0, 10, 10, 0.9, 0), (50, 50, 60, 60, 0.4, 1))
    second = found((0, 0, 10, 9, 0.3, 0), (50, 50, 60, 60, 0.5, 2))
    both = merged(first, second, 0.6, 10)
    np.testing.assert_allclose(both.scores, [0.6, 0.25, 0.2], rtol=1e-6)
    assert both.classes.tolist() == [0, 2, 1]
    # (0.9 * 10 + 0.3 * 9) / 1.2
    np.testing.assert_allclose(both.boxes[0], [0, 0, 10, 9.75], rtol=1e-6)
    assert len(merged(first, second, 0.6, 1).scores) == 1


def random_found(generator: np.random.Generator, count: int) -> Found:
    """Near a few places, so that there are pairs."""
    corners = 20 * generator.integers(0, 3, (count, 2)) + generator.normal(0, 1, (count, 2))
    boxes = np.concatenate([corners, corners + generator.uniform(15, 20, (count, 2))], axis=1)
    classes = generator.integers(0, 2, count)
    return Found(boxes.astype(np.float32), generator.random(count, dtype=np.float32), classes)


def as_instances(own: Found) -> Instances:
    return Instances(
        (100, 100),
        pred_boxes=Boxes(torch.from_numpy(own.boxes)),
        scores=torch.from_numpy(own.scores),
        pred_classes=torch.from_numpy(own.classes),
    )


@pytest.mark.parametrize("counts", [(0, 0), (0, 3), (4, 0), (1, 1), (30, 25)])
def test_as_the_model_does(counts: tuple[int, int]) -> None:
    generator = np.random.default_rng(0)
    first, second = (random_found(generator, count) for count in counts)
    theirs = ExitMerging(0.6, 20)(as_instances(first), as_instances(second))
    ours = merged(first, second, 0.6, 20)
    np.testing.assert_allclose(ours.boxes, theirs.pred_boxes.tensor, rtol=1e-5)
    np.testing.assert_allclose(ours.scores, theirs.scores, rtol=1e-6)
    assert ours.classes.tolist() == theirs.pred_classes.tolist()
    if min(counts) > 1:  # there were pairs
        assert len(merged(first, second, 0.6, 100).scores) < sum(counts)
