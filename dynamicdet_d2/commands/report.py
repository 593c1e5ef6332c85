# SPDX-License-Identifier: Apache-2.0
"""``dynamicdet report``: draws what was measured again, without the model."""

import argparse
import sys
from pathlib import Path

from dynamicdet_d2.calibration.plot import calibration_png
from dynamicdet_d2.evaluation.report.comparisons import parse_comparison, read_tradeoff
from dynamicdet_d2.evaluation.report.html_report import with_comparisons, write_html
from dynamicdet_d2.evaluation.report.tables import write_report
from dynamicdet_d2.operating_point.record import Calibration


def parser() -> argparse.ArgumentParser:
    """What to draw, and what beside it."""
    options = argparse.ArgumentParser(
        description="Draw report.html, tradeoff.png, .md and .csv again from tradeoff.json and "
        "routes.jsonl, or the plot of a calibration from its file."
    )
    options.add_argument(
        "path", type=Path, help="OUTPUT_DIR/inference/dynamic of an evaluation, or calibration.json"
    )
    options.add_argument(
        "--compare",
        nargs="+",
        default=[],
        metavar="DETECTOR",
        help="other detectors to draw in: NAME,AP,GFLOPS,MS ('-' for what is not known), or "
        "[NAME=]another run's tradeoff.json",
    )
    return options


def run(args: argparse.Namespace) -> None:
    """Draw, and print which file to open."""
    if args.path.suffix == ".json" and args.path.name != "tradeoff.json":
        if args.compare:
            raise ValueError(f"--compare is for an evaluation; {args.path} is a calibration.")
        drawn = draw_calibration(args.path)
    else:
        drawn = draw_evaluation(args.path, args.compare)
    sys.stdout.write(f"{drawn}\n")


def draw_calibration(path: Path) -> Path:
    """The plot beside a calibration's file."""
    plot = path.with_suffix(".png")
    plot.write_bytes(calibration_png(Calibration.from_json(path)))
    return plot


def draw_evaluation(folder: Path, compared: list[str]) -> Path:
    """Tables, plot and page in the folder of an evaluation; the page.

    Args:
        compared: as ``parse_comparison`` takes them.
    """
    comparisons = [parse_comparison(detector) for detector in compared]
    tradeoff = with_comparisons(read_tradeoff(folder / "tradeoff.json"), comparisons)
    write_report(tradeoff, folder, with_json=False)
    write_html(folder, comparisons)
    return folder / "report.html"
