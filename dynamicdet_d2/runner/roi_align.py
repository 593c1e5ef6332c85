# SPDX-License-Identifier: Apache-2.0
"""ROIAlign in numpy: of each region, two products of small matrices.

A bin of ROIAlign is the mean of bilinear samples, and a sample's weight of a pixel is a product of
one factor along y and one along x. So the bins of a region are ``W_y F W_x^T`` for each channel,
where F are the pixels that it touches. With channels last both products run over rows of memory,
and F is a view. The operators of onnxruntime and OpenVINO sum sample by sample and take several
times as long.

R: regions, P: bins along an axis, K: pixels that a region touches along it, C: channels.
"""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

# Regions that a thread takes at a time.
_PART = 128
# Products are small, and Python starts one at a time; more threads than two were not measured.
_MOST_THREADS = 8


def roi_align(
    levels: Sequence[np.ndarray],
    regions: np.ndarray,
    level_of: np.ndarray,
    pool: Mapping[str, Any],
    threads: int | None = None,
) -> np.ndarray:
    """What regions see, each of one level of a pyramid: Detectron2's ``ROIAlign`` to rounding.

    Args:
        levels: (N, H, W, C) float32 each, channels last.
        regions: (R, 5) float32, number of the image and box in pixels of the input.
        level_of: (R,) int, which level each is pooled from.
        pool: "boxes" or "masks" of the manifest's heads: scales, size, sampling ratio, alignment.
        threads: to work in; None: as many as there are cores.

    Returns:
        (R, P_y, P_x, C) float32.
    """
    levels = [np.ascontiguousarray(level) for level in levels]
    bins_y, bins_x = pool["size"]
    rows = np.empty((len(regions), bins_y, bins_x, levels[0].shape[3]), dtype=np.float32)
    parts = [
        places[start : start + _PART]
        for places in (np.flatnonzero(level_of == number) for number in range(len(levels)))
        for start in range(0, len(places), _PART)
    ]

    def fill(places: np.ndarray) -> None:
        number = level_of[places[0]]
        _fill(rows, places, levels[number], regions[places], pool["scales"][number], pool)

    most = min(threads or os.cpu_count() or 1, _MOST_THREADS)
    with ThreadPoolExecutor(most) as workers:
        list(workers.map(fill, parts))
    return rows


def _fill(
    rows: np.ndarray,
    places: np.ndarray,
    level: np.ndarray,
    regions: np.ndarray,
    scale: float,
    pool: Mapping[str, Any],
) -> None:
    """Write the bins of some regions of one level into their places of ``rows``."""
    corners = regions[:, 1:] * np.float32(scale) - np.float32(0.5 if pool["aligned"] else 0.0)
    bins_y, bins_x = pool["size"]
    y = axis_weights(corners[:, 1], corners[:, 3], bins_y, level.shape[1], pool)
    x = axis_weights(corners[:, 0], corners[:, 2], bins_x, level.shape[2], pool)
    images = regions[:, 0].astype(np.int64).tolist()
    each = zip(places.tolist(), images, *y.each(), *x.each(), strict=True)
    for place, image, weights_y, top, bottom, weights_x, left, right in each:
        seen = level[image, top:bottom, left:right]
        # By columns of pixels, and then by rows of bins: each product is too small for the linear
        # algebra to start threads of its own.
        columns = np.matmul(weights_y[:, : bottom - top], seen.transpose(1, 0, 2))
        weights = weights_x[:, : right - left]
        np.matmul(weights, columns.transpose(1, 0, 2), out=rows[place])


@dataclass(frozen=True)
class AxisWeights:
    """How much of each pixel along one axis the bins of regions are.

    Attributes:
        weights: (R, P, K) float32; of the pixels from ``first`` on, zeros from ``end`` on.
        first, end: (R,) int, within the map.
    """

    weights: np.ndarray
    first: np.ndarray
    end: np.ndarray

    def each(self) -> tuple[Sequence[np.ndarray], list[int], list[int]]:
        """Region by region: weights, first, end."""
        return list(self.weights), self.first.tolist(), self.end.tolist()


def axis_weights(
    start: np.ndarray, end: np.ndarray, bins: int, size: int, pool: Mapping[str, Any]
) -> AxisWeights:
    """The mean of a bin's samples as weights of pixels.

    A sample at t is (1 - f) of the pixel floor(t) and f of the next, f = t - floor(t). Samples
    more than a pixel outside the map count as zeros; others move to its border. Arithmetic goes
    in the order of torchvision's kernel, so that samples fall on the same spots to the last bit.

    Args:
        start, end: (R,) float32, of the regions, in pixels of the map.
        bins: P.
        size: pixels of the map along this axis.
        pool: sampling ratio (samples of a bin; 0: one per pixel) and alignment.
    """
    length = end - start if pool["aligned"] else np.maximum(end - start, np.float32(1))
    side = length / np.float32(bins)
    ratio = pool["sampling_ratio"]
    samples = np.full_like(side, ratio) if ratio > 0 else np.maximum(np.ceil(side), 0)
    divisor = np.maximum(samples, 1)[:, None]
    number = np.arange(max(int(samples.max(initial=0)), 1), dtype=np.float32)
    in_bin = (number + np.float32(0.5)) * side[:, None] / divisor
    of_bin = start[:, None] + np.arange(bins, dtype=np.float32) * side[:, None]
    t = of_bin[:, :, None] + in_bin[:, None, :]  # (R, P, samples)
    counted = (number < samples[:, None])[:, None, :] & (t >= -1) & (t <= size)
    t = np.clip(t, 0, size - 1)
    pixel = np.floor(t).astype(np.int64)
    pixel = np.where(counted, pixel, pixel[:, :1, :1])
    first, last = pixel.min(axis=(1, 2)), pixel.max(axis=(1, 2))
    reach = int((last - first).max(initial=0)) + 2
    place = pixel - first[:, None, None]
    place += reach * np.arange(len(start) * bins).reshape(-1, bins, 1)
    near, far = (
        np.bincount((place + step).ravel(), share.ravel(), len(start) * bins * reach)
        for step, share in (
            (0, np.where(counted, 1 - (t - pixel), 0)),
            (1, np.where(counted, t - pixel, 0)),
        )
    )
    weights = (near + far).reshape(len(start), bins, reach) / divisor[:, :, None]
    return AxisWeights(weights.astype(np.float32), first, np.minimum(last + 2, size))
