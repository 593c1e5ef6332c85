# SPDX-License-Identifier: Apache-2.0
"""Thresholds, targets, intervals, fingerprints and the calibration file."""

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from dynamicdet_d2 import add_dynamicdet_config
from dynamicdet_d2 import calibration as cal
from dynamicdet_d2.calibration.plot import threshold_spread
from dynamicdet_d2.commands.main import main

HAND = [0.3, 0.1, 0.4, 0.2]
LATENCY = {
    "easy": {"p50": 20.0, "p95": 22.0, "mean": 20.0},
    "hard": {"p50": 30.0, "p95": 33.0, "mean": 30.0},
}

UNTIMED = settings(deadline=None)
shares = st.floats(0, 1)
# With values in thirty-seconds ties are frequent, and 0 and 1 occur.
tied = st.lists(st.integers(0, 32).map(lambda i: i / 32), min_size=1, max_size=40)
distinct = st.lists(
    st.floats(0, 1, exclude_min=True, exclude_max=True), min_size=1, max_size=40, unique=True
)


# --- threshold of a hard fraction


@pytest.mark.parametrize(
    ("hard_fraction", "threshold"),
    [
        (0.5, 0.25),  # two of four are above the middle of 0.2 and 0.3
        (0.25, 0.35),  # only 0.4 is above; percentile(S, k) as printed would be 0.15
        (0.75, 0.15),
        (0.3, 0.35),  # 1.2 images: one is closer than two
        (0.125, 1.0),  # half an image: none is as close as one, and cheaper
        (0.0, 1.0),
        (1.0, 0.0),
    ],
)
def test_threshold_by_hand(hard_fraction: float, threshold: float) -> None:
    assert cal.threshold_for_hard_fraction(HAND, hard_fraction) == pytest.approx(threshold)


@pytest.mark.parametrize(
    ("difficulties", "hard_fraction", "threshold"),
    [
        # A group of three cannot be split: 0 or 3 of 4 hard; 1 of 4 is closer to 0.
        ([0.2, 0.6, 0.6, 0.6], 0.25, 1.0),
        # 2 of 4 is closer to 3 than to 0.
        ([0.2, 0.6, 0.6, 0.6], 0.5, 0.4),
        # 0 and 2 of 2 are equally close to 1: the cheaper.
        ([0.6, 0.6], 0.5, 1.0),
        ([0.5], 0.51, 0.0),
        # A difficulty of 0 is above no threshold, so at most two of three can be hard.
        ([0.0, 0.4, 0.8], 0.9, 0.2),
    ],
)
def test_ties_take_the_closest(
    difficulties: list[float], hard_fraction: float, threshold: float
) -> None:
    found = cal.threshold_for_hard_fraction(difficulties, hard_fraction)
    assert found == pytest.approx(threshold)


@UNTIMED
@given(distinct, shares)
def test_distinct_difficulties_realise_the_fraction(values: list[float], k: float) -> None:
    threshold = cal.threshold_for_hard_fraction(values, k)
    assert 0 <= threshold <= 1
    hard = sum(value > threshold for value in values)
    assert abs(hard - k * len(values)) <= 0.5 + 1e-6


@UNTIMED
@given(tied, st.floats(0, 1, exclude_min=True, exclude_max=True))
def test_no_threshold_comes_closer(values: list[float], k: float) -> None:
    def error(threshold: float) -> float:
        return abs(sum(value > threshold for value in values) - k * len(values))

    chosen = error(cal.threshold_for_hard_fraction(values, k))
    # Every way to route these values is that of a threshold at one of them, or at 0.
    assert chosen <= min(error(threshold) for threshold in [0.0, *values]) + 1e-6


@UNTIMED
@given(tied, shares, shares)
def test_threshold_never_rises_with_the_fraction(values: list[float], k1: float, k2: float) -> None:
    low, high = sorted((k1, k2))
    assert cal.threshold_for_hard_fraction(values, low) >= cal.threshold_for_hard_fraction(
        values, high
    )


@UNTIMED
@given(st.floats(0, 1, exclude_max=True))
def test_neighbouring_floats_are_told_apart(value: float) -> None:
    pair = [value, float(np.nextafter(value, 1))]
    assert cal.realised_hard_fraction(pair, cal.threshold_for_hard_fraction(pair, 0.5)) == 0.5


