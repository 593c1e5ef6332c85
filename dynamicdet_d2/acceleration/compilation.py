# SPDX-License-Identifier: Apache-2.0
"""``torch.compile`` for the parts whose shapes depend on the padded batch alone.

Never for a whole detector: choosing proposals breaks the graph dozens of times.
"""

import functools
import logging
import os
import shutil
from collections.abc import Callable
from typing import Any

import torch
from detectron2.structures import ImageList
from torch import nn

logger = logging.getLogger(__name__)

# Shapes that a part is compiled for; where there are more, the others run as they are.
MAX_SHAPES = 32


def compiled(function: Callable, device: torch.device) -> Callable:
    """The function, compiled anew for each shape of its arguments.

    On the CPU weights become constants, which the compiler lays out for the machine; on a GPU each
    shape is recorded as a CUDA graph and replayed.

    Args:
        function: whose course does not depend on values.
        device: that it will run on.
    """
    _allow_shapes()
    option = "triton.cudagraphs" if device.type == "cuda" else "freezing"
    return torch.compile(function, dynamic=False, options={option: True})


def prepare(model: nn.Module, device: torch.device) -> None:
    """See that compilation can work, before the first image.

    Args:
        model: a detector, whose every inference begins with ``preprocess_image``.
        device: that it will run on.

    Raises:
        ValueError: without a C++ compiler for the CPU's code.
    """
    compilers = [os.environ.get("CXX", "g++"), "clang++"]
    if device.type == "cpu" and not any(map(shutil.which, compilers)):
        raise ValueError(
            f"MODEL.INFERENCE.COMPILE is True, but no C++ compiler was found ({compilers[0]} or "
            "clang++); install one, or set it False."
        )
    logger.info("Each new size of a padded batch is compiled once, which can take a minute.")
    if device.type == "cuda":
        _mark_steps(model)


def _mark_steps(model: Any) -> None:
    """Tell CUDA graphs where a batch begins, and so the last one's memory is free again."""
    preprocess = model.preprocess_image

    @functools.wraps(preprocess)
    def call(batched_inputs: list[dict]) -> ImageList:
        torch.compiler.cudagraph_mark_step_begin()
        return preprocess(batched_inputs)

    model.preprocess_image = call


def _allow_shapes() -> None:
    """torch's own limit is 8 shapes. It has no public name yet, and this one has changed once."""
    config = torch._dynamo.config
    name = "recompile_limit" if hasattr(config, "recompile_limit") else "cache_size_limit"
    setattr(config, name, max(getattr(config, name), MAX_SHAPES))
