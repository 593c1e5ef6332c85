# SPDX-License-Identifier: Apache-2.0
"""YOLOv7 and Dy-YOLOv7 with the same weights: static, both routes, and mixed loads.

With random weights hardly any prediction is above the score threshold, so NMS costs next to
nothing: what is compared are the networks.
"""

import tempfile
from pathlib import Path

import torch
from detectron2.modeling import build_model
from torch import nn

from benchmarks.speed.inference import LOAD, SHARES, load_name, one_by_one, threshold_for
from benchmarks.speed.setting import Setting
from benchmarks.speed.timing import Rounds, interleave
from dynamicdet_d2.acceleration import optimize_for_inference
from dynamicdet_d2.checkpoint import DynamicCheckpointer
from dynamicdet_d2.evaluation.cost import count_flops

STATIC, DYNAMIC = "configs/yolov7.yaml", "configs/dy_yolov7.yaml"
SECTION = "YOLOv7 load"


def build_yolos(setting: Setting) -> tuple[nn.Module, nn.Module]:
    """The static detector with random weights, and the dynamic one with the same in both."""
    torch.manual_seed(0)
    static = build_model(setting.config(STATIC)).eval()
    dynamic = build_model(setting.config(DYNAMIC)).eval()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "static.pth"
        torch.save({"model": static.state_dict()}, path)
        DynamicCheckpointer(dynamic).load(str(path))
    # Difficulties that differ between images, so that a threshold can divide them.
    nn.init.normal_(dynamic.router.score.weight)
    return static, dynamic


def time_yolos(setting: Setting, rounds: int) -> tuple[Rounds, float]:
    """Ten images one by one: static, all easy, a tenth, half, nine tenths hard, all hard.

    Returns:
        times, and how many times the multiply-adds of the easy route the hard one has.
    """
    images = setting.images(LOAD)
    static, dynamic = (optimize_for_inference(model) for model in build_yolos(setting))
    calls = {"static": one_by_one(static, images, None)}
    for share in (0.0, *SHARES, 1.0):
        calls[load_name(share)] = one_by_one(dynamic, images, threshold_for(dynamic, images, share))
    work = count_flops(dynamic, setting.height, setting.width)
    return interleave(SECTION, calls, rounds), work["hard"] / work["easy"]
