# SPDX-License-Identifier: Apache-2.0
"""Mirror images."""

import numpy as np

from dynamicdet_d2.data.augmentation.picture import Picture, transformed


def flipped(picture: Picture, *, horizontal: bool) -> Picture:
    """The picture with left and right (or, not horizontal, top and bottom) exchanged."""
    height, width = picture.height, picture.width
    if horizontal:
        image, matrix = picture.image[:, ::-1], np.array([[-1, 0, width], [0, 1, 0], [0, 0, 1.0]])
    else:
        image, matrix = picture.image[::-1], np.array([[1, 0, 0], [0, -1, height], [0, 0, 1.0]])
    annotations = transformed(picture.annotations, matrix, height, width)
    return Picture(np.ascontiguousarray(image), annotations)
