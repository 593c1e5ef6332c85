# SPDX-License-Identifier: Apache-2.0
"""Images of several sizes in one batch: how large it is, and where each image lies in it. Pure.

"corner" is Detectron2's way: an image lies in the upper left corner of the smallest size that
fits. "center" has it in the middle of that size. "letterbox" has it in the middle of a size that
is half a coarsest stride larger before it is rounded up, so that there is a border always, as the
published YOLOv7 figures were measured.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from detectron2.structures import ImageList
from torch import Tensor

from dynamicdet_d2.modeling.routing import select_images

PLACEMENTS = ("corner", "center", "letterbox")


class PlacedImages(ImageList):
    """A padded batch that knows where its images lie.

    Attributes:
        shifts: per image, half of the padding in x and y, which boxes are moved back by; zeros
            for "corner". Where the padding is odd an image begins half a pixel before it, as in
            the published evaluation.
        pad_values: (C, 1, 1) of the padding, as they are in the tensor.
    """

    def __init__(
        self,
        tensor: Tensor,
        image_sizes: list[tuple[int, int]],
        shifts: Sequence[tuple[float, float]],
        pad_values: Tensor,
    ) -> None:
        super().__init__(tensor, image_sizes)
        self.shifts, self.pad_values = list(shifts), pad_values


@select_images.register
def _(images: PlacedImages, indices: Sequence[int], index: Tensor) -> PlacedImages:
    sizes = [images.image_sizes[i] for i in indices]
    shifts = [images.shifts[i] for i in indices]
    return PlacedImages(images.tensor[index], sizes, shifts, images.pad_values)


def padded_side(side: int, multiple: int, placement: str) -> int:
    """Side of the padded batch in pixels.

    Args:
        side: of the largest image.
        multiple: what it must be a multiple of, the coarsest stride.
        placement: one of ``PLACEMENTS``.
    """
    extra = 0.5 if placement == "letterbox" else 0.0
    return math.ceil(side / multiple + extra) * multiple


def padding_before(total: int, placement: str) -> int:
    """Pixels before an image, of so many beside it; of an odd number more lie behind it."""
    return 0 if placement == "corner" else round(total / 2 - 0.1)


@dataclass(frozen=True)
class Padding:
    """How images of several sizes become a batch.

    Attributes:
        multiple: of height and width of the batch in pixels, at least 1.
        placement: one of ``PLACEMENTS``.
        value: of the padding, as pixels of the images have values.
    """

    multiple: int
    placement: str = "corner"
    value: float = 114.0

    def padded_side(self, side: int) -> int:
        """Side of an image in pixels -> that of its batch when it is alone."""
        return padded_side(side, self.multiple, self.placement)

    def batch(self, images: Sequence[Tensor], mean: Tensor, std: Tensor) -> PlacedImages:
        """Images, padded and then normalised.

        Args:
            images: (C, H, W) each, on one device.
            mean, std: (C, 1, 1).
        """
        sizes = [(image.shape[-2], image.shape[-1]) for image in images]
        height, width = (self.padded_side(max(sides)) for sides in zip(*sizes, strict=True))
        placed = [self._placed(image, height, width) for image in images]
        tensor = (torch.stack([image for image, _ in placed]) - mean) / std
        pad_values = (torch.full_like(mean, self.value) - mean) / std
        return PlacedImages(tensor, sizes, [shift for _, shift in placed], pad_values)

    def _placed(self, image: Tensor, height: int, width: int) -> tuple[Tensor, tuple[float, float]]:
        below, right = height - image.shape[-2], width - image.shape[-1]
        top, left = (padding_before(total, self.placement) for total in (below, right))
        padded = F.pad(image, (left, right - left, top, below - top), value=self.value)
        return padded, (0.0, 0.0) if self.placement == "corner" else (right / 2, below / 2)
