# SPDX-License-Identifier: Apache-2.0
"""Pure: which images of a batch are hard, and merging the features of both routes.

N: images of the batch, M: hard ones among them.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

Features = dict[str, Tensor]


def hard_indices(difficulties: Sequence[float], threshold: float) -> list[int]:
    """Positions of the images with difficulty > threshold, in ascending order."""
    return [i for i, d in enumerate(difficulties) if route_name(d, threshold) == "hard"]


def select(features: Features, indices: Sequence[int]) -> Features:
    """The features of some images of a batch; the batch itself when all are chosen.

    Args:
        features: level name -> (N, C, H, W).
        indices: M positions, ascending.

    Returns:
        level name -> (M, C, H, W).
    """
    if all(len(indices) == len(level) for level in features.values()):
        return features
    return {name: level[list(indices)] for name, level in features.items()}


def merge(easy: Features, hard: Features, indices: Sequence[int]) -> Features:
    """Put the hard images' second features in the place of their first ones.

    Args:
        easy: level name -> (N, C, H, W), backbone 1's features of the whole batch.
        hard: level name -> (M, C, H, W), backbone 2's features of the hard images.
        indices: the M positions of the hard images, ascending.

    Returns:
        level name -> (N, C, H, W), in the original order. ``easy`` is left as it is.
    """
    merged = {}
    for name, level in easy.items():
        if len(indices) == len(level):
            merged[name] = hard[name]
        else:
            place = torch.tensor(indices, dtype=torch.long, device=level.device)
            merged[name] = level.index_copy(0, place, hard[name].to(level.dtype))
    return merged


def route_name(difficulty: float, threshold: float) -> str:
    """``"hard"`` iff difficulty > threshold, else ``"easy"``."""
    return "hard" if difficulty > threshold else "easy"
