# SPDX-License-Identifier: Apache-2.0
"""``dynamicdet calibrate``, which ``calibrate.py`` is as well."""

import argparse
import logging
import sys

from detectron2.utils.logger import setup_logger

from dynamicdet_d2.calibration import summary
from dynamicdet_d2.calibration.plan.choice import check_target
from dynamicdet_d2.calibration.plan.files import chosen_line, plan_files
from dynamicdet_d2.calibration.plan.run import plan_calibration
from dynamicdet_d2.calibration.run import calibrate, calibration_config
from dynamicdet_d2.calibration.targets import add_options, target_of
from dynamicdet_d2.engine.ending import lost_workers_in_a_sentence


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
        "--plan",
        action="store_true",
        help="choose among all of TEST.DYNAMIC.PLAN (easy proposals, input sizes, precisions) and "
        "thresholds, for --target-latency-ms, --target-gflops or --max-ap-drop; writes plan.json, "
        "plan.md and plan.png beside the output",
    )
    options.add_argument(
        "--latency",
        action="store_true",
        help="with --plan: measure milliseconds of every setting whatever the target is; "
        "--max-ap-drop then seeks the fastest point and not the one with the fewest GFLOPs",
    )
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
    if args.latency and not args.plan:
        raise ValueError("--latency goes with --plan.")
    if args.plan:
        check_target(target, args.latency)
    cfg = calibration_config(args.config_file, args.weights, args.opts)
    if not args.plan:
        with lost_workers_in_a_sentence(cfg):
            record = calibrate(cfg, args.output, target, args.num_images)
        sys.stdout.write(summary(record, args.output))
        return
    with lost_workers_in_a_sentence(cfg):
        record, plan = plan_calibration(
            cfg, args.output, target, args.num_images, latency=args.latency
        )
    sys.stdout.write(summary(record, args.output))
    sys.stdout.write(f"plan: {chosen_line(plan)}\n{plan_files(args.output)[1]}\n")
