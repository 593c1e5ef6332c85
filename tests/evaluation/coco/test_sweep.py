# SPDX-License-Identifier: Apache-2.0
"""The sweep against figures made by hand, and bit for bit against pycocotools."""

import collections
import contextlib
import copy
import io
import itertools
import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pycocotools import mask as mask_api
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from dynamicdet_d2.evaluation.coco.matching import RECALL_THRESHOLDS
from dynamicdet_d2.evaluation.coco.ranking import needed_positives
from dynamicdet_d2.evaluation.coco.references import oracle_hard, random_figures
from dynamicdet_d2.evaluation.coco.sweep import CocoSweep
from tests.support.coco_data import FAR, SIDE, SQUARE, data_set, result, target

EASY, HARD = np.array([False]), np.array([True])


def evaluate_afresh(
    data: COCO,
    exits: tuple[list[dict], list[dict]],
    iou_type: str,
    hard: dict[int, bool],
    images: list[int],
) -> COCOeval:
    """pycocotools on the mixed results."""
    mixed = [r for number in (0, 1) for r in exits[number] if hard[r["image_id"]] == number]
    with contextlib.redirect_stdout(io.StringIO()):
        own = copy.deepcopy(data)
        evaluation = COCOeval(own, own.loadRes(copy.deepcopy(mixed)), iou_type)
        evaluation.params.imgIds = images
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


def assert_same(sweep: CocoSweep, hard: np.ndarray, fresh: COCOeval, images: np.ndarray) -> None:
    figures = sweep.evaluate(hard, images)
    assert np.array_equal(figures.stats, fresh.stats)
    assert np.array_equal(figures.recall, fresh.eval["recall"])
    assert np.array_equal(figures.precision, fresh.eval["precision"][..., -1])
    assert np.array_equal(sweep.full_precision(hard, images), fresh.eval["precision"])


# By hand


def test_each_route_takes_its_own_detections() -> None:
    # 6.2 of 10 pixels of the height: IoU 0.62 reaches 0.5, 0.55 and 0.6 of the ten thresholds.
    low = [10.0, 10.0, 10.0, 6.2]
    data = data_set([1], [target(1, SQUARE)], [1])
    sweep = CocoSweep(data, ([result(1, low, 0.9)], [result(1, SQUARE, 0.9)]), "bbox", [1])
    easy, hard = sweep.evaluate(EASY).as_dict(), sweep.evaluate(HARD).as_dict()
    assert easy["AP"] == pytest.approx(30)
    assert (easy["AP50"], easy["AP75"]) == (pytest.approx(100), 0)
    assert easy["AR1"] == easy["AR100"] == pytest.approx(30)
    assert [hard[name] for name in ("AP", "APs", "AR1")] == pytest.approx([100, 100, 100])
    assert math.isnan(hard["APm"]) and math.isnan(hard["ARl"])  # 100 pixels are a small object


def test_a_false_positive_of_one_image_lowers_the_precision_of_another() -> None:
    data = data_set([1, 2], [target(1, SQUARE)], [1])
    found, alarm = result(1, SQUARE, 0.8), result(2, SQUARE, 0.9)
    sweep = CocoSweep(data, ([found], [found, alarm]), "bbox", [1, 2])
    ap = {
        routes: sweep.evaluate(np.array(routes)).as_dict()["AP"]
        for routes in itertools.product([False, True], repeat=2)
    }
    assert ap[False, False] == ap[True, False] == pytest.approx(100)
    assert ap[False, True] == ap[True, True] == pytest.approx(50)
    # Weights 1/2: down to the true positives 1.5 detections, 1 of them true. The alarm's effect
    # is -(2 x 0.5 x 1 / 1.5^2). Image 1 is the same on both routes, and gains nothing.
    assert sweep.image_gains() == pytest.approx([0, -4 / 9])


