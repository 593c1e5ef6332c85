# SPDX-License-Identifier: Apache-2.0
"""The audit's arithmetic, the verdict's words and the report's files, without a model."""

import contextlib
import copy
import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools.coco import COCO

from dynamicdet_d2.evaluation.audit import (
    Audit,
    difficulty_summary,
    oracle_share,
    rank_correlation,
)
from dynamicdet_d2.evaluation.coco.sweep import CocoSweep
from dynamicdet_d2.evaluation.exit_records import SpreadSample
from dynamicdet_d2.evaluation.latency import Latency
from dynamicdet_d2.evaluation.report.tables import csv_text, markdown, points_table, write_report
from dynamicdet_d2.evaluation.tradeoff import routed_mean
from dynamicdet_d2.evaluation.verdict import verdict, warnings

FIGURES = ("AP", "AP50", "AP75", "APs", "APm", "APl")
# Four images with one object each. detector1 finds those of images 1 and 2, detector2 all four.
DIFFICULTIES = (0.1, 0.2, 0.8, 0.9)
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
def audit() -> Audit:
    names = {1: "disc", 2: "ring"}
    return Audit({"box": four_images()}, DIFFICULTIES, COSTS, names, draws=50)


def percent_of_recall(found: int) -> float:
    """AP of ``found`` of four objects without a false positive: recall 0, 0.01, ... up to it."""
    return 100 * (25 * found + 1) / 101


def test_points_by_hand(audit: Audit) -> None:
    half = audit.point(0.5, audit.threshold(0.5))
    assert half["threshold"] == 0.5
    # Images 3 and 4 are hard: (1 + 1 + 4 + 4) / 4.
    assert half["gflops"] == 2.5
    assert half["box"]["AP"] == pytest.approx(100)
    assert half["mask"] is None
    assert half["box_classes"] == {"disc": pytest.approx(100), "ring": None}
    assert half["box_detections"] == {
        **rates(100, 100),
        "classes": {"disc": rates(100, 100), "ring": rates(None, None)},
    }
    # detector1 alone finds two of four, without a false positive.
    assert audit.point(0, 1.0)["box_detections"]["classes"]["disc"] == rates(100, 50)
    # All that routing can gain is gained: detector2 where it alone finds something.
    assert half["oracle_AP"] == pytest.approx(100) and half["oracle_share"] == pytest.approx(1)
    # Images 3 and 4 are found if they are hard; of six pairs one has both, four one, one none.
    expected = (percent_of_recall(4) + 4 * percent_of_recall(3) + percent_of_recall(2)) / 6
    assert abs(half["random_AP"] - expected) < 4 * half["random_AP_stderr"]
    assert half["random_AP_std"] == pytest.approx(half["random_AP_stderr"] * 50**0.5)
    assert half["routes"] == {
        "easy": {
            "images": 2,
            "AP_detector1": pytest.approx(100),
            "AP_detector2": pytest.approx(100),
        },
        "hard": {"images": 2, "AP_detector1": 0, "AP_detector2": pytest.approx(100)},
    }


def test_ends_and_curve(audit: Audit) -> None:
    easy, quarter, hard = audit.curve([0, 0.25, 1])
    assert easy["AP"] == easy["random_AP"] == easy["oracle_AP"] == percent_of_recall(2)
    assert easy["oracle_share"] is None and easy["random_AP_std"] == 0
    assert (easy["gflops"], hard["gflops"]) == (1.5, 3.5)
    assert quarter["realised_hard_fraction"] == 0.25
    assert quarter["AP"] == pytest.approx(percent_of_recall(3))
    assert hard["AP"] == pytest.approx(100)


def test_the_models_own_point_has_its_realised_fraction(audit: Audit) -> None:
    own = audit.point(None, 0.85)
    assert (own["hard_fraction"], own["realised_hard_fraction"]) == (0.25, 0.25)


def test_shares_of_the_oracle() -> None:
    assert oracle_share(31.0, 30.0, 34.0) == 0.25
    assert oracle_share(29.0, 30.0, 34.0) == -0.25
    assert oracle_share(30.0, 30.0, 30.0) is None
    assert oracle_share(None, None, None) is None


def test_rank_correlation_by_hand() -> None:
    assert rank_correlation([1, 2, 3], [10, 100, 1000]) == pytest.approx(1)
    assert rank_correlation([1, 2, 3], [3, 2, 1]) == pytest.approx(-1)
    # Ranks 1, 2.5, 2.5, 4 against 1, 3, 2, 4: deviations -1.5, 0, 0, 1.5 and -1.5, 0.5, -0.5, 1.5.
    assert rank_correlation([1, 2, 2, 9], [1, 3, 2, 4]) == pytest.approx(4.5 / (4.5 * 5) ** 0.5)
    assert rank_correlation([1, 1], [1, 2]) is None
    assert rank_correlation([1], [2]) is None


