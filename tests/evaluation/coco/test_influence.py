# SPDX-License-Identifier: Apache-2.0
"""Influence of each image on AP, beside the derivative of a weighted AP; AP of images alone."""

from dataclasses import replace

import numpy as np
import pytest

from dynamicdet_d2.evaluation.coco.matched_sweep import MatchedSweep
from dynamicdet_d2.evaluation.coco.set_gains import Boxes, MatchedImage, match_image
from tests.support.made_up import boxes

EASY = np.array([False, False])


def test_influence_by_hand() -> None:
    """One of two objects is found: AP is 1/2. With weights v and w it is v / (v + w)."""
    truth = boxes([0], 0.0)
    images = [
        match_image((boxes([0], 0.9), boxes([], 0.9)), truth),
        match_image((boxes([], 0.9), boxes([], 0.9)), truth),
    ]
    assert MatchedSweep(images).influence(EASY)[0] == pytest.approx([1 / 4, -1 / 4])
    assert MatchedSweep(images).influence(~EASY).tolist() == [[0.0, 0.0]]


def test_a_false_positive_in_another_image() -> None:
    """Above the one true positive: AP is v / (v + w), and the false one's image weighs w."""
    images = [
        match_image((boxes([0], 0.5),) * 2, boxes([0], 0.0)),
        match_image((boxes([0], 0.9),) * 2, boxes([], 0.0)),
    ]
    assert MatchedSweep(images).influence(EASY)[0] == pytest.approx([1 / 4, -1 / 4])
    # Below it, or below the best precision, it counts nowhere.
    images[1] = match_image((boxes([0], 0.1),) * 2, boxes([], 0.0))
    assert MatchedSweep(images).influence(EASY)[0] == pytest.approx([0, 0])


def test_each_class_moves_its_own_part() -> None:
    """The first example as one of two classes, of which the other is found: AP is 3/4."""
    truth = replace(boxes([0, 1], 0.0), label=np.array([0, 1]))
    other = replace(boxes([1], 0.9), label=np.array([1]))
    images = [match_image((truth, truth), truth), match_image((other, other), truth)]
    found = MatchedSweep(images).influence(EASY)
    assert found == pytest.approx(np.array([[1 / 8, -1 / 8], [0, 0]]))


def random_images(count: int, seed: int) -> list[MatchedImage]:
    generator = np.random.default_rng(seed)
    images = []
    for _ in range(count):
        objects = generator.integers(0, 4)
        corners = generator.uniform(0, 200, (objects, 2))
        truth = Boxes(
            np.concatenate([corners, np.full((objects, 2), 30.0)], axis=1),
            generator.integers(0, 3, objects),
            np.zeros(objects),
        )
        exits = []
        for shift in (6.0, 3.0):
            moved = truth.boxes + generator.normal(0, shift, truth.boxes.shape)
            wrong = generator.uniform(20, 150, (2, 4))
            label = np.concatenate([truth.label, generator.integers(0, 3, 2)])
            exits.append(Boxes(np.concatenate([moved, wrong]), label, generator.random(len(label))))
        images.append(match_image(exits, truth))
    return images


def weighted_ap(images: list[MatchedImage], hard: np.ndarray, weights: np.ndarray) -> float:
    """AP by its definition as the area under the envelope, with images that count by weights."""
    rows = [
        (label, -score, weight, int(positive), int(counted))
        for image, route, weight in zip(images, hard, weights, strict=True)
        for exit_index, label, score, positive, counted in zip(
            image.exit, image.label, image.score, image.positive, image.counted, strict=True
        )
        if exit_index == route
    ]
    rows.sort(key=lambda row: row[:2])
    wanted = np.zeros(3)
    for image, weight in zip(images, weights, strict=True):
        np.add.at(wanted, image.wanted, weight)
    areas = []
    for bit in range(10):
        for label in np.flatnonzero(wanted):
            own = [row for row in rows if row[0] == label and row[4] >> bit & 1]
            weight = np.array([row[2] for row in own])
            true = np.array([row[3] >> bit & 1 for row in own])
            precision = np.cumsum(weight * true) / np.maximum(np.cumsum(weight), 1e-12)
            envelope = np.maximum.accumulate((precision * true)[::-1])[::-1]
            areas.append(float((weight * true * envelope).sum() / wanted[label]))
    return float(np.mean(areas))


@pytest.mark.parametrize("seed", [0, 1])
def test_influence_is_the_derivative_by_the_weights(seed: int) -> None:
    """Where two true positives have the same best precision, it lies between the slopes."""
    images = random_images(12, seed)
    hard = np.random.default_rng(seed).random(12) < 0.5
    by_class = MatchedSweep(images).influence(hard)
    assert by_class.shape == (3, 12)
    assert by_class.sum(axis=1) == pytest.approx(0, abs=1e-12)
    found = by_class.sum(axis=0)
    step, level, smooth = 1e-6, weighted_ap(images, hard, np.ones(12)), 0
    for place in range(12):
        up, down = np.ones(12), np.ones(12)
        up[place] += step
        down[place] -= step
        right = (weighted_ap(images, hard, up) - level) / step
        left = (level - weighted_ap(images, hard, down)) / step
        assert left - 1e-6 < found[place] < right + 1e-6
        smooth += right - left < 1e-6
    assert smooth >= 3


def test_own_ap_is_the_evaluation_of_the_image_alone() -> None:
    images = random_images(10, seed=2)
    sweep = MatchedSweep(images)
    own = sweep.own_ap()
    assert any(not len(image.wanted) for image in images)
    for place in range(10):
        only = np.arange(10) == place
        for exit_index in (0, 1):
            expected = sweep.evaluate(np.full(10, bool(exit_index)), only).ap
            assert own[place, exit_index] == pytest.approx(expected, nan_ok=True)


def test_nothing_to_find() -> None:
    nothing = [match_image((boxes([], 0.9),) * 2, boxes([], 0.0))] * 2
    sweep = MatchedSweep(nothing)
    assert not sweep.influence(EASY).any()
    assert np.isnan(sweep.own_ap()).all()
