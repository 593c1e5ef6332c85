# SPDX-License-Identifier: Apache-2.0
"""The published sizes of YOLOv7 as tables, and how they are scaled. Pure.

YOLOv7, -X and -W6 (YOLOv7, arXiv 2207.02696, section 4.2 and its supplement). X is YOLOv7 by
compound scaling: half as deep again in the blocks, a quarter wider between them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from dynamicdet_d2.modeling.backbone.elan import Level, Levels
from dynamicdet_d2.modeling.yolo.head import HeadSize
from dynamicdet_d2.modeling.yolo.neck import NeckSize

Anchors = tuple[tuple[tuple[int, int], ...], ...]
"""Width and height in pixels of each anchor of each level, fine to coarse."""

_CHANNEL_MULTIPLE = 4


@dataclass(frozen=True)
class Variant:
    """A size of YOLOv7: every number that its layers need beside the number of classes."""

    backbone: Levels
    neck: NeckSize
    head: HeadSize
    anchors: Anchors


_P5_ANCHORS = (
    ((12, 16), (19, 36), (40, 28)),
    ((36, 75), (76, 55), (72, 146)),
    ((142, 110), (192, 243), (459, 401)),
)

YOLOV7 = Variant(
    backbone=Levels(
        stem=32,
        levels=(
            Level("conv", channels=64, width=0, depth=1, out_channels=64),
            Level("conv", channels=128, width=64, depth=4, out_channels=256),
            Level("pool", channels=256, width=128, depth=4, out_channels=512),
            Level("pool", channels=512, width=256, depth=4, out_channels=1024),
            Level("pool", channels=1024, width=256, depth=4, out_channels=1024),
        ),
    ),
    neck=NeckSize(
        channels=(128, 256, 512), widths=(128, 256, 512), depth=4, keep_all=True, down="pool"
    ),
    head=HeadSize(channels=(256, 512, 1024), rep_conv=True),
    anchors=_P5_ANCHORS,
)

YOLOV7X = Variant(
    backbone=Levels(
        stem=40,
        levels=(
            Level("conv", channels=80, width=0, depth=1, out_channels=80),
            Level("conv", channels=160, width=64, depth=6, out_channels=320),
            Level("pool", channels=320, width=128, depth=6, out_channels=640),
            Level("pool", channels=640, width=256, depth=6, out_channels=1280),
            Level("pool", channels=1280, width=256, depth=6, out_channels=1280),
        ),
    ),
    neck=NeckSize(
        channels=(160, 320, 640), widths=(128, 256, 512), depth=6, keep_all=False, down="pool"
    ),
    head=HeadSize(channels=(320, 640, 1280), rep_conv=False),
    anchors=_P5_ANCHORS,
)

YOLOV7_W6 = Variant(
    backbone=Levels(
        stem=0,
        levels=(
            Level("none", channels=12, width=0, depth=1, out_channels=64),
            Level("conv", channels=128, width=64, depth=4, out_channels=128),
            Level("conv", channels=256, width=128, depth=4, out_channels=256),
            Level("conv", channels=512, width=256, depth=4, out_channels=512),
            Level("conv", channels=768, width=384, depth=4, out_channels=768),
            Level("conv", channels=1024, width=512, depth=4, out_channels=1024),
        ),
        first_injected=1,
    ),
    neck=NeckSize(
        channels=(128, 256, 384, 512),
        widths=(128, 256, 384, 512),
        depth=4,
        keep_all=True,
        down="conv",
    ),
    head=HeadSize(channels=(256, 512, 768, 1024), rep_conv=False, auxiliary=(320, 640, 960, 1280)),
    anchors=(
        ((19, 27), (44, 40), (38, 94)),
        ((96, 68), (86, 152), (180, 137)),
        ((140, 301), (303, 264), (238, 542)),
        ((436, 615), (739, 380), (925, 792)),
    ),
)

VARIANTS = {"yolov7": YOLOV7, "yolov7x": YOLOV7X, "yolov7_w6": YOLOV7_W6}


def scaled(variant: Variant, width: float = 1.0) -> Variant:
    """A variant with every number of channels multiplied.

    Args:
        width: factor > 0; results are rounded to multiples of 4, and are at least 4.
    """
    if width == 1.0:
        return variant

    def wide(channels: int) -> int:
        return max(round(channels * width / _CHANNEL_MULTIPLE), 1) * _CHANNEL_MULTIPLE

    def all_wide(channels: Sequence[int]) -> tuple[int, ...]:
        return tuple(map(wide, channels))

    levels = tuple(_scaled_level(level, wide) for level in variant.backbone.levels)
    stem = variant.backbone.stem and wide(variant.backbone.stem)
    neck, head = variant.neck, variant.head
    return replace(
        variant,
        backbone=replace(variant.backbone, stem=stem, levels=levels),
        neck=replace(neck, channels=all_wide(neck.channels), widths=all_wide(neck.widths)),
        head=replace(head, channels=all_wide(head.channels), auxiliary=all_wide(head.auxiliary)),
    )


def _scaled_level(level: Level, wide: Callable[[int], int]) -> Level:
    return replace(
        level,
        channels=level.channels if level.entry == "none" else wide(level.channels),
        width=level.width and wide(level.width),
        out_channels=wide(level.out_channels),
    )


def with_depths(variant: Variant, depths: Sequence[int], neck_depth: int = 0) -> Variant:
    """A variant with other numbers of 3x3 convolutions in its blocks.

    Args:
        depths: of each level of the backbone, at least 1 each; empty: the variant's own.
        neck_depth: of every block of the neck; 0: the variant's own.
    """
    levels = variant.backbone.levels
    if depths:
        levels = tuple(
            replace(level, depth=depth) for level, depth in zip(levels, depths, strict=True)
        )
    return replace(
        variant,
        backbone=replace(variant.backbone, levels=levels),
        neck=replace(variant.neck, depth=neck_depth or variant.neck.depth),
    )
