# SPDX-License-Identifier: Apache-2.0
"""EfficientNet-Lite as a staged backbone, plain or composed.

A small family for CPUs and phones: EfficientNet without squeeze-and-excitation, and with ReLU6.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from detectron2.config import CfgNode
from detectron2.layers import CNNBlockBase, Conv2d, FrozenBatchNorm2d, ShapeSpec, get_norm
from detectron2.modeling import BACKBONE_REGISTRY
from detectron2.modeling.backbone import FPN
from torch import Tensor, nn

from dynamicdet_d2.modeling.backbone.composite import CompositeBackbone
from dynamicdet_d2.modeling.backbone.depths import num_blocks_of
from dynamicdet_d2.modeling.backbone.lite_sizes import (
    GROUP_NAMES,
    GROUPS,
    STEM_CHANNELS,
    blocks_of,
    channels_of,
)
from dynamicdet_d2.modeling.backbone.staged_cnn import StagedCNN
from dynamicdet_d2.modeling.necks.fpn import build_fpn

GROUPS_OF_STAGE = {"stage1": (0, 1), "stage2": (2,), "stage3": (3, 4), "stage4": (5, 6)}
"""Stages of strides 4, 8, 16, 32, so an FPN makes p2..p5 of them."""
NUM_SHARED_GROUPS = len(GROUPS_OF_STAGE["stage1"])
NORMS = ("FrozenBN", "BN", "SyncBN", "nnSyncBN", "naiveSyncBN")
NORM_EPS = 1e-3


class StagedEfficientNetLite(StagedCNN):
    """An EfficientNet-Lite whose stem and four stages can be run one by one.

    H is added to the input of stage2..stage4. Stem and stage1 can be shared.
    """

    stage_names = tuple(GROUPS_OF_STAGE)


class SameConv2d(Conv2d):
    """Detectron2's convolution, padded as the family was trained (TensorFlow's "same").

    The output has ceil(size / stride) positions; where the padding is odd, the further zero is at
    the bottom and at the right. Padding by half the kernel on all sides would shift the image by
    one position in each strided convolution.

    A norm with fixed statistics is one multiplication and one addition of whole feature maps, which
    take longer than a depthwise convolution; here they are done on the weights. Gradients of the
    weights are the same.
    """

    folds_norm = True  # pads, and is Conv2d's otherwise

    def forward(self, x: Tensor) -> Tensor:
        if self.stride != (1, 1):
            x = F.pad(x, self._padding_of(x))
        if not isinstance(self.norm, FrozenBatchNorm2d):
            return super().forward(x)
        norm = self.norm
        scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
        weight = self.weight * scale.reshape(-1, 1, 1, 1)
        bias = norm.bias - norm.running_mean * scale
        x = F.conv2d(x, weight, bias, self.stride, self.padding, self.dilation, self.groups)
        return x if self.activation is None else self.activation(x)

    def _padding_of(self, x: Tensor) -> list[int]:
        """Zeros at the left, right, top and bottom of (N, C, H, W)."""
        padding = []
        for size, kernel, stride in zip(
            reversed(x.shape[-2:]), self.kernel_size, self.stride, strict=True
        ):
            total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            padding += [total // 2, total - total // 2]
        return padding


def _convolution(
    in_channels: int,
    channels: int,
    norm: str,
    *,
    kernel: int = 1,
    stride: int = 1,
    depthwise: bool = False,
    active: bool = True,
) -> SameConv2d:
    conv = SameConv2d(
        in_channels,
        channels,
        kernel_size=kernel,
        stride=stride,
        padding=kernel // 2 if stride == 1 else 0,
        groups=channels if depthwise else 1,
        bias=False,
        norm=_norm(norm, channels),
        activation=nn.ReLU6(inplace=True) if active else None,
    )
    # Variance 2 / fan-out, where each output of a depthwise convolution counts for one channel.
    nn.init.normal_(conv.weight, std=(2 * conv.groups / (kernel**2 * channels)) ** 0.5)
    return conv


def _norm(name: str, channels: int) -> nn.Module:
    if name == "FrozenBN":
        return FrozenBatchNorm2d(channels, eps=NORM_EPS)
    norm = get_norm(name, channels)
    norm.eps = NORM_EPS
    return norm


class Stem(CNNBlockBase):
    """A 3x3 convolution of stride 2."""

    def __init__(self, in_channels: int, norm: str) -> None:
        super().__init__(in_channels, STEM_CHANNELS, 2)
        self.conv = _convolution(in_channels, STEM_CHANNELS, norm, kernel=3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class InvertedBottleneck(CNNBlockBase):
    """1x1 convolution that expands, depthwise convolution, 1x1 convolution that projects.

    The projection is linear. The input is added where stride and channels allow it.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel: int,
        stride: int,
        expansion: int,
        norm: str,
    ) -> None:
        """
        Args:
            in_channels, out_channels: of the block.
            kernel, stride: of the depthwise convolution.
            expansion: its channels, in input channels; 1: nothing is expanded.
            norm: one of ``NORMS``.
        """
        super().__init__(in_channels, out_channels, stride)
        inner = in_channels * expansion
        self.expand = _convolution(in_channels, inner, norm) if expansion > 1 else nn.Identity()
        self.depthwise = _convolution(
            inner, inner, norm, kernel=kernel, stride=stride, depthwise=True
        )
        self.project = _convolution(inner, out_channels, norm, active=False)
        self.is_residual = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        y = self.project(self.depthwise(self.expand(x)))
        return x + y if self.is_residual else y


