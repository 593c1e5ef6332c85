# SPDX-License-Identifier: Apache-2.0
"""``dynamicdet predict``: detections in images, videos and cameras, drawn and written."""

import argparse
import logging
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import TextIO

from detectron2.config import CfgNode
from detectron2.utils.logger import setup_logger

from dynamicdet_d2.budget import (
    BudgetOutOfReachWarning,
    DifficultyDriftWarning,
    ImplausibleTimeWarning,
)
from dynamicdet_d2.config import read_with_weights
from dynamicdet_d2.config.checking import value_of
from dynamicdet_d2.config.rules import device_exists
from dynamicdet_d2.config.unread_by_commands import refuse_of_reports
from dynamicdet_d2.model_folder import model_config, one_folder
from dynamicdet_d2.modeling.architecture import num_classes_key
from dynamicdet_d2.prediction import DynamicPredictor
from dynamicdet_d2.prediction.aim import Aim
from dynamicdet_d2.prediction.class_names import say_nameless
from dynamicdet_d2.prediction.outputs import CocoResults, DrawnFiles, JsonLines, Output
from dynamicdet_d2.prediction.outputs.coco_results import RESULTS
from dynamicdet_d2.prediction.outputs.json_lines import LINES
from dynamicdet_d2.prediction.outputs.place import check_place, own_folder, say_drawn
from dynamicdet_d2.prediction.sources import ReadAhead, Source, sources_of
from dynamicdet_d2.prediction.stream import Stream
from dynamicdet_d2.utils.errors import INTERRUPTED
from dynamicdet_d2.utils.glyphs import say_missing

logger = logging.getLogger(__name__)

NAMED = (BudgetOutOfReachWarning, DifficultyDriftWarning)
# More images at a time would only fill the memory.
LARGEST_BATCH = 1 << 16
EXAMPLES = """examples:
  --model FOLDER --input photos/ 'more/**/*.jpg' --output predictions
  --config-file output/config.yaml --weights output/model_final.pth --input film.mp4
  --model FOLDER --input camera:0 --target-latency-ms 40
"""


