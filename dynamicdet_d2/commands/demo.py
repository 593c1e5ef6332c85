# SPDX-License-Identifier: Apache-2.0
"""``dynamicdet demo``: the whole chain on drawn images, by the commands that a user would type.

Train (a short joint training, the loss offset, the router), calibrate, evaluate at the calibrated
threshold, and predict; at the end the verdict, the table, and where plot, report and predictions
are.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

CONFIG = "configs/quickstart.yaml"
OUTPUT = Path("output/quickstart")
# Images that are predicted, of the data set that the demo evaluates on.
PREDICTED = 6


def parser() -> argparse.ArgumentParser:
    """Config overrides alone."""
    options = argparse.ArgumentParser(
        description="Train, calibrate, evaluate and predict on drawn images, in minutes."
    )
    options.add_argument("opts", nargs="*", metavar="KEY VALUE", help="config overrides")
    return options


def run(args: argparse.Namespace) -> None:
    """The chain, from the root of the repository.

    Raises:
        ValueError: elsewhere.
        SystemExit: with the status of the step that failed.
    """
    if not Path(CONFIG).is_file():
        raise ValueError(f"{CONFIG} is not here: run the demo from the root of the repository.")
    start = time.monotonic()
    for title, command in steps(OUTPUT, args.opts):
        _step(title, command)
    report = OUTPUT / "inference" / "dynamic"
    # Up to the first table; the others are in the file.
    _say("\n" + (report / "tradeoff.md").read_text().partition("\n## ")[0])
    results = {
        "Plot": report / "tradeoff.png",
        "Report": report / "report.html",
        "Predictions": OUTPUT / "predictions",
    }
    for what, path in results.items():
        _say(f"\n{what}: {path}")
    _say(f"\nThe demo took {(time.monotonic() - start) / 60:.1f} minutes.\n")


def steps(output: Path, overrides: Sequence[str]) -> list[tuple[str, list[str]]]:
    """What is run, each with a line that says what it is for."""
    weights = str(output / "model_final.pth")
    calibration = str(output / "calibration.json")
    keys = ["OUTPUT_DIR", str(output), *overrides]
    config = ["--config-file", CONFIG]
    validation = ["DATASETS.TEST", "('shapes_val',)"]
    half = ["MODEL.DYNAMIC.CALIBRATION", calibration, "MODEL.DYNAMIC.HARD_FRACTION", "0.5"]
    return [
        (
            "Train: short joint training, loss offset, router; evaluate at every operating point",
            ["train_net.py", *config, *keys],
        ),
        (
            "Calibrate: thresholds and both routes' latency on this machine",
            ["calibrate.py", *config, "--weights", weights, "--output", calibration]
            + ["--hard-fraction", "0.5", *keys, *validation],
        ),
        (
            "Evaluate on other images, at the threshold that was calibrated for half hard",
            ["train_net.py", *config, "--eval-only", "MODEL.WEIGHTS", weights, *half, *keys],
        ),
        (
            "Predict a few of them",
            ["-m", "dynamicdet_d2", "predict", *config, "--weights", weights]
            + ["--input", *some_images(), "--output", str(output / "predictions")]
            + ["--opts", *half, *keys],
        ),
    ]


def some_images() -> list[str]:
    """The first of the drawn test images, which exist from the first step on."""
    root = Path(os.getenv("DETECTRON2_DATASETS", "datasets")) / "shapes" / "shapes_test" / "images"
    return [str(root / f"{number:06d}.jpg") for number in range(PREDICTED)]


def _step(title: str, command: Sequence[str]) -> None:
    """Run one command of the chain, shown as a user would type it."""
    _say(f"\n=== {title}\n$ python {' '.join(command)}\n")
    start = time.monotonic()
    status = subprocess.run([sys.executable, *command]).returncode
    if status:
        sys.exit(status)
    _say(f"=== done in {time.monotonic() - start:.0f} s\n")


def _say(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
