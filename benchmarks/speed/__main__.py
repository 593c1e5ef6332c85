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
from pathlib import Path
from typing import Any

import torch

from benchmarks.speed import accuracy, inference, memory, report, training
from benchmarks.speed.setting import Setting, build_pair
from dynamicdet_d2.memory import keep_memory

SIZES = {"cpu": (512, 672), "cuda": (800, 1344)}
SECTIONS = ("detectors", "loads", "batches", "rate", "training", "router", "memory", "accuracy")


def main() -> None:
    args = _parser().parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("dynamicdet_d2.progress").setLevel(logging.INFO)
    keep_memory()  # for stock and ours alike
    setting = Setting(args.device, *(args.size or SIZES[args.device]))
    content, goals = run(setting, args.rounds, args.sections)
    text = report.markdown(content, goals)
    sys.stdout.write(text)
    if args.output:
        args.output.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        args.output.with_suffix(".md").write_text(text, encoding="utf-8")


def run(
    setting: Setting, rounds: int, sections: list[str]
) -> tuple[dict[str, Any], list[report.Goal]]:
    """Measure the sections, one after the other.

    Returns:
        what goes into the JSON file, and the goals in order.
    """
    stock, dynamic = build_pair(setting)
    timed, goals, peaks, precision = {}, [], {}, {}
    if "detectors" in sections:
        timed["detector"] = inference.time_detectors(stock, dynamic, setting, rounds)
        goals += report.detector_goals(timed["detector"], setting)
    if "loads" in sections:
        timed["load"] = inference.time_loads(stock, dynamic, setting, rounds)
        goals += report.load_goals(timed["load"], setting)
    if "batches" in sections:
        timed["batch"] = inference.time_batches(dynamic, setting, rounds)
        goals += report.batch_goals(timed["batch"], setting)
    if "rate" in sections:
        timed["rate"], work = inference.time_rate(stock, setting, rounds)
        goals += report.rate_goals(timed["rate"], work, setting)
    if "training" in sections:
        timed["training step"], work = training.time_steps(setting, rounds)
        goals += report.training_goals(timed["training step"], work)
    if "router" in sections:
        timed["router phase"] = training.time_router_phase(dynamic, setting, rounds)
    if "memory" in sections:
        peaks = memory.peak_memory(setting)
    if "accuracy" in sections:
        precisions = ["float32", inference.reduced_precision(setting)]
        precision = accuracy.average_precision(setting.device, precisions)
        goals += report.accuracy_goals(precision)
    content = {
        "machine": report.machine(setting),
        "rounds": rounds,
        "goals": report.goals_as_json(goals),
        "milliseconds": report.times(timed),
        "peak_memory_mb": peaks,
        "average_precision": precision,
    }
    return content, goals


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
