# SPDX-License-Identifier: Apache-2.0
"""Ridge regression with a penalty that it finds itself, and weighted classification."""

import numpy as np
import pytest

from evidence.linear import PENALTIES, Classification, Ridge


def test_a_line_by_hand() -> None:
    """Of +-1, standardised already, y = 3 x + 1: the weight is 3 n / (n + penalty)."""
    x = np.array([[-1.0], [1.0], [-1.0], [1.0]])
    ridge = Ridge(x, 3 * x[:, 0] + 1)
    assert ridge.penalty == PENALTIES[0]
    weight = 3 * 4 / (4 + PENALTIES[0])
    assert ridge(np.array([[2.0], [0.0]])) == pytest.approx([1 + 2 * weight, 1.0])


def test_it_is_the_closed_form() -> None:
    generator = np.random.default_rng(0)
    x = generator.normal(size=(40, 5)) * [1, 10, 100, 0.1, 1] + 7
    y = x @ generator.normal(size=5) + generator.normal(size=40)
    ridge = Ridge(x, y)
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    weights = np.linalg.solve(z.T @ z + ridge.penalty * np.eye(5), z.T @ (y - y.mean()))
    assert ridge(x) == pytest.approx(z @ weights + y.mean())


def test_noise_is_not_learnt() -> None:
    generator = np.random.default_rng(1)
    x = generator.normal(size=(60, 50))
    ridge = Ridge(x, generator.normal(size=60))
    assert ridge.penalty >= 10
    assert np.std(ridge(generator.normal(size=(500, 50)))) < 0.5


def test_a_number_that_never_varies_does_no_harm() -> None:
    x = np.array([[1.0, 5.0], [2.0, 5.0], [4.0, 5.0]])
    assert np.isfinite(Ridge(x, np.array([1.0, 2.0, 4.0]))(x)).all()


def test_classification_is_where_its_slope_is_zero() -> None:
    """Weights by hand: distances from the median 2 are 2, 1, 0, 1, 6 and their mean is 2."""
    x = np.array([[-2.0], [1.0], [0.0], [-1.0], [2.0]])
    values = np.array([0.0, 1.0, 2.0, 3.0, 8.0])
    weight = np.array([1.0, 0.5, 0.0, 0.5, 3.0])
    learnt = Classification(x, values)
    z = x / x.std()
    slope, offset = (learnt(x)[4] - learnt(x)[0]) / (z[4, 0] - z[0, 0]), learnt(np.zeros((1, 1)))[0]
    error = weight * (1 / (1 + np.exp(-(slope * z[:, 0] + offset))) - [0, 0, 0, 1, 1])
    assert error.sum() == pytest.approx(0, abs=1e-6)
    assert (error * z[:, 0]).sum() + Ridge(x, values).penalty / 4 * slope == pytest.approx(
        0, abs=1e-6
    )


def test_far_from_the_median_counts_more() -> None:
    """Of the second kind, 30 of 50 lie above the median 0, by 1, and 20 below, by 50."""
    x = np.repeat([[0.0], [1.0]], [50, 50], axis=0)
    values = np.repeat([1.0, -1.0, 1.0, -50.0], [20, 30, 30, 20])
    learnt = Classification(x, values)(np.array([[0.0], [1.0]]))
    assert learnt[1] < learnt[0] < 0
