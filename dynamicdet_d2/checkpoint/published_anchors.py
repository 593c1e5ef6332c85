# SPDX-License-Identifier: Apache-2.0
"""Anchors in the published files of YOLOv7 and Dy-YOLOv7: in pixels, in cells, or not at all.

L: levels, A: anchors per position of a level. A cell of a level is as wide as its stride.
"""

import logging
from collections.abc import Mapping

import torch
from torch import Tensor

from dynamicdet_d2.checkpoint.names.yolo import Layout
from dynamicdet_d2.config.yolo_keys import anchors_of_a_level
from dynamicdet_d2.modeling.yolo.variants import VARIANTS

logger = logging.getLogger(__name__)

_PIXELS, _CELLS = "anchor_grid", "anchors"
_FINEST_STRIDE = 8
_TOLERANCE = 2e-3
"""Relative; files in float16 hold anchors in cells to 11 bits."""


def anchors_of(published: Mapping[str, Tensor], layout: Layout) -> list | None:
    """Anchors in pixels by level, where the file has others than the published ones.

    Where it has them in cells alone, they are multiplied by the strides. Where it has none, it is
    said that the variant's are taken.

    Raises:
        ValueError: if two detectors have different anchors, anchors in pixels and in cells
            disagree, or what is there are no anchors of the variant's levels.
    """
    known = torch.tensor(VARIANTS[layout.variant].anchors, dtype=torch.float32)
    found: dict[str, dict[str, Tensor]] = {}
    for name, tensor in published.items():
        layer, _, kind = name.rpartition(".")
        if layer and kind in (_PIXELS, _CELLS):
            found.setdefault(layer, {})[kind] = _in_pixels(name, tensor, layout.variant)
    if not found:
        logger.warning(
            "The file has no anchors, in pixels or in cells: those of %s are taken, and if it was "
            "trained with others it will not detect what it did.",
            layout.variant,
        )
        return None
    grids = [_agreed(layer, kinds) for layer, kinds in found.items()]
    if any(not torch.equal(grid, grids[0]) for grid in grids):
        raise ValueError("its two detectors have different anchors, which are not supported.")
    return None if _alike(grids[0], known) else grids[0].tolist()


def _in_pixels(name: str, tensor: Tensor, variant: str) -> Tensor:
    """(L, A, 2) width and height in pixels, of what a file has in pixels or in cells.

    Raises:
        ValueError: naming it, if it has no anchors of the variant's levels.
    """
    levels = len(VARIANTS[variant].anchors)
    if not tensor.is_floating_point():
        raise ValueError(f"{name} has values of type {tensor.dtype}, where anchors are floats.")
    if tensor.dim() < 2 or len(tensor) != levels or not tensor.numel() or tensor[0].numel() % 2:
        raise ValueError(
            f"{name} is of shape {tuple(tensor.shape)}, where {variant} has pairs of numbers for "
            f"each of {levels} levels."
        )
    grid = tensor.float().reshape(levels, -1, 2)
    if name.endswith(f".{_CELLS}"):
        grid = grid * (_FINEST_STRIDE * 2 ** torch.arange(levels))[:, None, None]
    for level in grid.tolist():
        complaint = anchors_of_a_level.complaint(f"a level of {name} in pixels", level)
        if complaint is not None:
            raise ValueError(complaint)
    return grid


def _agreed(layer: str, kinds: Mapping[str, Tensor]) -> Tensor:
    """A layer's anchors, of which those in pixels are the exact ones.

    Raises:
        ValueError: if they are others in pixels than in cells.
    """
    pixels, cells = kinds.get(_PIXELS), kinds.get(_CELLS)
    if pixels is None or cells is None:
        return next(iter(kinds.values()))
    if pixels.shape != cells.shape:
        raise ValueError(
            f"{layer}.{_PIXELS} has {pixels.shape[1]} anchors per level, and {layer}.{_CELLS} has "
            f"{cells.shape[1]}."
        )
    if not _alike(cells, pixels):
        raise ValueError(f"{layer}.{_PIXELS} and its anchors in cells disagree.")
    return pixels


def _alike(grid: Tensor, exact: Tensor) -> bool:
    return grid.shape == exact.shape and torch.allclose(grid, exact, rtol=_TOLERANCE, atol=0)
