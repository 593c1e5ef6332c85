# SPDX-License-Identifier: Apache-2.0
"""Linear learners, which routers are compared with: ridge regression, weighted classification.

N: images; d: numbers of each.
"""

import numpy as np
from numpy.typing import NDArray

PENALTIES = 10.0 ** np.arange(-2, 7)
NEWTON_STEPS = 12


class _Standard:
    """Numbers less their mean and by their standard deviation over the images learnt from."""

    def __init__(self, numbers: NDArray[np.float64]) -> None:
        self._mean, spread = numbers.mean(axis=0), numbers.std(axis=0)
        self._spread = np.where(spread > 0, spread, 1.0)

    def __call__(self, numbers: NDArray[np.float64]) -> NDArray[np.float64]:
        """(I, d) -> (I, d)."""
        return (numbers - self._mean) / self._spread


class Ridge:
    """Linear in standardised numbers, with the penalty of the least generalised cross-validation.

    With X = U S V', n images and fitted values of k = sum_i s_i^2 / (s_i^2 + penalty) degrees of
    freedom, that is the least of |y - fit|^2 / (n - k)^2.
    """

    def __init__(self, numbers: NDArray[np.float64], values: NDArray[np.float64]) -> None:
        """
        Args:
            numbers: (N, d).
            values: (N,).
        """
        self._standard = _Standard(numbers)
        self._offset = values.mean()
        u, s, vt = np.linalg.svd(self._standard(numbers), full_matrices=False)
        along = u.T @ (values - self._offset)
        total = ((values - self._offset) ** 2).sum() - (along**2).sum()
        errors = [_error(s, along, total, len(values), penalty) for penalty in PENALTIES]
        self.penalty = float(PENALTIES[int(np.argmin(errors))])
        self._weights = vt.T @ (along * s / (s**2 + self.penalty))

    def __call__(self, numbers: NDArray[np.float64]) -> NDArray[np.float64]:
        """(I, d) -> (I,)."""
        return self._standard(numbers) @ self._weights + self._offset


def _error(
    s: NDArray[np.float64],
    along: NDArray[np.float64],
    beyond: float,
    count: int,
    penalty: float,
) -> float:
    """Of generalised cross-validation; ``beyond`` is what no weights can fit."""
    kept = s**2 / (s**2 + penalty)
    left = (((1 - kept) * along) ** 2).sum() + beyond
    return float(left / max(count - 1 - kept.sum(), 1e-9) ** 2)


class Classification:
    """Which values are above their median, each image weighted by how far its value is from it.

    Logistic regression on standardised numbers, by Newton's method. The penalty is a quarter of
    the one that ridge regression finds, as the logistic loss is at most a quarter as curved.
    """

    def __init__(self, numbers: NDArray[np.float64], values: NDArray[np.float64]) -> None:
        """
        Args:
            numbers: (N, d).
            values: (N,).
        """
        self._standard = _Standard(numbers)
        distance = values - np.median(values)
        weight = np.abs(distance) / max(np.abs(distance).mean(), 1e-12)
        penalty = Ridge(numbers, values).penalty / 4 * np.eye(numbers.shape[1] + 1)
        penalty[-1, -1] = 1e-9  # the offset is free
        inputs = self._inputs(numbers)
        self._weights = np.zeros(inputs.shape[1])
        for _ in range(NEWTON_STEPS):
            chance = 1 / (1 + np.exp(-np.clip(inputs @ self._weights, -30, 30)))
            slope = inputs.T @ (weight * (chance - (distance > 0))) + penalty @ self._weights
            curvature = (inputs.T * (weight * chance * (1 - chance))) @ inputs + penalty
            self._weights -= np.linalg.solve(curvature, slope)

    def __call__(self, numbers: NDArray[np.float64]) -> NDArray[np.float64]:
        """(I, d) -> (I,), log odds."""
        return self._inputs(numbers) @ self._weights

    def _inputs(self, numbers: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.concatenate([self._standard(numbers), np.ones((len(numbers), 1))], axis=1)
