# SPDX-License-Identifier: Apache-2.0
"""ResNet as a staged backbone: names and weights are those of Detectron2's own ResNet."""

from collections.abc import Sequence

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY
from detectron2.modeling.backbone.resnet import BasicBlock, BasicStem, BottleneckBlock, ResNet
from torch import nn

from dynamicdet_d2.modeling.backbone.composite import CompositeBackbone
from dynamicdet_d2.modeling.backbone.depths import num_blocks_of
from dynamicdet_d2.modeling.backbone.staged_cnn import StagedCNN

BLOCKS_OF_DEPTH = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
STAGE_NAMES = ("res2", "res3", "res4", "res5")


class StagedResNet(StagedCNN):
    """A ResNet whose stem and four stages can be run one by one.

    H is added to the input of res_i. Where stem and res2 are shared, backbone 2 owns res3..res5,
    which is what makes the 283.7 G of the paper's Table 2.
    """

    stage_names = STAGE_NAMES


def build_staged_resnet(
    cfg: CfgNode, input_shape: ShapeSpec, num_blocks: Sequence[int]
) -> StagedResNet:
    """A ResNet by Detectron2's own keys (``MODEL.RESNETS.*``) with a number of blocks a stage.

    Unlike Detectron2's builder it takes any width with basic blocks (depths 18 and 34).

    Args:
        cfg: config.
        input_shape: channels of the image.
        num_blocks: blocks in res2..res5.

    Raises:
        ValueError: if the config asks for deformable convolutions, which need compiled code.
    """
    keys = cfg.MODEL.RESNETS
    if any(keys.DEFORM_ON_PER_STAGE):
        raise ValueError(
            "MODEL.RESNETS.DEFORM_ON_PER_STAGE asks for deformable convolutions, which composite "
            "ResNets do not have; it must be False for every stage."
        )
    stem = BasicStem(input_shape.channels, keys.STEM_OUT_CHANNELS, norm=keys.NORM)
    in_channels, out_channels = keys.STEM_OUT_CHANNELS, keys.RES2_OUT_CHANNELS
    stages = []
    for number, blocks in enumerate(num_blocks, start=2):
        dilation = keys.RES5_DILATION if number == 5 else 1
        stride = 1 if number == 2 or dilation == 2 else 2
        block_args = _block_args(cfg, number, dilation)
        stages.append(
            nn.Sequential(
                *ResNet.make_stage(
                    num_blocks=blocks,
                    stride_per_block=[stride] + [1] * (blocks - 1),
                    in_channels=in_channels,
                    out_channels=out_channels,
                    norm=keys.NORM,
                    **block_args,
                )
            )
        )
        in_channels, out_channels = out_channels, out_channels * 2
    resnet = StagedResNet(stem=stem, stages=stages, connection_norm=cfg.MODEL.COMPOSITE.NORM)
    resnet.freeze(cfg.MODEL.BACKBONE.FREEZE_AT)
    if cfg.MODEL.BACKBONE.GRADIENT_CHECKPOINTING:
        resnet.checkpoint_gradients()
    return resnet


def _block_args(cfg: CfgNode, stage: int, dilation: int) -> dict:
    keys = cfg.MODEL.RESNETS
    if keys.DEPTH in (18, 34):
        return {"block_class": BasicBlock}
    return {
        "block_class": BottleneckBlock,
        "bottleneck_channels": keys.NUM_GROUPS * keys.WIDTH_PER_GROUP * 2 ** (stage - 2),
        "num_groups": keys.NUM_GROUPS,
        "stride_in_1x1": keys.STRIDE_IN_1X1,
        "dilation": dilation,
    }


def blocks_of_depth(cfg: CfgNode) -> tuple[int, ...]:
    """Blocks a stage by ``MODEL.RESNETS.DEPTH``.

    Raises:
        ValueError: if there is no such depth.
    """
    depth = cfg.MODEL.RESNETS.DEPTH
    if depth not in BLOCKS_OF_DEPTH:
        raise ValueError(f"MODEL.RESNETS.DEPTH is {depth}; it must be one of 18, 34, 50, 101, 152.")
    return BLOCKS_OF_DEPTH[depth]


@BACKBONE_REGISTRY.register()
def build_composite_resnet_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> CompositeBackbone:
    """Two ResNets of depth 18 to 152, composed (``MODEL.BACKBONE.NAME``)."""
    blocks1, blocks2 = num_blocks_of(
        cfg, blocks_of_depth(cfg), STAGE_NAMES, StagedResNet.num_shared_stages
    )
    return CompositeBackbone(
        bottom_up1=build_staged_resnet(cfg, input_shape, blocks1),
        bottom_up2=build_staged_resnet(cfg, input_shape, blocks2),
        share_stem=cfg.MODEL.COMPOSITE.SHARE_STEM,
        one_neck=cfg.MODEL.COMPOSITE.SHARE_NECK,
    )