def lite_sizes(cfg: CfgNode) -> tuple[int, int]:
    """Members that backbones 1 and 2 are, by ``MODEL.EFFICIENTNET_LITE.SIZE`` and ``SIZE2``."""
    keys = cfg.MODEL.EFFICIENTNET_LITE
    return keys.SIZE, keys.SIZE if keys.SIZE2 is None else keys.SIZE2


def build_staged_efficientnet_lite(
    cfg: CfgNode, input_shape: ShapeSpec, size: int, num_blocks: Sequence[int]
) -> StagedEfficientNetLite:
    """A member of the family with a number of blocks a group.

    Args:
        cfg: config.
        input_shape: channels of the image.
        size: the member, 0 to 4.
        num_blocks: blocks in each of the seven groups.
    """
    norm = cfg.MODEL.EFFICIENTNET_LITE.NORM
    groups = _groups(size, num_blocks, norm)
    lite = StagedEfficientNetLite(
        stem=Stem(input_shape.channels, norm),
        stages=[_stage(numbers, groups) for numbers in GROUPS_OF_STAGE.values()],
        connection_norm=cfg.MODEL.COMPOSITE.NORM,
    )
    lite.freeze(cfg.MODEL.BACKBONE.FREEZE_AT)
    if cfg.MODEL.BACKBONE.GRADIENT_CHECKPOINTING:
        lite.checkpoint_gradients()
    return lite


def _groups(size: int, num_blocks: Sequence[int], norm: str) -> list[list[InvertedBottleneck]]:
    groups: list[list[InvertedBottleneck]] = []
    in_channels = STEM_CHANNELS
    for group, channels, blocks in zip(GROUPS, channels_of(size), num_blocks, strict=True):
        groups.append([])
        for number in range(blocks):
            stride = 1 if number else group.stride
            block = InvertedBottleneck(
                in_channels,
                channels,
                kernel=group.kernel,
                stride=stride,
                expansion=group.expansion,
                norm=norm,
            )
            groups[-1].append(block)
            in_channels = channels
    return groups


def _stage(numbers: Sequence[int], groups: Sequence[Sequence[nn.Module]]) -> nn.Sequential:
    """The blocks of some groups, under names that do not depend on how many there are."""
    stage = nn.Sequential()
    for number in numbers:
        for index, block in enumerate(groups[number]):
            stage.add_module(f"{GROUP_NAMES[number]}_{index}", block)
    return stage


@BACKBONE_REGISTRY.register()
def build_composite_efficientnet_lite_backbone(
    cfg: CfgNode, input_shape: ShapeSpec
) -> CompositeBackbone:
    """Two EfficientNet-Lites, composed (``MODEL.BACKBONE.NAME``)."""
    size1, size2 = lite_sizes(cfg)
    own2 = None if size1 == size2 else blocks_of(size2)
    blocks1, blocks2 = num_blocks_of(cfg, blocks_of(size1), GROUP_NAMES, NUM_SHARED_GROUPS, own2)
    return CompositeBackbone(
        bottom_up1=build_staged_efficientnet_lite(cfg, input_shape, size1, blocks1),
        bottom_up2=build_staged_efficientnet_lite(cfg, input_shape, size2, blocks2),
        share_stem=cfg.MODEL.COMPOSITE.SHARE_STEM,
        one_neck=cfg.MODEL.COMPOSITE.SHARE_NECK,
    )


@BACKBONE_REGISTRY.register()
def build_efficientnet_lite_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> FPN:
    """One EfficientNet-Lite and an FPN, for Detectron2's own meta architectures."""
    size = lite_sizes(cfg)[0]
    return build_fpn(cfg, build_staged_efficientnet_lite(cfg, input_shape, size, blocks_of(size)))
