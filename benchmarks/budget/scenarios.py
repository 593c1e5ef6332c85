# SPDX-License-Identifier: Apache-2.0
"""Made-up streams: difficulties, and how many times as slow as usual the machine is at each image.

N: images of a stream. A calibration of the same made-up detector stands before all of them.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynamicdet_d2.operating_point import Calibration, threshold_grid

IMAGES = 6000
# Mean milliseconds per image of the two routes, and the scatter of their times (a standard
# deviation, as a share of the mean).
EASY, HARD, SCATTER = 40.0, 56.0, 0.05
TARGET = 50.0
CALIBRATED_ON = 2000

Array = NDArray[np.float64]
Draw = Callable[[np.random.Generator], Array]


def usual(rng: np.random.Generator, count: int = IMAGES) -> Array:
    """(N,) difficulties as they were calibrated."""
    return rng.beta(2, 3, count)


@dataclass(frozen=True)
class Scenario:
    """A stream.

    Attributes:
        what: happens in it.
        changes: images at which something changes at once.
        load: (N,) times as slow as when it was calibrated.
        difficulties: of a generator.
        pauses: share of images that take five times as long.
        routes: times as slow as calibrated of the easy and the hard route, throughout.
        target: keywords of ``BudgetController``.
    """

    what: str
    changes: tuple[int, ...] = ()
    load: Array = field(default_factory=lambda: np.ones(IMAGES))
    difficulties: Draw = usual
    pauses: float = 0.0
    routes: tuple[float, float] = (1.0, 1.0)
    target: dict[str, Any] = field(default_factory=lambda: {"target_ms": TARGET})


def calibration() -> Calibration:
    """Of the made-up detector on the made-up machine."""
    rng = np.random.default_rng(0)
    times = rng.normal(1, SCATTER, 10_000)
    relative = {"p50": 1.0, "p95": float(np.percentile(times, 95)), "mean": 1.0}
    latency = {"easy": EASY, "hard": HARD}
    return Calibration(
        num_images=CALIBRATED_ON,
        fingerprint={},
        latency_ms={
            route: {name: mean * value for name, value in relative.items()}
            for route, mean in latency.items()
        },
        device="made up",
        thresholds=[],
        grid=threshold_grid(usual(rng, CALIBRATED_ON)),
        histogram={"edges": [0.0, 1.0], "counts": [CALIBRATED_ON]},
        measured={},
        held_out=[],
    )


def steps(*levels: float) -> Array:
    """(N,) levels one after the other, equally long."""
    return np.repeat(levels, IMAGES // len(levels)).astype(float)


def ramp(first: float, last: float) -> Array:
    """(N,) from one level to the other in the middle third."""
    return np.interp(np.arange(IMAGES), [IMAGES / 3, 2 * IMAGES / 3], [first, last])


def _shifted(hardness: Array) -> Draw:
    """Difficulties of which a share, at each image, is of another and harder kind."""

    def draw(rng: np.random.Generator) -> Array:
        harder = rng.random(IMAGES) < hardness
        return np.where(harder, rng.beta(4, 2, IMAGES), usual(rng))

    return draw


def _bursts(every: int, length: int) -> Draw:
    """Runs of very hard images."""
    inside = (np.arange(IMAGES) % every >= every - length).astype(float)
    return lambda rng: np.where(inside > 0, rng.beta(8, 2, IMAGES), usual(rng))


def _scenes(rng: np.random.Generator) -> Array:
    """As calibrated over the whole stream, but each scene of about 50 images has its own level."""
    ranks = np.empty(IMAGES)
    level = rng.normal()
    for i in range(IMAGES):
        level = 0.98 * level + rng.normal() * (1 - 0.98**2) ** 0.5
        ranks[i] = level
    values = np.sort(usual(rng))
    return values[np.argsort(np.argsort(ranks))]


THIRDS = (IMAGES // 3, 2 * IMAGES // 3)
SCENARIOS = (
    Scenario("nothing changes"),
    Scenario("load: x 1.2, then gone", THIRDS, steps(1.0, 1.2, 1.0)),
    Scenario("load: x 1.2 within 2000 images", (), ramp(1.0, 1.2)),
    Scenario("machine gets faster: x 0.9", THIRDS[:1], steps(1.0, 0.9, 0.9)),
    Scenario("another machine: routes x 1.1 and x 1.2", (0,), routes=(1.1, 1.2)),
    Scenario("harder images, then as before", THIRDS, difficulties=_shifted(steps(0.0, 1.0, 0.0))),
    Scenario("harder images within 2000", difficulties=_shifted(ramp(0.0, 1.0))),
    Scenario("bursts: 60 very hard of 500", difficulties=_bursts(500, 60)),
    Scenario("scenes: neighbours are alike", difficulties=_scenes),
    Scenario("pauses: 1 % of images take x 5", pauses=0.01),
    Scenario(
        "p95 of 60 ms; load: x 1.2, then gone",
        THIRDS,
        steps(1.0, 1.2, 1.0),
        target={"target_ms": 60.0, "percentile": 95.0},
    ),
)
