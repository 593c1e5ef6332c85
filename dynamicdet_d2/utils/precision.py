# SPDX-License-Identifier: Apache-2.0
"""Number types of tensors."""

import torch
from torch import Tensor


def at_least_float32(x: Tensor) -> Tensor:
    """A tensor of a reduced precision in float32; one in float64 stays as it is."""
    return x if x.dtype == torch.float64 else x.float()
