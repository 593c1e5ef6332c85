# SPDX-License-Identifier: Apache-2.0
"""Latency measurement with a clock that is told what time it is."""

import logging

import pytest
import torch
from torch import nn

from dynamicdet_d2.evaluation.latency import (
    Latency,
    measure_latency,
    measure_routes,
    measure_thresholds,
)
from dynamicdet_d2.operating_point import OperatingPoint
from dynamicdet_d2.utils.device import device_name


class Clock:
    """Seconds that pass only when a model says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Model(nn.Module):
    """Takes 2 s an image on the easy route, 5 s on the hard one, and 1 s more in image 7."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock, self.device = clock, torch.device("cpu")
        self.operating_point = OperatingPoint(threshold=0.5)
        self.frozen, self.trained = nn.Linear(1, 1), nn.Linear(1, 1)
        self.calls: list[tuple[int, float]] = []

    @property
    def threshold(self) -> float:
        return self.operating_point.threshold

    @threshold.setter
    def threshold(self, value: float) -> None:
        self.operating_point = OperatingPoint(threshold=value)

    def forward(self, batch: list[dict]) -> None:
        assert not any(module.training for module in self.modules())
        assert torch.is_inference_mode_enabled()
        self.calls.append((batch[0]["image"], self.threshold))
        for image in batch:
            self.clock.now += (2 if self.threshold == 1 else 5) + (image["image"] == 7)


def batches(*images: int) -> list[list[dict]]:
    return [[{"image": image}] for image in images]


def test_latency_by_hand() -> None:
    latency = Latency.of([10.0, 20.0, 30.0, 80.0])
    assert (latency.p50, latency.mean) == (25.0, 35.0)
    # Rank 0.95 * 3 = 2.85 between 30 and 80.
    assert latency.p95 == pytest.approx(30 + 0.85 * 50)


def test_routes_take_turns_on_every_image() -> None:
    clock = Clock()
    model = Model(clock)
    routes = measure_routes(model, batches(5, 6, 7), warmup=2, clock=clock)
    warmup = [(5, 1.0), (5, 0.0), (6, 1.0), (6, 0.0)]
    timed = [(5, 1.0), (5, 0.0), (6, 0.0), (6, 1.0), (7, 1.0), (7, 0.0)]
    assert model.calls == warmup + timed
    assert routes["easy"].samples == (2000.0, 2000.0, 3000.0)
    assert routes["hard"].samples == (5000.0, 5000.0, 6000.0)
    assert routes["easy"].p50 == 2000.0
    assert routes["hard"].mean == pytest.approx(16000 / 3)


def test_batches_are_timed_an_image() -> None:
    clock = Clock()
    model = Model(clock)
    pair = [{"image": 1}, {"image": 7}]
    # 5 s and 6 s in one call.
    assert measure_latency(model, [pair], 0.3, warmup=0, clock=clock).samples == (5500.0,)
    assert model.calls == [(1, 0.3)]


def test_warmup_goes_round_when_images_are_few() -> None:
    clock = Clock()
    model = Model(clock)
    measure_latency(model, batches(1, 2), 1.0, warmup=3, clock=clock)
    assert [image for image, _ in model.calls] == [1, 2, 1, 1, 2]


@pytest.mark.parametrize("fails", [False, True])
def test_model_is_left_as_it_was(fails: bool) -> None:
    clock = Clock()
    model = Model(clock)
    model.train()
    model.frozen.eval()
    point = model.operating_point  # with the calibration behind it, where there is one
    if fails:
        with pytest.raises(KeyError):
            measure_routes(model, [[{"no image": 1}]], warmup=0, clock=clock)
    else:
        measure_routes(model, batches(1), warmup=0, clock=clock)
    assert model.operating_point is point
    assert (model.training, model.trained.training, model.frozen.training) == (True, True, False)


@pytest.mark.parametrize(
    ("inputs", "warmup", "says"),
    [
        ([], 0, r"found batches of \[\] images"),
        ([[{"image": 1}], []], 0, r"found batches of \[1, 0\] images"),
        (batches(1), -1, "a warm-up of -1"),
    ],
)
def test_refusals(inputs: list[list[dict]], warmup: int, says: str) -> None:
    clock = Clock()
    with pytest.raises(ValueError, match=says):
        measure_thresholds(Model(clock), inputs, [0.5], warmup, clock)


def test_long_measurements_log_the_remaining_time(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    with caplog.at_level(logging.INFO, logger="dynamicdet_d2"):
        measure_routes(Model(clock), batches(1, 2, 3, 4), warmup=0, clock=clock)
    # 7 s a batch: the interval of 10 s has passed after the second and the fourth.
    assert [record.getMessage() for record in caplog.records] == [
        "Latency: 2/4, remaining time 0:00:14",
        "Latency: 4/4, remaining time 0:00:00",
    ]


def test_short_work_logs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    with caplog.at_level(logging.INFO, logger="dynamicdet_d2"):
        measure_routes(Model(clock), batches(1), warmup=0, clock=clock)
    assert not caplog.records


def test_a_cpu_is_named_with_its_threads() -> None:
    assert f"{torch.get_num_threads()} threads" in device_name(torch.device("cpu"))
