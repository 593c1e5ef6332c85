# SPDX-License-Identifier: Apache-2.0
"""The runner's boxes, masks and sizes beside torch's and Detectron2's."""

import numpy as np
import pytest
import torch
from detectron2.data.transforms import ResizeShortestEdge
from detectron2.layers.mask_ops import paste_masks_in_image
from detectron2.modeling.anchor_generator import DefaultAnchorGenerator
from detectron2.modeling.box_regression import Box2BoxTransform
from hypothesis import given
from hypothesis import strategies as st
from torchvision.ops import batched_nms

from dynamicdet_d2.runner.boxes import (
    anchors_of,
    apply_deltas,
    apply_distances,
    best_first,
    clipped,
    nms,
    nonempty,
)
from dynamicdet_d2.runner.images import resized_shape
from dynamicdet_d2.runner.masks import pasted


def drawn(count: int, seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    corner = generator.uniform(0, 60, (count, 2))
    return np.concatenate([corner, corner + generator.uniform(5, 30, (count, 2))], axis=1).astype(
        np.float32
    )


def test_nms_by_hand() -> None:
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 9], [20, 0, 30, 10]], dtype=np.float32)
    scores = np.array([0.5, 0.9, 0.7], dtype=np.float32)
    one = np.zeros(3, dtype=np.int64)
    # The IoU of the first two is 0.9.
    assert nms(boxes, scores, one, 0.8).tolist() == [1, 2]
    assert nms(boxes, scores, one, 0.95).tolist() == [1, 2, 0]
    assert nms(boxes, scores, np.array([0, 1, 1]), 0.8).tolist() == [1, 2, 0]
    assert nms(boxes[:0], scores[:0], one[:0], 0.5).tolist() == []


@pytest.mark.parametrize("count", [1, 40, 700])
def test_nms_is_torchvisions(count: int) -> None:
    generator = np.random.default_rng(count)
    boxes, scores = drawn(count, count), generator.random(count).astype(np.float32)
    groups = generator.integers(0, 3, count)
    theirs = batched_nms(*map(torch.from_numpy, (boxes, scores, groups)), 0.5)
    assert nms(boxes, scores, groups, 0.5).tolist() == theirs.tolist()


def test_decoding_is_detectron2s() -> None:
    boxes = drawn(20, 0)
    deltas = np.random.default_rng(1).normal(0, 3, (20, 8)).astype(np.float32)
    transform = Box2BoxTransform(weights=(10.0, 10.0, 5.0, 5.0))
    theirs = transform.apply_deltas(torch.from_numpy(deltas), torch.from_numpy(boxes))
    ours = apply_deltas(deltas, boxes, (10.0, 10.0, 5.0, 5.0), transform.scale_clamp)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-4)


def test_distances_by_hand() -> None:
    # A square of side 8 around (10, 10); what is negative does not count.
    found = apply_distances(
        np.array([[1, 0.5, 0.25, -1]], np.float32), np.array([[6, 6, 14, 14]], np.float32)
    )
    assert found.tolist() == [[2, 6, 12, 10]]


def test_anchors_are_detectron2s() -> None:
    generator = DefaultAnchorGenerator(
        sizes=[[16, 32]], aspect_ratios=[[0.5, 1.0]], strides=[8], offset=0.5
    )
    (theirs,) = generator([torch.zeros(1, 1, 3, 5)])
    cell = next(iter(generator.cell_anchors)).numpy()
    np.testing.assert_allclose(anchors_of(cell, (3, 5), 8, 0.5), theirs.tensor)


def test_clipping_and_what_is_empty() -> None:
    boxes = clipped(np.array([[-5, 2, 50, 90], [60, 1, 70, 5]], np.float32), (40, 50))
    assert boxes.tolist() == [[0, 2, 50, 40], [50, 1, 50, 5]]
    assert nonempty(boxes).tolist() == [True, False]


@given(st.integers(1, 300), st.integers(1, 20), st.integers(0, 99))
def test_the_best_are_those_of_a_sort(count: int, limit: int, seed: int) -> None:
    scores = np.random.default_rng(seed).permutation(count).astype(np.float32)
    assert best_first(scores, limit).tolist() == np.argsort(-scores)[:limit].tolist()


def test_masks_are_detectron2s() -> None:
    masks = np.random.default_rng(0).random((4, 28, 28)).astype(np.float32)
    boxes = np.array([[2, 3, 40, 30], [-4, -6, 20, 12], [50, 10, 64, 48], [1, 1, 1.5, 2]])
    boxes = boxes.astype(np.float32)
    theirs = paste_masks_in_image(torch.from_numpy(masks), torch.from_numpy(boxes), (48, 64))
    assert np.mean(pasted(masks, boxes, (48, 64)) != theirs.numpy()) < 1e-3
    assert pasted(masks[:0], boxes[:0], (4, 5)).shape == (0, 4, 5)


@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(1, 1000), st.integers(1, 1500))
def test_sizes_are_detectron2s(height: int, width: int, shortest: int, longest: int) -> None:
    theirs = ResizeShortestEdge.get_output_shape(height, width, shortest, longest)
    assert resized_shape(height, width, shortest, longest) == theirs
