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
from dynamicdet_d2.calibration.targets import add_options, target_of
from dynamicdet_d2.engine.launch import one_sentence


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--config-file", required=True, metavar="FILE")
    options.add_argument("--weights", required=True, metavar="FILE")
    options.add_argument("--output", default="calibration.json", metavar="FILE")
    add_options(options)
    options.add_argument(
        "--num-images", type=int, metavar="N", help="use N images of the data set, drawn at random"
    )
    options.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE")
    return options


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
