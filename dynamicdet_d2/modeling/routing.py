# SPDX-License-Identifier: Apache-2.0
"""Pure: which images of a batch are hard, and merging the features of both routes.

N: images of the batch, M: hard ones among them.
"""

from collections.abc import Sequence
from functools import singledispatch
from typing import Literal

import torch
from detectron2.structures import ImageList
from torch import Tensor

Features = dict[str, Tensor]


def hard_indices(difficulties: Sequence[float], threshold: float) -> list[int]:
    """Positions of the images with difficulty > threshold, in ascending order."""
    return [i for i, d in enumerate(difficulties) if route_name(d, threshold) == "hard"]


def by_route(difficulties: Sequence[float], threshold: float) -> tuple[list[int], list[int]]:
    """Positions of the easy images and of the hard ones, each in ascending order."""
    hard = set(hard_indices(difficulties, threshold))
    return [i for i in range(len(difficulties)) if i not in hard], sorted(hard)


def on_device(indices: Sequence[int], device: torch.device) -> Tensor:
    """Positions as a tensor (M,) on the device, which is not waited for."""
    # From the CPU, whatever torch.set_default_device says.
    place = torch.tensor(indices, dtype=torch.long, device="cpu")
    if device.type == "cuda":
        # Only from pinned memory does a copy run by itself.
        place = place.pin_memory()
    return place.to(device, non_blocking=True)


def select(features: Features, index: Tensor) -> Features:
    """The features of some images of a batch.

    Args:
        features: level name -> (N, C, H, W).
        index: (M,) positions, ascending.

    Returns:
        level name -> (M, C, H, W).
    """
    return {name: level[index] for name, level in features.items()}


@singledispatch
def select_images(images: ImageList, indices: Sequence[int], index: Tensor) -> ImageList:
    """Some images of a batch, padded as the batch is.

    Kinds of batches that know of their images what an ``ImageList`` does not register their own.

    Args:
        images: (N, 3, H, W).
        indices: M positions, ascending.
        index: the same on the images' device.
    """
    return ImageList(images.tensor[index], [images.image_sizes[i] for i in indices])


def merge(easy: Features, hard: Features, index: Tensor) -> Features:
    """Put the hard images' second features in the place of their first ones.

    Args:
        easy: level name -> (N, C, H, W), backbone 1's features of the whole batch.
        hard: level name -> (M, C, H, W), backbone 2's features of the hard images; levels that are
            the same for both may be left out.
        index: (M,) positions of the hard images, ascending.

    Returns:
        level name -> (N, C, H, W), in the original order. ``easy`` is left as it is.
    """
    merged = dict(easy)
    for name, level in hard.items():
        merged[name] = easy[name].index_copy(0, index, level.to(easy[name].dtype))
    return merged


def route_name(difficulty: float, threshold: float) -> Literal["easy", "hard"]:
    """``"hard"`` iff difficulty > threshold, else ``"easy"``."""
    return "hard" if difficulty > threshold else "easy"
