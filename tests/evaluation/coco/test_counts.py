# SPDX-License-Identifier: Apache-2.0
"""Precision and recall at a score, beside pycocotools' own matches."""

import contextlib
import io

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from dynamicdet_d2.evaluation.coco.sweep import CocoSweep

NUM_IMAGES, CLASSES = 12, (3, 7, 9)  # no object is a 9


def ground_truth(random: np.random.Generator) -> COCO:
    annotations = []
    for image in range(NUM_IMAGES - 1):  # the last one is empty
        for _ in range(4):
            annotations.append(
                {
                    **{"id": len(annotations) + 1, "image_id": image, "bbox": box(random)},
                    **{"category_id": int(random.choice(CLASSES[:2])), "area": 900.0},
                    "iscrowd": int(random.random() < 0.1),
                }
            )
    coco = COCO()
    coco.dataset = {
        "images": [{"id": i} for i in range(NUM_IMAGES)],
        "annotations": annotations,
        "categories": [{"id": c, "name": str(c)} for c in CLASSES],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco


def box(random: np.random.Generator) -> list[float]:
    return [*random.integers(0, 60, 2).astype(float), *random.integers(20, 40, 2).astype(float)]


def detections(coco: COCO, random: np.random.Generator) -> list[dict]:
    """Half of the objects a little off, and as many false ones; scores in tenths, so with ties."""
    found = []
    for annotation in coco.dataset["annotations"]:
        near = [v + d for v, d in zip(annotation["bbox"], random.integers(-4, 5, 4), strict=True)]
        for place in (near, box(random)):
            if random.random() < 0.5:
                score = float(random.integers(1, 11)) / 10
                keys = ("image_id", "category_id")
                kept = {key: annotation[key] for key in keys}
                found.append({**kept, "bbox": [float(v) for v in place], "score": score})
    return found


def counted_by_pycocotools(coco: COCO, results: list[dict]) -> dict[int, tuple[int, int, int]]:
    """Found, counted and wanted of each class at IoU 0.5 and all sizes."""
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(coco, coco.loadRes(results), "bbox")
        evaluation.evaluate()
    numbers = {c: np.zeros(3, dtype=int) for c in CLASSES}
    whole = evaluation.params.areaRng[0]
    for image in evaluation.evalImgs:
        if image is None or image["aRng"] != whole:
            continue
        counts = ~image["dtIgnore"][0].astype(bool)
        found = (image["dtMatches"][0] > 0) & counts
        wanted = (image["gtIgnore"] == 0).sum()
        numbers[image["category_id"]] += found.sum(), counts.sum(), wanted
    return {c: tuple(map(int, n)) for c, n in numbers.items()}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("min_score", [0.0, 0.3, 0.5])
def test_as_pycocotools_matches_the_detections_from_that_score_on(
    seed: int, min_score: float
) -> None:
    random = np.random.default_rng(seed)
    coco = ground_truth(random)
    exits = detections(coco, random), detections(coco, random)
    sweep = CocoSweep(coco, exits, "bbox", range(NUM_IMAGES))
    hard = random.random(NUM_IMAGES) < 0.5
    counts = sweep.counts(hard, min_score)
    mixed = [r for e, results in enumerate(exits) for r in results if hard[r["image_id"]] == e]
    expected = counted_by_pycocotools(coco, [r for r in mixed if r["score"] >= min_score])
    columns = (counts.found, counts.counted, counts.wanted)
    assert (
        dict(zip(counts.category_ids, zip(*map(list, columns), strict=True), strict=True))
        == expected
    )
    found, counted, wanted = np.sum(list(expected.values()), axis=0)
    overall = counts.overall()
    assert overall["precision"] == pytest.approx(100 * found / counted)
    assert overall["recall"] == pytest.approx(100 * found / wanted)


@pytest.mark.parametrize("min_score", [0.0, 0.5])
def test_images_add_up_to_the_classes(min_score: float) -> None:
    random = np.random.default_rng(7)
    coco = ground_truth(random)
    # Ids from high to low: what comes out is in the order given.
    order = list(range(NUM_IMAGES))[::-1]
    sweep = CocoSweep(coco, (detections(coco, random), detections(coco, random)), "bbox", order)
    objects, found = sweep.image_counts(min_score)
    for place in range(NUM_IMAGES):
        image = np.arange(NUM_IMAGES) == place
        for exit_index in (False, True):
            counts = sweep.counts(np.full(NUM_IMAGES, exit_index), min_score, image)
            true, counted = counts.found.sum(), counts.counted.sum()
            assert found[place, int(exit_index)].tolist() == [true, counted - true]
        assert objects[place] == counts.wanted.sum()
    assert objects[0] == 0 and objects[1:].all()  # the last image is the empty one


def test_nothing_detected_and_nothing_to_find() -> None:
    coco = ground_truth(np.random.default_rng(0))
    sweep = CocoSweep(coco, ([], []), "bbox", range(NUM_IMAGES))
    classes = sweep.counts(np.zeros(NUM_IMAGES, dtype=bool), 0.5).by_class()
    assert np.isnan(classes[3]["precision"]) and classes[3]["recall"] == 0
    assert np.isnan(classes[9]["recall"])
