# SPDX-License-Identifier: Apache-2.0
"""``dynamicdet check-export``: an exported detector beside its model, on a data set."""

import argparse
import json
import logging
import os
import sys
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.utils.logger import setup_logger
from torch import nn

from dynamicdet_d2.commands.export import CHECK_IMAGES, at_least_one, model_of, registered
from dynamicdet_d2.config import read_with_weights
from dynamicdet_d2.config.unread_by_commands import refuse_unread
from dynamicdet_d2.data.check.run import warn_of_other_classes
from dynamicdet_d2.export import open_exported
from dynamicdet_d2.export.accuracy import Accuracy, ImageSet, exported_records, model_records
from dynamicdet_d2.export.comparison import FIELDS, Comparison
from dynamicdet_d2.export.kinds import checked_kind_of
from dynamicdet_d2.operating_point import differences, fingerprint
from dynamicdet_d2.runner import Runner
from dynamicdet_d2.runner.folder import Folder
from dynamicdet_d2.utils.errors import FAILED
from dynamicdet_d2.utils.files import names_a_file, refuse_links, refuse_pipes, write_json
from dynamicdet_d2.utils.own_files import refuse_others
from dynamicdet_d2.utils.words import shown

NAMES = "PyTorch", "exported"
MOST_AP = 100.0


def parser() -> argparse.ArgumentParser:
    """Folder, the model that it was made from, data set."""
    options = argparse.ArgumentParser(
        description="Measure AP, difficulties and hard fractions of an exported detector beside "
        "those of its model in PyTorch, on the same images."
    )
    options.add_argument("--folder", required=True, help="that dynamicdet export wrote")
    options.add_argument("--config-file", required=True, metavar="FILE")
    options.add_argument("--weights", metavar="FILE", help="default: MODEL.WEIGHTS of the config")
    options.add_argument(
        "--data", metavar="NAME", help="data set; default: the first of DATASETS.TEST"
    )
    options.add_argument("--images", type=int, metavar="N", help=f"of it; default: {CHECK_IMAGES}")
    options.add_argument(
        "--most-ap",
        type=float,
        default=0.05,
        metavar="AP",
        help="that may be lost at any point; more is said, and the exit status is 1; default: 0.05",
    )
    options.add_argument("--output", metavar="FILE.json", help="for the figures")
    options.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE")
    return options


def run(args: argparse.Namespace) -> int:
    """Print the comparison; 1 where more AP is lost than may be."""
    setup_logger().setLevel(logging.WARNING)
    setup_logger(name="dynamicdet_d2").setLevel(logging.INFO)
    if args.output is not None:
        _check_output(args.output)
    if not -MOST_AP <= args.most_ap <= MOST_AP:
        raise ValueError(
            f"--most-ap is {args.most_ap:g}; it must lie in [-{MOST_AP:g}, {MOST_AP:g}]."
        )
    folder = Folder.read(args.folder)
    cfg = read_with_weights(args.config_file, args.weights, args.opts)
    refuse_unread(args.opts, "both routes are measured, at the thresholds of the exported folder")
    cfg.MODEL.DEVICE = "cpu"
    name = args.data or next(iter(cfg.DATASETS.TEST), None)
    if name is None:
        raise ValueError("--data names no data set, and DATASETS.TEST neither.")
    registered(cfg, name)
    warn_of_other_classes(cfg.DATASETS.TRAIN, [name])
    images = ImageSet.read("--data", name, at_least_one("--images", args.images, CHECK_IMAGES))
    model = model_of(cfg)
    check_model(folder, model, cfg)
    opened = open_exported if folder.manifest["runtime"] == "torch" else Runner
    records = (
        model_records(model, cfg, images.images),
        exported_records(opened(folder.path), images.images, NAMES[1]),
    )
    first, second = (Accuracy(own, images.truth) for own in records)
    found = Comparison.of(NAMES, (first, second), images, folder.manifest)
    if args.output is not None:
        write_json(Path(args.output), found.as_json(), allow_nan=False)
    sys.stdout.write(found.table())
    for warning in found.warnings(args.most_ap):
        sys.stdout.write(f"{warning}\n")
    return 0 if found.largest_drop <= args.most_ap else FAILED


def _check_output(output: str) -> None:
    """
    Raises:
        ValueError: before the measurement and not after it, a place that cannot take the file.
    """
    path = Path(output)
    if not names_a_file(output) or path.is_dir() or not os.access(f"{path.parent}/.", os.W_OK):
        raise ValueError(
            f"--output {shown(output)} must be a file in a folder that is there and can be "
            "written to."
        )
    refuse_pipes(path, f"--output {output}")
    refuse_links(path, f"--output {output}")
    refuse_others(path, FIELDS, "dynamicdet check-export")


def check_model(folder: Folder, model: nn.Module, cfg: CfgNode) -> None:
    """
    Raises:
        ValueError: the folder was made from another model, or of other settings of its heads.
    """
    heads = json.loads(json.dumps(checked_kind_of(model).heads))  # as the manifest has them
    differing = differences(folder.manifest["fingerprint"], fingerprint(model, cfg))
    differing = differing or differences(folder.manifest["heads"], heads)
    if differing:
        raise ValueError(
            f"--folder {folder.path} was exported from other weights, or for another input or with "
            f"other heads, than --config-file and --weights say: it was made with {differing}."
        )
