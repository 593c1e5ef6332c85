# SPDX-License-Identifier: Apache-2.0
"""The router beside random routing and the oracle, by hand."""

import contextlib
import io

import pytest
from pycocotools.coco import COCO

from dynamicdet_d2.evaluation.coco.sweep import CocoSweep
from dynamicdet_d2.evaluation.tradeoff.difficulties import DifficultySummary
from dynamicdet_d2.evaluation.tradeoff.points import DetectionRates, Rates, RoutedAP, RouteFigures
from dynamicdet_d2.evaluation.tradeoff.routes import ImageCounts
from dynamicdet_d2.evaluation.tradeoff.routing_quality import RoutingQuality
from tests.support.tradeoffs import DIFFICULTIES

# Four images with one object each. detector1 finds those of images 1 and 2, detector2 all four.
COSTS = ((1.0, 3.0), (1.0, 3.0), (2.0, 4.0), (2.0, 4.0))


def four_images() -> CocoSweep:
    box = [10.0, 10.0, 20.0, 20.0]
    place = [{"image_id": i, "category_id": 1, "bbox": box} for i in (1, 2, 3, 4)]
    ground_truth = COCO()
    ground_truth.dataset = {
        "images": [{"id": i} for i in (1, 2, 3, 4)],
        "annotations": [{**p, "id": p["image_id"], "area": 400, "iscrowd": 0} for p in place],
        "categories": [{"id": 1, "name": "disc"}, {"id": 2, "name": "ring"}],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        ground_truth.createIndex()
    found = [{**p, "score": 0.9} for p in place]
    return CocoSweep(ground_truth, (found[:2], found), "bbox", [1, 2, 3, 4])


@pytest.fixture(scope="module")
def quality() -> RoutingQuality:
    names = {1: "disc", 2: "ring"}
    return RoutingQuality({"box": four_images()}, DIFFICULTIES, COSTS, names, draws=50)


def percent_of_recall(found: int) -> float:
    """AP of ``found`` of four objects without a false positive: recall 0, 0.01, ... up to it."""
    return 100 * (25 * found + 1) / 101


def test_what_is_found_in_each_image(quality: RoutingQuality) -> None:
    both, second = ImageCounts(1, (1, 1), (0, 0)), ImageCounts(1, (0, 1), (0, 0))
    assert quality.image_counts() == [both, both, second, second]


def test_classes_of_one_name_are_told_apart() -> None:
    names = {1: "disc", 2: "disc"}
    quality = RoutingQuality({"box": four_images()}, DIFFICULTIES, COSTS, names, draws=1)
    box = quality.point(None, 0.0).box
    assert box.classes == {"disc (id 1)": pytest.approx(100), "disc (id 2)": None}
    assert list(box.detections.classes) == ["disc (id 1)", "disc (id 2)"]


def test_curves_of_precision_by_hand(quality: RoutingQuality) -> None:
    points = [quality.point(k, quality.threshold(k)) for k in (0, 0.5)]
    curves = quality.precision_curves(points)
    assert [(c.task, c.hard_fraction, c.iou) for c in curves] == [
        ("box", k, iou) for k in (0, 0.5) for iou in (0.5, 0.75)
    ]
    # Two of four objects without a false one: 100 % up to a recall of 50 %. No ring is counted.
    assert curves[0].precision == (100.0,) * 51 + (0.0,) * 50
    assert curves[2].precision == (100.0,) * 101


def test_points_by_hand(quality: RoutingQuality) -> None:
    half = quality.point(0.5, quality.threshold(0.5))
    assert half.threshold == 0.5
    # Images 3 and 4 are hard: (1 + 1 + 4 + 4) / 4.
    assert half.gflops == 2.5
    assert half.box.AP == pytest.approx(100)
    assert list(half.tasks) == ["box"]
    assert half.box.classes == {"disc": pytest.approx(100), "ring": None}
    assert half.box.detections == DetectionRates(
        100, 100, {"disc": Rates(100, 100), "ring": Rates(None, None)}
    )
    # detector1 alone finds two of four, without a false positive.
    assert quality.point(0, 1.0).box.detections.classes["disc"] == Rates(100, 50)
    # All that routing can gain is gained: detector2 where it alone finds something.
    assert half.box.oracle_AP == pytest.approx(100) and half.box.oracle_share == pytest.approx(1)
    # Images 3 and 4 are found if they are hard; of six pairs one has both, four one, one none.
    expected = (percent_of_recall(4) + 4 * percent_of_recall(3) + percent_of_recall(2)) / 6
    assert abs(half.box.random_AP - expected) < 4 * half.box.random_AP_stderr
    assert half.box.random_AP_std == pytest.approx(half.box.random_AP_stderr * 50**0.5)
    assert half.easy == RouteFigures(2, pytest.approx(100), pytest.approx(100))
    assert half.hard == RouteFigures(2, 0, pytest.approx(100))
    assert half.latency is None


def test_ends_and_curve(quality: RoutingQuality) -> None:
    easy, quarter, hard = quality.curve([0, 0.25, 1])
    assert easy.box.AP == easy.box.random_AP == easy.box.oracle_AP == percent_of_recall(2)
    assert easy.box.oracle_share is None and easy.box.random_AP_std == 0
    assert (easy.gflops, hard.gflops) == (1.5, 3.5)
    assert quarter.realised_hard_fraction == 0.25
    assert quarter.box.AP == pytest.approx(percent_of_recall(3))
    assert hard.box.AP == pytest.approx(100)


def test_the_models_own_point_has_its_realised_fraction(quality: RoutingQuality) -> None:
    own = quality.point(None, 0.85)
    assert (own.hard_fraction, own.realised_hard_fraction) == (0.25, 0.25)


def test_shares_of_the_oracle() -> None:
    def share(ap: float | None, random: float | None, oracle: float | None) -> float | None:
        return RoutedAP(
            AP=ap, random_AP=random, random_AP_stderr=0, random_AP_std=0, oracle_AP=oracle
        ).oracle_share

    assert share(31.0, 30.0, 34.0) == 0.25
    assert share(29.0, 30.0, 34.0) == -0.25
    assert share(30.0, 30.0, 30.0) is None
    assert share(None, None, None) is None


def test_difficulties_without_spread() -> None:
    summary = DifficultySummary.of([0.5, 0.5])
    assert (summary.mean, summary.std) == (0.5, 0)
    assert sum(summary.histogram.counts) == 2
