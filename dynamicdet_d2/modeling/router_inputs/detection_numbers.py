# SPDX-License-Identifier: Apache-2.0
"""Router input "detections": how many objects detector1 has found, and how surely."""

from collections.abc import Sequence

import torch
from detectron2.structures import Instances
from torch import Tensor

from dynamicdet_d2.modeling.router_inputs.router_input import RouterInput
from dynamicdet_d2.modeling.router_inputs.scores import NUM_SCORE_NUMBERS, score_numbers


class DetectionNumbers(RouterInput):
    """``score_numbers`` of the scores that detector1's detections have.

    Detections are those that it would return, so none is below the detector's own score threshold
    and there are no more than ``TEST.DETECTIONS_PER_IMAGE``.
    """

    reads = "detections"
    count = NUM_SCORE_NUMBERS

    def forward(self, detections: Sequence[Instances]) -> Tensor:
        """N images' detections, with ``scores`` -> (N, 7), float32."""
        return torch.stack([score_numbers(found.scores) for found in detections])
