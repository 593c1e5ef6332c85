# SPDX-License-Identifier: Apache-2.0
"""Gains of a set that is matched image by image, beside those of the sweep."""

import numpy as np
import pytest
from pycocotools.coco import COCO

from dynamicdet_d2.evaluation.coco.matched_sweep import MatchedSweep, as_rows, from_rows
from dynamicdet_d2.evaluation.coco.set_gains import Boxes, match_image, set_gains
from dynamicdet_d2.evaluation.coco.sweep import CocoSweep

NUM_CLASSES = 3
OF_ALL_SIZES = ("AP", "AP50", "AP75", "AR1", "AR10", "AR100")


def boxes(rows: list[tuple[float, ...]], scores: list[float], labels: list[int]) -> Boxes:
    return Boxes(
        np.array(rows, dtype=np.float64).reshape(-1, 4),
        np.array(labels, dtype=np.int64),
        np.array(scores, dtype=np.float64),
    )


NOTHING = boxes([], [], [])


def test_gains_by_hand() -> None:
    """The first image's object is found by detector2 alone, the second's by both."""
    box = (10.0, 10.0, 20.0, 20.0)
    truth = boxes([box], [0], [0])
    found = boxes([box], [0.9], [0])
    images = [match_image((NOTHING, found), truth), match_image((found, found), truth)]
    # Two objects, and every detection is true: precision is 1 everywhere, and what the first image
    # lifts it drops again, so that its gain is one object of two. The second's exits agree.
    assert set_gains(images) == pytest.approx([0.5, 0.0])


def test_images_without_objects_or_detections() -> None:
    wrong = boxes([(0.0, 0.0, 9.0, 9.0)], [0.5], [1])
    assert set_gains([match_image((NOTHING, NOTHING), NOTHING)]).tolist() == [0.0]
    assert set_gains([match_image((NOTHING, wrong), NOTHING)]).tolist() == [0.0]
    # A false positive is a loss where there is something to be found, with a lower score.
    box = (10.0, 10.0, 20.0, 20.0)
    right = boxes([box], [0.4], [1])
    gains = set_gains(
        [
            match_image((NOTHING, wrong), NOTHING),
            match_image((right, right), boxes([box], [0], [1])),
        ]
    )
    assert gains[0] < 0
    assert gains[1] == 0


def random_set(images: int, seed: int) -> list[tuple[Boxes, Boxes, Boxes]]:
    """Objects and two exits of each image; scores of few values, so that some tie."""
    generator = np.random.default_rng(seed)
    found = []
    for _ in range(images):
        count = generator.integers(0, 5)
        rows = np.concatenate(
            [generator.uniform(0, 50, (count, 2)), generator.uniform(9, 40, (count, 2))], axis=1
        )
        truth = Boxes(rows, generator.integers(0, NUM_CLASSES, count), np.zeros(count))
        exits = []
        for noise in (6.0, 2.0):
            kept = generator.random(count) < 0.8
            near = rows[kept] + generator.normal(0, noise, (kept.sum(), 4)).clip(-8, 8)
            scores = np.float32(generator.integers(1, 9, kept.sum()) / 10).astype(np.float64)
            exits.append(Boxes(near, truth.label[kept], scores))
        found.append((truth, *exits))
    return found


def as_results(image_id: int, found: Boxes) -> list[dict]:
    return [
        {"image_id": image_id, "category_id": label, "score": score, "bbox": box}
        for box, label, score in zip(
            found.boxes.tolist(), found.label.tolist(), found.score.tolist(), strict=True
        )
    ]


def as_coco(truths: list[Boxes]) -> COCO:
    objects = [a for i, truth in enumerate(truths) for a in as_results(i, truth)]
    coco = COCO()
    coco.dataset = {
        "images": [{"id": i} for i in range(len(truths))],
        "categories": [{"id": label} for label in range(NUM_CLASSES)],
        "annotations": [
            {**a, "id": i, "area": a["bbox"][2] * a["bbox"][3], "iscrowd": 0}
            for i, a in enumerate(objects, start=1)
        ],
    }
    coco.createIndex()
    return coco


@pytest.mark.parametrize("seed", range(3))
def test_the_sweep_has_the_same_gains(seed: int) -> None:
    images = random_set(40, seed)
    exits = tuple(
        [r for i, image in enumerate(images) for r in as_results(i, image[1 + number])]
        for number in range(2)
    )
    sweep = CocoSweep(as_coco([image[0] for image in images]), exits, "bbox", range(len(images)))
    expected = sweep.image_gains()
    found = set_gains([match_image(image[1:], image[0]) for image in images])
    assert found == pytest.approx(expected, abs=1e-12)
    assert np.count_nonzero(expected) > 20


@pytest.mark.parametrize("seed", range(2))
def test_the_sweep_of_matched_images_has_the_same_figures(seed: int) -> None:
    images = random_set(40, seed)
    exits = tuple(
        [r for i, image in enumerate(images) for r in as_results(i, image[1 + number])]
        for number in range(2)
    )
    sweep = CocoSweep(as_coco([image[0] for image in images]), exits, "bbox", range(len(images)))
    matched = [match_image(image[1:], image[0]) for image in images]
    ours = MatchedSweep(from_rows(as_rows(matched), len(images)))
    for share in (0.0, 0.3, 0.7, 1.0):
        hard = np.random.default_rng(seed).random(len(images)) < share
        expected, found = sweep.evaluate(hard).as_dict(), ours.evaluate(hard).as_dict()
        assert [found[name] for name in OF_ALL_SIZES] == [expected[name] for name in OF_ALL_SIZES]
        assert np.isnan([found["APs"], found["ARl"]]).all()
    assert ours.image_gains() == pytest.approx(sweep.image_gains(), abs=1e-12)


def test_rows_of_images_by_hand() -> None:
    box = (10.0, 10.0, 20.0, 20.0)
    images = [
        match_image((NOTHING, NOTHING), NOTHING),
        match_image((NOTHING, boxes([box], [0.5], [2])), boxes([box], [0], [2])),
        match_image((NOTHING, NOTHING), NOTHING),
    ]
    rows = as_rows(images)
    # detector2's box is true, and counted, at all ten IoU thresholds.
    assert rows.tolist() == [[1, 1, 2, 0.5, 1023, 1023], [1, 2, 2, 0, 0, 0]]
    back = from_rows(rows, 3)
    assert [len(image.label) for image in back] == [0, 1, 0]
    assert [len(image.wanted) for image in back] == [0, 1, 0]
    assert back[1].positive.tolist() == [1023]
