# SPDX-License-Identifier: Apache-2.0
"""What a router sees of detector1's proposals and detections.

The numbers are those of ``modeling/router_inputs/``, in numpy.
"""

import numpy as np

from dynamicdet_d2.runner.boxes import sigmoid
from dynamicdet_d2.runner.detections import Proposals

_COUNTED_ABOVE = (0.1, 0.3, 0.5, 0.7, 0.9)
_BEST = (10, 50)
_SIZED = 20
_SIZE_LIMITS = (32.0, 96.0)


def score_numbers(scores: np.ndarray) -> np.ndarray:
    """(P,) in [0, 1] -> (7,) float32: counts above five scores, sum, and sum of p (1 - p)."""
    counts = [np.count_nonzero(scores > limit) for limit in _COUNTED_ABOVE]
    return np.array([*counts, scores.sum(), (scores * (1 - scores)).sum()], dtype=np.float32)


def proposal_numbers(proposals: Proposals) -> np.ndarray:
    """(14,) float32; zeros without proposals.

    ``score_numbers`` of their objectness; the mean of the best 10 and of the best 50; mean and
    standard deviation of the logarithm of size of the best 20; the sums of objectness by size.
    """
    objectness = sigmoid(proposals.logits)
    order = np.argsort(-objectness, kind="stable")
    ordered = objectness[order]
    sides = proposals.boxes[order, 2:] - proposals.boxes[order, :2]
    sizes = np.maximum(np.sqrt(sides[:, 0] * sides[:, 1]), np.float32(1))
    logs = np.log(sizes[:_SIZED])
    spread = np.sqrt(_mean(np.square(logs - _mean(logs))))
    size_class = np.searchsorted(_SIZE_LIMITS, sizes, side="right")
    by_size = [ordered[size_class == k].sum() for k in range(len(_SIZE_LIMITS) + 1)]
    best = [_mean(ordered[:count]) for count in _BEST]
    numbers = np.array([*best, _mean(logs), spread, *by_size], dtype=np.float32)
    return np.concatenate([score_numbers(ordered), numbers])


def _mean(values: np.ndarray) -> np.floating:
    """0 of nothing."""
    return values.sum() / np.float32(max(len(values), 1))
