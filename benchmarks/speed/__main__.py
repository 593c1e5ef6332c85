# SPDX-License-Identifier: Apache-2.0
"""Speed beside stock Detectron2 with the same weights, in one run, on the CPU or on a GPU.

    python -m benchmarks.speed [--device cuda] [--rounds 9] [--output FILE.json]

Writes FILE.json and FILE.md. Needs no network and no data: images are noise, proposals are drawn
as they are on COCO, and AP is taken on the drawn set with the shipped weights.
"""

import argparse
import json
import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from benchmarks.speed import (
    accuracy,
    exports,
    inference,
    memory,
    peers,
    report,
    training,
    yolo,
)
from benchmarks.speed.setting import Detector, Setting, build_pair
from benchmarks.speed.timing import Rounds
from dynamicdet_d2.utils.memory import keep_memory

SIZES = {"cpu": (512, 672), "cuda": (800, 1344)}


@dataclass
class Run:
    """What is measured with, and what was found so far."""

    setting: Setting
    rounds: int
    stock: Detector
    dynamic: Detector
    timed: dict[str, Rounds] = field(default_factory=dict)
    goals: list[report.Goal] = field(default_factory=list)
    peaks: dict[str, float] = field(default_factory=dict)
    precision: dict[str, dict[str, float]] = field(default_factory=dict)
    convolution_rate: float = 0.0

    @property
    def models(self) -> tuple[Detector, Detector, Setting, int]:
        """What most measurements take."""
        return self.stock, self.dynamic, self.setting, self.rounds

    def content(self) -> dict[str, Any]:
        """Of the JSON file."""
        return {
            "machine": report.machine(self.setting),
            "convolution_rate": round(self.convolution_rate, 1),
            "rounds": self.rounds,
            "goals": report.goals_as_json(self.goals),
            "milliseconds": report.times(self.timed),
            "peak_memory_mb": self.peaks,
            "average_precision": self.precision,
        }


def _detectors(run: Run) -> None:
    run.timed["detector"] = inference.time_detectors(*run.models)
    run.goals += report.detector_goals(run.timed["detector"], run.setting)


def _heads(run: Run) -> None:
    run.timed["head"] = inference.time_heads(run.stock, run.setting, run.rounds)


def _loads(run: Run) -> None:
    run.timed["load"] = inference.time_loads(*run.models)
    run.goals += report.load_goals(run.timed["load"], run.setting)


def _batches(run: Run) -> None:
    run.timed["batch"] = inference.time_batches(run.dynamic, run.setting, run.rounds)
    run.goals += report.batch_goals(run.timed["batch"], run.setting)


def _rate(run: Run) -> None:
    run.timed["rate"], work = inference.time_rate(run.stock, run.setting, run.rounds)
    run.goals += report.rate_goals(run.timed["rate"], work, run.setting)


def _yolo(run: Run) -> None:
    run.timed[yolo.SECTION], work = yolo.time_yolos(run.setting, run.rounds)
    run.goals += report.yolo_goals(run.timed[yolo.SECTION], work)


def _peers(run: Run) -> None:
    run.timed[peers.SECTION] = peers.time_peers(*run.models)


def _exports(run: Run) -> None:
    run.timed[exports.SECTION] = exports.time_exports(*run.models)
    run.goals += report.export_goals(run.timed[exports.SECTION])


def _assignment(run: Run) -> None:
    run.timed[yolo.TRAINING] = yolo.time_assignment(run.setting, run.rounds)


def _training(run: Run) -> None:
    run.timed["training step"], work = training.time_steps(run.setting, run.rounds)
    run.goals += report.training_goals(run.timed["training step"], work)


def _router(run: Run) -> None:
    timed = training.time_router_phase(run.dynamic, run.setting, run.rounds)
    run.timed["router phase"] = timed


def _memory(run: Run) -> None:
    run.peaks = memory.peak_memory(run.setting)


def _accuracy(run: Run) -> None:
    precisions = ["float32", inference.reduced_precision(run.setting)]
    run.precision = accuracy.average_precision(run.setting.device, precisions)
    run.goals += report.accuracy_goals(run.precision)


SECTIONS: dict[str, Callable[[Run], None]] = {
    "detectors": _detectors,
    "heads": _heads,
    "loads": _loads,
    "batches": _batches,
    "rate": _rate,
    "yolo": _yolo,
    "peers": _peers,
    "exports": _exports,
    "assignment": _assignment,
    "training": _training,
    "router": _router,
    "memory": _memory,
    "accuracy": _accuracy,
}


def main() -> None:
    """Run the sections that were asked for, one after the other, and report."""
    parser = _parser()
    args = parser.parse_args()
    if args.rounds < 1:
        parser.error(f"--rounds is {args.rounds}; it must be at least 1")
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("dynamicdet_d2.utils.progress").setLevel(logging.INFO)
    keep_memory()  # for stock and ours alike
    setting = Setting(args.device, *(args.size or SIZES[args.device]))
    run = Run(setting, args.rounds, *build_pair(setting))
    run.convolution_rate = inference.convolution_rate(setting, args.rounds)
    for name in args.sections:
        SECTIONS[name](run)
    content = run.content()
    text = report.markdown(content, run.goals)
    sys.stdout.write(text)
    if args.output:
        args.output.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        args.output.with_suffix(".md").write_text(text, encoding="utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.speed", description=__doc__.splitlines()[0]
    )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--device", choices=SIZES, default=device)
    parser.add_argument("--size", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"), help="in pixels")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--output", type=Path, metavar="FILE.json")
    return parser


if __name__ == "__main__":
    main()
