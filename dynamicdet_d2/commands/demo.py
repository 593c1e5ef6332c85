# SPDX-License-Identifier: Apache-2.0
"""The whole chain on drawn images, by the commands that a user would type.

Train (a short joint training, the loss offset, the router), calibrate, and evaluate at the
calibrated threshold; at the end the verdict, the table, and where plot and report are.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

CONFIG = "configs/quickstart.yaml"
OUTPUT = Path("output/quickstart")


def commands(output: Path, overrides: list[str]) -> list[tuple[str, list[str]]]:
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
    ]


def run(title: str, command: list[str]) -> None:
    """Run one command of the chain, shown as a user would type it.

    Raises:
        SystemExit: with the command's own status, when it fails.
    """
    _say(f"\n=== {title}\n$ python {' '.join(command)}\n")
    start = time.monotonic()
    status = subprocess.run([sys.executable, *command]).returncode
    if status:
        sys.exit(status)
    _say(f"=== done in {time.monotonic() - start:.0f} s\n")


def main(arguments: list[str] | None = None) -> None:
    """``python -m dynamicdet_d2.commands.demo [KEY VALUE ...]``, from the repository's root."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("overrides", nargs="*", metavar="KEY VALUE", help="config overrides")
    overrides = parser.parse_args(arguments).overrides
    if not Path(CONFIG).is_file():
        parser.error(f"{CONFIG} is not here: run the demo from the root of the repository")
    start = time.monotonic()
    for title, command in commands(OUTPUT, overrides):
        run(title, command)
    report = OUTPUT / "inference" / "dynamic"
    # Up to the first table; the others are in the file.
    _say("\n" + (report / "tradeoff.md").read_text().partition("\n## ")[0])
    for what, name in (("Plot", "tradeoff.png"), ("Report", "report.html")):
        _say(f"\n{what}: {report / name}")
    _say(f"\nThe demo took {(time.monotonic() - start) / 60:.1f} minutes.\n")


def _say(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


if __name__ == "__main__":
    main()
