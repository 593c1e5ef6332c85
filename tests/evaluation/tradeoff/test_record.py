# SPDX-License-Identifier: Apache-2.0
"""tradeoff.json: its shape, older and damaged files, and what a trade-off cannot be."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynamicdet_d2.evaluation.tradeoff.points import Point, RoutedLatency
from dynamicdet_d2.evaluation.tradeoff.record import (
    LatencyProtocol,
    RouteLatency,
    Series,
    SeriesPoint,
    Tradeoff,
)
from tests.support.tradeoffs import EASY, GOOD, HARD, a_point, a_tradeoff, with_masks

COCO = ("AP", "AP50", "AP75", "APs", "APm", "APl")
RECALL = ("AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
# The half-hard point of GOOD with masks, as it lies in the file.
COMPARED = {
    **{"random_AP": 31.0, "random_AP_stderr": 0.0025, "random_AP_std": 0.01},
    **{"oracle_AP": 33.0, "oracle_share": 0.25},
}
FIGURES = dict.fromkeys(COCO, 31.5) | dict.fromkeys(RECALL)
CLASSES = {"disc": 31.5, "ring": None}
DETECTIONS = {
    **{"precision": 90.0, "recall": 80.0},
    "classes": {"disc": {"precision": 90.0, "recall": None}},
}
PLACE = {"hard_fraction": 0.5, "threshold": 0.5, "realised_hard_fraction": 0.5, "gflops": 240.0}
POINT = {
    **PLACE,
    **{"box": FIGURES, "mask": FIGURES, "box_classes": CLASSES, "box_detections": DETECTIONS},
    **COMPARED,
    **{"mask_classes": CLASSES, "mask_detections": DETECTIONS},
    **{f"mask_{key}": value for key, value in COMPARED.items()},
    "routes": {
        "easy": {"images": 2, "AP_detector1": 31.5, "AP_detector2": None},
        "hard": {"images": 2, "AP_detector1": 31.5, "AP_detector2": None},
    },
    **{
        "latency_ms": 25.0,
        "fps": 40.0,
        "latency": {"p50": 20.0, "p95": 30.0, "hard_fraction": 0.5, "stderr": None},
    },
}


def content(tradeoff: Tradeoff, folder: Path) -> dict[str, Any]:
    tradeoff.to_json(folder / "tradeoff.json")
    return json.loads((folder / "tradeoff.json").read_text(), parse_constant=pytest.fail)


def masked() -> Tradeoff:
    return a_tradeoff(*map(with_masks, GOOD.points))


def test_points_in_the_file_are_flat(tmp_path: Path) -> None:
    found = content(masked(), tmp_path)
    assert found["points"][1] == found["operating_point"] == POINT
    assert list(found["points"][1]) == list(POINT)
    assert found["curve"][1] == {
        **PLACE,
        **{"AP": 31.5, **COMPARED},
        **{f"mask_{key}": value for key, value in {"AP": 31.5, **COMPARED}.items()},
    }


def test_without_masks_and_latency(tmp_path: Path) -> None:
    points = [a_point(k, 31.5, 31.0, latency=None) for k in (0, 0.5, 1)]
    found = content(a_tradeoff(*points), tmp_path)
    point = found["points"][1]
    assert point["mask"] is None
    assert not any(key.startswith("mask_") for key in (*point, *found["curve"][1]))
    assert (point["latency_ms"], point["fps"], point["latency"]) == (None, None, None)
    assert found["latency"] == {"images": 2, "warmup": 1, "batch_size": 1}


def test_the_keys_that_others_rely_on(tmp_path: Path) -> None:
    found = content(GOOD, tmp_path)
    assert {"dataset", "num_images", "device", "loss_offset", "points"} <= set(found)
    keys = {"hard_fraction", "threshold", "realised_hard_fraction", "gflops", "latency_ms", "fps"}
    for point in found["points"]:
        assert keys | {"box", "mask", "random_AP", "oracle_AP"} <= set(point)
        assert {"AP", "AP50"} <= set(point["box"])


@pytest.mark.parametrize("tradeoff", [GOOD, masked()], ids=["boxes", "masks"])
def test_what_is_written_is_read(tmp_path: Path, tradeoff: Tradeoff) -> None:
    spread = LatencyProtocol(2, 1, 1, RouteLatency(1.0, 2.0, 1.5), RouteLatency(2.0, 3.0, 2.5))
    others = (Series("R101", (SeriesPoint("R101", 283.0, None, 39.4),)),)
    changed = a_tradeoff(*tradeoff.points, latency=spread, comparisons=others)
    for written in (tradeoff, changed):
        written.to_json(tmp_path / "tradeoff.json")
        assert Tradeoff.from_json(tmp_path / "tradeoff.json") == written


# The oracle of a_point has 2 AP more.
finite = st.floats(0, 98)


@given(ap=st.none() | finite, k=st.floats(0, 1), ms=st.floats(1e-3, 1e9))
def test_every_digit_is_kept(
    tmp_path_factory: pytest.TempPathFactory, ap: float | None, k: float, ms: float
) -> None:
    path = tmp_path_factory.getbasetemp() / "digits.json"
    point: Point = a_point(k, ap, ap, latency=RoutedLatency(ms, ms, ms, k))
    a_tradeoff(EASY, point, HARD).to_json(path)
    assert Tradeoff.from_json(path).points[1] == point


def test_files_of_the_first_version_are_read(tmp_path: Path) -> None:
    old = content(masked(), tmp_path)
    del old["date"], old["comparisons"], old["notes"]["detections"]
    for point in (*old["points"], old["operating_point"]):
        del point["box_detections"], point["mask_detections"]
    path = tmp_path / "old.json"
    path.write_text(json.dumps(old))
    read = Tradeoff.from_json(path)
    assert read.points[1].box.detections is None and read.points[1].box.AP == 31.5
    assert (read.date, read.comparisons, read.notes.detections) == ("", (), "")


def test_keys_of_a_later_version_are_passed_over(tmp_path: Path) -> None:
    later = content(GOOD, tmp_path) | {"energy": {"joules": 3}}
    later["points"][0]["energy"] = 3
    path = tmp_path / "later.json"
    path.write_text(json.dumps(later))
    assert Tradeoff.from_json(path) == GOOD


MISSING = object()


@pytest.mark.parametrize(
    ("place", "value", "says"),
    [
        ((), [], "the content is []; it must be an object"),
        (("points",), MISSING, "points is missing"),
        (("points",), {}, "points is {}; it must be a list"),
        (("points",), [], "there are 0 points; both ends are needed"),
        (("points", 1), 7, "points[1] is 7; it must be an object"),
        (("points", 1, "gflops"), MISSING, "points[1].gflops is missing"),
        (("points", 1, "gflops"), "much", "points[1].gflops is 'much'; it must be a number"),
        (("points", 1, "gflops"), True, "points[1].gflops is True; it must be a number"),
        (("points", 1, "threshold"), 1.5, "points[1]: threshold is 1.5; it must be in [0, 1]"),
        (("points", 1, "box"), None, "points[1]: the figures of boxes are missing"),
        (("points", 1, "box"), 31.5, "points[1].box is 31.5; it must be an object"),
        (("points", 1, "box", "AP"), [], "points[1].box.AP is []; it must be a number"),
        (("points", 1, "random_AP"), MISSING, "points[1].box.random_AP is missing"),
        (("points", 1, "box_classes"), [], "points[1].box.classes is []; it must be an object"),
        (("points", 1, "latency_ms"), 0, "points[1].latency: a mean latency is 0 ms; it must be"),
        (("points", 1, "latency"), None, "points[1].latency is None; it must be an object"),
        (("points", 1, "latency_ms"), None, "some points have a latency and some have none"),
        (("operating_point", "latency_ms"), None, "some points have a latency and some have none"),
        (("points", 1, "routes"), None, "points[1].routes is None; it must be an object"),
        (("points", 1, "routes", "easy"), MISSING, "points[1].easy is missing"),
        (("points", 1, "mask"), FIGURES, "points[1].mask.random_AP is missing"),
        (("operating_point",), MISSING, "operating_point is missing"),
        (("curve", 0), None, "curve[0] is None; it must be an object"),
        (("curve", 0, "AP"), MISSING, "curve[0]: the figures of boxes are missing"),
        (("difficulty", "histogram", "counts"), [1], "41 edges do not bound 1 counts"),
        (("difficulty", "histogram", "counts", 0), 0.5, "it must be a whole number"),
        (("image_sizes", "min"), "64", "image_sizes.min is '64'; it must be a list"),
        (("device",), 3, "device is 3; it must be a string"),
        (("fingerprint",), {}, "the fingerprint has no dtype"),
        (("comparisons",), [{"name": "R101"}], "comparisons[0].points is missing"),
    ],
)  # fmt: skip
def test_damaged_and_foreign_files_are_refused_by_one_sentence(
    tmp_path: Path, place: tuple, value: Any, says: str
) -> None:
    damaged = content(GOOD, tmp_path)
    if place:
        *above, last = place
        inner = damaged
        for key in above:
            inner = inner[key]
        if value is MISSING:
            del inner[last]
        else:
            inner[last] = copy.deepcopy(value)
    path = tmp_path / "damaged.json"
    path.write_text(json.dumps(damaged if place else value))
    with pytest.raises(ValueError) as error:
        Tradeoff.from_json(path)
    told = str(error.value)
    assert told.startswith(f"{path} is not a valid tradeoff.json: ") and told.endswith(".")
    assert says in told and "\n" not in told


@pytest.mark.parametrize(
    ("text", "says"), [("{", "is not a JSON file: "), ('{"points": NaN}', "points is nan")]
)
def test_what_is_no_json_is_refused(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "tradeoff.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=says):
        Tradeoff.from_json(path)
    with pytest.raises(ValueError, match="gone.json cannot be read: No such file"):
        Tradeoff.from_json(tmp_path / "gone.json")


def test_points_with_and_without_masks_do_not_mix() -> None:
    with pytest.raises(ValueError, match="points have figures of boxes and masks, others"):
        a_tradeoff(EASY, with_masks(GOOD.points[1]), HARD)
