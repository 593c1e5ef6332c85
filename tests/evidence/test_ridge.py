# SPDX-License-Identifier: Apache-2.0
"""Ridge regression with a penalty that it finds itself."""

import numpy as np
import pytest

from evidence.ridge import PENALTIES, Ridge


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
