# SPDX-License-Identifier: Apache-2.0
"""Modes of modules: freezing, evaluating, losses of frozen heads, and what is refused."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from detectron2.layers import FrozenBatchNorm2d
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
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode inside, all modes as before afterwards."""
    with modes_kept(module):
        module.eval()
        yield


@contextmanager
def loss_mode(*modules: nn.Module) -> Iterator[None]:
    """Let Detectron2's RPN and ROI heads give losses without changing any state.

    They give losses only where ``training`` is set, and silently ``{}`` otherwise. Here the
    flag is set on every submodule but the norms and dropouts, and restored afterwards.
    """
    with modes_kept(*modules):
        for m in (m for module in modules for m in module.modules()):
            m.training = not isinstance(m, _KEEP_IN_EVAL)
        yield


@contextmanager
def training_alone(
    model: nn.Module, parts: Iterable[nn.Module], heads: Iterable[nn.Module]
) -> Iterator[None]:
    """Some parts of a model in their own modes inside, its other heads as ``loss_mode`` has them,
    and all else in evaluation mode, so that nothing but the parts can change."""
    awake = {m for part in parts for m in part.modules()}
    with modes_kept(model):
        for m in model.modules():
            m.training = m.training and m in awake
        with loss_mode(*{*heads} - awake):
            yield


@contextmanager
def buffers_kept(module: nn.Module) -> Iterator[None]:
    """Each buffer that is no norm's is afterwards what it was.

    So are what losses count while they are computed, such as the objects of each class. Norms have
    a mode, by which they stay; what has not changed is not written, since copies of a model look
    whether anything was.
    """
    before = [
        (m, name, buffer, buffer._version, buffer.clone())
        for m in module.modules()
        if not isinstance(m, (*_KEEP_IN_EVAL, FrozenBatchNorm2d))
        for name, buffer in m.named_buffers(recurse=False)
        if not buffer.is_inference()  # which count no changes
    ]
    try:
        yield
    finally:
        for m, name, buffer, version, value in before:
            if buffer._version != version:
                with torch.no_grad():
                    buffer.copy_(value)
            m._buffers[name] = buffer


@contextmanager
def unfused() -> Iterator[None]:
    """TorchScript's functions, such as Detectron2's focal losses, run as they are written.

    After some calls in a process torch fuses them, and they round otherwise: losses would depend on
    what the process has done before, and a run that resumes would not end with the same weights.
    """
    with torch.jit.optimized_execution(False):
        yield


@contextmanager
def setting(name: str, value: object, *modules: nn.Module) -> Iterator[None]:
    """An attribute of each module has this value inside, and its own again afterwards."""
    before = [(m, getattr(m, name)) for m in modules]
    try:
        for m in modules:
            setattr(m, name, value)
        yield
    finally:
        for m, own in before:
            setattr(m, name, own)


@contextmanager
def torch_seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Random numbers of torch from a seed inside; the generators' states as before outside."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield


def refuse_tracing() -> None:
    """For what decides by values: a trace would take its example's decisions for all others.

    Raises:
        RuntimeError: while torch traces or exports.
    """
    exporting = getattr(torch.compiler, "is_exporting", lambda: False)  # newer than torch 2.1
    if torch.jit.is_tracing() or exporting():
        raise RuntimeError(
            "A dynamic detector cannot be traced as a whole, since a trace has one route for all "
            "images; 'dynamicdet export' writes its static pieces and what runs them, and "
            "'dynamicdet cost' counts the operations of each route."
        )


def refuse_training(model: nn.Module) -> None:
    """For inference: norms in training mode would take a batch's statistics, and change their own.

    Raises:
        RuntimeError: the model is in training mode, as models are when they are built.
    """
    if model.training:
        raise RuntimeError(
            f"The {type(model).__name__} is in training mode, in which it gives losses; "
            "model.eval() comes before detections and difficulties."
        )


def refuse_halves(dtype: torch.dtype) -> None:
    """Routers see numbers in float32, and boxes are computed in it.

    Args:
        dtype: of the model's weights.

    Raises:
        ValueError: ``model.half()`` was called, for one.
    """
    if dtype in (torch.float16, torch.bfloat16):
        raise ValueError(
            f"The model was turned into {dtype}, in which it cannot be run: its weights stay in "
            "float32, and MODEL.INFERENCE.PRECISION (with OPTIMIZE True) computes in less."
        )
