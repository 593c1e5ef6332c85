# SPDX-License-Identifier: Apache-2.0
"""A made-up stream, run with a threshold that stays or that a ``BudgetController`` moves."""

import warnings
from dataclasses import dataclass

import numpy as np

from benchmarks.budget.scenarios import EASY, HARD, IMAGES, SCATTER, Array, Scenario
from dynamicdet_d2.budget import BudgetController
from dynamicdet_d2.operating_point import Calibration

PAUSE = 5.0


@dataclass(frozen=True)
class Course:
    """What happened.

    Attributes:
        milliseconds: (N,) of each image.
        thresholds: (N,) that it met.
        hard: (N,) whether it was.
        drift_at: image at which drift was first warned of; None: never.
    """

    milliseconds: Array
    thresholds: Array
    hard: np.ndarray
    drift_at: int | None


def simulate(scenario: Scenario, calibration: Calibration, seed: int, *, moves: bool) -> Course:
    """One stream.

    Args:
        seed: of its difficulties and times.
        moves: whether the controller moves the threshold, or it stays as it began.
    """
    rng = np.random.default_rng(seed)
    difficulties = scenario.difficulties(rng)
    slow = scenario.load * rng.normal(1, SCATTER, IMAGES).clip(0.5)
    slow *= np.where(rng.random(IMAGES) < scenario.pauses, PAUSE, 1.0)
    easy_ms, hard_ms = EASY * scenario.routes[0], HARD * scenario.routes[1]
    controller = BudgetController(calibration, **scenario.target)
    times, thresholds = np.empty(IMAGES), np.empty(IMAGES)
    threshold, drift_at = controller.threshold, None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        for i, difficulty in enumerate(difficulties.tolist()):
            thresholds[i] = threshold
            times[i] = slow[i] * (hard_ms if difficulty > threshold else easy_ms)
            controller.observe([difficulty], float(times[i]))
            if drift_at is None and controller.drift.drifted:
                drift_at = i + 1
            if moves:
                threshold = controller.threshold
    return Course(times, thresholds, difficulties > thresholds, drift_at)