@pytest.mark.parametrize(
    ("difficulties", "hard_fraction", "says"),
    [
        ([], 0.5, "There are no difficulties"),
        ([0.5, float("nan")], 0.5, "1 of 2 difficulties are outside [0, 1]; the first is nan"),
        ([0.5, None], 0.5, "1 of 2 difficulties are outside [0, 1]; the first is None"),
        ([0.5, 1.5, -1.0], 0.5, "2 of 3 difficulties are outside [0, 1]; the first is 1.5"),
        ([0.5], 1.5, "The hard fraction is 1.5; it must lie in [0, 1]."),
        ([0.5], float("nan"), "The hard fraction is nan; it must lie in [0, 1]."),
    ],
)
def test_threshold_refusals(difficulties: list[float], hard_fraction: float, says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        cal.threshold_for_hard_fraction(difficulties, hard_fraction)


# --- targets


def test_latency_by_hand() -> None:
    # (24 - 20) / (30 - 20)
    assert cal.hard_fraction_for_latency(20, 30, 24) == pytest.approx(0.4)
    assert cal.hard_fraction_for_latency(20, 30, 20) == 0
    assert cal.hard_fraction_for_latency(20, 30, 30) == 1


@pytest.mark.parametrize(
    ("easy", "hard", "target", "says"),
    [
        (20, 30, 19.5, "The target latency of 19.5 ms cannot be reached; 20 to 30 ms can."),
        (20, 30, 31, "The target latency of 31 ms cannot be reached; 20 to 30 ms can."),
        (30, 20, 25, "The hard route's latency (20 ms) is not above the easy route's (30 ms)"),
        (20, 20, 20, "nothing to gain"),
        (20, float("nan"), 20, "hard route in ms is nan; it must be a number at least 0."),
    ],
)
def test_latency_refusals(easy: float, hard: float, target: float, says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        cal.hard_fraction_for_latency(easy, hard, target)


def test_cost_names_its_unit() -> None:
    with pytest.raises(
        ValueError,
        match=re.escape("cost of 300 GFLOPs cannot be reached; 207.1 to 283.7 GFLOPs can."),
    ):
        cal.hard_fraction_for_cost(207.1, 283.7, 300, "cost", "GFLOPs")


@UNTIMED
@given(st.floats(1, 100), st.floats(0.1, 100), shares)
def test_cost_of_the_fraction_is_the_target(easy: float, more: float, k: float) -> None:
    target = min(easy + k * more, easy + more)
    found = cal.hard_fraction_for_cost(easy, easy + more, target, "latency", "ms")
    assert easy + found * more == pytest.approx(target)


@pytest.mark.parametrize(
    ("drop", "hard_fraction"), [(0.0, 1.0), (0.5, 0.5), (0.6, 0.5), (1.0, 0.25), (9.0, 0.0)]
)
def test_ap_drop_by_hand(drop: float, hard_fraction: float) -> None:
    fractions, aps = [0.0, 0.25, 0.5, 1.0], [38.0, 39.0, 39.5, 40.0]
    assert cal.hard_fraction_for_ap_drop(fractions, aps, drop) == hard_fraction


def test_a_loss_of_just_the_drop_is_none_of_more() -> None:
    # In floating point 40.1 - 0.8 is 39.300000000000004.
    assert cal.hard_fraction_for_ap_drop([0.0, 0.5, 1.0], [39.3, 39.5, 40.1], 0.8) == 0.0
    assert cal.hard_fraction_for_ap_drop([0.0, 0.5, 1.0], [39.2999, 39.5, 40.1], 0.8) == 0.5


def test_ap_drop_of_a_curve_with_a_hump() -> None:
    # All hard is not the best here: half hard already loses nothing.
    assert cal.hard_fraction_for_ap_drop([0.0, 0.5, 1.0], [39.0, 40.5, 40.0], 0.0) == 0.5


@pytest.mark.parametrize(
    ("fractions", "aps", "drop", "says"),
    [
        ([0.0, 1.0], [38.0], 1.0, "As many AP as hard fractions"),
        ([], [], 1.0, "As many AP as hard fractions"),
        ([0.0, 0.5], [38.0, 39.0], 1.0, "must rise within [0, 1] up to 1"),
        ([0.0, 1.0], [38.0, float("nan")], 1.0, "AP is not a number"),
        (
            [0.0, 1.0],
            [38.0, 39.0],
            -1.0,
            "The AP drop in points is -1; it must be a number at least 0.",
        ),
    ],
)
def test_ap_drop_refusals(fractions: list[float], aps: list[float], drop: float, says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        cal.hard_fraction_for_ap_drop(fractions, aps, drop)


# --- statements of confidence


def test_interval_of_a_uniform_set() -> None:
    # The median of n uniform values has a deviation of about 0.5 / sqrt(n): 0.025 of 400.
    values = np.random.default_rng(1).random(400)
    low, high = cal.threshold_interval(values, 0.5)
    assert low < cal.threshold_for_hard_fraction(values, 0.5) < high
    assert 0.07 < high - low < 0.13
    assert cal.threshold_interval(values, 0.5) == (low, high)
    narrow_low, narrow_high = cal.threshold_interval(values, 0.5, confidence=0.5)
    assert low < narrow_low < narrow_high < high


def test_interval_of_the_certain() -> None:
    assert cal.threshold_interval(HAND, 0.0) == (1.0, 1.0)
    assert cal.threshold_interval(HAND, 1.0) == (0.0, 0.0)
    # One image, or images all alike: no resample differs.
    assert cal.threshold_interval([0.4], 0.7) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"confidence": 0.0}, r"^The confidence is 0; it must be a number in \(0, 1\)\.$"),
        ({"confidence": 1.0}, "^The confidence is 1;"),
        ({"confidence": "0.9"}, r"^The confidence is '0\.9'; it must be a number\.$"),
        ({"resamples": 0}, "^The number of resamples is 0; it must be a whole number, at least 1"),
        ({"resamples": 1.5}, "^The number of resamples is 1.5;"),
        ({"seed": -1}, "^The seed is -1; it must be a whole number, at least 0"),
        ({"hard_fraction": None}, "^The hard fraction is None; it must be a number"),
        ({"difficulties": ["0.5"]}, r"^Difficulties are \['0\.5'\]; they must be a list of num"),
    ],
)
def test_interval_refusals(arguments: dict, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        cal.threshold_interval(**{"difficulties": HAND, "hard_fraction": 0.5, **arguments})


def test_realised_interval_by_hand() -> None:
    # 1.96 * sqrt(0.25 * (1/100 + 1/100)) + (1/100 + 1/100) / 2 = 0.1386 + 0.01
    assert cal.realised_interval(0.5, 100, 100) == pytest.approx((0.3514, 0.6486), abs=1e-4)
    assert cal.realised_interval(1.0, 100, 100) == (1.0, 1.0)
    assert cal.realised_interval(np.float32(1), np.int64(100), 100) == (1.0, 1.0)
    with pytest.raises(ValueError, match="^A number of images is nan; it must be a whole number"):
        cal.realised_interval(0.5, float("nan"), 100)  # type: ignore[arg-type]


@pytest.mark.parametrize("hard_fraction", [0.1, 0.5, 0.9])
def test_other_half_realises_within_the_interval(hard_fraction: float) -> None:
    # Difficulties crowd near 0.5 as a weakly trained router's do: only ranks should count.
    values = 0.5 + 0.01 * np.random.default_rng(7).standard_normal(300)
    within = 0
    for seed in range(100):
        row = cal.held_out(values, seed)[round(10 * hard_fraction)]
        assert row["hard_fraction"] == hard_fraction
        within += row["interval"][0] <= row["realised"] <= row["interval"][1]
    assert within >= 90


@pytest.mark.parametrize("hard_fraction", [0.1, 0.5, 0.9])
def test_other_half_has_the_latency_promised(hard_fraction: float) -> None:
    random = np.random.default_rng(11)
    values = 0.5 + 0.01 * random.standard_normal(300)
    # What each image takes on either route; the record knows the means alone.
    easy, hard = 20 + random.standard_normal(300), 30 + 2 * random.standard_normal(300)
    record = make_calibration(values[:4].tolist())
    within = 0
    for _ in range(100):
        order = random.permutation(300)
        fitted, tested = order[:150], order[150:]
        half = dataclasses.replace(record, num_images=150, grid=cal.threshold_grid(values[fitted]))
        is_hard = values[tested] > half.threshold(hard_fraction)
        mean = np.where(is_hard, hard[tested], easy[tested]).mean()
        low, high = cal.latency_interval(half, hard_fraction, 150)
        within += low <= mean <= high
    assert within >= 90


def test_latency_interval_by_hand() -> None:
    # 0.5 -+ (1.96 * sqrt(0.25 * 2 / 4) + 1 / 4): beyond [0, 1], so anything from 20 to 30 ms.
    assert cal.latency_interval(make_calibration(HAND), 0.5, 4) == (20.0, 30.0)
    assert cal.latency_interval(make_calibration(HAND), 1.0, 4) == (30.0, 30.0)


def test_thresholds_of_more_images_spread_less() -> None:
    # Of uniform difficulties the median of n has a deviation of about 0.5 / sqrt(n).
    grid = [1 - k / 1000 for k in range(1001)]
    low, high = threshold_spread(grid, 0.5, [100, 400])
    assert high - low == pytest.approx([4 * 0.05 * 0.98, 4 * 0.025 * 0.98], rel=0.05)
    low, high = threshold_spread([0.5] * 1001, 0.5, [10])
    assert (low[0], high[0]) == (0.5, 0.5)


def test_picture_is_drawn_again_from_the_file(tmp_path: Path) -> None:
    point = {"threshold": 0.25, "hard_fraction": 0.5}
    make_calibration(HAND, operating_point=point).to_json(tmp_path / "c.json")
    assert main(["report", str(tmp_path / "c.json")]) == 0
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(SystemExit):
        main(["report", str(tmp_path / "gone.json")])


def test_held_out_of_one_image_is_empty() -> None:
    assert cal.held_out([0.5]) == []
    assert len(cal.held_out([0.5, 0.6])) == 11


def test_table_tells_what_ties_realise() -> None:
    rows = cal.threshold_table([0.2, 0.6, 0.6, 0.6])
    assert [row["hard_fraction"] for row in rows] == [k / 10 for k in range(11)]
    assert rows[5]["threshold"] == pytest.approx(0.4)
    assert rows[5]["realised_hard_fraction"] == 0.75
    assert rows[10]["interval"] == [0.0, 0.0]


# --- the record


def make_calibration(difficulties: list[float], **changes: object) -> cal.Calibration:
    fields = {
        "num_images": len(difficulties),
        "fingerprint": {"weights": "0123", "dtype": "float32"},
        "latency_ms": LATENCY,
        "device": "a device",
        "thresholds": cal.threshold_table(difficulties),
        "grid": cal.threshold_grid(difficulties),
        "histogram": {"edges": [0.0, 1.0], "counts": [len(difficulties)]},
        "measured": {"dataset": "a_set"},
        "held_out": cal.held_out(difficulties),
    }
    return cal.Calibration(**{**fields, **changes})


@settings(deadline=None, max_examples=30)
@given(distinct, shares)
def test_any_fraction_is_answered_from_the_grid(values: list[float], k: float) -> None:
    record = make_calibration(values, thresholds=[], held_out=[])
    realised = cal.realised_hard_fraction(values, record.threshold(k))
    assert abs(realised - k) <= 0.0005 + 0.5 / len(values) + 1e-6


def test_record_answers_latency() -> None:
    record = make_calibration(HAND)
    assert record.hard_fraction_for_latency(25) == 0.5
    assert record.threshold_for_latency(25) == pytest.approx(0.25)
    with pytest.raises(ValueError, match="20 to 30 ms can"):
        record.threshold_for_latency(35)
    with pytest.raises(
        ValueError, match=re.escape("The hard fraction is 1.5; it must lie in [0, 1].")
    ):
        record.threshold(1.5)


def test_json_round_trip(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random(50).tolist()
    point = {"target": {"hard_fraction": 0.5}, "hard_fraction": 0.5, "threshold": 0.4}
    record = make_calibration(values, operating_point=point)
    path = tmp_path / "calibration.json"
    record.to_json(path)
    assert cal.Calibration.from_json(path) == record
    assert set(json.loads(path.read_text())) >= {
        "num_images", "fingerprint", "latency_ms", "device", "thresholds", "histogram"
    }  # fmt: skip
    assert [p.name for p in tmp_path.iterdir()] == ["calibration.json"]


def test_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "calibration.json"
    record = make_calibration(HAND)
    record.to_json(path)
    broken = make_calibration(HAND)
    broken.measured["seconds"] = float("nan")
    with pytest.raises(ValueError):
        broken.to_json(path)
    assert cal.Calibration.from_json(path) == record
    with pytest.raises(ValueError, match="'measured' must be finite in all its numbers"):
        dataclasses.replace(record, measured=broken.measured)
    assert [p.name for p in tmp_path.iterdir()] == ["calibration.json"]


def test_missing_and_malformed_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "calibration.json"
    says = f"Calibration {path}"
    with pytest.raises(ValueError, match=re.escape(f"{says} cannot be read: No such file")):
        cal.Calibration.from_json(path)
    with pytest.raises(ValueError, match=re.escape(f"Calibration {tmp_path} cannot be read")):
        cal.Calibration.from_json(tmp_path)
    for text, wrong in [
        ("{", "is not a JSON file"),
        ("[]", "is []; it must be an object, as 'dynamicdet calibrate' writes it"),
        ("{}", "lacks num_images, fingerprint"),
        ('{"num_images": 3}', "lacks fingerprint, latency_ms"),
    ]:
        path.write_text(text)
        with pytest.raises(ValueError, match=re.escape(f"{says} {wrong}")):
            cal.Calibration.from_json(path)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("num_images", 0),
        ("latency_ms", {"easy": LATENCY["easy"]}),
        ("latency_ms", {**LATENCY, "hard": {"p50": 1.0, "p95": 1.0, "mean": float("nan")}}),
        ("grid", [0.5] * 1000),
        ("grid", [0.5] * 1000 + [0.6]),
        ("grid", [0.5] * 1000 + [None]),
        ("grid", 3),
        ("thresholds", [{"hard_fraction": 0.5, "threshold": 1.5}]),
        ("thresholds", [{"hard_fraction": 0.5}]),
        ("operating_point", {"threshold": 0.5}),
    ],
)
def test_changed_file_is_refused(tmp_path: Path, field: str, value: object) -> None:
    path = tmp_path / "calibration.json"
    make_calibration(HAND).to_json(path)
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, field: value}))
    with pytest.raises(ValueError, match=f"Calibration .*is not valid: '{field}' must be"):
        cal.Calibration.from_json(path)


