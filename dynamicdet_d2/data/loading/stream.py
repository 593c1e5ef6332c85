# SPDX-License-Identifier: Apache-2.0
"""The training stream as a function of position, so that resuming needs no state of the loader.

The stream is the endless sequence of images, shuffled anew each epoch. Which image stands at a
position, and how it is augmented, follow from (seed, position) alone; which positions make up a
batch follows from the seed and the images' shapes. Number of workers, number of ranks and point of
resumption therefore change nothing. N is the number of images, B the total batch size.
"""

import itertools
import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from detectron2.data import DatasetFromList
from torch.utils.data import Dataset, Sampler

from dynamicdet_d2.data.loading.corrupt import (
    REPLACED,
    CorruptImageError,
    Mapper,
    NoSampleError,
    NoUsableImageError,
    Read,
    Sample,
)
from dynamicdet_d2.data.loading.epochs import Epochs, derived_seed
from dynamicdet_d2.utils.numbers import as_whole
from dynamicdet_d2.utils.words import named_image

# Corrupt images in a row before skipping is given up: chance does not produce so many.
MAX_TRIES = 20


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seeds numpy, random and torch's CPU generator inside; outside they go on as if unused."""
    numpy_state, python_state = np.random.get_state(), random.getstate()
    with torch.random.fork_rng(devices=[]):
        np.random.seed(seed % 2**32)
        random.seed(seed)
        # Not torch.manual_seed: that also seeds the GPUs, where the caller's dropout lives.
        torch.default_generator.manual_seed(seed)
        try:
            yield
        finally:
            np.random.set_state(numpy_state)
            random.setstate(python_state)


def _placed(sample: Any, index: int, images: DatasetFromList) -> Sample:
    """A mapper's sample with the place of its image."""
    if not isinstance(sample, Mapping):
        raise NoSampleError(
            f"The mapper makes a {type(sample).__name__} of "
            f"{named_image(images[index], f'Image {index}')}; it must make a dict, with 'image'."
        )
    return {**sample, "dataset_index": index}


class SeededImages(Dataset):
    """Mapped images by index, each with the mapper's randomness fixed by a seed.

    A sample carries its place in ``dataset_dicts`` as ``"dataset_index"`` (int).

    Args:
        dataset_dicts: Detectron2's dicts; stored serialized, so that workers share the memory.
        mapper: dict -> sample, drawing from numpy's, Python's or torch's global generators only.
        seed: of the augmentation.
    """

    def __init__(self, dataset_dicts: Sequence[Sample], mapper: Mapper, seed: int) -> None:
        self._images = DatasetFromList(list(dataset_dicts), copy=False)
        self._mapper = mapper
        self._seed = as_whole(seed, "seed")

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> Sample:
        """The image at ``index``; the same sample whenever it is asked for."""
        with seeded(derived_seed(self._seed, "image", index)):
            sample = self._mapper(self._images[index])
        return _placed(sample, index, self._images)


class PositionStream(Dataset, ABC):
    """The stream as a map from position, 0 to infinity, to a sample, which a subclass makes.

    A sample carries the place of its image in ``dataset_dicts`` as ``"dataset_index"`` (int).

    Args:
        dataset_dicts: Detectron2's dicts; stored serialized, so that workers share the memory.
        seed: of the order and of the augmentation.
        skip_corrupt: other images stand in for those that are corrupt, and the sample lists the
            errors under ``REPLACED``; otherwise ``CorruptImageError`` is raised.
        repeats: as for ``Epochs``.
    """

    def __init__(
        self,
        dataset_dicts: Sequence[Sample],
        seed: int,
        *,
        skip_corrupt: bool = False,
        repeats: np.ndarray | None = None,
    ) -> None:
        self._images = DatasetFromList(list(dataset_dicts), copy=False)
        self._seed = as_whole(seed, "seed")
        self._skip_corrupt = skip_corrupt
        self._epochs = Epochs(len(self._images), self._seed, repeats)

    def index(self, position: int) -> int:
        """Which image, in [0, N), stands at the position."""
        return self._epochs.image(position)

    def __getitem__(self, position: int) -> Sample:
        """The sample at the position.

        Raises:
            CorruptImageError: unless ``skip_corrupt``.
            NoUsableImageError: ``MAX_TRIES`` corrupt images in a row.
        """
        errors: list[CorruptImageError] = []
        sample = self._sample(position, errors)
        if errors:
            sample[REPLACED] = errors
        return sample

    @abstractmethod
    def _sample(self, position: int, errors: list[CorruptImageError]) -> Sample:
        """The sample; errors of images that others stand in for are appended."""

    def _following(self, position: int) -> Iterator[int]:
        """The images at the position and behind it."""
        return (self.index(candidate) for candidate in itertools.count(position))

    def _usable(
        self,
        indices: Iterator[int],
        read: Callable[[int], Read],
        errors: list[CorruptImageError],
    ) -> Read:
        """What is read of the first of the images that can be."""
        for index in itertools.islice(indices, MAX_TRIES):
            try:
                return read(index)
            except CorruptImageError as error:
                if not self._skip_corrupt:
                    raise
                errors.append(error)
        raise NoUsableImageError(
            f"{MAX_TRIES} corrupt images in a row, the last one: {errors[-1].sentence}"
        )


