# SPDX-License-Identifier: Apache-2.0
"""Swin Transformer as a staged backbone, plain or composed, from torchvision's blocks.

torchvision's blocks and patch merging pad feature maps to whole windows and pairs, so images may
have any size. Inside, tensors are (N, H, W, C), which is what these blocks work on; at the
boundaries of ``StagedBackbone`` they are (N, C, H, W).
"""

from collections.abc import Sequence
from typing import NamedTuple

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY
from detectron2.modeling.backbone import FPN
from torch import Tensor, nn
from torchvision.models.swin_transformer import PatchMerging, SwinTransformerBlock
from torchvision.ops import StochasticDepth

from dynamicdet_d2.modeling.backbone.composite import CompositeBackbone, StagedBackbone
from dynamicdet_d2.modeling.backbone.depths import num_blocks_of
from dynamicdet_d2.modeling.necks.fpn import build_fpn

PATCH_SIZE = 4
INIT_STD = 0.02


class SwinSize(NamedTuple):
    """What a size of the family is (Swin paper, section 3.3)."""

    channels: int
    """Of the first stage; every further stage doubles them."""
    blocks: tuple[int, ...]
    heads: tuple[int, ...]


SIZES = {
    "T": SwinSize(channels=96, blocks=(2, 2, 6, 2), heads=(3, 6, 12, 24)),
    "S": SwinSize(channels=96, blocks=(2, 2, 18, 2), heads=(3, 6, 12, 24)),
    "B": SwinSize(channels=128, blocks=(2, 2, 18, 2), heads=(4, 8, 16, 32)),
}
STAGE_NAMES = ("stage1", "stage2", "stage3", "stage4")
"""As the Swin paper calls them; strides 4, 8, 16, 32, so an FPN makes p2..p5 of them."""


class PatchEmbedding(nn.Module):
    """Patches of 4x4 pixels to vectors: (N, 3, H, W) -> (N, H/4, W/4, C)."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_channels, channels, PATCH_SIZE, stride=PATCH_SIZE)
        self.norm = nn.LayerNorm(channels)

    def forward(self, images: Tensor) -> Tensor:
        return self.norm(self.proj(images).permute(0, 2, 3, 1))


class SwinStage(nn.Module):
    """Patch merging (none in the first stage), blocks, and the norm of the stage's output."""

    def __init__(
        self, *, in_channels: int | None, channels: int, blocks: Sequence[nn.Module]
    ) -> None:
        """
        Args:
            in_channels: of the stage before; None: the first stage.
            channels: of the blocks.
            blocks: the stage's blocks.
        """
        super().__init__()
        self.merge = nn.Identity() if in_channels is None else PatchMerging(in_channels)
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(channels)


class StagedSwin(StagedBackbone):
    """A Swin Transformer whose stages can be run one by one.

    H is added to the input of a stage's blocks, after the patch embedding or merging. The patch
    embedding is shared; all four stages exist twice. A stage's feature is its output under a norm
    of its own, while the next stage goes on from the output itself.
    """

    num_shared_stages = 0

    def __init__(
        self,
        *,
        channels: int,
        num_blocks: Sequence[int],
        num_heads: Sequence[int],
        window_size: int = 7,
        drop_path_rate: float = 0.0,
        in_channels: int = 3,
    ) -> None:
        """
        Args:
            channels: of the first stage; every further stage doubles them.
            num_blocks, num_heads: of each of the four stages.
            window_size: side of the attention's windows, in positions.
            drop_path_rate: how often in training the last block's residual branches are left
                out, in [0, 1); it grows evenly from 0 at the first block.
            in_channels: of the image.
        """
        super().__init__()
        self.patch_embed = PatchEmbedding(in_channels, channels)
        total = sum(num_blocks)
        rates = iter(drop_path_rate * number / max(total - 1, 1) for number in range(total))
        self._channels = [channels * 2**stage for stage in range(len(STAGE_NAMES))]
        previous = [None, *self._channels]
        for stage, name in enumerate(STAGE_NAMES):
            blocks = [
                _block(self._channels[stage], num_heads[stage], window_size, number, next(rates))
                for number in range(num_blocks[stage])
            ]
            self.add_module(
                name,
                SwinStage(
                    in_channels=previous[stage], channels=self._channels[stage], blocks=blocks
                ),
            )
        self.apply(_initialise)

    @property
    def stage_names(self) -> tuple[str, ...]:
        return STAGE_NAMES

    def output_shape(self) -> dict[str, ShapeSpec]:
        return {
            name: ShapeSpec(channels=channels, stride=PATCH_SIZE * 2**stage)
            for stage, (name, channels) in enumerate(zip(STAGE_NAMES, self._channels, strict=True))
        }

    def stem_forward(self, images: Tensor) -> Tensor:
        return _channels_first(self.patch_embed(images))

    def enter(self, stage: int, x: Tensor) -> Tensor:
        return _channels_first(self._stage(stage).merge(_channels_last(x)))

    def run(self, stage: int, x: Tensor) -> Tensor:
        return _channels_first(self.run_blocks(self._stage(stage).blocks, _channels_last(x)))

    def feature(self, stage: int, x: Tensor) -> Tensor:
        return _channels_first(self._stage(stage).norm(_channels_last(x))).contiguous()

    def connection(self, source: int, target: int, in_channels: int) -> nn.Module:
        """1x1 convolution with bias, both zero at the start, or identity within a stage.

        Where source and target are the same stage the channels agree and there is no weight, so
        that detector2 sees F1 from the first step on.
        """
        if source == target:
            return nn.Identity()
        link = nn.Conv2d(in_channels, self._channels[target], kernel_size=1)
        for parameter in link.parameters():
            nn.init.zeros_(parameter)
        return link

    def drop_shared(self) -> None:
        del self.patch_embed

    def freeze(self, freeze_at: int) -> None:
        """Freeze the patch embedding (1), and stage1 (2), stage2 (3), ... as a ResNet's are.

        A frozen stage always runs all of its branches.
        """
        parts = [self.patch_embed, *(self._stage(stage) for stage in range(len(STAGE_NAMES)))]
        for part in parts[:freeze_at]:
            part.requires_grad_(False)
            for module in part.modules():
                if isinstance(module, StochasticDepth):
                    module.p = 0.0

    def _stage(self, stage: int) -> SwinStage:
        return getattr(self, STAGE_NAMES[stage])


