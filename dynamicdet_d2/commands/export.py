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
from dynamicdet_d2.config import Use, check, read_with_weights
from dynamicdet_d2.config.unread_by_commands import refuse_of_reports
from dynamicdet_d2.data.check.run import warn_of_other_classes
from dynamicdet_d2.data.register import register_coco_json
from dynamicdet_d2.data.shapes.dataset import register_shapes
from dynamicdet_d2.export import FORMATS, export
from dynamicdet_d2.export.accuracy import ImageSet, pictures_of, some_images
from dynamicdet_d2.export.int8 import MOST_AP, Quantisation, export_int8
from dynamicdet_d2.export.write import Request
from dynamicdet_d2.modeling.architecture import building
from dynamicdet_d2.operating_point import Calibration
from dynamicdet_d2.prediction.class_names import class_names_of, say_nameless

logger = logging.getLogger(__name__)

CALIBRATION_IMAGES, CHECK_IMAGES = 100, 500


def parser() -> argparse.ArgumentParser:
    """Config, weights, format, precision, folder."""
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
    int8 = options.add_argument_group("int8")
    int8.add_argument("--precision", choices=("float32", "int8"), default="float32")
    int8.add_argument(
        "--calibration-data",
        metavar="NAME",
        help="data set whose images show how large values get, not that of --check-data; needs no "
        "annotations",
    )
    int8.add_argument(
        "--calibration-images", type=int, metavar="N", help=f"of it; default: {CALIBRATION_IMAGES}"
    )
    int8.add_argument(
        "--check-data",
        metavar="NAME",
        help="data set to measure on what AP int8 costs; default: the first of DATASETS.TEST",
    )
    int8.add_argument(
        "--check-images", type=int, metavar="N", help=f"of it; default: {CHECK_IMAGES}"
    )
    options.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE")
    return options


def run(args: argparse.Namespace) -> None:
    """Write the folder, and say how to run it."""
    setup_logger().setLevel(logging.WARNING)
    setup_logger(name="dynamicdet_d2").setLevel(logging.INFO)
    refuse_of_reports(args.opts)
    cfg = read_with_weights(args.config_file, args.weights, args.opts)
    cfg.MODEL.DEVICE = "cpu"
    how = _quantisation(args, cfg)
    calibration = _calibration(args, cfg)
    if args.format != "torch":
        _say_whose_milliseconds(calibration, cfg)
    model = model_of(cfg)
    class_names = class_names_of(cfg)
    request = Request(args.format, calibration, _sides(args.sizes), class_names)
    if how is None:
        export(model, cfg, args.output, request)
    else:
        found = export_int8(model, cfg, args.output, request, how)
        if found is not None:
            sys.stdout.write(found.table())
            for warning in found.warnings(MOST_AP):
                logger.warning(warning)
    say_nameless(class_names, cfg.DATASETS.TEST)
    opened = "dynamicdet_d2.runner.Runner"
    if args.format == "torch":
        opened = "dynamicdet_d2.export.open_exported"
    sys.stdout.write(f"{args.output} is written and tried; {opened}({args.output!r}) runs it\n")


def model_of(cfg: CfgNode) -> nn.Module:
    """The detector with the weights of ``MODEL.WEIGHTS``.

    Raises:
        ValueError: parts of the detector have none.
    """
    check(cfg, Use.MODEL)
    with building():
        model = build_model(cfg).eval()
    load_complete(model, cfg, cfg.MODEL.WEIGHTS)
    return model


def registered(cfg: CfgNode, *names: str) -> None:
    """Register the data sets of a config, and those of the names that are drawn ones."""
    register_coco_json(cfg.DATASETS.COCO_JSON)
    register_shapes(names)


def at_least_one(option: str, number: int | None, default: int) -> int:
    """A number of images.

    Raises:
        ValueError: naming the option.
    """
    if number is not None and number < 1:
        raise ValueError(f"{option} is {number}; it must be at least 1.")
    return number or default


def _calibration(args: argparse.Namespace, cfg: CfgNode) -> str | None:
    """The calibration whose own operating point is exported; None: the config says the point.

    A target that the config's keys give is met by the option's file, in the place of their own.

    Raises:
        ValueError: another file was typed, or a threshold, and the file has another one.
    """
    if args.calibration is None:
        return None
    if "MODEL.DYNAMIC.CALIBRATION" in args.opts[::2]:
        raise ValueError("--calibration and MODEL.DYNAMIC.CALIBRATION both name a file; give one.")
    keys = cfg.MODEL.DYNAMIC
    if keys.HARD_FRACTION is not None or keys.TARGET_LATENCY_MS is not None:
        keys.CALIBRATION = args.calibration
        return None
    if (
        "MODEL.DYNAMIC.THRESHOLD" in args.opts[::2]
        and Calibration.from_json(args.calibration).operating_point is not None
    ):
        raise ValueError(
            f"--calibration {args.calibration} has an operating point, and MODEL.DYNAMIC.THRESHOLD "
            f"is {keys.THRESHOLD:g}: leave one out; a runner's threshold can be set at any time."
        )
    return args.calibration


def _say_whose_milliseconds(calibration: str | None, cfg: CfgNode) -> None:
    """What runs the export has other ones than those in which a calibration was measured."""
    point = Calibration.from_json(calibration).operating_point if calibration else None
    kinds = (point or {"target": {}})["target"].keys()
    if cfg.MODEL.DYNAMIC.TARGET_LATENCY_MS is not None or kinds & {"latency_ms", "latency_p95_ms"}:
        logger.warning(
            "The threshold meets its target by the calibration's milliseconds, which are PyTorch's "
            "and not those of what is exported: Runner.latency(MILLISECONDS, PICTURES) measures "
            "and sets those."
        )


def _quantisation(args: argparse.Namespace, cfg: CfgNode) -> Quantisation | None:
    """None in float32.

    Raises:
        ValueError: an option that is missing, or of the other precision.
    """
    given = [
        f"--{name.replace('_', '-')}"
        for name in ("calibration_data", "calibration_images", "check_data", "check_images")
        if getattr(args, name) is not None
    ]
    if args.precision == "float32":
        if given:
            raise ValueError(f"{given[0]} is for --precision int8.")
        return None
    if args.calibration_data is None:
        raise ValueError(
            "--precision int8 needs --calibration-data, a data set whose images show how large "
            "the values between layers get."
        )
    count = at_least_one("--calibration-images", args.calibration_images, CALIBRATION_IMAGES)
    wanted = at_least_one("--check-images", args.check_images, CHECK_IMAGES)
    name = args.check_data or next(iter(cfg.DATASETS.TEST), None)
    if name is None:
        raise ValueError("--check-data names no data set, and DATASETS.TEST neither.")
    registered(cfg, args.calibration_data, name)
    warn_of_other_classes(cfg.DATASETS.TRAIN, [name])
    if name == args.calibration_data:
        logger.warning(
            "--calibration-data and the data set of the check are both %s: int8 may cost more on "
            "other images than it does on these.",
            name,
        )
    images = some_images("--calibration-data", args.calibration_data, count)
    if args.calibration_images is not None and len(images) < count:
        logger.warning(
            "--calibration-images is %d, and %s has %d images: scales are made with these.",
            count,
            args.calibration_data,
            len(images),
        )
    return Quantisation(
        lambda: pictures_of(images),
        {"dataset": args.calibration_data, "num_images": len(images)},
        ImageSet.read("--check-data", name, wanted),
    )


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
            f"--sizes {text:.60} is not a list of heights and widths, such as 512x672,672x512."
        ) from None
