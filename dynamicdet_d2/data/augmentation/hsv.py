# SPDX-License-Identifier: Apache-2.0
"""Gains of hue, saturation and value."""

from collections.abc import Sequence

import cv2
import numpy as np

# OpenCV's hues are in steps of two degrees.
_HUES = 180
_TO_HSV = {"RGB": cv2.COLOR_RGB2HSV, "BGR": cv2.COLOR_BGR2HSV}
_FROM_HSV = {"RGB": cv2.COLOR_HSV2RGB, "BGR": cv2.COLOR_HSV2BGR}


def hsv_scaled(image: np.ndarray, factors: Sequence[float], image_format: str) -> np.ndarray:
    """An image with its hue, saturation and value multiplied.

    Args:
        image: (H, W, 3) uint8.
        factors: three, >= 0; hue wraps around, the others are clipped. All 1: the image as it is,
            without the rounding of the way to HSV and back.
        image_format: "RGB" or "BGR".
    """
    if all(factor == 1 for factor in factors):
        return image
    hue, saturation, value = (np.rint(np.arange(256) * factor) for factor in factors)
    table = np.stack([hue % _HUES, saturation.clip(0, 255), value.clip(0, 255)], axis=1)
    hsv = cv2.LUT(cv2.cvtColor(image, _TO_HSV[image_format]), table.astype(np.uint8)[None])
    return cv2.cvtColor(hsv, _FROM_HSV[image_format])
