# SPDX-License-Identifier: Apache-2.0
"""How large an image may be, and what its values are likely not meant to be."""

import warnings

import numpy as np
from numpy.typing import NDArray

# Pillow's limit, beyond which it suspects a decompression bomb.
MOST_PIXELS = 178_956_970
# Of the channels of a picture, that predictors and exports bring it into by themselves.
ORDERS = ("RGB", "BGR")
EXIF_ORIENTATION = 274  # number of the tag
# Every so many pixels are looked at first.
_STEP = 16


def say_nearly_black(image: NDArray[np.uint8]) -> None:
    """Warn of an image of 0 and 1 alone, as of one that was divided by 255 and made uint8.

    Args:
        image: (H, W, 3); a black one is none of these.
    """
    if image[::_STEP, ::_STEP].max(initial=0) <= 1 and image.max(initial=0) == 1:
        warnings.warn(
            "An image of uint8 has no values but 0 and 1, and is nearly black: values are from 0 "
            "to 255.",
            stacklevel=2,
        )
