# SPDX-License-Identifier: Apache-2.0
"""Router input "rpn": how many objects the easy route's RPN proposes, how surely, of what size."""

from collections.abc import Sequence

import torch
from detectron2.structures import Instances
from torch import Tensor

from dynamicdet_d2.modeling.router_inputs.router_input import RouterInput
from dynamicdet_d2.modeling.router_inputs.scores import NUM_SCORE_NUMBERS, score_numbers
from dynamicdet_d2.utils.precision import at_least_float32

BEST = (10, 50)
SIZED = 20
# Pixels of the network's input, between small, medium and large: COCO's limits.
SIZE_LIMITS = (32.0, 96.0)


class ProposalNumbers(RouterInput):
    """``proposal_numbers`` of detector1's proposals.

    Proposals are those that the ROI heads would be given: after non-maximum suppression, no more
    than ``MODEL.RPN.POST_NMS_TOPK_TEST``, with their size in pixels of the network's input.
    """

    reads = "proposals"
    count = NUM_SCORE_NUMBERS + len(BEST) + 2 + len(SIZE_LIMITS) + 1

    def forward(self, proposals: Sequence[Instances]) -> Tensor:
        """N images' proposals, with ``objectness_logits`` and ``proposal_boxes`` -> (N, 14)."""
        numbers = [
            proposal_numbers(found.objectness_logits.sigmoid(), found.proposal_boxes.area().sqrt())
            for found in proposals
        ]
        return torch.stack(numbers)


def proposal_numbers(objectness: Tensor, sizes: Tensor) -> Tensor:
    """Numbers of one image's proposals with objectness p_1, ..., p_P and sizes s_1, ..., s_P.

    ``score_numbers`` of p (7); the mean of the best 10 and of the best 50 p, or of as many as
    there are (2); mean and standard deviation of ln s_i over the 20 proposals of the best p (2);
    and the sums of the p_i with s_i < 32, with 32 <= s_i < 96 and with s_i >= 96 (3).

    Args:
        objectness: (P,), in [0, 1]; P may be 0.
        sizes: (P,), square root of the box's area, in pixels.

    Returns:
        (14,), float32; zeros without proposals. Boxes below one pixel count as of one.
    """
    ordered, order = at_least_float32(objectness).sort(descending=True, stable=True)
    sizes = sizes.to(ordered.dtype)[order].clamp(min=1.0)
    best = [_mean(ordered[:count]) for count in BEST]
    logs = sizes[:SIZED].log()
    spread = _mean((logs - _mean(logs)).square()).sqrt()
    size_class = sum(sizes >= limit for limit in SIZE_LIMITS)
    by_size = [ordered[size_class == k].sum() for k in range(len(SIZE_LIMITS) + 1)]
    return torch.cat([score_numbers(ordered), torch.stack([*best, _mean(logs), spread, *by_size])])


def _mean(values: Tensor) -> Tensor:
    """0 of nothing."""
    return values.sum() / max(len(values), 1)
