# SPDX-License-Identifier: Apache-2.0
"""Number types of tensors."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def at_least_float32(x: Tensor) -> Tensor:
    """A tensor of a reduced precision in float32; one in float64 stays as it is."""
    return x if x.dtype == torch.float64 else x.float()


def without_autocast(x: Tensor) -> AbstractContextManager:
    """Computations with the tensor keep its own precision inside."""
    # On torch's meta device, where costs are counted, there is no autocast to be turned off.
    return nullcontext() if x.is_meta else torch.autocast(x.device.type, enabled=False)


def product_dtype(dtype: torch.dtype, device: torch.device) -> torch.dtype:
    """Of a matrix product of such values, as things stand.

    Asked of one, so that autocast of any device and version is seen.
    """
    one = torch.ones(1, 1, dtype=dtype, device=device)
    return (one @ one).dtype
