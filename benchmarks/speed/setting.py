# SPDX-License-Identifier: Apache-2.0
"""What is compared: stock Detectron2 and ours with the same weights, images and proposals."""

import copy
import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from detectron2.structures import Boxes, ImageList, Instances
from torch import Tensor, nn

from dynamicdet_d2.acceleration import InferenceOptions, optimize_for_inference
from dynamicdet_d2.checkpoint import DynamicCheckpointer
from dynamicdet_d2.config import read_config

Detector = Any
"""Detectron2's, ours, or an optimised copy: their parts, which are timed, have no common type."""

STATIC = "configs/faster_rcnn_R_50_FPN_1x.yaml"
DYNAMIC = "configs/dy_faster_rcnn_R_50_FPN_1x.yaml"
PROPOSALS = 1000
# Proposals on COCO: sides spread log-normally about 90 pixels, most not far from square.
MEDIAN_SIDE, SPREAD, ASPECT_SPREAD = 90.0, 0.75, 0.35
# Numbers drawn for weights leave detections that nobody keeps; connections get a non-zero start.
CONNECTION_SCALE = 0.1


@dataclass(frozen=True)
class Setting:
    """Device and size of the images."""

    device: str
    height: int
    width: int

    def config(self, file: str, *overrides: object) -> CfgNode:
        """A config without weights, on the device, with the model as it is (no copy)."""
        keys = ["MODEL.WEIGHTS", "", "MODEL.DEVICE", self.device]
        keys += ["MODEL.INFERENCE.OPTIMIZE", "False", *map(str, overrides)]
        return read_config(file, keys)

    def images(self, count: int) -> list[dict]:
        """Noise; what is in an image makes no difference to the time of a dense detector."""
        generator = torch.Generator().manual_seed(0)
        size = (3, self.height, self.width)
        drawn = [torch.rand(size, generator=generator) * 255 for _ in range(count)]
        return [{"image": x, "height": self.height, "width": self.width} for x in drawn]


def build_pair(setting: Setting) -> tuple[Detector, Detector]:
    """Stock Faster R-CNN R50-FPN with random weights, and the dynamic one with the same."""
    torch.manual_seed(0)
    stock = build_model(setting.config(STATIC)).eval()
    dynamic = build_model(setting.config(DYNAMIC)).eval()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "stock.pth"
        torch.save({"model": stock.state_dict()}, path)
        DynamicCheckpointer(dynamic).load(str(path))
    for link in dynamic.backbone.connections.links.values():
        nn.init.constant_(link.norm.weight, CONNECTION_SCALE)
    # Difficulties that differ between images, so that a threshold can divide them.
    nn.init.normal_(dynamic.router.score.weight, std=1e-2)
    return stock, dynamic


def optimized(model: Detector, precision: str = "float32", compile: bool = False) -> Detector:
    """The optimised copy, with proposals as on COCO."""
    options = InferenceOptions(precision=precision, compile=compile)
    return with_coco_like_proposals(optimize_for_inference(model, options))


def stock_copy(model: Detector) -> Detector:
    """The model as it is, with proposals as on COCO."""
    return with_coco_like_proposals(copy.deepcopy(model))


def with_coco_like_proposals(model: Detector) -> Detector:
    """Let the RPN do all of its work, and give other boxes, in place.

    With random weights all of its own are small, and cost less than real ones.
    """
    propose = model.proposal_generator.forward

    def forward(
        images: ImageList, features: dict[str, Tensor], gt_instances: list | None = None
    ) -> tuple[list[Instances], dict]:
        _, losses = propose(images, features, gt_instances)
        device = images.tensor.device
        return [drawn_proposals(size, device) for size in images.image_sizes], losses

    model.proposal_generator.forward = forward
    return model


def drawn_proposals(size: Sequence[int], device: torch.device) -> Instances:
    """``PROPOSALS`` boxes inside an image, always the same for a size."""
    key = (*size, str(device))
    if key not in _DRAWN:
        _DRAWN[key] = _draw(*size).to(device)
    boxes = _DRAWN[key]
    logits = boxes.new_zeros(len(boxes))
    return Instances(size, proposal_boxes=Boxes(boxes.clone()), objectness_logits=logits)


_DRAWN: dict[tuple, Tensor] = {}


def _draw(height: int, width: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    normal = torch.randn(2, PROPOSALS, generator=generator)
    side = torch.exp(normal[0] * SPREAD + math.log(MEDIAN_SIDE))
    stretch = torch.exp(normal[1] * ASPECT_SPREAD / 2)
    w, h = (side * stretch).clamp(8, 0.95 * width), (side / stretch).clamp(8, 0.95 * height)
    place = torch.rand(2, PROPOSALS, generator=generator)
    x, y = place[0] * (width - w), place[1] * (height - h)
    return torch.stack([x, y, x + w, y + h], dim=1)