# --- in words


def test_remarks_only_where_there_is_something_to_say() -> None:
    values = np.random.default_rng(0).random(cal.ENOUGH_IMAGES).tolist()
    assert cal.remarks(make_calibration(values)) == []


def test_remark_on_few_images_gives_the_intervals() -> None:
    record = make_calibration(np.linspace(0.1, 0.9, 100).tolist())
    (remark,) = cal.remarks(record)
    low, high = record.thresholds[5]["interval"]
    assert remark.startswith("100 images are few")
    assert f"at hard fraction 0.500 the 95 % interval of the threshold is {low:.6f} to" in remark
    assert "0.351 to 0.649 of as many new images" in remark


def test_remarks_on_a_collapsed_router_and_no_gain() -> None:
    record = make_calibration([0.5] * 2000, latency_ms={**LATENCY, "hard": LATENCY["easy"]})
    ties, no_gain = cal.remarks(record)
    assert "0.1 (0.000), 0.2 (0.000)" in ties
    assert "0.9 (1.000)" in ties
    assert "The easy route (20.00 ms) is not faster than the hard one (20.00 ms)" in no_gain


def test_summary_says_how_to_use_the_file() -> None:
    point = {
        "target": {"latency_ms": 24.0},
        "hard_fraction": 0.4,
        "threshold": 0.25,
        "interval": [0.1, 0.3],
        "realised_hard_fraction": 0.5,
    }
    text = cal.summary(make_calibration(HAND, operating_point=point), "c.json")
    assert "operating point for latency_ms 24:" in text
    # Two of four images are hard, at 20 and 30 ms.
    assert "0.400    0.250000   0.100000 to 0.300000         25.00" in text
    assert "4 new images at hard fraction 0.400 (95 %)" in text
    assert text.endswith("MODEL.DYNAMIC.CALIBRATION c.json MODEL.DYNAMIC.HARD_FRACTION 0.4\n")