def test_difficulties_without_spread() -> None:
    summary = difficulty_summary([0.5, 0.5])
    assert (summary["mean"], summary["std"]) == (0.5, 0)
    assert sum(summary["histogram"]["counts"]) == 2


def test_latency_weighs_routes_as_all_images_do() -> None:
    ends = Latency.of([10.0] * 3), Latency.of([30.0] * 3)
    mixed = Latency.of([11.0, 13.0, 31.0])
    # One of three timed images is hard, but half of all are: (12 + 31) / 2.
    hard = np.array([False, False, True])
    assert routed_mean(mixed, hard, 0.5, ends) == pytest.approx(21.5)
    # No timed image is hard: the hard ones take what they take at the hard end.
    assert routed_mean(mixed, np.zeros(3, bool), 0.1, ends) == pytest.approx(
        0.9 * 55 / 3 + 0.1 * 30
    )


@given(count=st.integers(0, 7), length=st.integers(0, 100))
def test_spread_sample(count: int, length: int) -> None:
    sample = SpreadSample(count)
    for item in range(length):
        sample.add(item)
        assert len(sample._held) <= 2 * count
    items = sample.items()
    assert len(items) == min(count, length)
    assert items == sorted(set(items))
    if count > 1 and length:
        assert items[0] == 0
        assert max(np.diff([*items, length])) <= 2 * length / count + 1


def rates(precision: float | None, recall: float | None) -> dict:
    return {"precision": precision, "recall": recall}


def a_point(k: float, ap: float | None, random: float | None, std: float = 0.01) -> dict:
    """A point with as many images hard as asked for; the oracle is 2 AP above random."""
    inner = 0 < k < 1
    return {
        **{"hard_fraction": k, "threshold": 1 - k, "realised_hard_fraction": k},
        **{"gflops": 200 + 80 * k, "latency_ms": 20 + 10 * k, "fps": 1000 / (20 + 10 * k)},
        "latency": {"p50": 20.0, "p95": 30.0, "hard_fraction": k},
        "box": dict.fromkeys(FIGURES, ap),
        "mask": None,
        "box_classes": {"disc": ap, "ring": None},
        "box_detections": {**rates(90.0, 80.0), "classes": {"disc": rates(90.0, None)}},
        **{"random_AP": random, "random_AP_stderr": std / 4, "random_AP_std": std},
        "oracle_AP": None if random is None else random + 2 * inner,
        "oracle_share": (ap - random) / 2 if inner and ap is not None else None,
        "routes": {
            name: {"images": 2, "AP_detector1": ap, "AP_detector2": None}
            for name in ("easy", "hard")
        },
    }


def a_tradeoff(*points: dict, own: dict | None = None) -> dict:
    curve = [{**p, "AP": p["box"]["AP"]} for p in points]
    return {
        **{"dataset": "shapes_val", "num_images": 4, "images_missing": 0, "device": "a machine"},
        **{"loss_offset": None, "points": list(points), "operating_point": own or points[1]},
        "curve": [{k: v for k, v in row.items() if k != "latency_ms"} for row in curve],
        "difficulty": difficulty_summary(DIFFICULTIES),
        "rank_correlation": {"gain": 0.25, "loss_gap": None, "drawn_difficulty": None},
        "latency": {"images": 2, "warmup": 1, "batch_size": 1},
        "image_sizes": {"min": [64, 96], "max": [64, 128]},
        "fingerprint": {"dtype": "float32"},
        "versions": {"torch": "2.11.0"},
        "date": "2026-01-02T03:04:05+00:00",
        "notes": dict.fromkeys(
            ("latency", "gflops", "random", "oracle", "detections"), "as it should be."
        ),
        **{"verdict": "Fine.", "warnings": ["But small."]},
    }


EASY, HARD = a_point(0, 30.0, 30.0, 0), a_point(1, 32.0, 32.0, 0)
GOOD = a_tradeoff(EASY, a_point(0.5, 31.5, 31.0), HARD)


def test_verdict_of_a_good_router() -> None:
    assert verdict(GOOD) == (
        "The hard end is 2.00 AP above the easy end (32.00 against 30.00). The router beats random "
        "routing at every inner point (+0.50 at 0.5 AP); at 0.5 it reaches 25% of what an oracle "
        "gains over random."
    )
    assert warnings(GOOD) == []


