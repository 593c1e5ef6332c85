# SPDX-License-Identifier: Apache-2.0
"""Peak memory of inference and training, each in a process of its own.

On the CPU it is the resident memory of the whole process; on a GPU what torch's tensors took.
"""

import json
import subprocess
import sys
from collections.abc import Callable

import torch

from benchmarks.speed.inference import reduced_precision
from benchmarks.speed.setting import (
    DYNAMIC,
    STATIC,
    Detector,
    Setting,
    build_pair,
    optimized,
    stock_copy,
)
from benchmarks.speed.training import training_batch, training_step
from dynamicdet_d2.modeling import DynamicDetector

STEPS = 3


def _inference(model: Detector, setting: Setting) -> Callable[[], object]:
    """On one image; a dynamic detector on the hard route."""
    image = setting.images(1)
    if isinstance(model, DynamicDetector):
        model.threshold = 0.0

    def call() -> None:
        with torch.no_grad():
            model(image)

    return call


def _training(setting: Setting, file: str, *overrides: object) -> Callable[[], object]:
    return training_step(setting, file, training_batch(setting, 2), *overrides)


CASES: dict[str, Callable[[Setting], Callable[[], object]]] = {
    "inference, stock": lambda s: _inference(stock_copy(build_pair(s)[0]), s),
    "inference, static optimised": lambda s: _inference(optimized(build_pair(s)[0]), s),
    "inference, hard route optimised": lambda s: _inference(optimized(build_pair(s)[1]), s),
    "inference, hard route optimised, reduced precision": lambda s: _inference(
        optimized(build_pair(s)[1], reduced_precision(s)), s
    ),
    "training, plain step of 2 images": lambda s: _training(s, STATIC),
    "training, joint step of 2 images": lambda s: _training(s, DYNAMIC),
    "training, joint step of 2 images, gradient checkpointing": lambda s: _training(
        s, DYNAMIC, "MODEL.BACKBONE.GRADIENT_CHECKPOINTING", True
    ),
}
"""Name -> what builds the call to measure."""


def peak_memory(setting: Setting) -> dict[str, float]:
    """MB by case."""
    peaks = {}
    for name in CASES:
        arguments = [name, setting.device, str(setting.height), str(setting.width)]
        command = [sys.executable, "-m", "benchmarks.speed.memory", *arguments]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        peaks[name] = json.loads(output.splitlines()[-1])
    return peaks


def main() -> None:
    """One case, as named on the command line; prints MB."""
    name, device, height, width = sys.argv[1:]
    setting = Setting(device, int(height), int(width))
    call = CASES[name](setting)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    for _ in range(STEPS):
        call()
    print(
        json.dumps(round(torch.cuda.max_memory_allocated() / 1e6 if device == "cuda" else _peak()))
    )


def _peak() -> float:
    """MB. Not from ``getrusage``, where a process begins with its parent's peak."""
    with open("/proc/self/status", encoding="utf-8") as file:
        (line,) = (line for line in file if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024 / 1e6


if __name__ == "__main__":
    main()
