# SPDX-License-Identifier: Apache-2.0
"""YOLOv7 and Dy-YOLOv7 with the same weights: static, routes, mixed loads, a training step.

With random weights hardly any prediction is above the score threshold, so NMS costs next to
nothing: what is compared are the networks.
"""

import tempfile
from pathlib import Path

import torch
from detectron2.modeling import build_model
from torch import nn

from benchmarks.speed.inference import LOAD, SHARES, load_name, one_by_one, threshold_for
from benchmarks.speed.setting import Detector, Setting
from benchmarks.speed.timing import Rounds, interleave
from benchmarks.speed.training import training_batch, training_step
from dynamicdet_d2.acceleration import optimize_for_inference
from dynamicdet_d2.checkpoint import DynamicCheckpointer
from dynamicdet_d2.evaluation.cost import count_flops
from dynamicdet_d2.modeling.yolo.grid import flattened
from dynamicdet_d2.modeling.yolo.losses import LEAD_REACH, targets_of

STATIC, DYNAMIC = "configs/yolov7.yaml", "configs/dy_yolov7.yaml"
SECTION = "YOLOv7 load"
TRAINING = "YOLOv7 training"
BATCH = 4


def build_yolos(setting: Setting) -> tuple[Detector, Detector]:
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


def time_assignment(setting: Setting, rounds: int) -> Rounds:
    """A training step of YOLOv7, and alone what of it assigns predictions to objects.

    The assignment is that of the same weights and images: candidates, then SimOTA.
    """
    batch = training_batch(setting, BATCH)
    step = training_step(setting, STATIC, batch)
    torch.manual_seed(0)
    model = build_model(setting.config(STATIC)).eval()
    with torch.no_grad():
        images = model.preprocess_image(batch)
        logits = model.head(model.neck(model.backbone(images.tensor)))
    loss, targets = model.loss, targets_of([x["instances"].to(model.device) for x in batch])
    grid, lead = loss.grid(logits), flattened(logits)
    calls = {
        "step": (BATCH, step),
        "assignment": (BATCH, lambda: loss.match(lead, targets, grid, LEAD_REACH)),
    }
    return interleave(TRAINING, calls, rounds)
