# SPDX-License-Identifier: Apache-2.0
"""Targets with a guarantee, by hand, and how they are asked for."""

import argparse
from dataclasses import replace

import numpy as np
import pytest
from torch import nn

from dynamicdet_d2 import calibration as cal
from dynamicdet_d2.calibration.ap_drop import of_images, of_the_set
from dynamicdet_d2.calibration.latency_p95 import LatencyP95
from dynamicdet_d2.calibration.target import Measured, Target
from dynamicdet_d2.calibration.targets import add_options, target_of
from dynamicdet_d2.evaluation.coco.matched_sweep import MatchedSweep
from dynamicdet_d2.evaluation.coco.set_gains import MatchedImage, match_image
from dynamicdet_d2.evaluation.exit_records import ExitRecord
from dynamicdet_d2.evaluation.latency import Latency
from dynamicdet_d2.evaluation.observe import Observation
from dynamicdet_d2.operating_point.guarantee import Guarantee
from tests.support.made_up import boxes
from tests.support.toy import toy_cfg

AP = Guarantee(0.95, "ap")


def images_of(count: int, lost: int) -> list[MatchedImage]:
    """One object an image; detector1 misses those of the ``lost`` hardest images."""
    truth, found = boxes([0], 0.0), boxes([0], 0.9)
    missed = match_image((boxes([], 0.9), found), truth)
    return [match_image((found, found), truth)] * (count - lost) + [missed] * lost


def routings(count: int) -> list[np.ndarray]:
    """The images become hard from the last one on."""
    return [np.arange(count) >= count - round(k * count / 100) for k in range(101)]


def test_finite_by_hand() -> None:
    # Of 100 images the 30 hardest lose all of their own AP. With k % hard, 30 - k of 100 are lost
    # on the easy route. At most 3 show a share of 0.1 with confidence 0.95: the binomial gives
    # 0.0078 for 3 and 0.0237 for 4, 0.0576 for 5. So 4 may be lost: 26 % are hard.
    sweep = MatchedSweep(images_of(100, 30))
    choice = of_images(sweep, routings(100), 5.0, Guarantee(0.95, "finite", 0.1))
    assert choice.hard_fraction == 0.26
    assert choice.guarantee["estimate"] == 0.04
    assert 0.08 < choice.guarantee["bound"] <= 0.1
    # On these images alone, 10 of 100 may.
    assert choice.guarantee["hard_fraction_without"] == 0.2
    # 0.29 * 100 is 28.999999999999996, and 29 of 100 are a share of 0.29.
    none = of_images(sweep, routings(100), 5.0, Guarantee(0.5, "finite", 0.29)).guarantee
    assert none["hard_fraction_without"] == 0.01
    assert "at most 0.1 of images like these lose more than 5" in choice.guarantee["says"]
    with pytest.raises(ValueError, match="28 images are too few .* at least 29"):
        of_images(MatchedSweep(images_of(28, 0)), routings(28), 5.0, Guarantee(0.95, "finite"))


def test_an_image_that_loses_just_the_drop_loses_no_more() -> None:
    # Boxes of 16.4 and of 17.4 pixels in the place of 20: an IoU of 0.82 and of 0.87, 7 and 8 of
    # the ten thresholds, 70 and 80 AP, which differ by 10.000000000000014 in floating point.
    found = boxes([0], 0.9)
    exits = [replace(found, boxes=np.array([[0.0, 0.0, w, 20.0]])) for w in (16.4, 17.4)]
    sweep = MatchedSweep([match_image(exits, boxes([0], 0.0))] * 40)
    assert sweep.own_ap()[0] == pytest.approx([70, 80])
    guarantee = Guarantee(0.95, "finite", 0.1)
    assert of_images(sweep, routings(40), 10.0, guarantee).hard_fraction == 0.0
    # Of 40 images none may lose more (0.9^40 is 0.015, with one 0.08): 99 % are all 40 of them.
    assert of_images(sweep, routings(40), 9.9, guarantee).hard_fraction == 0.99


def test_of_the_set_by_hand() -> None:
    # AP falls by the share of lost images p, whose standard error is sqrt(p (1 - p) / n), n = 400
    # (and COCO's curve ends at the recall 1 - p, read at 101 places). At 10 points: p = 0.0775 has
    # the bound 0.0775 + 1.645 * 0.01339 = 0.0995, and p = 0.08 0.1023.
    sweep = MatchedSweep(images_of(400, 120))
    choice = of_the_set(sweep, routings(400), 10.0, AP)
    assert choice.guarantee["hard_fraction_without"] == pytest.approx(0.20, abs=0.011)
    assert choice.hard_fraction == pytest.approx(0.2225, abs=0.011)
    assert choice.guarantee["estimate"] < choice.guarantee["bound"] <= 10
    everything = of_the_set(sweep, routings(400), 0.0, AP)
    assert everything.hard_fraction == 0.3
    with pytest.raises(ValueError, match="100 images are too few .* at least 300"):
        of_the_set(MatchedSweep(images_of(100, 0)), routings(100), 10.0, AP)


