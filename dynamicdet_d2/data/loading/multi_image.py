# SPDX-License-Identifier: Apache-2.0
"""The training stream with samples that are made of several images (mosaic, mixup, paste-in).

As in the plain stream, a sample is a function of (seed, position): the further images and all
random numbers are drawn from these.
"""

from collections.abc import Sequence

import numpy as np

from dynamicdet_d2.data.augmentation import MultiImageAugmentation
from dynamicdet_d2.data.augmentation.picture import Picture
from dynamicdet_d2.data.loading.corrupt import CorruptImageError, NamedErrors, Sample
from dynamicdet_d2.data.loading.epochs import generator
from dynamicdet_d2.data.loading.stream import PositionStream


class MultiImageStream(PositionStream):
    """The image at a position, with others from the same epoch.

    An image that is repeated within an epoch (``repeats``) is drawn as much more often. Where
    ``skip_corrupt`` leaves out an image that was drawn, another one is drawn.
    """

    def __init__(
        self,
        dataset_dicts: Sequence[Sample],
        augmentation: MultiImageAugmentation,
        seed: int,
        *,
        skip_corrupt: bool = False,
        repeats: np.ndarray | None = None,
        single_from: int | None = None,
    ) -> None:
        """
        Args:
            dataset_dicts, seed, skip_corrupt, repeats: as for ``PositionStream``.
            augmentation: what is made of the images.
            single_from: the position from which on samples are of one image; None: never.
        """
        super().__init__(dataset_dicts, seed, skip_corrupt=skip_corrupt, repeats=repeats)
        self._augmentation = augmentation
        self._read = NamedErrors(augmentation.read)
        self._single_from = single_from

    def _sample(self, position: int, errors: list[CorruptImageError]) -> Sample:
        rng = generator(self._seed, "multi-image", position)

        def read(index: int) -> tuple[int, Picture]:
            return index, self._read(self._images[index])

        def partner() -> Picture:
            drawn = iter(lambda: self._epochs.drawn(position, rng), None)
            return self._usable(drawn, read, errors)[1]

        index, first = self._usable(self._following(position), read, errors)
        single = self._single_from is not None and position >= self._single_from
        picture = self._augmentation.combined(first, partner, rng, single=single)
        sample = self._augmentation.finish(picture, self._images[index])
        return {**sample, "dataset_index": index}
