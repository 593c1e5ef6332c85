# SPDX-License-Identifier: Apache-2.0
"""Training in several processes, with GPUs or on the CPU."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from detectron2.config import CfgNode
from detectron2.utils import comm
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from dynamicdet_d2.utils.errors import TYPED


def distributed(module: nn.Module) -> nn.Module:
    """Wrapped for several processes, also on a CPU, where Detectron2's helper cannot."""
    if comm.get_world_size() == 1:
        return module
    device = next(module.parameters()).device
    ids = [device.index] if device.type == "cuda" else None
    return DistributedDataParallel(module, device_ids=ids, broadcast_buffers=False)


@torch.no_grad()
def share_statistics(module: nn.Module) -> None:
    """Give all processes the main one's buffers, in place.

    Each process's normalisation statistics come from its own images, and the main one's go into
    the checkpoint; without this, what processes measure together would be of different models.
    """
    if comm.get_world_size() > 1:
        for buffer in module.buffers():
            torch.distributed.broadcast(buffer, src=0)


@torch.no_grad()
def share_weights(module: nn.Module) -> None:
    """Give all processes the main one's parameters and buffers, in place."""
    share_statistics(module)
    if comm.get_world_size() > 1:
        for parameter in module.parameters():
            torch.distributed.broadcast(parameter, src=0)


def summed(tensor: Tensor) -> Tensor:
    """The sum over all processes, the same in each."""
    if comm.get_world_size() > 1:
        tensor = tensor.clone()
        torch.distributed.all_reduce(tensor)
    return tensor


def run_seed(cfg: CfgNode) -> int:
    """``SEED``, or where it is negative one drawn by chance; the same in every process."""
    drawn = cfg.SEED if cfg.SEED >= 0 else int.from_bytes(os.urandom(4), "big")
    return comm.all_gather(drawn)[0]


@contextmanager
def said_once() -> Iterator[None]:
    """A fault that the processes of a run find alike is said by the first of them.

    Raises:
        ValueError: as inside.
        SystemExit: in the other processes, those that find nothing wrong among them.
    """
    fault: ValueError | None = None
    try:
        yield
    except ValueError as error:
        fault = error
    found = comm.all_gather(None if fault is None else str(fault))
    if fault is not None and found.index(str(fault)) == comm.get_rank():
        raise fault
    if any(said is not None for said in found):
        sys.exit(TYPED)