def _channels_first(x: Tensor) -> Tensor:
    return x.permute(0, 3, 1, 2)


def _channels_last(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 1)


def _block(channels: int, heads: int, window: int, number: int, rate: float) -> nn.Module:
    """Every second block of a stage has its windows shifted by half a window."""
    shift = window // 2 if number % 2 else 0
    return SwinTransformerBlock(
        channels, heads, [window, window], [shift, shift], stochastic_depth_prob=rate
    )


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=INIT_STD)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def build_staged_swin(
    cfg: CfgNode, input_shape: ShapeSpec, num_blocks: Sequence[int]
) -> StagedSwin:
    """A Swin Transformer by ``MODEL.SWIN.*`` with a number of blocks a stage.

    Args:
        cfg: config.
        input_shape: channels of the image.
        num_blocks: blocks in stage1..stage4.
    """
    keys = cfg.MODEL.SWIN
    size = SIZES[keys.SIZE]
    swin = StagedSwin(
        channels=size.channels,
        num_blocks=num_blocks,
        num_heads=size.heads,
        window_size=keys.WINDOW_SIZE,
        drop_path_rate=keys.DROP_PATH_RATE,
        in_channels=input_shape.channels,
    )
    swin.freeze(cfg.MODEL.BACKBONE.FREEZE_AT)
    if cfg.MODEL.BACKBONE.GRADIENT_CHECKPOINTING:
        swin.checkpoint_gradients()
    return swin


def _freeze_unread_norms(cfg: CfgNode, swin: StagedSwin) -> None:
    """Freeze the norms of levels that only the neck could read, where it does not.

    They would get no gradient, which training on several processes refuses.
    """
    for name in set(STAGE_NAMES) - set(cfg.MODEL.FPN.IN_FEATURES):
        getattr(swin, name).norm.requires_grad_(False)


@BACKBONE_REGISTRY.register()
def build_composite_swin_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> CompositeBackbone:
    """Two Swin Transformers of one size, composed (``MODEL.BACKBONE.NAME``)."""
    blocks1, blocks2 = num_blocks_of(
        cfg, SIZES[cfg.MODEL.SWIN.SIZE].blocks, STAGE_NAMES, StagedSwin.num_shared_stages
    )
    bottom_up2 = build_staged_swin(cfg, input_shape, blocks2)
    _freeze_unread_norms(cfg, bottom_up2)
    return CompositeBackbone(
        bottom_up1=build_staged_swin(cfg, input_shape, blocks1),
        bottom_up2=bottom_up2,
        share_stem=cfg.MODEL.COMPOSITE.SHARE_STEM,
        one_neck=cfg.MODEL.COMPOSITE.SHARE_NECK,
    )


@BACKBONE_REGISTRY.register()
def build_swin_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> FPN:
    """One Swin Transformer and an FPN, for Detectron2's own meta architectures."""
    bottom_up = build_staged_swin(cfg, input_shape, SIZES[cfg.MODEL.SWIN.SIZE].blocks)
    _freeze_unread_norms(cfg, bottom_up)
    return build_fpn(cfg, bottom_up)