class TrainingStream(PositionStream):
    """Each position's image through a mapper; the next position's stands in for a corrupt one."""

    def __init__(
        self,
        dataset_dicts: Sequence[Sample],
        mapper: Mapper,
        seed: int,
        *,
        skip_corrupt: bool = False,
        repeats: np.ndarray | None = None,
    ) -> None:
        """
        Args:
            dataset_dicts, seed, skip_corrupt, repeats: as for ``PositionStream``.
            mapper: as for ``SeededImages``.
        """
        super().__init__(dataset_dicts, seed, skip_corrupt=skip_corrupt, repeats=repeats)
        self._mapper = mapper

    def _sample(self, position: int, errors: list[CorruptImageError]) -> Sample:
        def mapped(index: int) -> Sample:
            with seeded(derived_seed(self._seed, "position", position)):
                sample = self._mapper(self._images[index])
            return _placed(sample, index, self._images)

        return self._usable(self._following(position), mapped, errors)


class PositionBatches(Sampler[list[int]]):
    """Endless batches of positions for one rank.

    A batch of the whole world is made first, then every rank takes its slice: 1 and 8 ranks see
    the same batches. With ``landscape`` given, a batch holds images of one orientation only, so
    that they need less padding; a batch is complete when B of one orientation have come by.

    Args:
        num_images: N.
        seed: as for ``TrainingStream``.
        total_batch_size: B, over all ranks; a multiple of ``world_size``.
        start_batch: batches to pass over, as after a resumption; no image is read for them.
        landscape: (N,) bool, whether each image is wider than high; None does not group.
        repeats: as for ``Epochs``.
    """

    def __init__(
        self,
        num_images: int,
        seed: int,
        *,
        total_batch_size: int,
        rank: int = 0,
        world_size: int = 1,
        start_batch: int = 0,
        landscape: np.ndarray | None = None,
        repeats: np.ndarray | None = None,
    ) -> None:
        self._total = as_whole(total_batch_size, "The total batch size (SOLVER.IMS_PER_BATCH)")
        if self._total < 1 or self._total % world_size:
            raise ValueError(
                f"The total batch size (SOLVER.IMS_PER_BATCH) is {self._total}; it must be a "
                f"positive multiple of the number of processes, {world_size}."
            )
        if not 0 <= rank < world_size:  # its batches would be empty
            raise ValueError(f"rank is {rank}; of {world_size} it must be 0 to {world_size - 1}.")
        self._epochs = Epochs(num_images, seed, repeats)
        share = self._total // world_size
        self._slice = slice(rank * share, (rank + 1) * share)
        self._start_batch = as_whole(start_batch, "The batch to start with", least=0)
        self._landscape = landscape

    def __iter__(self) -> Iterator[list[int]]:
        wide = self._landscape
        batches = self._in_order() if wide is None else self._grouped(wide)
        for batch in itertools.islice(batches, self._start_batch, None):
            yield batch[self._slice]

    def _in_order(self) -> Iterator[list[int]]:
        for first in itertools.count(0, self._total):
            yield list(range(first, first + self._total))

    def _grouped(self, landscape: np.ndarray) -> Iterator[list[int]]:
        waiting: tuple[list[int], list[int]] = ([], [])
        for epoch in itertools.count():
            wide = landscape[self._epochs.order(epoch)].tolist()
            for position, is_landscape in enumerate(wide, start=self._epochs.start(epoch)):
                group = waiting[is_landscape]
                group.append(position)
                if len(group) == self._total:
                    yield group[:]
                    group.clear()
