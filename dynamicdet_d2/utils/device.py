# SPDX-License-Identifier: Apache-2.0
"""What a figure was measured on."""

import platform

import torch


def device_name(device: torch.device) -> str:
    """The device as people know it; a CPU with the threads in use, which latency depends on."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} ({platform.machine()}, {torch.get_num_threads()} threads)"
