# SPDX-License-Identifier: Apache-2.0
"""``dynamicdet calibrate``, which ``calibrate.py`` is as well."""

import argparse
import logging
import sys

from detectron2.utils.logger import setup_logger

from dynamicdet_d2.calibration import summary
from dynamicdet_d2.calibration.run import calibrate, calibration_config
from dynamicdet_d2.calibration.targets import add_options, target_of


def parser() -> argparse.ArgumentParser:
    """Config, weights, output, and one target at most."""
    options = argparse.ArgumentParser(
        description="Thresholds for a table of hard fractions, and for one target."
    )
    options.add_argument("--config-file", required=True, metavar="FILE")
    options.add_argument("--weights", required=True, metavar="FILE")
    options.add_argument("--output", default="calibration.json", metavar="FILE")
    add_options(options)
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
