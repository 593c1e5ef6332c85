# SPDX-License-Identifier: Apache-2.0
"""A budget on a real video while another process loads a core for some seconds.

    python -m benchmarks.budget.under_load --model FOLDER --input film.mp4 --target-latency-ms 40 \\
        [--load-from 20 --load-until 40] [--core 0] [--output FILE.json]

Runs `dynamicdet predict` by its own code, notes what its controller sees of each image, and writes
FILE.json and FILE.png: time within 5 % of the target, settling, and the share of hard images
before, during and after the load.
"""

import argparse
import contextlib
import math
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import torch

from benchmarks.budget import measures
from dynamicdet_d2.budget import BudgetController
from dynamicdet_d2.commands import predict
from dynamicdet_d2.utils.charts import BLUE, GREY, ORANGE, chart_style, new_figure, png
from dynamicdet_d2.utils.files import whole_file, write_json
from dynamicdet_d2.utils.versions import versions

OUTPUT = Path(__file__).parents[1] / "results" / "budget_under_load.json"
BUSY = "while True: pass"
Parts = tuple[tuple[str, float, float], ...]


class Image(NamedTuple):
    """What the controller saw of one image.

    Attributes:
        at: seconds since the first one.
        milliseconds: of the detector.
        hard: whether it took the hard route.
        threshold: that it was routed by.
    """

    at: float
    milliseconds: float
    hard: bool
    threshold: float


@contextlib.contextmanager
def noted(first: Callable[[], object]) -> Iterator[list[Image]]:
    """Everything that a controller observes meanwhile; ``first`` is called at the first image."""
    images: list[Image] = []
    observe = BudgetController.observe
    start: list[float] = []

    def observing(
        self: BudgetController, difficulties: Sequence[float], milliseconds: float | None
    ) -> None:
        threshold, now = self.threshold, time.monotonic()
        if not start:
            start.append(now)
            first()
        if milliseconds is not None:
            hard = difficulties[0] > threshold
            images.append(Image(now - start[0], milliseconds, hard, threshold))
        observe(self, difficulties, milliseconds)

    with mock.patch.object(BudgetController, "observe", observing):
        yield images


class Load:
    """A process that keeps a core busy from one second to another."""

    def __init__(self, begin: float, end: float, core: int | None) -> None:
        self._core = core
        self._process: subprocess.Popen | None = None
        self._timers = [threading.Timer(begin, self._start), threading.Timer(end, self.stop)]

    def begin(self) -> None:
        """From now on, seconds are counted."""
        for timer in self._timers:
            timer.daemon = True
            timer.start()

    def _start(self) -> None:
        self._process = subprocess.Popen([sys.executable, "-c", BUSY])
        if self._core is not None:
            os.sched_setaffinity(self._process.pid, {self._core})

    def stop(self) -> None:
        """The process ends, if it has begun."""
        for timer in self._timers:
            timer.cancel()
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def figures(images: Sequence[Image], target: float, parts: Parts) -> list[dict[str, Any]]:
    """Of each part of the stream, by means of the last 100 images.

    Args:
        images: in order.
        target: milliseconds.
        parts: name, first and last second of each.

    Returns:
        a row each. ``settles_after_s`` is None where the target is never kept for long.
    """
    at = np.array([image.at for image in images])
    times = np.array([image.milliseconds for image in images])
    hard = np.array([image.hard for image in images])
    span = min(measures.SPAN, len(images))
    kept = (
        measures.kept(measures.moving(times, None), target, None) if span == measures.SPAN else None
    )
    rows = []
    for name, begin, end in parts:
        first, last = (int(np.searchsorted(at, second)) for second in (begin, end))
        if first == last:
            rows.append({"part": name, "images": 0})
            continue
        row = {
            "part": name,
            "images": last - first,
            "mean_ms": round(float(times[first:last].mean()), 3),
            "hard": round(float(hard[first:last].mean()), 3),
            "within_5_percent": None,
            "settles_after_s": None,
        }
        if kept is not None and last > span:
            known = kept[max(first - span + 1, 0) : last - span + 1]
            settled = measures.settling(kept, first, last, span)
            row["within_5_percent"] = round(float(known.mean()), 3)
            if settled is not None:
                row["settles_after_s"] = round(float(at[min(first + settled, last - 1)] - begin), 2)
        rows.append(row)
    return rows


def draw(images: Sequence[Image], target: float, parts: Parts, path: Path) -> None:
    """The mean of the last images' times, and the share of hard ones, over the seconds."""
    width = min(measures.SPAN, len(images))
    window = np.ones(width) / width
    at = [image.at for image in images][width - 1 :]
    with chart_style():
        chart = new_figure(8, 4.5)
        upper, lower = chart.subplots(2, sharex=True)
        times = np.convolve([image.milliseconds for image in images], window, "valid")
        upper.plot(at, times, color=BLUE)
        upper.axhline(target, color=GREY, linestyle="--")
        upper.axhspan(0.95 * target, 1.05 * target, color=GREY, alpha=0.2)
        upper.set_ylabel(f"ms, mean of {width}")
        lower.plot(at, np.convolve([image.hard for image in images], window, "valid"), color=ORANGE)
        lower.set(ylabel="share hard", xlabel="seconds", ylim=(-0.02, 1.02))
        for axes in (upper, lower):
            axes.axvspan(parts[1][1], min(parts[1][2], images[-1].at), color=ORANGE, alpha=0.12)
        with whole_file(path) as file:
            file.write(png(chart))


def arguments() -> argparse.ArgumentParser:
    """Those of `dynamicdet predict` that matter here, and the load."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--model", required=True, metavar="FOLDER", help="calibrated")
    options.add_argument("--input", required=True, metavar="VIDEO")
    options.add_argument("--target-latency-ms", type=float, required=True, metavar="MS")
    options.add_argument("--load-from", type=float, default=20, metavar="S")
    options.add_argument("--load-until", type=float, default=40, metavar="S")
    options.add_argument("--core", type=int, metavar="N", help="that is loaded (default: any)")
    options.add_argument("--output", type=Path, default=OUTPUT, metavar="FILE.json")
    return options


def main() -> None:
    """Predict, load, write the files and print the rows."""
    args = arguments().parse_args()
    load = Load(args.load_from, args.load_until, args.core)
    with tempfile.TemporaryDirectory() as folder, noted(load.begin) as images:
        words = ["--model", args.model, "--input", args.input, "--output", folder, "--no-drawing"]
        words += ["--target-latency-ms", str(args.target_latency_ms)]
        try:
            predict.run(predict.parser().parse_args(words))
        finally:
            load.stop()
    parts: Parts = (
        ("before", 0.0, args.load_from),
        ("during", args.load_from, args.load_until),
        ("after", args.load_until, math.inf),
    )
    rows = figures(images, args.target_latency_ms, parts)
    content = {
        "command": " ".join(["python -m benchmarks.budget.under_load", *sys.argv[1:]]),
        "target_ms": args.target_latency_ms,
        "load_s": [args.load_from, args.load_until],
        "threads": torch.get_num_threads(),
        "versions": versions(),
        "parts": rows,
    }
    write_json(args.output, content)
    draw(images, args.target_latency_ms, parts, args.output.with_suffix(".png"))
    for row in rows:
        sys.stdout.write(f"{row}\n")


if __name__ == "__main__":
    main()
