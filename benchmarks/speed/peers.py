# SPDX-License-Identifier: Apache-2.0
"""What a user would take instead in PyTorch: compiled stock, and torchvision's detector.

The same image, the same weights where the peer can have them (torchvision's detector is another
one of the same size, with weights of its own), and the same drawn proposals for all. Other
runtimes: ``exports``.
"""

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torchvision.models.detection import fasterrcnn_resnet50_fpn

from benchmarks.speed.inference import one_by_one
from benchmarks.speed.setting import (
    PROPOSALS,
    Detector,
    Setting,
    drawn_proposals,
    optimized,
    stock_copy,
    with_coco_like_proposals,
)
from benchmarks.speed.timing import Rounds, interleave

SECTION = "peer"


def time_peers(stock: Detector, dynamic: Detector, setting: Setting, rounds: int) -> Rounds:
    """Stock and ours beside its peers, whole detectors, in turns."""
    image = setting.images(1)
    calls = {
        "stock": one_by_one(stock_copy(stock), image, None),
        "stock, backbone compiled": one_by_one(_compiled(stock), image, None),
        "torchvision Faster R-CNN R50": (1, _torchvision(setting, image)),
        "static float32": one_by_one(optimized(stock), image, None),
    }
    routed = optimized(dynamic)
    calls |= {
        f"{r} float32": one_by_one(routed, image, t) for r, t in (("easy", 1.0), ("hard", 0.0))
    }
    return interleave("Peers", calls, rounds)


def _compiled(stock: Detector) -> Detector:
    """Whole two-stage detectors do not compile; what takes most of the time does."""
    model = copy.deepcopy(stock)
    model.backbone.forward = torch.compile(model.backbone.forward)
    return with_coco_like_proposals(model)


def _torchvision(setting: Setting, image: Sequence[dict]) -> Callable[[], object]:
    """Its detector at the same size, with our proposals in the place of its own."""
    sides = setting.height, setting.width
    model = fasterrcnn_resnet50_fpn(
        weights=None,
        weights_backbone=None,
        min_size=min(sides),
        max_size=max(sides),
        rpn_post_nms_top_n_test=PROPOSALS,
    ).eval()
    model = model.to(setting.device)
    chosen = model.rpn.filter_proposals

    def filter_proposals(*arguments: object) -> tuple[list[Tensor], list[Tensor]]:
        _, scores = chosen(*arguments)
        boxes = drawn_proposals(sides, torch.device(setting.device)).proposal_boxes.tensor
        return [boxes], scores

    model.rpn.filter_proposals = filter_proposals
    pixels = [image[0]["image"].to(setting.device) / 255]

    def call() -> object:
        with torch.inference_mode():
            return model(pixels)

    return call
