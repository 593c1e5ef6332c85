# SPDX-License-Identifier: Apache-2.0
"""``dynamicdet package``: a model as one folder that works anywhere."""

import argparse
import logging
import sys
from pathlib import Path

from detectron2.utils.logger import setup_logger

from dynamicdet_d2.config import read_with_weights
from dynamicdet_d2.config.unread_by_commands import refuse_of_reports
from dynamicdet_d2.model_folder import write_model
from dynamicdet_d2.prediction.aim import Aim
from dynamicdet_d2.prediction.class_names import check_class_names, say_other_places
from dynamicdet_d2.utils.files import read_json


def parser() -> argparse.ArgumentParser:
    """The model, its operating point and its classes' names."""
    options = argparse.ArgumentParser(
        description="Write a model folder: weights, config, calibration, class names, and a "
        "manifest with their hashes. dynamicdet_d2.load(FOLDER) and 'dynamicdet predict --model "
        "FOLDER' read it, anywhere."
    )
    add = options.add_argument
    add("--config-file", required=True, metavar="FILE")
    add("--weights", metavar="FILE", help="default: MODEL.WEIGHTS of the config")
    add("--output", required=True, type=Path, metavar="FOLDER", help="a new or empty one")
    add(
        "--calibration",
        metavar="FILE",
        help="that 'dynamicdet calibrate' wrote; default: MODEL.DYNAMIC.CALIBRATION",
    )
    point = options.add_mutually_exclusive_group()
    point.add_argument("--threshold", type=float, metavar="X", help="hard above it, in [0, 1]")
    point.add_argument("--hard-fraction", type=float, metavar="K", help="by the calibration")
    add(
        "--class-names",
        metavar="FILE",
        help="a JSON list, in the model's order; default: of the first data set of DATASETS.TEST, "
        "or where that is not here, as the weights record them",
    )
    add("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE")
    return options


def run(args: argparse.Namespace) -> None:
    """Write the folder, load it once, and say what is in it."""
    setup_logger().setLevel(logging.WARNING)
    setup_logger(name="dynamicdet_d2").setLevel(logging.INFO)
    refuse_of_reports(args.opts)
    cfg = read_with_weights(args.config_file, args.weights, args.opts)
    Aim(args.threshold, args.hard_fraction).apply(cfg, args.calibration, args.opts)
    names = None
    if args.class_names:
        names = read_json(args.class_names, f"--class-names {args.class_names}")
        if not isinstance(names, list):
            raise ValueError(f"--class-names {args.class_names} must be a JSON list of names.")
        check_class_names(names, cfg, f"--class-names {args.class_names}")
        say_other_places(names, cfg, f"--class-names {args.class_names}")
    predictor = write_model(cfg, args.output, names)
    known = len(predictor.class_names)
    sys.stdout.write(f"{args.output}: {known} class names, loaded and complete.\n")
