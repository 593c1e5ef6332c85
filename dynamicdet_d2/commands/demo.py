# SPDX-License-Identifier: Apache-2.0
"""``dynamicdet demo``: the whole chain on drawn images, by the commands that a user would type.

Train (a short joint training, the loss offset, the router), calibrate, evaluate at the calibrated
threshold, and predict; at the end the verdict, the table, and where plot, report and predictions
are.
"""

import argparse
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
    """Where to write, and config overrides."""
    options = argparse.ArgumentParser(
        description="Train, calibrate, evaluate and predict on drawn images, in minutes."
    )
    options.add_argument("--output", type=Path, default=OUTPUT, metavar="FOLDER")
    options.add_argument("opts", nargs="*", metavar="KEY VALUE", help="config overrides")
    return options


def run(args: argparse.Namespace) -> None:
    """The chain, from the root of the repository.

    Raises:
        ValueError: as ``check_call``.
        SystemExit: with the status of the step that failed.
    """
    check_call(CONFIG, args.opts)
    start = time.monotonic()
    for title, command in steps(args.output, args.opts):
        step(title, command)
    say_results(args.output, time.monotonic() - start)


def check_call(config: str, overrides: Sequence[str]) -> None:
    """Refuse any folder but the root of the repository, which has the config of a demo.

    Raises:
        ValueError: elsewhere, or the overrides cannot be read, or have ``OUTPUT_DIR``: each step
            looks for the files of the one before in the same folder; or they have the threshold.
    """
    if not Path(config).is_file():
        raise ValueError(f"{config} is not here: run the demo from the root of the repository.")
    if overrides:
        from dynamicdet_d2.config import read_config  # Detectron2's, for which steps wait anyway

        read_config(config, overrides)  # before images are drawn
    if "OUTPUT_DIR" in overrides[::2]:
        raise ValueError("OUTPUT_DIR is not an override here: name the folder with --output.")
    if "MODEL.DYNAMIC.THRESHOLD" in overrides[::2]:  # the last steps would refuse it
        raise ValueError("MODEL.DYNAMIC.THRESHOLD is not an override here: the demo calibrates it.")


def steps(
    output: Path,
    overrides: Sequence[str],
    *,
    config: str = CONFIG,
    validation: str = "shapes_val",
    images: Sequence[str] | None = None,
) -> list[tuple[str, list[str]]]:
    """What is run, each with a line that says what it is for.

    Args:
        overrides: config keys and values.
        config: whose ``DATASETS.TEST`` is evaluated on.
        validation: the data set that is calibrated on.
        images: to predict; None: some of the drawn test images.
    """
    weights = str(output / "model_final.pth")
    calibration = str(output / "calibration.json")
    keys = ["OUTPUT_DIR", str(output), *overrides]
    options = ["--config-file", config]
    other_images = ["DATASETS.TEST", f"('{validation}',)"]
    shown = some_images() if images is None else images
    trained = _of_every_step(overrides)
    half = ["MODEL.DYNAMIC.CALIBRATION", calibration, "MODEL.DYNAMIC.HARD_FRACTION", "0.5"]
    # What a step takes from the one before comes last: it holds, whatever the overrides say.
    return [
        (
            "Train: short joint training, loss offset, router; evaluate at every operating point",
            ["train_net.py", *options, *keys],
        ),
        (
            "Calibrate: thresholds and both routes' latency on this machine",
            ["calibrate.py", *options, "--weights", weights, "--output", calibration]
            + ["--hard-fraction", "0.5", *trained, *other_images],
        ),
        (
            "Evaluate on other images, at the threshold that was calibrated for half hard",
            ["train_net.py", *options, "--eval-only", *keys, "MODEL.WEIGHTS", weights, *half],
        ),
        (
            "Predict a few of them",
            ["-m", "dynamicdet_d2", "predict", *options, "--weights", weights]
            + ["--input", *shown, "--output", str(output / "predictions")]
            + ["--opts", *trained, *half],
        ),
    ]


def _of_every_step(overrides: Sequence[str]) -> list[str]:
    """Without the weights that training starts from, and without what a report alone has."""
    if not overrides:
        return []
    from dynamicdet_d2.config.unread_by_commands import EVALUATION_KEYS  # as in check_call

    others = ("MODEL.WEIGHTS", *EVALUATION_KEYS)
    pairs = zip(overrides[::2], overrides[1::2], strict=True)
    return [word for pair in pairs if pair[0] not in others for word in pair]


def some_images() -> list[str]:
    """The first of the drawn test images, which exist from the first step on."""
    from dynamicdet_d2.data.shapes.dataset import shapes_folder  # as in check_call

    root = shapes_folder() / "shapes_test" / "images"
    return [str(root / f"{number:06d}.jpg") for number in range(PREDICTED)]


def step(title: str, command: Sequence[str]) -> None:
    """Run one command of the chain, shown as a user would type it."""
    say(f"\n=== {title}\n$ python {' '.join(command)}\n")
    start = time.monotonic()
    status = subprocess.run([sys.executable, *command]).returncode
    if status:
        sys.exit(status)
    say(f"=== done in {time.monotonic() - start:.0f} s\n")


def say_results(output: Path, seconds: float) -> None:
    """Verdict and first table of an evaluation, and where the rest is."""
    report = output / "inference" / "dynamic"
    # Up to the first table; the others are in the file.
    say("\n" + (report / "tradeoff.md").read_text(encoding="utf-8").partition("\n## ")[0])
    results = {
        "Plot": report / "tradeoff.png",
        "Report": report / "report.html",
        "Predictions": output / "predictions",
    }
    for what, path in results.items():
        say(f"\n{what}: {path}")
    say(f"\nThe demo took {seconds / 60:.1f} minutes.\n")


def say(text: str) -> None:
    """Write to the terminal, at once."""
    sys.stdout.write(text)
    sys.stdout.flush()
