# SPDX-License-Identifier: Apache-2.0
"""Pure: linear least squares over more rows than memory holds."""

from dataclasses import dataclass

import torch
from torch import Tensor

# Of the mean square of an input: keeps inputs that never vary, or always together, harmless.
_RIDGE = 1e-3


@dataclass(frozen=True)
class WeightedLeastSquares:
    """The sums that a weighted fit of K targets by D inputs follows from.

    Attributes:
        gram: (D, D) float64, sum over the rows of w x x^T.
        moment: (D, K) float64, sum over the rows of w x y^T.
    """

    gram: Tensor
    moment: Tensor

    @classmethod
    def of(cls, inputs: Tensor, targets: Tensor, weights: Tensor) -> "WeightedLeastSquares":
        """Of P rows: x (P, D), y (P, K), w (P,) >= 0."""
        weighted = (inputs * weights[:, None]).T
        return cls((weighted @ inputs).double(), (weighted @ targets).double())

    @classmethod
    def nothing(cls, inputs: int, like: Tensor) -> "WeightedLeastSquares":
        """Of no rows of D inputs and as many targets as ``like`` has entries, on its device."""
        zeros = like.new_zeros(inputs, inputs + len(like), dtype=torch.float64)
        return cls(zeros[:, :inputs], zeros[:, inputs:])

    def plus(self, other: "WeightedLeastSquares") -> "WeightedLeastSquares":
        """Of the rows of both."""
        return WeightedLeastSquares(self.gram + other.gram, self.moment + other.moment)

    def solution(self) -> Tensor:
        """B, (D, K) float64, for the least sum of w |y - B^T x|^2 with a ridge; 0 without rows."""
        ridge = _RIDGE * self.gram.diagonal().mean()
        if not ridge > 0:
            return torch.zeros_like(self.moment)
        eye = torch.eye(len(self.gram), dtype=self.gram.dtype, device=self.gram.device)
        return torch.linalg.solve(self.gram + ridge * eye, self.moment)
