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
from benchmarks.speed.setting import DYNAMIC, STATIC, Setting, build_pair, optimized, stock_copy
from benchmarks.speed.training import training_batch, training_step

CHECKPOINTING = ("MODEL.BACKBONE.GRADIENT_CHECKPOINTING", True)
STEPS = 3


def _inference(setting: Setting, name: str) -> Callable[[], object]:
    stock, dynamic = build_pair(setting)
    image = setting.images(1)
    if name == "inference, stock":
        model = stock_copy(stock)
    elif name == "inference, static optimised":
        model = optimized(stock)
    else:
        precision = reduced_precision(setting) if "reduced" in name else "float32"
        model = optimized(dynamic, precision)
        model.threshold = 0.0

    def call() -> None:
        with torch.no_grad():
            model(image)

    return call


def _training(setting: Setting, name: str) -> Callable[[], object]:
    batch = training_batch(setting, 2)
    file = STATIC if "plain" in name else DYNAMIC
    return training_step(setting, file, batch, *(CHECKPOINTING if "checkpointing" in name else ()))


CASES = {
    "inference, stock": _inference,
    "inference, static optimised": _inference,
    "inference, hard route optimised": _inference,
    "inference, hard route optimised, reduced precision": _inference,
    "training, plain step of 2 images": _training,
    "training, joint step of 2 images": _training,
    "training, joint step of 2 images, gradient checkpointing": _training,
}


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
    call = CASES[name](setting, name)
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