def test_milliseconds_of_a_collapsed_router_are_those_of_its_routes() -> None:
    lines = cal.summary(make_calibration([0.5] * 8), "c.json").splitlines()
    rows = [line.split() for line in lines if line.startswith("        ")]
    assert {(row[1], row[-1]) for row in rows} == {("1.000000", "20.00"), ("0.000000", "30.00")}


def test_no_new_image_of_a_collapsed_router_is_hard() -> None:
    record = make_calibration([0.5] * 8)
    assert record.thresholds[5]["threshold"] == 1.0
    text = cal.summary(record, "c.json")
    assert (
        "8 new images at hard fraction 0.500 (95 %): 0.000 to 0.000 hard, 20.00 to 20.00 ms" in text
    )
    assert "and 0.000 to 0.000 of as many new images" in cal.remarks(record)[0]


# --- fingerprints


class Tiny(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 1)
        nn.init.ones_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)
        self.register_buffer("loss_offset", torch.tensor(float("nan"), dtype=torch.float64))
        self.register_buffer("scale", torch.tensor(1.0))


def test_fingerprint_follows_what_changes_results() -> None:
    model = Tiny()
    before = cal.weights_fingerprint(model)
    assert re.fullmatch("[0-9a-f]{16}", before)
    model.loss_offset.fill_(0.25)
    assert cal.weights_fingerprint(model) == before == cal.weights_fingerprint(Tiny())
    model.scale.fill_(2.0)
    scaled = cal.weights_fingerprint(model)
    with torch.no_grad():
        model.linear.weight[0, 1] += 2**-23
    assert len({before, scaled, cal.weights_fingerprint(model)}) == 3
    assert cal.weights_fingerprint(Tiny().bfloat16()) != before