def test_detections_in_a_crowd_and_second_ones_beyond_it() -> None:
    crowd = target(1, [50.0, 50.0, 60.0, 60.0], iscrowd=1)
    data = data_set([1], [target(1, SQUARE), crowd], [1])
    in_crowd = [result(1, FAR, 0.9), result(1, FAR, 0.8)]
    twice = [result(1, SQUARE, 0.7), result(1, SQUARE, 0.6)]
    sweep = CocoSweep(data, (in_crowd + twice, twice[:1] + in_crowd), "bbox", [1])
    # Both in the crowd are ignored; the second one on the square comes after full recall.
    assert sweep.evaluate(EASY).as_dict()["AP"] == pytest.approx(100)
    assert sweep.evaluate(HARD).as_dict()["AP"] == pytest.approx(100)
    assert sweep.evaluate(EASY).as_dict()["AR1"] == 0
    # Without the crowd they stand before the only true positive: precision 1/3.
    sweep = CocoSweep(data_set([1], [target(1, SQUARE)], [1]), (in_crowd + twice, []), "bbox", [1])
    assert sweep.evaluate(EASY).as_dict()["AP"] == pytest.approx(100 / 3)


def test_of_two_objects_overlapped_alike_the_later_one_is_taken() -> None:
    # The first detection lies midway: IoU 8/12 with both objects. Theirs with each other is 6/14,
    # so that the second detection can take only the one that it lies upon.
    left, middle, right = ([x, 10.0, 10.0, 10.0] for x in (10.0, 12.0, 14.0))
    data = data_set([1], [target(1, left), target(1, right)], [1])
    on_left = [result(1, middle, 0.9), result(1, left, 0.8)]
    on_right = [result(1, middle, 0.9), result(1, right, 0.8)]
    sweep = CocoSweep(data, (on_left, on_right), "bbox", [1])
    assert sweep.evaluate(EASY).as_dict()["AP50"] == pytest.approx(100)
    assert sweep.evaluate(HARD).as_dict()["AP50"] == pytest.approx(100 * 51 / 101)  # half recall


def test_class_ap_and_classes_without_objects() -> None:
    data = data_set([1], [target(1, SQUARE), target(1, FAR, category_id=5)], [5, 1, 9])
    exits = ([result(1, SQUARE, 0.9), result(1, SQUARE, 0.9, category=9)], [])
    figures = CocoSweep(data, exits, "bbox", [1]).evaluate(EASY)
    by_class = figures.class_ap()
    assert list(by_class) == [1, 5, 9]
    assert (by_class[1], by_class[5]) == (pytest.approx(100), 0)
    assert math.isnan(by_class[9])
    assert figures.as_dict()["AP"] == pytest.approx(50)


def test_no_detections_and_no_objects() -> None:
    nothing_found = CocoSweep(data_set([1], [target(1, SQUARE)], [1]), ([], []), "bbox", [1])
    assert nothing_found.evaluate(HARD).as_dict()["AP"] == 0
    assert nothing_found.image_gains() == [0]
    empty = data_set([1, 2], [], [1])
    nothing_there = CocoSweep(empty, ([], [result(1, FAR, 0.5)]), "bbox", [1, 2])
    assert np.array_equal(nothing_there.evaluate(np.array([True, False])).stats, np.full(12, -1.0))
    assert all(math.isnan(v) for v in nothing_there.evaluate(np.ones(2, bool)).as_dict().values())
    assert np.array_equal(nothing_there.image_gains(), [0, 0])
    nobody = np.zeros(1, bool)
    assert np.array_equal(nothing_found.evaluate(HARD, nobody).stats, np.full(12, -1.0))


# Against pycocotools


def drawn_box(rng: np.random.Generator) -> list[float]:
    size = np.exp(rng.uniform(1.5, np.log(0.8 * SIDE), 2))
    corner = rng.uniform(0, SIDE - size)
    return [round(float(v), 1) for v in (*corner, *size)]


def near(rng: np.random.Generator, box: list[float]) -> list[float]:
    """The same box in one case of four, otherwise one moved by some of its size."""
    if rng.random() < 0.25:
        return box
    moved = np.array(box) + rng.normal(0, 0.08, 4) * np.tile(box[2:], 2)
    return [round(float(v), 1) for v in np.maximum(moved, [0, 0, 1, 1])]


