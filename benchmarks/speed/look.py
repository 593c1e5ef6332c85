# SPDX-License-Identifier: Apache-2.0
"""What it costs to look whether a model has changed since its optimised copy was made.

    python -m benchmarks.speed.look [--output FILE.json]

On one core of a CPU, with random weights; the models are looked at in turns.
"""

import argparse
import json
import time
from pathlib import Path

import torch
from detectron2.modeling import build_model
from torch import nn

from dynamicdet_d2.acceleration import InferenceOptions
from dynamicdet_d2.acceleration.optimized_copy import OptimizedCopy
from dynamicdet_d2.config import read_config
from dynamicdet_d2.utils.files import write_json
from dynamicdet_d2.utils.versions import versions

OUTPUT = Path(__file__).parents[1] / "results" / "look_cpu.json"
CONFIGS = ("quickstart", "dy_faster_rcnn_lite0_merged", "dy_faster_rcnn_R_50_FPN_1x")
SERIES, CALLS = 200, 30


def built(config: str) -> nn.Module:
    """The model of one of ``configs/``, in evaluation mode."""
    keys = ["MODEL.WEIGHTS", "", "MODEL.DEVICE", "cpu"]
    return build_model(read_config(f"configs/{config}.yaml", keys)).eval()


def milliseconds_of_a_look(model: nn.Module, copies: OptimizedCopy) -> float:
    """Mean of ``CALLS`` looks at a model that has not changed."""
    start = time.perf_counter()
    for _ in range(CALLS):
        copies.of(model)
    return 1000 * (time.perf_counter() - start) / CALLS


def measure() -> dict[str, float]:
    """Milliseconds of a look, the least of ``SERIES``; the first copy of each is not timed."""
    looked_at = {config: (built(config), OptimizedCopy(InferenceOptions())) for config in CONFIGS}
    for model, copies in looked_at.values():
        if copies.of(model) is model:
            raise RuntimeError("The model was not copied, so that there is no look to time.")
    series: dict[str, list[float]] = {config: [] for config in CONFIGS}
    for _ in range(SERIES):
        for config, (model, copies) in looked_at.items():
            series[config].append(milliseconds_of_a_look(model, copies))
    return {config: round(min(times), 3) for config, times in series.items()}


def main() -> None:
    """Measure, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=OUTPUT)
    args = parser.parse_args()
    torch.set_num_threads(1)
    with torch.no_grad():
        milliseconds = measure()
    found = {
        "command": "python -m benchmarks.speed.look",
        "versions": versions(),
        "series": SERIES,
        "calls": CALLS,
        "milliseconds": milliseconds,
    }
    write_json(args.output, found)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
