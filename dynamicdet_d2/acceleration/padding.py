# SPDX-License-Identifier: Apache-2.0
"""Batches padded to few sizes, so that what is compiled by size is compiled few times."""

import copy
import functools
from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from detectron2.structures import ImageList


def pad_to_multiple(model: Any, multiple: int) -> None:
    """Let ``preprocess_image`` pad height and width to multiples of so many pixels, in place.

    More padding changes features near the lower and right border a little, as Detectron2's own
    does in batches of several sizes.

    Args:
        model: a detector with ``backbone`` and ``preprocess_image``.
        multiple: pixels; 0: nothing changes.

    Raises:
        ValueError: if the backbone could not take such a size.
    """
    check_multiple(multiple, max(model.backbone.size_divisibility, 1))
    if multiple:
        model.preprocess_image = _padded(model.preprocess_image, multiple)


def check_multiple(multiple: int, own: int) -> None:
    """
    Args:
        multiple: pixels.
        own: what the backbone's images are multiples of.

    Raises:
        ValueError: the backbone could not take such a size.
    """
    if multiple % own:
        raise ValueError(
            f"MODEL.INFERENCE.SIZE_MULTIPLE is {multiple}; it must be a multiple of the backbone's "
            f"{own}."
        )


def _padded(preprocess: Callable, multiple: int) -> Callable:
    @functools.wraps(preprocess)
    def call(batched_inputs: list[dict]) -> ImageList:
        images = copy.copy(preprocess(batched_inputs))
        height, width = images.tensor.shape[-2:]
        images.tensor = F.pad(images.tensor, (0, -width % multiple, 0, -height % multiple))
        # Batches of YOLOs say what their padding is; Detectron2's is 0.
        value = getattr(images, "pad_values", 0.0)
        images.tensor[..., height:, :] = value
        images.tensor[..., width:] = value
        return images

    return call
