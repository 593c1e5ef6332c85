# SPDX-License-Identifier: Apache-2.0
"""YOLOv7's backbone (ELAN) as a staged backbone (YOLOv7, arXiv 2207.02696, section 3.1).

Level p1, p2, ... has stride 2, 4, ...; a level is a stage. Composite connections are 1x1
convolutions with bias, added to the input of a level's blocks, and nothing is shared: backbone 2
is complete and starts from the image.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from detectron2.layers import FrozenBatchNorm2d, ShapeSpec
from torch import Tensor, nn

from dynamicdet_d2.modeling.backbone.composite import StagedBackbone
from dynamicdet_d2.modeling.backbone.elan_blocks import ELAN, PooledDown, conv_block, space_to_depth

CONNECTION_INITS = ("default", "zero")


@dataclass(frozen=True)
class Level:
    """One level of a backbone.

    Attributes:
        entry: how the resolution is halved: "conv" (strided convolution), "pool" (``PooledDown``)
            or "none" (the stem has done it).
        channels: of the input of its blocks, after the entry; even for "pool".
        width: of its ELAN block; 0: plain 3x3 convolutions in its place.
        depth: 3x3 convolutions in the ELAN block's chain, or plain ones; at least 1.
        out_channels: of the level's feature map.
    """

    entry: str
    channels: int
    width: int
    depth: int
    out_channels: int


@dataclass(frozen=True)
class Levels:
    """A backbone.

    Attributes:
        stem: channels of the 3x3 convolution that comes first; 0: space-to-depth instead, which
            has no weights and halves the resolution.
        levels: p1, p2, ...
        first_injected: how many leading levels have no composite connections, neither as
            targets nor as sources.
    """

    stem: int
    levels: tuple[Level, ...]
    first_injected: int = 0

    @property
    def names(self) -> tuple[str, ...]:
        """``("p1", "p2", ...)``."""
        return tuple(f"p{number}" for number in range(1, len(self.levels) + 1))


class StagedELAN(StagedBackbone):
    """YOLOv7's backbone, whose levels can be run one by one."""

    can_share_stem = False

    def __init__(
        self,
        levels: Levels,
        *,
        in_channels: int = 3,
        norm: str = "BN",
        connection_init: str = "default",
        strided_from_first: Sequence[str] = (),
    ) -> None:
        """
        Args:
            levels: widths and depths.
            in_channels: of the image.
            norm: one of ``elan_blocks.NORMS``.
            connection_init: "default" (PyTorch's, as the published models were trained) or
                "zero", with which a second detector begins as a plain one.
            strided_from_first: as backbone 2, levels whose strided branch reads backbone 1's
                feature of the level before (``PooledDown``). The published Dy-YOLOv7-X was
                trained so at p3; otherwise none.

        Raises:
            ValueError: for an unknown norm or initialisation.
        """
        super().__init__()
        if connection_init not in CONNECTION_INITS:
            raise ValueError(
                f"MODEL.YOLO.CONNECTION_INIT is '{connection_init}'; it must be one of "
                f"{', '.join(CONNECTION_INITS)}."
            )
        self._levels, self._connection_init = levels, connection_init
        self._strided_from_first = frozenset(strided_from_first)
        self.stem = conv_block(in_channels, levels.stem, 3, norm=norm) if levels.stem else None
        previous = levels.stem or 4 * in_channels
        for name, level in zip(levels.names, levels.levels, strict=True):
            self.add_module(name, _Level(previous, level, norm))
            previous = level.out_channels

    @property
    def first_injected_stage(self) -> int:
        return self._levels.first_injected

    @property
    def stage_names(self) -> tuple[str, ...]:
        return self._levels.names

    @property
    def size_divisibility(self) -> int:
        """The coarsest stride."""
        return 2 ** len(self.stage_names)

    def output_shape(self) -> dict[str, ShapeSpec]:
        return {
            name: ShapeSpec(channels=level.out_channels, stride=2**number)
            for number, (name, level) in enumerate(
                zip(self.stage_names, self._levels.levels, strict=True), start=1
            )
        }

    def stem_forward(self, images: Tensor) -> Tensor:
        return space_to_depth(images) if self.stem is None else self.stem(images)

    def enter(self, stage: int, x: Tensor) -> Tensor:
        return self._level(stage).entry(x)

    def enter_second(self, stage: int, x: Tensor, features1: Sequence[Tensor]) -> Tensor:
        if self.stage_names[stage] in self._strided_from_first:
            return self._level(stage).entry(x, strided_from=features1[stage - 1])
        return self.enter(stage, x)

    def run(self, stage: int, x: Tensor) -> Tensor:
        return self.run_blocks(self._level(stage).blocks, x)

    def connection(self, source: int, target: int, in_channels: int) -> nn.Module:
        """1x1 convolution with bias, without norm (the published form)."""
        link = nn.Conv2d(in_channels, self._levels.levels[target].channels, kernel_size=1)
        if self._connection_init == "zero":
            for parameter in link.parameters():
                nn.init.zeros_(parameter)
        return link

    def drop_shared(self) -> None:
        """Nothing is shared."""

    def freeze(self, freeze_at: int) -> None:
        """Freeze the stem (1), p1 (2), p2 (3), ... as ``MODEL.BACKBONE.FREEZE_AT`` says."""
        names = ["stem", *self.stage_names][: max(freeze_at, 0)]
        for name in names:
            part = getattr(self, name)
            if part is not None:
                part.requires_grad_(False)
                setattr(self, name, FrozenBatchNorm2d.convert_frozen_batchnorm(part))

    def _level(self, stage: int) -> "_Level":
        return getattr(self, self.stage_names[stage])


class _Level(nn.Module):
    """What halves the resolution, and the blocks after it."""

    def __init__(self, in_channels: int, level: Level, norm: str) -> None:
        super().__init__()
        self.entry = _entry(in_channels, level, norm)
        self.blocks = nn.ModuleList(_blocks(level, norm))


def _entry(in_channels: int, level: Level, norm: str) -> nn.Module:
    if level.entry == "pool":
        return PooledDown(in_channels, level.channels // 2, norm)
    if level.entry == "conv":
        return conv_block(in_channels, level.channels, 3, stride=2, norm=norm)
    return nn.Identity()


def _blocks(level: Level, norm: str) -> list[nn.Module]:
    if level.width:
        channels = level.channels, level.out_channels
        return [ELAN(*channels, width=level.width, depth=level.depth, norm=norm)]
    widths = [level.channels, *[level.out_channels] * level.depth]
    return [
        conv_block(before, after, 3, norm=norm)
        for before, after in zip(widths[:-1], widths[1:], strict=True)
    ]
