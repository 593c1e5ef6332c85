# SPDX-License-Identifier: Apache-2.0
"""``dynamicdet check-data``: what is wrong with a data set, before any training."""

import argparse
import os
import sys

from dynamicdet_d2.data.check.run import check_dataset
from dynamicdet_d2.utils.errors import FAILED
from dynamicdet_d2.utils.numbers import as_whole


def parser() -> argparse.ArgumentParser:
    """The data set, and what it is for."""
    options = argparse.ArgumentParser(description="Say what is wrong with a COCO data set.")
    options.add_argument("--json", required=True, help="annotations in COCO's instances format")
    options.add_argument("--images", required=True, help="folder that file names start at")
    options.add_argument(
        "--num-classes", type=int, help="MODEL.ROI_HEADS.NUM_CLASSES; 0: those of the JSON"
    )
    options.add_argument("--test", action="store_true", help="the data set is used for evaluation")
    options.add_argument("--masks", choices=("polygon", "bitmask"), help="INPUT.MASK_FORMAT")
    return options


def run(args: argparse.Namespace) -> int:
    """Print the findings; 1 where something is wrong, else 0.

    Raises:
        ValueError: a number of classes that there cannot be.
    """
    if args.num_classes is not None:
        as_whole(args.num_classes, "--num-classes", least=0)
    report = check_dataset(
        os.path.basename(args.json),
        args.json,
        args.images,
        args.num_classes or None,
        training=not args.test,
        testing=args.test,
        mask_format=args.masks,
    )
    sys.stdout.write(report.text())
    return FAILED if report.errors else 0
