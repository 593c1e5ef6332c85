# SPDX-License-Identifier: Apache-2.0
"""Latency over the whole data set, from that of few images."""

import numpy as np
import pytest

from dynamicdet_d2.evaluation.latency import Latency
from dynamicdet_d2.evaluation.tradeoff.point_latency import routed_error, routed_mean


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


def test_error_of_the_mean_by_hand() -> None:
    ends = Latency.of([10.0, 12.0]), Latency.of([30.0, 34.0])
    mixed = Latency.of([10.0, 12.0, 30.0, 36.0])
    hard = np.array([False, False, True, True])
    # Variances 2 and 18 of two samples each: sqrt(0.25 * 2 / 2 + 0.25 * 18 / 2).
    assert routed_error(mixed, hard, 0.5, ends) == pytest.approx(2.5**0.5)
    # No timed image is hard: the hard end's variance, 8, stands for it.
    easy = Latency.of([10.0, 12.0])
    error = routed_error(easy, np.zeros(2, bool), 0.5, ends)
    assert error == pytest.approx((0.25 * 2 / 2 + 0.25 * 8 / 2) ** 0.5)
    # At an end the other route does not count; one image says nothing of its spread.
    assert routed_error(easy, np.zeros(2, bool), 0.0, ends) == pytest.approx(1.0)
    assert routed_error(mixed, np.array([False, False, False, True]), 0.5, ends) is None
