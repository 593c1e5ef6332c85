# SPDX-License-Identifier: Apache-2.0
"""``dynamicdet report``: draws what was measured again, without the model."""

import argparse
import sys
from pathlib import Path
from typing import NoReturn

from dynamicdet_d2.calibration.plot import plot_path, refuse_other_picture, write_plot
from dynamicdet_d2.evaluation.report.files import TRADEOFF, redraw
from dynamicdet_d2.operating_point.record import Calibration


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Whoever gives --compare first has given the path, as a detector."""
        if message.endswith("required: path"):
            message += "; it stands before --compare, which takes all that follows"
        super().error(message)


def parser() -> argparse.ArgumentParser:
    """What to draw, and what beside it."""
    options = _Parser(
        description="Draw report.html, tradeoff.png, .md and .csv again from tradeoff.json and "
        "routes.jsonl, or the plot of a calibration from its file."
    )
    options.add_argument(
        "path", type=Path, help="OUTPUT_DIR/inference/dynamic of an evaluation, or calibration.json"
    )
    options.add_argument(
        "--compare",
        nargs="+",
        action="extend",
        default=[],
        metavar="DETECTOR",
        help="other detectors to draw in: NAME,AP,GFLOPS,MS ('-' for what is not known), or "
        "[NAME=]another run's tradeoff.json",
    )
    return options


def run(args: argparse.Namespace) -> None:
    """Draw, and print which file to open."""
    is_folder = args.path.is_dir() or (args.path.suffix != ".json" and not args.path.is_file())
    if not is_folder and args.path.name != TRADEOFF:
        if args.compare:
            raise ValueError(f"--compare is for an evaluation; {args.path} is a calibration.")
        record = _calibration(args.path)
        refuse_other_picture(args.path, plot_path(args.path))
        drawn = write_plot(record, args.path)
    else:
        folder = args.path.parent if args.path.name == TRADEOFF else args.path
        _refuse_above(folder)
        drawn = redraw(folder, args.compare)
    sys.stdout.write(f"{drawn}\n")


def _refuse_above(folder: Path) -> None:
    """
    Raises:
        ValueError: the folder of a run is given, and not that of its evaluation.
    """
    if (folder / TRADEOFF).exists():
        return
    # Of several data sets each has a folder of its own.
    below = ("dynamic", "*/dynamic", "inference/*/dynamic")
    there = sorted({file.parent for name in below for file in folder.glob(f"{name}/{TRADEOFF}")})
    if there:
        have = "has one" if len(there) == 1 else "have one each"
        raise ValueError(f"{folder} has no {TRADEOFF}; {', '.join(map(str, there))} {have}.")


def _calibration(path: Path) -> Calibration:
    """
    Raises:
        ValueError: it is none; a file may be one of an evaluation as well.
    """
    try:
        return Calibration.from_json(path)
    except ValueError as error:
        raise ValueError(
            f"{path} is neither the folder of an evaluation, its {TRADEOFF}, nor a calibration: "
            f"{error}"
        ) from None
