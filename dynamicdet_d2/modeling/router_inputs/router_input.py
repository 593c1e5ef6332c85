# SPDX-License-Identifier: Apache-2.0
"""What an input of the router says of itself."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from torch import Tensor, nn


class RouterInput(nn.Module, ABC):
    """Numbers of each image, made of what detector1 has computed of it.

    N: images of a batch.

    Attributes:
        reads: the step of detector1's pass (``TailPass``) whose result it is called with:
            "features", "proposals" or "detections". All steps up to it are taken for every image
            before its route is known; easy images go on from there, hard ones begin anew.
        count: numbers per image.
    """

    reads: ClassVar[str] = "features"
    count: int

    @abstractmethod
    def forward(self, result: Any) -> Tensor:
        """The step's result for N images -> (N, count), which the router takes as float32."""
