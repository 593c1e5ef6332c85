# SPDX-License-Identifier: Apache-2.0
"""Pure: how many objects scores speak of."""

import torch
from torch import Tensor

from dynamicdet_d2.utils.precision import at_least_float32

COUNTED_ABOVE = (0.1, 0.3, 0.5, 0.7, 0.9)
NUM_SCORE_NUMBERS = len(COUNTED_ABOVE) + 2


def score_numbers(scores: Tensor) -> Tensor:
    """Counts, sum and uncertainty of the scores p_1, ..., p_P of one image.

    The five counts |{i: p_i > t}| for t = 0.1, 0.3, 0.5, 0.7, 0.9; the expected number of objects
    sum_i p_i; and the variance of that number, sum_i p_i (1 - p_i), if each box is an object with
    the probability p_i, independently: large where the detector is in doubt about many boxes.

    Args:
        scores: (P,), in [0, 1]; P may be 0.

    Returns:
        (7,), float32; zeros without scores.
    """
    scores = at_least_float32(scores)
    counts = [(scores > limit).to(scores.dtype).sum() for limit in COUNTED_ABOVE]
    return torch.stack([*counts, scores.sum(), (scores * (1 - scores)).sum()])
