# SPDX-License-Identifier: Apache-2.0
"""The members of the EfficientNet-Lite family: channels and blocks. Pure.

Facts of the family's description (TensorFlow blog, 2020) and of EfficientNet's (Tan and Le, 2019):
seven groups of equal blocks; width and depth are scaled, but neither the stem's width nor the
depth of the first and the last group.
"""

import math
from typing import NamedTuple

STEM_CHANNELS = 32
_CHANNEL_MULTIPLE = 8


class Group(NamedTuple):
    """A group of equal blocks, of the smallest member; the stride is that of the first block."""

    kernel: int
    stride: int
    expansion: int
    channels: int
    blocks: int


GROUPS = (
    Group(kernel=3, stride=1, expansion=1, channels=16, blocks=1),
    Group(kernel=3, stride=2, expansion=6, channels=24, blocks=2),
    Group(kernel=5, stride=2, expansion=6, channels=40, blocks=2),
    Group(kernel=3, stride=2, expansion=6, channels=80, blocks=3),
    Group(kernel=5, stride=1, expansion=6, channels=112, blocks=3),
    Group(kernel=5, stride=2, expansion=6, channels=192, blocks=4),
    Group(kernel=3, stride=1, expansion=6, channels=320, blocks=1),
)
GROUP_NAMES = tuple(f"group{number}" for number in range(len(GROUPS)))


class Scale(NamedTuple):
    """What the channels and the blocks of the smallest member are multiplied by."""

    width: float
    depth: float


SCALES = (Scale(1.0, 1.0), Scale(1.0, 1.1), Scale(1.1, 1.2), Scale(1.2, 1.4), Scale(1.4, 1.8))
"""By member, lite0 to lite4."""


def channels_of(size: int) -> tuple[int, ...]:
    """Output channels of the seven groups of a member, 0 to 4."""
    return tuple(_scaled_channels(group.channels * SCALES[size].width) for group in GROUPS)


def blocks_of(size: int) -> tuple[int, ...]:
    """Blocks in the seven groups of a member, 0 to 4."""
    first, *inner, last = (group.blocks for group in GROUPS)
    return (first, *(math.ceil(blocks * SCALES[size].depth) for blocks in inner), last)


def _scaled_channels(exact: float) -> int:
    """The nearest multiple of eight, or the next where that is more than a tenth below."""
    nearest = max(1, math.floor(exact / _CHANNEL_MULTIPLE + 0.5)) * _CHANNEL_MULTIPLE
    return nearest if nearest >= 0.9 * exact else nearest + _CHANNEL_MULTIPLE
