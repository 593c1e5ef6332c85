# SPDX-License-Identifier: Apache-2.0
"""The figures of dynamic detectors on photographs, from trainings to the page that shows them.

    python -m evidence run --data FOLDER [--setups ...] [--seeds ...] [--test]   # hours
    python -m evidence run --fast                                                # minutes, drawn
    python -m evidence measure RUN ... --data FOLDER [--test]    # of trainings that have ended
    python -m evidence times RUN ... --data FOLDER   # milliseconds, one run of each set-up; quiet!
    python -m evidence summary             # docs/evidence.md, docs/evidence/ and the plots

FOLDER has instances_train.json, instances_val.json, instances_test.json and images/, in COCO's
format. What is chosen is chosen on val; test is read with --test alone.
"""

import argparse
import logging
import os
import sys
from pathlib import Path

from detectron2.utils.logger import setup_logger

from dynamicdet_d2.utils.errors import INTERRUPTED, one_sentence
from evidence import summary
from evidence.drawn import drawn_data
from evidence.measure import measure
from evidence.records import RESULTS, ROOT
from evidence.setups import MERGED, SETUPS, SIZES, Data, Run, planned
from evidence.timing import FOLDER as TIMES
from evidence.timing import measure_times, write_times
from evidence.training import train_missing

PROGRAM = "python -m evidence"
OUTPUT = Path("output/evidence")
FAST = Path("output/evidence_fast")
# Enough to see every step work; the detectors have learnt next to nothing then.
FAST_SETUPS, FAST_SEEDS = ("short", "static0"), (1,)
FAST_KEYS = ["SOLVER.MAX_ITER", "60", "SOLVER.WARMUP_ITERS", "10", "SOLVER.ROUTER.EPOCHS", "5"]


def _run(args: argparse.Namespace) -> None:
    """Train what is missing, measure, summarise."""
    overrides = FAST_KEYS if args.fast else []
    if args.fast:
        data, root, page = drawn_data(FAST / "drawn"), FAST, FAST
        results, times = FAST / "results", FAST / "times"
        runs = planned(root, args.setups or FAST_SETUPS, args.seeds or FAST_SEEDS)
    elif args.data is None:
        raise ValueError("--data FOLDER is missing (or --fast, which draws a data set).")
    else:
        data, root, page = Data(args.data), args.output, ROOT / "docs"
        results, times = RESULTS, TIMES
        runs = planned(root, args.setups or list(SETUPS), args.seeds or (1, 2, 3))
    train_missing(runs, data, overrides, args.jobs)
    sized = [run.at_size(size) for run in runs for size in SIZES.get(run.setup, ())]
    merged = [run.with_merged_exits() for run in runs if run.setup in MERGED]
    for run in (*runs, *sized, *merged):
        _say(measure(run, data, results, test=args.test))
    _say(*summary.write(results, times, page))


def _measure(args: argparse.Namespace) -> None:
    for run in map(Run.of, args.runs):
        _say(measure(run, Data(args.data), args.results, test=args.test))


def _times(args: argparse.Namespace) -> None:
    found = measure_times([Run.of(path) for path in args.runs], Data(args.data))
    _say(write_times(found, args.times))


def _summary(args: argparse.Namespace) -> None:
    _say(*summary.write(args.results, args.times, args.output))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="train what is missing, measure, summarise")
    run.set_defaults(run=_run)
    run.add_argument("--data", type=Path, metavar="FOLDER")
    run.add_argument("--output", type=Path, default=OUTPUT, help="of the trainings")
    run.add_argument("--setups", nargs="+", choices=SETUPS, metavar="NAME")
    run.add_argument("--seeds", nargs="+", type=int, metavar="N")
    run.add_argument("--jobs", type=int, default=os.cpu_count(), help="trainings side by side")
    run.add_argument("--fast", action="store_true", help="a drawn set and a few steps")
    run.add_argument("--test", action="store_true", help="read the test images as well")
    measured = commands.add_parser("measure", help="measure trainings that have ended")
    measured.set_defaults(run=_measure)
    measured.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folder SETUP_sSEED")
    measured.add_argument("--data", type=Path, required=True, metavar="FOLDER")
    measured.add_argument("--results", type=Path, default=RESULTS, metavar="FOLDER")
    measured.add_argument("--test", action="store_true", help="read the test images as well")
    timed = commands.add_parser("times", help="milliseconds of one run of each set-up, in turns")
    timed.set_defaults(run=_times)
    timed.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folder SETUP_sSEED")
    timed.add_argument("--data", type=Path, required=True, metavar="FOLDER")
    timed.add_argument("--times", type=Path, default=TIMES, metavar="FOLDER")
    page = commands.add_parser("summary", help="write the page and its plots")
    page.set_defaults(run=_summary)
    page.add_argument("--results", type=Path, default=RESULTS, metavar="FOLDER")
    page.add_argument("--times", type=Path, default=TIMES, metavar="FOLDER")
    page.add_argument("--output", type=Path, default=ROOT / "docs", metavar="FOLDER")
    return parser


def _say(*paths: Path) -> None:
    sys.stdout.write("".join(f"{path}\n" for path in paths))
    sys.stdout.flush()


def main() -> int:
    """The exit status."""
    args = _parser().parse_args()
    setup_logger().setLevel(logging.WARNING)
    setup_logger(name="dynamicdet_d2").setLevel(logging.INFO)
    setup_logger(name="evidence", abbrev_name="evidence").setLevel(logging.INFO)
    # Routers are new: that a checkpoint has none for them is no news.
    logging.getLogger("dynamicdet_d2.checkpoint").setLevel(logging.ERROR)
    try:
        with one_sentence(PROGRAM):
            args.run(args)
    except KeyboardInterrupt:
        sys.stderr.write(f"{PROGRAM}: stopped\n")
        return INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main())