def drawn_mask(rng: np.random.Generator, box: list[float]) -> dict:
    x, y, width, height = (int(v) for v in box)
    mask = np.zeros((SIDE, SIDE), dtype=np.uint8, order="F")
    mask[y : y + height + 1, x : x + width + 1] = rng.random() < 0.98  # an empty mask now and then
    return mask_api.encode(mask)


def drawn_case(
    seed: int, iou_type: str, num_images: int, num_classes: int, detections: int, first_id: int
) -> tuple[COCO, tuple[list[dict], list[dict]]]:
    """Crowds, objects on each other, areas on the bounds of the ranges, tied scores, empty images.

    The last category has no objects, and some results are of a category that does not exist.
    """
    rng = np.random.default_rng(seed)
    images = [3 * i + 7 for i in range(num_images)]
    annotations, exits = [], ([], [])
    for image in images:
        boxes: list[list[float]] = []
        for _ in range(rng.integers(0, 8)):
            crowded = boxes and rng.random() < 0.4
            boxes.append(near(rng, boxes[-1]) if crowded else drawn_box(rng))
        for box in boxes:
            area = rng.choice([32.0**2, 96.0**2, box[2] * box[3], 0.6 * box[2] * box[3]])
            more = {"area": float(area), "iscrowd": int(rng.random() < 0.15)}
            more["category_id"] = int(rng.integers(1, num_classes + 1))
            if iou_type == "segm":
                more["segmentation"] = drawn_mask(rng, box)
            annotations.append(target(image, box, id=first_id + len(annotations), **more))
        for results in exits:
            for _ in range(rng.integers(0, detections + 1)):
                known = boxes and rng.random() < 0.7
                box = near(rng, boxes[rng.integers(len(boxes))]) if known else drawn_box(rng)
                score = round(float(rng.random()), 2)
                found = result(image, box, score, int(rng.integers(1, num_classes + 3)))
                if iou_type == "segm":
                    del found["bbox"]
                    found["segmentation"] = drawn_mask(rng, box)
                results.append(found)
    for results in exits:
        rng.shuffle(results)
    return data_set(images, annotations, list(range(1, num_classes + 2))), exits


cases = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 2**32 - 1),
        "iou_type": st.sampled_from(["bbox", "segm"]),
        "num_images": st.integers(1, 8),
        "num_classes": st.integers(1, 3),
        "detections": st.sampled_from([2, 20]),
        "first_id": st.sampled_from([0, 1]),
    }
)
MANY = {"seed": 0, "num_images": 3, "num_classes": 1, "detections": 600, "first_id": 1}


@settings(max_examples=60, deadline=None)
@given(case=cases, routing_seed=st.integers(0, 2**32 - 1), share=st.sampled_from([0, 0.5, 1]))
@example(case={**MANY, "iou_type": "bbox"}, routing_seed=0, share=0.5)
@example(case={**MANY, "iou_type": "segm"}, routing_seed=0, share=0.5)
def test_bit_for_bit_pycocotools(case: dict, routing_seed: int, share: float) -> None:
    data, exits = drawn_case(**case)
    rng = np.random.default_rng(routing_seed)
    ids = [int(i) for i in rng.permutation([image["id"] for image in data.dataset["images"]])]
    hard = rng.random(len(ids)) < share
    subset = rng.random(len(ids)) < 0.6
    sweep = CocoSweep(data, exits, case["iou_type"], ids)
    routes = dict(zip(ids, hard.tolist(), strict=True))
    if not any(routes[r["image_id"]] == number for number in (0, 1) for r in exits[number]):
        return  # pycocotools cannot load a list without results
    for images in (np.ones(len(ids), dtype=bool), subset):
        if images.any():
            chosen = [i for i, m in zip(ids, images, strict=True) if m]
            fresh = evaluate_afresh(data, exits, case["iou_type"], routes, chosen)
            assert_same(sweep, hard, fresh, images)


def test_more_than_100_detections_of_a_class_are_tried() -> None:
    _, exits = drawn_case(iou_type="bbox", **MANY)
    sizes = collections.Counter(
        (number, r["image_id"], r["category_id"]) for number in (0, 1) for r in exits[number]
    )
    assert max(sizes.values()) > 150