def test_fingerprint_of_a_config() -> None:
    cfg = get_cfg()
    add_dynamicdet_config(cfg)
    cfg.INPUT.MIN_SIZE_TEST = 160
    found = cal.fingerprint(Tiny(), cfg)
    assert found["dtype"] == "float32"
    assert found["input"]["min_size_test"] == 160
    assert found["input"]["max_size_test"] == 1333
    assert found["input"]["format"] == "BGR"
    assert json.loads(json.dumps(found)) == found
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert cal.fingerprint(Tiny(), cfg)["dtype"] == "bfloat16"


def test_fingerprint_knows_the_precision_and_the_padding_of_inference() -> None:
    cfg = get_cfg()
    add_dynamicdet_config(cfg)
    before = cal.fingerprint(Tiny(), cfg)
    cfg.MODEL.INFERENCE.OPTIMIZE = True
    assert cal.fingerprint(Tiny(), cfg) == before
    cfg.MODEL.INFERENCE.PRECISION = "float16"
    cfg.MODEL.INFERENCE.SIZE_MULTIPLE = 128
    after = cal.fingerprint(Tiny(), cfg)
    assert after["dtype"] == "float16"
    assert after["input"] == {**before["input"], "size_multiple": 128}


def test_check_fingerprint_names_what_differs() -> None:
    theirs = {"weights": "aa", "input": {"min_size_test": 800, "format": "BGR"}, "dtype": "float32"}
    cal.check_fingerprint(theirs, json.loads(json.dumps(theirs)))
    ours = {"weights": "aa", "input": {"min_size_test": 640, "format": "BGR"}, "dtype": "float16"}
    with pytest.raises(ValueError) as error:
        cal.check_fingerprint(theirs, ours)
    assert "dtype float32 (here float16), input min_size_test 800 (here 640)" in str(error.value)
    assert "weights" not in str(error.value)
    with pytest.raises(ValueError, match=re.escape("weights aa (here bb)")):
        cal.check_fingerprint(theirs, {**theirs, "weights": "bb"})
    by_hand = {**theirs, "input": {"min_size_test": "800", "format": "BGR"}}
    with pytest.raises(ValueError, match=re.escape("min_size_test '800' (here 800)")):
        cal.check_fingerprint(by_hand, theirs)
