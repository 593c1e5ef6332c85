# SPDX-License-Identifier: Apache-2.0
"""What a user would take instead: compiled stock, torchvision, onnxruntime and OpenVINO.

The same image, the same weights where the peer can have them (torchvision's detector is another
one of the same size, with weights of its own), and the same drawn proposals for all. Runtimes that
are not installed are left out; on a GPU those are torch's alone.
"""

import copy
import importlib.util
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from detectron2.config import CfgNode
from torch import Tensor, nn
from torchvision.models.detection import fasterrcnn_resnet50_fpn

from benchmarks.speed.inference import Call, one_by_one
from benchmarks.speed.setting import (
    DYNAMIC,
    PROPOSALS,
    STATIC,
    Setting,
    drawn_proposals,
    optimized,
    stock_copy,
    with_coco_like_proposals,
)
from benchmarks.speed.timing import Rounds, interleave
from dynamicdet_d2.export import export
from dynamicdet_d2.export.write import Request
from dynamicdet_d2.runner import Runner

SECTION = "peer"
RUNTIMES = {"onnx": "onnxruntime", "openvino": "openvino"}


def time_peers(stock: nn.Module, dynamic: nn.Module, setting: Setting, rounds: int) -> Rounds:
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
    with tempfile.TemporaryDirectory() as folder:
        if setting.device == "cpu":
            calls |= _exported(stock, dynamic, setting, Path(folder))
        return interleave("Peers", calls, rounds)


def _compiled(stock: nn.Module) -> nn.Module:
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


def _exported(
    stock: nn.Module, dynamic: nn.Module, setting: Setting, folder: Path
) -> dict[str, Call]:
    """Static detector and both routes in each runtime that is installed."""
    picture = np.zeros((setting.height, setting.width, 3), dtype=np.uint8)
    found: dict[str, Call] = {}
    for runtime, package in RUNTIMES.items():
        needed = (package, "onnx")
        if not all(importlib.util.find_spec(name) for name in needed):
            continue
        for name, model, file in (("static", stock, STATIC), ("routed", dynamic, DYNAMIC)):
            cfg = setting.config(file, "INPUT.MIN_SIZE_TEST", 0)
            runners = _runners(model, cfg, folder / f"{runtime} {name}", runtime)
            for route, runner in runners.items():
                found[f"{route}, {package}"] = (1, _run(runner, picture))
    return found


def _runners(model: nn.Module, cfg: CfgNode, folder: Path, runtime: str) -> Mapping[str, Runner]:
    export(model, cfg, folder, Request(runtime))
    threads = torch.get_num_threads()
    thresholds = {"easy": 1.0, "hard": 0.0} if "routed" in folder.name else {"static": None}
    return {
        route: with_drawn_proposals(Runner(folder, threshold=threshold, threads=threads))
        for route, threshold in thresholds.items()
    }


def with_drawn_proposals(runner: Runner) -> Runner:
    """As ``with_coco_like_proposals``, in place."""
    head = runner.head
    propose = head.proposals

    def proposals(outputs: dict, sizes: Sequence[tuple[int, int]]) -> list[np.ndarray]:
        propose(outputs, sizes)
        device = torch.device("cpu")
        return [drawn_proposals(size, device).proposal_boxes.tensor.numpy() for size in sizes]

    head.proposals = proposals
    return runner


def _run(runner: Runner, picture: np.ndarray) -> Callable[[], object]:
    return lambda: runner([picture])
