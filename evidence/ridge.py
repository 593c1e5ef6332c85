# SPDX-License-Identifier: Apache-2.0
"""Ridge regression, the plain learner that routers are compared with.

N: images; d: numbers of each.
"""

import numpy as np
from numpy.typing import NDArray

PENALTIES = 10.0 ** np.arange(-2, 7)


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
        self._mean, spread = numbers.mean(axis=0), numbers.std(axis=0)
        self._spread = np.where(spread > 0, spread, 1.0)
        self._offset = values.mean()
        u, s, vt = np.linalg.svd((numbers - self._mean) / self._spread, full_matrices=False)
        along = u.T @ (values - self._offset)
        total = ((values - self._offset) ** 2).sum() - (along**2).sum()
        errors = [_error(s, along, total, len(values), penalty) for penalty in PENALTIES]
        self.penalty = float(PENALTIES[int(np.argmin(errors))])
        self._weights = vt.T @ (along * s / (s**2 + self.penalty))

    def __call__(self, numbers: NDArray[np.float64]) -> NDArray[np.float64]:
        """(I, d) -> (I,)."""
        return (numbers - self._mean) / self._spread @ self._weights + self._offset


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
