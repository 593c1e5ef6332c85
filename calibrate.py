#!/usr/bin/env python
# SPDX-License-Identifier: Apache-2.0
"""Calibrate a dynamic detector: thresholds for hard fractions, and for a target on this machine.

    python calibrate.py --config-file F --weights W --output calibration.json \\
        [--hard-fraction K | --target-latency-ms MS | --target-gflops G | --max-ap-drop AP] \\
        [KEY VALUE ...]
"""

import argparse
import logging
import sys
from collections.abc import Sequence

from detectron2.utils.logger import setup_logger

from dynamicdet_d2.calibration import summary
from dynamicdet_d2.calibration.run import calibrate, calibration_config
from dynamicdet_d2.calibration.targets import Target
from dynamicdet_d2.engine.launch import one_sentence

# Option -> (kind of the target, help).
OPTIONS = {
    "--hard-fraction": ("hard_fraction", "share of images on the hard route, in [0, 1]"),
    "--target-latency-ms": ("latency_ms", "mean milliseconds an image on this machine"),
    "--target-gflops": ("gflops", "mean 10^9 multiply-adds an image"),
    "--max-ap-drop": ("ap_drop", "points of box AP that may be lost against all images hard"),
}


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
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


def target_of(args: argparse.Namespace) -> Target | None:
    """The one target that was given, if any."""
    for option, (kind, _) in OPTIONS.items():
        value = getattr(args, option[2:].replace("-", "_"))
        if value is not None:
            return Target(kind, value)
    return None


def main(argv: Sequence[str] | None = None) -> None:
    args = parser().parse_args(argv)
    # Its default is DEBUG, on the screen too.
    setup_logger().setLevel(logging.INFO)
    setup_logger(name="dynamicdet_d2").setLevel(logging.INFO)
    with one_sentence("calibrate.py"):
        target = target_of(args)
        cfg = calibration_config(args.config_file, args.weights, args.opts)
        record = calibrate(cfg, args.output, target, args.num_images)
        sys.stdout.write(summary(record, args.output))


if __name__ == "__main__":
    main()