@given(objects=st.integers(1, 20000))
def test_fewest_true_positives_for_a_recall_are_those_of_a_search(objects: int) -> None:
    recalls = np.arange(1, objects + 1) / objects
    searched = np.searchsorted(recalls, RECALL_THRESHOLDS, side="left") + 1
    assert np.array_equal(needed_positives(np.array([objects])), searched[None])


@pytest.mark.parametrize("iou_type", ["bbox", "segm"])
def test_ends_are_the_two_exits_and_inputs_stay_as_they_are(iou_type: str) -> None:
    data, exits = drawn_case(5, iou_type, num_images=6, num_classes=2, detections=10, first_id=1)
    before = copy.deepcopy((data.dataset, exits))
    ids = [image["id"] for image in data.dataset["images"]]
    sweep = CocoSweep(data, exits, iou_type, ids)
    for number in (0, 1):
        fresh = evaluate_afresh(data, exits, iou_type, dict.fromkeys(ids, number), ids)
        hard = np.full(len(ids), bool(number))
        assert fresh.stats[0] > 0
        assert_same(sweep, hard, fresh, np.ones(len(ids), dtype=bool))
    assert (data.dataset, exits) == before


# Random routing and the oracle


def test_oracle_takes_the_largest_gains_and_the_first_of_equal_ones() -> None:
    gains = np.array([0.1, 0.3, 0.3, -0.2, 0.1])
    assert oracle_hard(gains, 0.2).tolist() == [False, True, False, False, False]
    assert oracle_hard(gains, 0.6).tolist() == [True, True, True, False, False]
    assert oracle_hard(gains, 0.5).tolist() == [False, True, True, False, False]  # 2.5 images
    assert not oracle_hard(gains, 0.0).any() and oracle_hard(gains, 1.0).all()


@pytest.fixture(scope="module")
def eight_images() -> tuple[CocoSweep, dict[int, list[float]]]:
    """A sweep over eight images and, by number of hard images, the AP of every routing."""
    data, exits = drawn_case(3, "bbox", num_images=8, num_classes=2, detections=12, first_id=1)
    sweep = CocoSweep(data, exits, "bbox", [image["id"] for image in data.dataset["images"]])
    every: dict[int, list[float]] = {k: [] for k in range(9)}
    for routes in itertools.product([False, True], repeat=8):
        every[sum(routes)].append(sweep.evaluate(np.array(routes)).as_dict()["AP"])
    return sweep, every


def test_oracle_is_near_the_best_of_all_routings(
    eight_images: tuple[CocoSweep, dict[int, list[float]]],
) -> None:
    sweep, every = eight_images
    gains = sweep.image_gains()
    shares = []
    for k in range(1, 8):
        oracle = sweep.evaluate(oracle_hard(gains, k / 8)).as_dict()["AP"]
        expected = np.mean(every[k])
        shares.append((oracle - expected) / (max(every[k]) - expected))
    # The gains are of first order, and eight images are few: it need not be the best each time.
    assert min(shares) > 0.5 and np.mean(shares) > 0.9


def test_random_figures_estimate_the_mean_of_all_routings(
    eight_images: tuple[CocoSweep, dict[int, list[float]]],
) -> None:
    sweep, every = eight_images
    mean, error = random_figures(sweep, 0.5, draws=200, seed=1)
    assert 0 < error < np.std(every[4])
    assert abs(mean - np.mean(every[4])) < 4 * error
    assert random_figures(sweep, 0.5, draws=200, seed=1) == (mean, error)
    assert random_figures(sweep, 0.0, draws=3, seed=1) == (every[0][0], 0)
    assert random_figures(sweep, 1.0, draws=3, seed=1) == (every[8][0], 0)
    assert math.isnan(random_figures(sweep, 0.5, draws=1, seed=1).standard_error)


def test_gains_follow_the_order_of_the_image_ids() -> None:
    data, exits = drawn_case(4, "bbox", num_images=6, num_classes=2, detections=12, first_id=1)
    ids = [image["id"] for image in data.dataset["images"]]
    gains = CocoSweep(data, exits, "bbox", ids).image_gains()
    assert np.array_equal(CocoSweep(data, exits, "bbox", ids[::-1]).image_gains(), gains[::-1])
    swapped = CocoSweep(data, exits[::-1], "bbox", ids).image_gains()
    assert swapped == pytest.approx(-gains)
    assert np.ptp(gains) > 0


