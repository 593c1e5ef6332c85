# SPDX-License-Identifier: Apache-2.0
"""A stream by a made-up predictor and a made-up clock, so that times are known."""

import logging
import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances
from torch import nn

from dynamicdet_d2.budget import BudgetController, DriftMonitor
from dynamicdet_d2.data.loading.corrupt import CorruptImageError
from dynamicdet_d2.operating_point import Calibration, threshold_grid
from dynamicdet_d2.prediction.aim import Aim
from dynamicdet_d2.prediction.outputs import Output
from dynamicdet_d2.prediction.predictor import UnusableImageError
from dynamicdet_d2.prediction.sources import Frame, ImageFile
from dynamicdet_d2.prediction.stream import WARMUP, Stream
from dynamicdet_d2.prediction.tally import Tally
from tests.support.predicting import predicting_cfg

EASY, HARD = 0.040, 0.060


class Clock:
    """Seconds that pass only where they are made to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class MadeUp:
    """A predictor for which an image's difficulty is its first pixel, of 100, and time passes."""

    def __init__(self, clock: Clock, routes: bool = True) -> None:
        self.model = SimpleNamespace(threshold=0.5)
        self.clock, self.routes = clock, routes
        self.thresholds: list[float] = []

    def __call__(self, images: Sequence[np.ndarray]) -> list[dict]:
        return [self._one(image) for image in images]

    def _one(self, image: np.ndarray) -> dict:
        difficulty = float(image[0, 0, 0]) / 100
        hard = difficulty > self.model.threshold
        self.thresholds.append(self.model.threshold)
        self.clock.now += HARD if hard else EASY
        instances = Instances((2, 2))
        instances.pred_boxes = Boxes(torch.zeros(2, 4))
        instances.scores = torch.tensor([0.9, 0.3])
        if not self.routes:
            return {"instances": instances}
        route = "hard" if hard else "easy"
        return {"instances": instances, "difficulty": difficulty, "route": route}


class Kept(Output):
    """What it was given, unless it is told to be interrupted."""

    def __init__(self, interrupted_at: int | None = None) -> None:
        self.seen: list[tuple[Frame, dict]] = []
        self.interrupted_at = interrupted_at

    def write(self, frame: Frame, prediction: dict) -> None:
        if len(self.seen) == self.interrupted_at:
            raise KeyboardInterrupt
        self.seen.append((frame, prediction))

    def close(self) -> None: ...


def frames(difficulties: Sequence[float]) -> Iterator[Frame]:
    for number, difficulty in enumerate(difficulties):
        image = np.full((2, 2, 3), round(100 * difficulty), np.uint8)
        yield Frame(ImageFile(Path(f"{number}.jpg")), image)


def calibration() -> Calibration:
    latency = {
        route: dict.fromkeys(("p50", "p95", "mean"), 1000 * seconds)
        for route, seconds in (("easy", EASY), ("hard", HARD))
    }
    grid, histogram = threshold_grid(np.linspace(0, 1, 99)), {"edges": [0.0, 1.0], "counts": [99]}
    return Calibration(99, {}, latency, "", [], grid, histogram, {}, [])


def test_frames_keep_their_order_in_batches_and_low_scores_are_left_out() -> None:
    clock = Clock()
    for batch_size in (1, 2, 5):
        output = Kept()
        stream = Stream(MadeUp(clock), [output], min_score=0.5, batch_size=batch_size, clock=clock)
        tally = stream.run(frames([0.2, 0.8, 0.6, 0.1, 0.9]))
        assert [frame.source.name for frame, _ in output.seen] == [f"{i}.jpg" for i in range(5)]
        assert [x["route"] for _, x in output.seen] == ["easy", "hard", "hard", "easy", "hard"]
        assert all(len(x["instances"]) == 1 for _, x in output.seen)
        assert tally.routes == {"easy": 2, "hard": 3} and not tally.stopped
        assert tally.detector_seconds == pytest.approx(2 * EASY + 3 * HARD)


