# SPDX-License-Identifier: Apache-2.0
"""``dynamicdet export``: a detector as files that run without PyTorch."""

import argparse
import logging
import sys
from collections.abc import Sequence

from detectron2.config import CfgNode
from detectron2.modeling import build_model
from detectron2.utils.logger import setup_logger
from torch import nn

from dynamicdet_d2.checkpoint import load_complete
from dynamicdet_d2.config import Use, check, read_config
from dynamicdet_d2.export import FORMATS, export
from dynamicdet_d2.export.write import Request
from dynamicdet_d2.modeling.architecture import building
from dynamicdet_d2.prediction.class_names import class_names_of


def parser() -> argparse.ArgumentParser:
    """Config, weights, format, folder."""
    options = argparse.ArgumentParser(
        description="Write the static pieces of a detector and a manifest to a folder, which "
        "dynamicdet_d2.runner runs with numpy and onnxruntime or OpenVINO."
    )
    options.add_argument("--config-file", required=True, metavar="FILE")
    options.add_argument("--weights", metavar="FILE", help="default: MODEL.WEIGHTS of the config")
    options.add_argument("--format", required=True, choices=FORMATS)
    options.add_argument("--output", required=True, metavar="FOLDER", help="that is not there yet")
    options.add_argument(
        "--calibration", metavar="FILE", help="of calibrate.py, so that hard fractions can be set"
    )
    options.add_argument(
        "--sizes",
        metavar="HxW,HxW",
        help="padded sizes to export for, such as 512x672; default: pieces that take all sizes",
    )
    options.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE")
    return options


def run(args: argparse.Namespace) -> None:
    """Write the folder, and say how to run it."""
    setup_logger().setLevel(logging.WARNING)
    setup_logger(name="dynamicdet_d2").setLevel(logging.INFO)
    cfg = read_config(args.config_file, args.opts)
    cfg.MODEL.DEVICE = "cpu"
    model = _model(cfg, args.weights)
    request = Request(args.format, args.calibration, _sides(args.sizes), class_names_of(cfg))
    folder = export(model, cfg, args.output, request)
    opened = "dynamicdet_d2.runner.Runner"
    if args.format == "torch":
        opened = "dynamicdet_d2.export.open_exported"
    sys.stdout.write(f"{folder} is written and tried; {opened}({str(folder)!r}) runs it\n")


def _model(cfg: CfgNode, weights: str | None) -> nn.Module:
    """The detector with its weights.

    Raises:
        ValueError: there are none, or parts of the detector have none.
    """
    weights = cfg.MODEL.WEIGHTS if weights is None else weights
    if not weights:
        raise ValueError("There are no weights: name a file with --weights or MODEL.WEIGHTS.")
    check(cfg, Use.MODEL)
    with building():
        model = build_model(cfg).eval()
    load_complete(model, cfg, weights)
    return model


def _sides(text: str | None) -> Sequence[tuple[int, int]] | None:
    """ "512x672,672x512" as numbers.

    Raises:
        ValueError: written otherwise.
    """
    if text is None:
        return None
    try:
        height_and_width = [tuple(map(int, part.split("x"))) for part in text.split(",")]
        return [(height, width) for height, width in height_and_width]
    except ValueError:
        raise ValueError(
            f"--sizes {text} is not a list of heights and widths, such as 512x672,672x512."
        ) from None