# Errors

ONE = result(1, SQUARE, 0.9)


@pytest.mark.parametrize(
    ("results", "ids", "iou_type", "words"),
    [
        ([ONE], [1], "keypoints", "iou_type must be one of bbox, segm, not 'keypoints'"),
        ([ONE], [], "bbox", "image_ids is empty"),
        ([ONE], [1, 2, 1], "bbox", "names image 1 twice"),
        ([ONE], [1, 4], "bbox", "names image 4, which the ground truth lacks"),
        ([{**ONE, "image_id": 4}], [1], "bbox", "a result names image 4"),
        ([ONE, {**ONE, "bbox": [1.0, 2.0]}], [1], "bbox", "image 1 has the box"),
        ([{**ONE, "score": math.nan}], [1], "bbox", "image 1 has a result of score nan"),
        ([{"image_id": 1, "category_id": 1, "bbox": SQUARE}], [1], "bbox", "without 'score'"),
        ([ONE], [1], "segm", "annotation 1 of image 1 has the segmentation None"),
    ],
)
def test_bad_input_is_named(results: list[dict], ids: list[int], iou_type: str, words: str) -> None:
    data = data_set([1, 2], [target(1, SQUARE)], [1])
    with pytest.raises(ValueError, match=words):
        CocoSweep(data, (results, []), iou_type, ids)


@pytest.mark.parametrize("extra", [[], [12.0, 12.0], [12.0, 12.0, 18.0, 18.0]])
def test_polygons_of_one_or_two_points_count_as_nothing(extra: list[float]) -> None:
    # The first one alone would make boxes of all of them, or nothing.
    x, y, w, h = SQUARE
    outline = [x, y, x + w, y, x + w, y + h, x, y + h]
    mask = mask_api.merge(mask_api.frPyObjects([outline], SIDE, SIDE))
    found = {**ONE, "segmentation": mask}
    data = data_set([1], [target(1, SQUARE, segmentation=[extra, outline])], [1])
    sweep = CocoSweep(data, ([found], []), "segm", [1])
    assert sweep.evaluate(EASY).as_dict()["AP"] == pytest.approx(100)


@pytest.mark.parametrize("mask", [None, [], "abc", {"counts": [5]}])
def test_an_object_without_a_mask_is_named(mask: object) -> None:
    crowd = target(1, SQUARE, segmentation=mask, iscrowd=1)
    with pytest.raises(ValueError, match="annotation 1 of image 1 has the segmentation .*, of"):
        CocoSweep(data_set([1], [crowd], [1]), ([], []), "segm", [1])


def test_a_data_set_without_categories_is_refused() -> None:
    with pytest.raises(ValueError, match="the ground truth has no categories"):
        CocoSweep(data_set([1], [], []), ([], []), "bbox", [1])


def test_bad_masks_and_fractions_are_named() -> None:
    sweep = CocoSweep(data_set([1], [target(1, SQUARE)], [1]), ([ONE], []), "bbox", [1])
    with pytest.raises(ValueError, match=r"hard must be a bool array of shape \(1,\), not int64"):
        sweep.evaluate(np.array([1]))
    with pytest.raises(ValueError, match=r"images must be .* not bool of shape \(2,\)"):
        sweep.evaluate(HARD, np.ones(2, dtype=bool))
    with pytest.raises(ValueError, match="hard_fraction must be in"):
        oracle_hard(np.zeros(3), 1.5)
    with pytest.raises(ValueError, match="draws must be at least 1, not 0"):
        random_figures(sweep, 0.5, draws=0, seed=0)


def test_results_of_images_left_out_do_not_count() -> None:
    data = data_set([1, 2], [target(1, SQUARE), target(2, SQUARE)], [1])
    sweep = CocoSweep(data, ([ONE, result(2, FAR, 1.0)], []), "bbox", [1])
    assert sweep.evaluate(EASY).as_dict()["AP"] == pytest.approx(100)
