# SPDX-License-Identifier: Apache-2.0
"""Several pictures -> the one that is trained on: what is drawn, and in which order."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from dynamicdet_d2.data.augmentation.affine import draw_affine, viewed
from dynamicdet_d2.data.augmentation.flip import flipped
from dynamicdet_d2.data.augmentation.hsv import hsv_scaled
from dynamicdet_d2.data.augmentation.mixup import mixed
from dynamicdet_d2.data.augmentation.mosaic import letterboxed, mosaic_of_four, mosaic_of_nine
from dynamicdet_d2.data.augmentation.paste_in import Cutout, draw_cutouts, draw_slots, pasted
from dynamicdet_d2.data.augmentation.picture import Picture
from dynamicdet_d2.data.augmentation.samples import finished, read_picture
from dynamicdet_d2.data.augmentation.settings import Settings

Partner = Callable[[], Picture]

# Objects that pasting chooses from, at least; pictures that are read for them, at most, and after
# how many without any object it is given up: the data set has no masks.
_CUTOUTS, _PICTURES, _PATIENCE = 30, 20, 5


class MultiImageAugmentation:
    """Mosaic, affine, mixup, HSV gains, paste-in and flips, in this order.

    A ``DatasetMapper`` in two halves: between ``read`` and ``finish`` further pictures come in.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def read(self, dataset_dict: Mapping[str, Any]) -> Picture:
        """The picture of a data set's dict, its longest side as long as what is trained on."""
        s = self.settings
        return read_picture(dataset_dict, s.image_format, s.size, s.masks)

    def finish(self, picture: Picture, dataset_dict: Mapping[str, Any]) -> dict[str, Any]:
        """What ``DatasetMapper`` gives, named after the image of the dict."""
        return finished(picture, dataset_dict, self.settings.masks, self.settings.mask_format)

    def combined(
        self, first: Picture, partner: Partner, rng: np.random.RandomState, *, single: bool = False
    ) -> Picture:
        """A picture to train on.

        Args:
            first: always part of it.
            partner: draws another picture whenever it is called.
            rng: all else is drawn from it.
            single: leave out what takes other pictures: mosaic, mixup, paste-in.
        """
        s, fill = self.settings, self.settings.fill
        if single or rng.uniform() >= s.mosaic:
            picture = self._viewed(letterboxed(first, s.size, fill), rng)
        else:
            picture = self._viewed(self._mosaic(first, partner, rng), rng)
            if rng.uniform() < s.mixup:
                other = self._viewed(self._mosaic(partner(), partner, rng), rng)
                picture = mixed(picture, other, rng.beta(s.mixup_alpha, s.mixup_alpha))
        factors = 1 + rng.uniform(-1, 1, 3) * s.hsv
        image = hsv_scaled(picture.image, factors.tolist(), s.image_format)
        picture = Picture(image, picture.annotations)
        if not single and rng.uniform() < s.paste_in:
            picture = self._with_objects(picture, partner, rng)
        if s.flip != "none" and rng.uniform() < 0.5:
            picture = flipped(picture, horizontal=s.flip == "horizontal")
        return picture

    def _mosaic(self, first: Picture, partner: Partner, rng: np.random.RandomState) -> Picture:
        size, fill = self.settings.size, self.settings.fill
        if rng.uniform() < self.settings.nine:
            x, y = rng.randint(0, size + 1, 2).tolist()
            return mosaic_of_nine([first, *(partner() for _ in range(8))], (x, y), size, fill)
        x, y = rng.randint(size // 2, size + size // 2 + 1, 2).tolist()
        return mosaic_of_four([first, *(partner() for _ in range(3))], (x, y), size, fill)

    def _viewed(self, canvas: Picture, rng: np.random.RandomState) -> Picture:
        s = self.settings
        matrix = draw_affine(rng, s.affine, canvas.width, s.size)
        return viewed(canvas, matrix, s.size, s.fill, s.rules)

    def _with_objects(
        self, picture: Picture, partner: Partner, rng: np.random.RandomState
    ) -> Picture:
        cutouts = _collected(partner, rng)
        if not cutouts:
            return picture
        slots = draw_slots(rng, self.settings.size)
        chosen = rng.randint(len(cutouts), size=len(slots))
        return pasted(picture, slots, [cutouts[i] for i in chosen])


def _collected(partner: Partner, rng: np.random.RandomState) -> list[Cutout]:
    cutouts: list[Cutout] = []
    for count in range(_PICTURES):
        if len(cutouts) >= _CUTOUTS or (count == _PATIENCE and not cutouts):
            break
        cutouts += draw_cutouts(partner(), rng)
    return cutouts
