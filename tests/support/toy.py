# SPDX-License-Identifier: Apache-2.0
"""A toy dynamic detector and toy images, shared by the tests."""

import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances
from torch import nn

from dynamicdet_d2 import add_dynamicdet_config

BASE = "configs/Base-Dynamic-RCNN-FPN.yaml"


def toy_cfg(*overrides: object) -> CfgNode:
    """A narrow ResNet of ten layers on the CPU, by the project's base config."""
    cfg = get_cfg()
    add_dynamicdet_config(cfg)
    cfg.merge_from_file(BASE)
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.WEIGHTS = ""
    cfg.MODEL.RESNETS.DEPTH = 18
    cfg.MODEL.RESNETS.NORM = "BN"
    cfg.MODEL.RESNETS.STEM_OUT_CHANNELS = cfg.MODEL.RESNETS.RES2_OUT_CHANNELS = 8
    cfg.MODEL.COMPOSITE.NUM_BLOCKS1 = [1, 1, 1, 1]
    cfg.MODEL.FPN.OUT_CHANNELS = 16
    cfg.MODEL.ROI_BOX_HEAD.FC_DIM = 32
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = 3
    cfg.MODEL.BACKBONE.FREEZE_AT = 0
    cfg.MODEL.PIXEL_STD = [58.0, 57.0, 57.0]
    cfg.MODEL.RPN.POST_NMS_TOPK_TEST = 50
    cfg.TEST.DYNAMIC.GALLERY = 1  # pictures are most of what an evaluation of toys takes
    cfg.merge_from_list(list(overrides))
    return cfg


# Detectron2's own.
STATIC_RETINANET = (
    *("MODEL.META_ARCHITECTURE", "RetinaNet"),
    *("MODEL.BACKBONE.NAME", "build_retinanet_resnet_fpn_backbone"),
    *("MODEL.RESNETS.RES2_OUT_CHANNELS", 64, "MODEL.RETINANET.NUM_CONVS", 1),
    *("MODEL.RESNETS.OUT_FEATURES", ["res3", "res4", "res5"]),
    *("MODEL.FPN.IN_FEATURES", ["res3", "res4", "res5"]),
    *("MODEL.ANCHOR_GENERATOR.SIZES", [[16], [32], [64], [128], [256]]),
)


def dense_keys(head: str, num_classes: int = 3) -> list:
    """What makes a toy config one of a dynamic "RetinaNet" or "FCOS"."""
    return [
        *("MODEL.META_ARCHITECTURE", "DynamicDenseDetector", "MODEL.DENSE.HEAD", head),
        *("MODEL.FPN.IN_FEATURES", ["res3", "res4", "res5"], "MODEL.FPN.TOP_BLOCK", "p6p7"),
        *("MODEL.FPN.TOP_BLOCK_INPUT", "res5" if head == "RetinaNet" else ""),
        *(f"MODEL.{head.upper()}.NUM_CLASSES", num_classes),
        *(f"MODEL.{head.upper()}.NUM_CONVS", 1),
    ]


def dense_cfg(head: str, *overrides: object) -> CfgNode:
    """A toy config of a dynamic dense detector."""
    return toy_cfg(*dense_keys(head), *overrides)


def dense_model(head: str, *overrides: object, seed: int = 0) -> nn.Module:
    """In evaluation mode, with connections and predictions that make a difference."""
    torch.manual_seed(seed)
    model = unsettled(build_model(dense_cfg(head, *overrides)))
    for name, parameter in model.named_parameters():
        if any(part in name for part in ("connections", "cls_score", "bbox_pred", "ctrness")):
            nn.init.normal_(parameter, std=0.1)
    return model.eval()


def toy_model(*overrides: object, seed: int = 0) -> nn.Module:
    """In evaluation mode, with connections and statistics that are no longer at their start."""
    torch.manual_seed(seed)
    return unsettled(build_model(toy_cfg(*overrides))).eval()


def unsettled(model: nn.Module) -> nn.Module:
    """With statistics and a router that are no longer at their start."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
            if module.affine:
                nn.init.uniform_(module.weight, 0.5, 1.0)
    # Random features are large; a small last layer keeps difficulties away from 0 and 1.
    nn.init.normal_(model.router.score.weight, std=1e-3)
    return model


def toy_inputs(
    count: int, height: int = 64, width: int = 96, objects: int = 2, seed: int = 0
) -> list[dict]:
    """Random images with ground truth; ``objects`` boxes each."""
    generator = torch.Generator().manual_seed(seed)
    inputs = []
    for number in range(count):
        image = torch.rand(3, height, width, generator=generator) * 255
        inputs.append(
            {
                "image": image,
                "height": height,
                "width": width,
                "image_id": number + 1,
                "instances": toy_instances(height, width, objects, generator),
            }
        )
    return inputs


def toy_instances(height: int, width: int, objects: int, generator: torch.Generator) -> Instances:
    instances = Instances((height, width))
    corner = torch.rand(objects, 2, generator=generator) * torch.tensor([width, height]) * 0.5
    size = 8 + torch.rand(objects, 2, generator=generator) * torch.tensor([width, height]) * 0.3
    instances.gt_boxes = Boxes(torch.cat([corner, corner + size], dim=1))
    instances.gt_classes = torch.randint(0, 3, (objects,), generator=generator)
    return instances