def test_verdict_of_bad_ones() -> None:
    worse = a_tradeoff(a_point(0, 32.0, 32.0), a_point(0.5, 30.9, 31.0), a_point(1, 30.0, 30.0))
    said = verdict(worse)
    assert "2.00 AP BELOW" in said and "does NOT beat random" in said
    assert said.endswith("No gain: no operating point is above detector1 alone.")
    half = a_tradeoff(EASY, a_point(0.1, 30.1, 30.2), a_point(0.5, 31.5, 31.0), HARD)
    assert "at 1 of 2 inner points only (-0.10 at 0.1, +0.50 at 0.5 AP)" in verdict(half)
    nothing = [a_point(k, None, None) for k in (0, 0.5, 1)]
    assert verdict(a_tradeoff(*nothing)).startswith("AP is undefined")
    assert "cannot be judged" in verdict(a_tradeoff(EASY, EASY, HARD))


@pytest.mark.parametrize(
    ("correlation", "says"),
    [(0.5, "follows the true loss gap L1 - L2 (rank correlation 0.50"), (0.2, "only weakly"),
     (-0.1, "does NOT follow")],
)  # fmt: skip
def test_verdict_on_the_loss_gap(correlation: float, says: str) -> None:
    measured = {**GOOD, "rank_correlation": {"loss_gap": correlation}}
    assert says in verdict(measured)
    assert "loss gap" not in verdict(GOOD)


def test_warnings() -> None:
    collapsed = {**GOOD, "difficulty": difficulty_summary([0.5, 0.501])}
    assert "collapsed" in warnings(collapsed)[0]
    one_way = {**a_point(0, 30.0, 30.0), "threshold": 0.95}
    assert (
        "100.0% of the images to the easy route"
        in warnings({**GOOD, "operating_point": one_way})[0]
    )
    lucky = a_tradeoff(EASY, a_point(0.5, 31.5, 31.0, std=0.3), HARD)
    assert "At hard fraction 0.5" in warnings(lucky)[0] and "luck" in warnings(lucky)[0]
    assert warnings({**GOOD, "images_missing": 3})[0].startswith("3 images")
    # A threshold of 1 or 0 is a choice.
    assert warnings({**GOOD, "operating_point": EASY}) == []


def test_csv_has_every_number_of_every_point() -> None:
    rows = list(csv.DictReader(io.StringIO(csv_text(GOOD))))
    assert [row["hard_fraction"] for row in rows] == ["0", "0.5", "1"]
    assert rows[1]["box.AP"] == "31.5" and rows[1]["routes.hard.images"] == "2"
    assert rows[1]["box_classes.ring"] == ""


def test_markdown() -> None:
    text = markdown(GOOD)
    assert "Fine." in text and "**Warning.** But small." in text
    assert "network input 64x96 to 64x128" in text and "n/a" in text
    lines = points_table(GOOD, "box").splitlines()
    assert len({len(line) for line in lines}) == 1 and len(lines) == 2 + 3 + 1
    cells = [cell.strip() for cell in lines[3].strip("|").split("|")]
    assert cells[:7] == ["0.5", "0.5", "0.500", "240", "25.00", "40.0", "31.50"]
    assert cells[-3:] == ["31.00", "33.00", "0.25"]


def test_report_can_be_written_again_from_its_json(tmp_path: Path) -> None:
    write_report(GOOD, tmp_path / "new" / "folder")
    first = {path.name: path.read_bytes() for path in (tmp_path / "new" / "folder").iterdir()}
    assert set(first) == {f"tradeoff.{ending}" for ending in ("json", "csv", "md", "png")}
    assert first["tradeoff.png"].startswith(b"\x89PNG")
    write_report(json.loads(first["tradeoff.json"]), tmp_path)
    assert all((tmp_path / name).read_bytes() == content for name, content in first.items())


@pytest.mark.parametrize("with_masks", [False, True])
@pytest.mark.parametrize("with_latency", [False, True])
@pytest.mark.parametrize("ap", [30.0, None])
def test_every_kind_of_trade_off_is_drawn(
    tmp_path: Path, with_masks: bool, with_latency: bool, ap: float | None
) -> None:
    points = [a_point(k, ap, ap) for k in (0, 0.5, 1)]
    for point in points if with_masks else ():
        masks = {key: point[key] for key in point if key.startswith(("random", "oracle"))}
        point.update({f"mask_{key}": value for key, value in masks.items()})
        point.update(mask=point["box"], mask_classes=point["box_classes"], mask_AP=ap)
        point.update(mask_detections=point["box_detections"])
    for point in () if with_latency else points:
        point.update(latency_ms=None, fps=None, latency=None)
    write_report(a_tradeoff(*points), tmp_path)
    assert (tmp_path / "tradeoff.png").stat().st_size > 10_000
    assert ("mask AP50" in (tmp_path / "tradeoff.md").read_text()) == with_masks


def test_a_report_that_fails_leaves_the_old_one(tmp_path: Path) -> None:
    write_report(GOOD, tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    broken = copy.deepcopy(GOOD)
    broken["points"][0]["box"]["AP"] = float("nan")
    with pytest.raises(ValueError):
        write_report(broken, tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
