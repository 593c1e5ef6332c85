# SPDX-License-Identifier: Apache-2.0
"""Mixup: two pictures of one size in one (arXiv 1710.09412), with the objects of both."""

import cv2

from dynamicdet_d2.data.augmentation.picture import Picture


def mixed(one: Picture, other: Picture, share: float) -> Picture:
    """``share`` x one + (1 - share) x other, share in [0, 1]; all objects count fully."""
    image = cv2.addWeighted(one.image, share, other.image, 1 - share, 0)
    return Picture(image, [*one.annotations, *other.annotations])
