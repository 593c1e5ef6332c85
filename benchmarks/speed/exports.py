# SPDX-License-Identifier: Apache-2.0
"""Exported detectors in onnxruntime and OpenVINO, in float32 and int8, beside ours and stock.

The same weights, image and drawn proposals for all; scales of int8 come from the same noise, which
makes no difference to time. Runtimes that are not installed are left out, and on a GPU all of
them. Also the easy route with fewer proposals.
"""

import importlib.util
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from benchmarks.speed.inference import Call, one_by_one, reduced_precision
from benchmarks.speed.setting import (
    DYNAMIC,
    STATIC,
    Setting,
    drawn_proposals,
    optimized,
    stock_copy,
)
from benchmarks.speed.timing import Rounds, interleave
from dynamicdet_d2.export import export
from dynamicdet_d2.export.int8 import Quantisation, quantised_folder
from dynamicdet_d2.export.write import Request
from dynamicdet_d2.operating_point import OperatingPoint
from dynamicdet_d2.runner import Runner

SECTION = "export"
RUNTIMES = {"onnx": "onnxruntime", "openvino": "openvino"}
FEWER = 300
THRESHOLDS = {"easy": 1.0, "hard": 0.0}


def time_exports(stock: nn.Module, dynamic: nn.Module, setting: Setting, rounds: int) -> Rounds:
    """Whole detectors, in turns."""
    image = setting.images(1)
    calls = {
        "stock": one_by_one(stock_copy(stock), image, None),
        "static float32": one_by_one(optimized(stock), image, None),
    }
    routed = optimized(dynamic)
    calls |= {f"{route} float32": one_by_one(routed, image, t) for route, t in THRESHOLDS.items()}
    for precision in ("float32", reduced_precision(setting)):
        fewer = optimized(dynamic, precision)
        fewer.operating_point = OperatingPoint(threshold=1.0, easy_proposals=FEWER)
        calls[f"easy {precision}, {FEWER} proposals"] = one_by_one(fewer, image, 1.0)
    with tempfile.TemporaryDirectory() as folder:
        if setting.device == "cpu":
            calls |= _exported(stock, dynamic, setting, Path(folder))
        return interleave("Exports", calls, rounds)


def _exported(
    stock: nn.Module, dynamic: nn.Module, setting: Setting, folder: Path
) -> dict[str, Call]:
    """Static detector and both routes in each runtime that is installed."""
    tensor = setting.images(1)[0]["image"]
    picture = tensor.byte().permute(1, 2, 0).numpy()
    configs = {
        name: setting.config(file, "INPUT.MIN_SIZE_TEST", 0)
        for name, file in (("static", STATIC), ("routed", DYNAMIC))
    }
    calls: dict[str, Call] = {}
    for runtime, package in RUNTIMES.items():
        if not all(importlib.util.find_spec(name) for name in (package, "onnx", "onnxruntime")):
            continue
        own = folder / f"static-{runtime}"
        export(stock, configs["static"], own, Request(runtime))
        calls[f"static, {package} float32"] = _call(own, picture, None)
        own = folder / runtime
        export(dynamic, configs["routed"], own, Request(runtime))
        int8 = folder / f"{runtime}-int8"
        int8.mkdir()
        # The first one is for onnx, which scales are taken from.
        quantised_folder(folder / "onnx", int8, runtime, Quantisation(lambda: [picture]))
        for route, threshold in THRESHOLDS.items():
            calls[f"{route}, {package} float32"] = _call(own, picture, threshold)
            calls[f"{route}, {package} int8"] = _call(int8, picture, threshold)
        calls[f"easy, {package} int8, {FEWER} proposals"] = _call(int8, picture, 1.0, FEWER)
    return calls


def _call(
    folder: Path, picture: np.ndarray, threshold: float | None, proposals: int | None = None
) -> Call:
    """A runner of its own on the picture, with so many drawn proposals; None: with all."""
    detector = Runner(folder, threshold=threshold, threads=torch.get_num_threads())
    head = detector.head
    propose: Callable = head.proposals

    def drawn(outputs: dict, sizes: Sequence[tuple[int, int]]) -> list[np.ndarray]:
        propose(outputs, sizes)  # the RPN does all of its work
        device = torch.device("cpu")
        boxes = [drawn_proposals(size, device).proposal_boxes.tensor for size in sizes]
        return [own[:proposals].numpy() for own in boxes]

    head.proposals = drawn
    return 1, lambda: detector([picture])
