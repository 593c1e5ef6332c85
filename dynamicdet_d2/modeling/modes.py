# SPDX-License-Identifier: Apache-2.0
"""Freezing parameters and statistics, and loss mode for frozen RPN and ROI heads."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

# Modules that change (statistics) or draw random numbers (dropout) in training mode.
_KEEP_IN_EVAL = (nn.modules.batchnorm._NormBase, nn.modules.dropout._DropoutNd)


def freeze(module: nn.Module) -> None:
    """Stop gradients to all parameters, and updates of all normalisation statistics.

    A later ``train()`` of a parent would wake the statistics again: what trains beside frozen
    parts must not pass its training mode on to them.
    """
    module.eval()
    module.requires_grad_(False)


@contextmanager
def modes_kept(*modules: nn.Module) -> Iterator[None]:
    """Each submodule's own training flag is afterwards what it was.

    ``module.train()`` would not do: it wakes submodules that were frozen one by one.
    """
    flags = [(m, m.training) for module in modules for m in module.modules()]
    try:
        yield
    finally:
        for m, flag in flags:
            m.training = flag


@contextmanager
def loss_mode(*modules: nn.Module) -> Iterator[None]:
    """Let Detectron2's RPN and ROI heads give losses without changing any state.

    They give losses only where ``training`` is set, and silently ``{}`` otherwise. Here the
    flag is set on every submodule but the norms and dropouts, and restored afterwards.
    """
    submodules = [m for module in modules for m in module.modules()]
    flags = [m.training for m in submodules]
    try:
        for m in submodules:
            m.training = not isinstance(m, _KEEP_IN_EVAL)
        yield
    finally:
        for m, flag in zip(submodules, flags, strict=True):
            m.training = flag


@contextmanager
def attributes(values: dict[str, int], *modules: nn.Module) -> Iterator[None]:
    """Set attributes on those of the modules that have them, and restore them afterwards."""
    old = [(m, k, getattr(m, k)) for m in modules for k in values if hasattr(m, k)]
    try:
        for m, k, _ in old:
            setattr(m, k, values[k])
        yield
    finally:
        for m, k, value in old:
            setattr(m, k, value)


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Random numbers of torch from a seed inside; the generators' states as before outside."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield
