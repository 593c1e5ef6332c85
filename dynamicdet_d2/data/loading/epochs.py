# SPDX-License-Identifier: Apache-2.0
"""Which image stands at which position of the training stream: a function of the seed alone.

N: images of the data set; n: entries of an epoch, N unless images are repeated.
"""

import hashlib
from bisect import bisect_right
from functools import lru_cache

import numpy as np

from dynamicdet_d2.utils.numbers import as_whole


def derived_seed(*parts: object) -> int:
    """A 64-bit seed in [0, 2**64) that depends on all parts."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big")


@lru_cache(maxsize=8)
def epoch_order(seed: int, epoch: int, size: int) -> np.ndarray:
    """A shuffled ``range(size)`` for one epoch: (size,) int64, read-only."""
    order = generator(seed, "epoch", epoch).permutation(size)
    order.setflags(write=False)
    return order


class Epochs:
    """The endless sequence of images, shuffled anew each epoch.

    With repeat factors, an image of factor 2.3 stands in each epoch two times, or three with a
    chance of 0.3 (class-balanced sampling, as in Detectron2's ``RepeatFactorTrainingSampler``);
    epochs then differ a little in length.
    """

    def __init__(self, num_images: int, seed: int, repeats: np.ndarray | None = None) -> None:
        """
        Args:
            num_images: N.
            seed: of the run.
            repeats: (N,), how often each image stands in an epoch, >= 1; None: once.
        """
        self._num_images, self._repeats = num_images, repeats
        self._seed = as_whole(seed, "seed")
        self._starts = [0]
        self._last: tuple[int, np.ndarray] = (-1, np.empty(0, dtype=np.int64))

    def order(self, epoch: int) -> np.ndarray:
        """The image indices of one epoch: (n,) int64."""
        if epoch != self._last[0]:
            entries = self._entries(epoch)
            self._last = epoch, entries[epoch_order(self._seed, epoch, len(entries))]
        return self._last[1]

    def start(self, epoch: int) -> int:
        """The position of the epoch's first image."""
        while len(self._starts) <= epoch:
            self._starts.append(self._starts[-1] + len(self._entries(len(self._starts) - 1)))
        return self._starts[epoch]

    def image(self, position: int) -> int:
        """Which image, in [0, N), stands at the position."""
        epoch = self._epoch(position)
        return int(self.order(epoch)[position - self._starts[epoch]])

    def drawn(self, position: int, rng: np.random.RandomState) -> int:
        """An image, in [0, N), drawn from the epoch of the position; one repeated more often."""
        order = self.order(self._epoch(position))
        return int(order[rng.randint(len(order))])

    def _epoch(self, position: int) -> int:
        while self._starts[-1] <= position:
            self.start(len(self._starts))
        return bisect_right(self._starts, position) - 1

    def _entries(self, epoch: int) -> np.ndarray:
        """The epoch's images before they are shuffled: (n,) int64."""
        if self._repeats is None:
            return np.arange(self._num_images)
        whole = np.floor(self._repeats)
        chances = generator(self._seed, "repeats", epoch).random_sample(self._num_images)
        copies = whole + (chances < self._repeats - whole)
        return np.repeat(np.arange(self._num_images), copies.astype(np.int64))


def generator(*parts: object) -> np.random.RandomState:
    """Random numbers that depend on all parts."""
    # RandomState, because numpy has frozen its streams: a later numpy resumes the same order.
    return np.random.RandomState(derived_seed(*parts) % 2**32)
