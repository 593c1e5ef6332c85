# SPDX-License-Identifier: Apache-2.0
"""``dynamicdet calibrate``, which ``calibrate.py`` is as well."""

import argparse
import logging
import sys

from detectron2.utils.logger import setup_logger

from dynamicdet_d2.calibration import summary
from dynamicdet_d2.calibration.run import calibrate, calibration_config
from dynamicdet_d2.calibration.targets import Target

# Option -> (kind of the target, help).
OPTIONS = {
    "--hard-fraction": ("hard_fraction", "share of images on the hard route, in [0, 1]"),
    "--target-latency-ms": ("latency_ms", "mean milliseconds per image on this machine"),
    "--target-gflops": ("gflops", "mean 10^9 multiply-adds per image"),
    "--max-ap-drop": ("ap_drop", "points of box AP that may be lost against all images hard"),
}


def parser() -> argparse.ArgumentParser:
    """Config, weights, output, and one target at most."""
    options = argparse.ArgumentParser(
        description="Thresholds for a table of hard fractions, and for one target."
    )
    options.add_argument("--config-file", required=True, metavar="FILE")
    options.add_argument("--weights", required=True, metavar="FILE")
    options.add_argument("--output", default="calibration.json", metavar="FILE")
    targets = options.add_mutually_exclusive_group()
    for option, (_, help_) in OPTIONS.items():
        targets.add_argument(option, type=float, metavar="X", help=help_)
    options.add_argument(
        "--num-images", type=int, metavar="N", help="use N images of the data set, drawn at random"
    )
    options.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE")
    return options


def run(args: argparse.Namespace) -> None:
    """Write the calibration and its plot, and print it."""
    # Its default is DEBUG, on the screen too.
    setup_logger().setLevel(logging.INFO)
    setup_logger(name="dynamicdet_d2").setLevel(logging.INFO)
    target = target_of(args)
    cfg = calibration_config(args.config_file, args.weights, args.opts)
    record = calibrate(cfg, args.output, target, args.num_images)
    sys.stdout.write(summary(record, args.output))


def target_of(args: argparse.Namespace) -> Target | None:
    """The one target that was given, if any."""
    for option, (kind, _) in OPTIONS.items():
        value = getattr(args, option[2:].replace("-", "_"))
        if value is not None:
            return Target(kind, value)
    return None