def test_a_class_in_few_images_leaves_more_open() -> None:
    """Half of AP is of the second class, of which ``count`` images show that it loses nothing."""
    truth, found = (replace(boxes([0], s), label=np.array([1])) for s in (0.0, 0.9))
    other = match_image((found, found), truth)
    bounds = []
    for count in (200, 20, 2):
        sweep = MatchedSweep([other] * count + images_of(400 - count, 120))
        assert sweep.class_images().tolist() == [400 - count, count]
        promised = of_the_set(sweep, [np.zeros(400, bool)] * 100 + routings(400)[-1:], 90.0, AP)
        bounds.append(promised.guarantee["bound"] - promised.guarantee["estimate"])
    # An image that loses its object or not, p = 120 / 398 and z = 1.645, of two images, is
    # 50 * 1.645 * sqrt(p (1 - p) / 2) = 26.7 points, beside which the other class's is little.
    assert bounds[0] < bounds[1] < bounds[2] == pytest.approx(26.8, abs=0.3)


def latency_measured(count: int, slow: int) -> Measured:
    """The easy route takes 10 ms; the hard one 20, and 40 on the ``slow`` hardest images."""
    difficulties = [(i + 0.5) / count for i in range(count)]
    records = [ExitRecord(i, "", d, (64, 96), ([], [])) for i, d in enumerate(difficulties)]
    hard = [20.0] * (count - slow) + [40.0] * slow
    record = cal.Calibration(
        num_images=count,
        fingerprint={},
        latency_ms=dict.fromkeys(("easy", "hard"), dict.fromkeys(("p50", "p95", "mean"), 1.0)),
        device="a device",
        thresholds=[],
        grid=cal.threshold_grid(difficulties),
        histogram={"edges": [0, 1], "counts": [1]},
        measured={},
        held_out=[],
    )
    sample = [{"image_id": i} for i in range(count)]
    latencies = {"easy": Latency.of([10.0] * count), "hard": Latency.of(hard)}
    observation = Observation(records, sample)
    return Measured(toy_cfg(), nn.Identity(), record, observation, None, latencies)


def test_latency_p95_by_hand() -> None:
    # The hardest images are late on the hard route: of 200, 10 may be.
    measured = latency_measured(200, 100)
    assert LatencyP95(30.0).choose(measured).hard_fraction == 0.05
    assert LatencyP95(50.0).choose(measured).hard_fraction == 1.0
    # 4 of 200 show 5 % with confidence 0.95 (0.0264), 5 do not (0.0623).
    promised = LatencyP95(30.0, Guarantee(0.95, "finite")).choose(measured)
    assert promised.hard_fraction == 0.02
    assert promised.guarantee["hard_fraction_without"] == 0.05
    with pytest.raises(ValueError, match=r"of 9 ms cannot be reached; 10 ms or more can"):
        LatencyP95(9.0).choose(measured)


@pytest.mark.parametrize(("count", "low"), [(50, 48), (20, 19), (19, 19), (1, 1), (60, 57)])
def test_the_p95_latency_that_is_said_to_be_had_is(count: int, low: int) -> None:
    # Of 50 images two may be late, so that 48 keep within the 48th time; of 20 one, of 19 none.
    times = Latency.of([1.0 + i for i in range(count)])
    measured = replace(latency_measured(count, 0), latencies={"easy": times, "hard": times})
    with pytest.raises(ValueError, match=f"; {low} ms or more can\\.$"):
        LatencyP95(0.5).choose(measured)
    assert LatencyP95(float(low)).choose(measured).hard_fraction == 1.0
    with pytest.raises(ValueError, match="cannot be reached"):
        LatencyP95(low - 0.01).choose(measured)


def test_latency_p95_needs_enough_timed_images() -> None:
    few, promise = latency_measured(50, 0), LatencyP95(30.0, Guarantee(0.95, "finite"))
    assert LatencyP95(30.0).choose(few).hard_fraction == 1.0
    # No key gives more than the data set has.
    with pytest.raises(ValueError, match="50 images, all timed, are too few .* at least 59"):
        promise.choose(few)
    some = latency_measured(60, 0).observation.records, few.observation.sample
    with pytest.raises(ValueError, match="50 timed images .*LATENCY_IMAGES.* at least 59"):
        promise.choose(replace(few, observation=Observation(*some)))


def asked(*arguments: str) -> Target | None:
    parser = argparse.ArgumentParser()
    add_options(parser)
    return target_of(parser.parse_args(arguments))


def test_how_a_guarantee_is_asked_for() -> None:
    drop = "--max-ap-drop", "0.5", "--confidence", "0.95"
    assert asked(*drop).guarantee == AP
    finite = asked(*drop, "--mode", "finite", "--share", "0.2")
    assert finite.guarantee == Guarantee(0.95, "finite", 0.2)
    late = asked("--target-p95-latency-ms", "40", "--confidence", "0.9")
    assert late.guarantee == Guarantee(0.9, "finite")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--confidence", "0.95"], "--confidence needs a target"),
        (["--hard-fraction", "0.5", "--confidence", "0.95"], "cannot be had with --confidence"),
        (["--max-ap-drop", "1", "--mode", "finite"], "--mode needs --confidence"),
        (["--max-ap-drop", "1", "--share", "0.1"], "--share needs --confidence"),
        (
            ["--max-ap-drop", "1", "--confidence", "0.9", "--share", "0.1"],
            "--share needs --mode finite",
        ),
        (
            ["--target-p95-latency-ms", "9", "--confidence", "0.9", "--mode", "ap"],
            "cannot be had with --mode ap",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(arguments: list[str], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        asked(*arguments)