def test_a_budget_moves_the_models_threshold() -> None:
    clock = Clock()
    predictor, controller = MadeUp(clock), BudgetController(calibration(), target_ms=44)
    stream = Stream(predictor, [], governor=controller, clock=clock)
    difficulties = np.random.default_rng(0).random(400)
    tally = stream.run(frames(difficulties))
    # Eq. 14: (44 - 40) / 20 = 0.2 hard.
    assert predictor.thresholds[0] == pytest.approx(0.8, abs=0.02)
    assert tally.routes["hard"] / 400 == pytest.approx(0.2, abs=0.04)
    assert len(set(predictor.thresholds)) > 1


def test_the_first_batches_times_tell_nothing() -> None:
    clock, controller = Clock(), BudgetController(calibration(), target_ms=44)
    predictor = MadeUp(clock)
    slow = predictor._one

    def slow_at_first(image: np.ndarray) -> dict:
        clock.now += 10 if len(predictor.thresholds) < WARMUP else 0
        return slow(image)

    predictor._one = slow_at_first
    Stream(predictor, [], governor=controller, clock=clock).run(frames([0.5] * 6))
    assert controller.speed.easy_ms == pytest.approx(40)


def test_ctrl_c_ends_the_stream_with_what_was_done() -> None:
    clock, output = Clock(), Kept(interrupted_at=2)
    tally = Stream(MadeUp(clock), [output], clock=clock).run(frames([0.1] * 5))
    assert tally.stopped and tally.routes == {"easy": 2} and len(output.seen) == 2


class Interrupting(Kept):
    """A signal comes while it writes its second frame."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def write(self, frame: Frame, prediction: dict) -> None:
        if len(self.seen) == 1:
            os.kill(os.getpid(), self.number)
        super().write(frame, prediction)


@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_frame_is_in_all_outputs_or_in_none(batch_size: int) -> None:
    clock, outputs = Clock(), [Interrupting(signal.SIGINT), Kept()]
    stream = Stream(MadeUp(clock), outputs, batch_size=batch_size, clock=clock)
    tally = stream.run(frames([0.1] * 5))
    assert tally.stopped and tally.routes == {"easy": 2}
    assert [len(output.seen) for output in outputs] == [2, 2]
    outputs = [Interrupting(signal.SIGTERM), Kept()]
    with pytest.raises(SystemExit) as stop:
        Stream(MadeUp(clock), outputs, clock=clock).run(frames([0.1] * 5))
    assert stop.value.code == 143
    assert [len(output.seen) for output in outputs] == [2, 2]


def test_images_that_cannot_be_read(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    error = CorruptImageError("broken.jpg", None, "cannot be read")
    items = [*frames([0.1]), error, *frames([0.2])]
    with pytest.raises(CorruptImageError):
        Stream(MadeUp(clock), [], clock=clock).run(items)
    with caplog.at_level(logging.WARNING, "dynamicdet_d2"):
        tally = Stream(MadeUp(clock), [], skip_corrupt=True, clock=clock).run(items)
    assert (tally.left_out, tally.routes.total()) == (1, 2)
    assert "broken.jpg" in caplog.text
    assert tally.summary() == "2 images, 2 easy; 25.0 FPS (25.0 of the detector alone); 1 left out"


class Picky(MadeUp):
    """White images are too narrow for it."""

    def __call__(self, images: Sequence[np.ndarray]) -> list[dict]:
        for place, image in enumerate(images):
            if image[0, 0, 0] == 100:
                raise UnusableImageError(place, "It is too narrow.")
        return super().__call__(images)


@pytest.mark.parametrize("batch_size", [1, 3])
def test_images_that_cannot_be_predicted(batch_size: int) -> None:
    clock, output, difficulties = Clock(), Kept(), [1.0, 0.2, 1.0, 0.3, 1.0]
    stream = Stream(Picky(clock), [output], skip_corrupt=True, batch_size=batch_size, clock=clock)
    tally = stream.run(frames(difficulties))
    assert [frame.source.name for frame, _ in output.seen] == ["1.jpg", "3.jpg"]
    assert (tally.left_out, tally.routes.total()) == (3, 2)
    with pytest.raises(ValueError, match=r"^0.jpg: It is too narrow. DATALOADER.SKIP_CORR"):
        Stream(Picky(clock), [], batch_size=batch_size, clock=clock).run(frames(difficulties))


def test_progress_says_rate_share_and_threshold(caplog: pytest.LogCaptureFixture) -> None:
    clock, controller = Clock(), BudgetController(calibration(), target_ms=99)
    stream = Stream(MadeUp(clock), [], governor=controller, clock=clock)
    with caplog.at_level(logging.INFO, "dynamicdet_d2"):
        stream.run(frames([0.5] * 200), 400)
    (line,) = caplog.messages
    assert line == (
        "Images: 167/400, remaining time 0:00:14, 16.7 FPS, 100 % hard, threshold 0.000"
    )


def test_a_static_detector_has_no_routes(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    stream = Stream(MadeUp(clock, routes=False), [], clock=clock)
    with caplog.at_level(logging.INFO, "dynamicdet_d2"):
        tally = stream.run(frames([0.1] * 300))
    assert tally.summary().startswith("300 images, 300 without routes; 25.0 FPS")
    (line,) = caplog.messages
    assert line in ("Images: 250, 25.0 FPS", "Images: 251, 25.0 FPS")  # ten seconds, rounded
    assert Tally(clock).summary() == "0 images"


def test_a_detector_that_detects_nothing_at_all() -> None:
    """Such as Detectron2's SemanticSegmentor."""

    class Segments(MadeUp):
        def __call__(self, images: Any) -> Any:
            return [{"sem_seg": None} for _ in images]

    clock = Clock()
    predictor = Segments(clock)
    predictor.model = nn.Identity()
    stream = Stream(predictor, [Kept()], clock=clock)
    with pytest.raises(ValueError, match=r"^Identity \(MODEL.META_ARCHITECTURE\) gives no detect"):
        stream.run(frames([0.1]))