def parser() -> argparse.ArgumentParser:
    """The model, what it sees, at which operating point, and what is written."""
    options = argparse.ArgumentParser(
        description="Detect objects in images and videos. Writes each with its detections, route "
        f"and difficulty drawn in, and {LINES} with a line per image.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    model = options.add_mutually_exclusive_group(required=True)
    model.add_argument("--model", metavar="FOLDER", help="that 'dynamicdet package' wrote")
    model.add_argument("--config-file", metavar="FILE")
    add = options.add_argument
    add("--weights", metavar="FILE", help="default: MODEL.WEIGHTS of the config")
    add(
        "--input",
        nargs="+",
        action="extend",
        required=True,
        metavar="SOURCE",
        help="images, folders of images, videos, patterns in quotes ('**/*.jpg'), lists (.txt, a "
        "path per line), camera:0",
    )
    add("--output", type=Path, default=Path("predictions"), metavar="FOLDER")
    _add_operating_point(options)
    add(
        "--confidence-threshold",
        type=float,
        default=0.5,
        metavar="X",
        help="leave out detections with a lower score (default: 0.5)",
    )
    add("--batch-size", type=int, default=1, metavar="N", help="images at a time (default: 1)")
    add("--device", help="cpu, cuda, cuda:1, ... (default: a GPU where there is one)")
    add("--no-drawing", action="store_true", help="write no images and videos")
    add(
        "--coco-ids",
        metavar="JSON",
        help=f"write {RESULTS} too, with the ids of this COCO file; for AP, set "
        "--confidence-threshold 0",
    )
    add("--opts", nargs=argparse.REMAINDER, default=[], metavar="KEY VALUE")
    return options


def _add_operating_point(options: argparse.ArgumentParser) -> None:
    point = options.add_mutually_exclusive_group()
    point.add_argument("--threshold", type=float, metavar="X", help="hard above it, in [0, 1]")
    point.add_argument(
        "--hard-fraction",
        type=float,
        metavar="K",
        help="at the calibrated threshold for this share of hard images, in [0, 1]",
    )
    point.add_argument(
        "--target-latency-ms",
        type=float,
        metavar="MS",
        help="keep the detector's time per image by moving the threshold while it runs",
    )
    options.add_argument(
        "--percentile",
        type=float,
        metavar="P",
        help="of the images that are to keep --target-latency-ms, such as 95 (default: their mean)",
    )
    options.add_argument(
        "--calibration",
        metavar="FILE",
        help="that 'dynamicdet calibrate' wrote; default: the model folder's or the config's",
    )


def run(args: argparse.Namespace) -> int:
    """Predict everything, and print where the results are."""
    setup_logger().setLevel(logging.WARNING)
    setup_logger(name="dynamicdet_d2").setLevel(logging.INFO)
    aim = Aim(args.threshold, args.hard_fraction, args.target_latency_ms, args.percentile)
    _check(args)
    sources = sources_of(args.input, drawn=not args.no_drawing)
    check_place(args.output, sources, _names(args, sources))
    say_drawn(sources)
    with one_folder(args.model) if args.model else nullcontext() as model:
        cfg, class_names = _config(args, model, aim)
        predictor = DynamicPredictor(cfg, class_names)
    say_nameless(predictor.class_names, cfg.DATASETS.TEST if class_names is None else ())
    if not args.no_drawing:
        say_missing(predictor.class_names)
    point = getattr(predictor.model, "operating_point", None)
    governor = aim.governor(point.calibration if point is not None else None)
    counts = [source.count() for source in sources]
    with ExitStack() as stack:
        stack.enter_context(_named_warnings_in_the_log())
        frames = stack.enter_context(ReadAhead(sources))
        outputs = [stack.enter_context(x) for x in _outputs(args, predictor, sources, stack)]
        stream = Stream(
            predictor,
            outputs,
            min_score=args.confidence_threshold,
            batch_size=args.batch_size,
            skip_corrupt=cfg.DATALOADER.SKIP_CORRUPT_IMAGES,
            governor=governor,
        )
        tally = stream.run(frames, None if None in counts else sum(n or 0 for n in counts))
    if tally.left_out and not tally.routes and not tally.stopped:
        raise ValueError(f"No image of --input can be read: {tally.left_out} left out.")
    if frames.dropped:
        logger.info("%d frames came while others were detected.", frames.dropped)
    drawn = "" if args.no_drawing else f"drawn in {args.output}, "
    sys.stdout.write(f"{tally.summary()}: {drawn}detections in {args.output / LINES}\n")
    # Ctrl-C is how a camera's stream ends.
    return INTERRUPTED if tally.stopped and not any(source.live for source in sources) else 0


def _check(args: argparse.Namespace) -> None:
    if not 0 <= args.confidence_threshold <= 1:
        raise ValueError(
            f"--confidence-threshold is {args.confidence_threshold}; it must lie in [0, 1]."
        )
    if not 1 <= args.batch_size <= LARGEST_BATCH:
        raise ValueError(
            f"--batch-size is {args.batch_size}; it must be from 1 to {LARGEST_BATCH}."
        )
    if args.percentile is not None and args.batch_size > 1:
        raise ValueError("--percentile needs the images' times one by one: --batch-size 1.")
    if args.device and "MODEL.DEVICE" in args.opts[::2]:
        raise ValueError("--device and MODEL.DEVICE both say where the model runs; give one.")
    if args.device:
        fault = device_exists(args.device)
        if fault is not None:
            raise ValueError(fault.replace("MODEL.DEVICE", "--device", 1))
    if args.coco_ids and args.confidence_threshold > 0:
        logger.warning(
            "--coco-ids: %s will have no detection with a score below --confidence-threshold %g, "
            "and AP of it would be too low; 0 keeps all.",
            *(RESULTS, args.confidence_threshold),
        )
    if args.coco_ids and not Path(args.coco_ids).exists():
        raise ValueError(f"--coco-ids {args.coco_ids} cannot be read: there is no such file.")
    refuse_of_reports(args.opts)
    if args.model and args.weights:
        raise ValueError("--weights goes with --config-file; a model folder has its own.")


def _names(args: argparse.Namespace, sources: Sequence[Source]) -> list[str]:
    """Of the files that are written beside ``predictions.jsonl``."""
    drawn = [] if args.no_drawing else [source.drawn_name for source in sources]
    return [*drawn, *([RESULTS] if args.coco_ids else [])]


def _config(
    args: argparse.Namespace, model: Path | None, aim: Aim
) -> tuple[CfgNode, list[str] | None]:
    """The config to predict with, and class names where the model folder has them."""
    class_names = None
    if model is not None:
        cfg, class_names = model_config(model, overrides=args.opts)
    else:
        cfg = read_with_weights(args.config_file, args.weights, args.opts)
    cfg.MODEL.DEVICE = args.device or cfg.MODEL.DEVICE
    aim.apply(cfg, args.calibration, args.opts)
    return cfg, class_names


def _outputs(
    args: argparse.Namespace,
    predictor: DynamicPredictor,
    sources: Sequence[Source],
    stack: ExitStack,
) -> Iterator[Output]:
    results = None
    if args.coco_ids:  # first, since it may refuse
        num_classes = value_of(predictor.cfg, num_classes_key(predictor.cfg))
        results = CocoResults(
            args.output, args.coco_ids, int(str(num_classes)), sources, predictor.class_names
        )
    stack.enter_context(own_folder(args.output))
    if results is not None:
        yield results
    # A line after its picture: where that cannot be written, there is none.
    if not args.no_drawing:
        yield DrawnFiles(args.output, predictor.class_names)
    yield JsonLines(args.output, predictor.class_names)


@contextmanager
def _named_warnings_in_the_log() -> Iterator[None]:
    """A stream's own warnings as lines of the log, each as often as it is given."""
    others = warnings.showwarning

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if category in NAMED:
            logger.warning("%s: %s", category.__name__, message)
        else:
            others(message, category, filename, lineno, file, line)

    with warnings.catch_warnings():
        for category in NAMED:
            warnings.simplefilter("always", category)
        # Of a stream that is stopped for a while, as by Ctrl-Z: its times are milliseconds.
        warnings.simplefilter("ignore", ImplausibleTimeWarning)
        warnings.showwarning = show
        yield
