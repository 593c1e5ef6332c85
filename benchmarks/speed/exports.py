# SPDX-License-Identifier: Apache-2.0
"""Exported detectors in onnxruntime and OpenVINO, in float32 and int8, beside ours and stock.

The same weights, image and drawn proposals for all; scales of int8 come from the same noise, which
makes no difference to time. Runtimes that are not installed are left out, and on a GPU all of
them. Also the easy route with fewer proposals.
"""

import importlib.util
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks.speed.inference import Call, one_by_one, reduced_precision
from benchmarks.speed.setting import (
    DYNAMIC,
    STATIC,
    Detector,
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
from dynamicdet_d2.runner.detections import Proposals

SECTION = "export"
RUNTIMES = {"onnx": "onnxruntime", "openvino": "openvino"}
FEWER = 300
THRESHOLDS = {"easy": 1.0, "hard": 0.0}


def time_exports(stock: Detector, dynamic: Detector, setting: Setting, rounds: int) -> Rounds:
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
    stock: Detector, dynamic: Detector, setting: Setting, folder: Path
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
        static, own, int8 = (folder / f"{name}{runtime}" for name in ("static-", "", "int8-"))
        export(stock, configs["static"], static, Request(runtime))
        export(dynamic, configs["routed"], own, Request(runtime))
        int8.mkdir()
        # The first runtime is onnx, whose pieces are quantised for the others too.
        quantised_folder(folder / "onnx", int8, runtime, Quantisation(lambda: [picture]))
        calls[f"static, {package} float32"] = _Drawn(static, picture).call(None)
        before, after = _Drawn(own, picture), _Drawn(int8, picture)
        for route, threshold in THRESHOLDS.items():
            calls[f"{route}, {package} float32"] = before.call(threshold)
            calls[f"{route}, {package} int8"] = after.call(threshold)
        calls[f"easy, {package} int8, {FEWER} proposals"] = after.call(1.0, FEWER)
    return calls


class _Drawn:
    """An exported detector whose RPN does all of its work and gives drawn proposals."""

    def __init__(self, folder: Path, picture: np.ndarray) -> None:
        """``picture``: that every call is on."""
        self._detector = Runner(folder, threads=torch.get_num_threads())
        self._picture = picture
        self._kept: int | None = None
        head = self._detector.head
        self._propose = head.proposals
        head.proposals = self._proposals

    def call(self, threshold: float | None, kept: int | None = None) -> Call:
        """One image, with so many of the drawn proposals; None: with all."""

        def call() -> None:
            self._kept = kept
            if threshold is not None:
                self._detector.threshold = threshold
            self._detector([self._picture])

        return 1, call

    def _proposals(self, outputs: dict, sizes: Sequence[tuple[int, int]]) -> list[Proposals]:
        self._propose(outputs, sizes)
        drawn = [drawn_proposals(size, torch.device("cpu"))[: self._kept] for size in sizes]
        return [
            Proposals(own.proposal_boxes.tensor.numpy(), own.objectness_logits.numpy())
            for own in drawn
        ]