def test_what_a_user_aims_at() -> None:
    cfg = predicting_cfg("MODEL.DYNAMIC.CALIBRATION", "c.json", "MODEL.DYNAMIC.HARD_FRACTION", 0.1)
    before = cfg.clone()
    Aim().apply(cfg, "")
    assert cfg == before
    Aim(hard_fraction=0.3).apply(cfg, "d.json")
    assert (cfg.MODEL.DYNAMIC.CALIBRATION, cfg.MODEL.DYNAMIC.HARD_FRACTION) == ("d.json", 0.3)
    Aim(threshold=0.7).apply(cfg, "")
    keys = cfg.MODEL.DYNAMIC
    assert (keys.THRESHOLD, keys.CALIBRATION, keys.HARD_FRACTION) == (0.7, "", None)
    for aim, says in (
        (Aim(hard_fraction=0.3), "--hard-fraction needs a calibration"),
        (Aim(target_ms=30), "--target-latency-ms needs a calibration"),
        (Aim(percentile=95), "--percentile is one of times"),
    ):
        with pytest.raises(ValueError, match=says):
            aim.apply(cfg, "")
    with pytest.raises(
        ValueError, match="c.json sets no threshold .* give --hard-fraction beside it"
    ):
        Aim().apply(cfg, "c.json")
    cfg.MODEL.DYNAMIC.CALIBRATION = "c.json"
    with pytest.raises(ValueError, match=r"^MODEL.DYNAMIC.CALIBRATION c.json is for shares and"):
        Aim(threshold=0.7).apply(cfg, "", ["MODEL.DYNAMIC.CALIBRATION", "c.json"])
    cfg.MODEL.META_ARCHITECTURE = "GeneralizedRCNN"
    with pytest.raises(ValueError, match="GeneralizedRCNN, which has no threshold"):
        Aim(threshold=0.7).apply(cfg, "")


def test_who_looks_after_a_stream() -> None:
    assert Aim().governor(None) is None
    assert isinstance(Aim(hard_fraction=0.5).governor(calibration()), DriftMonitor)
    controller = Aim(target_ms=50, percentile=95).governor(calibration())
    assert isinstance(controller, BudgetController)
