# SPDX-License-Identifier: Apache-2.0
"""Dy-Faster R-CNN R50 as a LazyConfig of Detectron2: every part is named, none is read from a yaml.

    from detectron2.config import LazyConfig, instantiate
    model = instantiate(LazyConfig.load("configs/lazy/dy_faster_rcnn_R_50_FPN.py").model)

Such a file is Python and is run: load your own alone. Detectron2's ``lazyconfig_train_net.py``
trains both detectors together with it; the router's phase is of ``dynamicdet train``.
"""

from detectron2.config import LazyCall as L
from detectron2.layers import ShapeSpec
from detectron2.modeling.anchor_generator import DefaultAnchorGenerator
from detectron2.modeling.backbone import FPN
from detectron2.modeling.backbone.fpn import LastLevelMaxPool
from detectron2.modeling.backbone.resnet import BasicStem, ResNet
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.modeling.matcher import Matcher
from detectron2.modeling.poolers import ROIPooler
from detectron2.modeling.proposal_generator import RPN, StandardRPNHead
from detectron2.modeling.roi_heads import FastRCNNConvFCHead, FastRCNNOutputLayers, StandardROIHeads
from torch import nn

from dynamicdet_d2.modeling import AdaptiveRouter, CompositeBackbone, DynamicRCNN
from dynamicdet_d2.modeling.backbone import StagedResNet
from dynamicdet_d2.modeling.necks.fpn import GivenFeatures
from dynamicdet_d2.modeling.router_inputs.pooled_features import PooledFeatures

NUM_CLASSES = 80
LEVELS = ["p2", "p3", "p4", "p5"]
SHAPES = {f"res{i}": ShapeSpec(channels=64 * 2**i, stride=2**i) for i in range(2, 6)}


def by_name(**inputs: PooledFeatures) -> dict[str, PooledFeatures]:
    """A dict as a call, since parts inside a plain dict are not built."""
    return inputs


def staged_resnet(depth: int) -> StagedResNet:
    """As torchvision's: the stride is in the 3x3 convolution, Detectron2's default.

    ``SHAPES`` are those of 50 layers and more; with 18 or 34 channels are a quarter.
    """
    stages = ResNet.make_default_stages(depth, norm="FrozenBN")
    resnet = StagedResNet(
        stem=BasicStem(norm="FrozenBN"),
        stages=[nn.Sequential(*blocks) for blocks in stages],
        connection_norm="BN",
    )
    resnet.freeze(2)
    return resnet


model = L(DynamicRCNN)(
    backbone=L(CompositeBackbone)(
        bottom_up1=L(staged_resnet)(depth=50), bottom_up2=L(staged_resnet)(depth=50)
    ),
    router=L(AdaptiveRouter)(inputs=L(by_name)(features=L(PooledFeatures)(input_shape=SHAPES))),
    neck=L(FPN)(
        bottom_up=L(GivenFeatures)(output_shape=SHAPES),
        in_features=list(SHAPES),
        out_channels=256,
        top_block=L(LastLevelMaxPool)(),
    ),
    proposal_generator=L(RPN)(
        in_features=[*LEVELS, "p6"],
        head=L(StandardRPNHead)(in_channels=256, num_anchors=3),
        anchor_generator=L(DefaultAnchorGenerator)(
            sizes=[[32], [64], [128], [256], [512]],
            aspect_ratios=[0.5, 1.0, 2.0],
            strides=[4, 8, 16, 32, 64],
            offset=0.0,
        ),
        anchor_matcher=L(Matcher)(
            thresholds=[0.3, 0.7], labels=[0, -1, 1], allow_low_quality_matches=True
        ),
        box2box_transform=L(Box2BoxTransform)(weights=[1.0, 1.0, 1.0, 1.0]),
        batch_size_per_image=256,
        positive_fraction=0.5,
        pre_nms_topk=(2000, 1000),
        post_nms_topk=(1000, 1000),
        nms_thresh=0.7,
    ),
    roi_heads=L(StandardROIHeads)(
        num_classes=NUM_CLASSES,
        batch_size_per_image=512,
        positive_fraction=0.25,
        proposal_matcher=L(Matcher)(
            thresholds=[0.5], labels=[0, 1], allow_low_quality_matches=False
        ),
        box_in_features=LEVELS,
        box_pooler=L(ROIPooler)(
            output_size=7,
            scales=(1 / 4, 1 / 8, 1 / 16, 1 / 32),
            sampling_ratio=0,
            pooler_type="ROIAlignV2",
        ),
        box_head=L(FastRCNNConvFCHead)(
            input_shape=ShapeSpec(channels=256, height=7, width=7),
            conv_dims=[],
            fc_dims=[1024, 1024],
        ),
        box_predictor=L(FastRCNNOutputLayers)(
            input_shape=ShapeSpec(channels=1024),
            test_score_thresh=0.05,
            box2box_transform=L(Box2BoxTransform)(weights=(10, 10, 5, 5)),
            num_classes=NUM_CLASSES,
        ),
    ),
    pixel_mean=[123.675, 116.280, 103.530],
    pixel_std=[58.395, 57.120, 57.375],
    input_format="RGB",
)
