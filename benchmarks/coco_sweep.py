# SPDX-License-Identifier: Apache-2.0
"""Time the one-pass COCO sweep beside evaluating every threshold afresh with other libraries.

The data are drawn here: images with seven objects on average, and two exits of which the second
one finds and locates the objects of hard images better. All take the same lists of results; a
peer's time for a threshold is from the mixed list to the twelve figures. What would take too long
is run on fewer thresholds or on the first images only and scaled up in proportion; the table and
the JSON say what was run. Peers that are not installed are left out.

    python -m benchmarks.coco_sweep [--images 5000] [--thresholds 21] [--output FILE]
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from resource import RUSAGE_SELF, getrusage

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from benchmarks.drawn_results import draw_data, silence
from dynamicdet_d2.evaluation.coco.sweep import CocoSweep

Results = list[dict]
Evaluate = Callable[[Results], np.ndarray]


@dataclass(frozen=True)
class Timing:
    """One row of the table.

    Attributes:
        name: the evaluator, with its version.
        images, thresholds: what was run.
        once_s, threshold_s: seconds before the first threshold, and median of each threshold.
        total_s: seconds for all images and thresholds; scaled up where fewer were run.
        difference: largest difference of the twelve figures from those of the sweep.
    """

    name: str
    images: int
    thresholds: int
    once_s: float
    threshold_s: float
    total_s: float
    difference: float


def main() -> None:
    arguments = _parse()
    data, exits, difficulty = draw_data(
        arguments.images, arguments.classes, arguments.detections, arguments.seed
    )
    fractions = np.linspace(0, 1, arguments.thresholds)
    routings = [difficulty > np.quantile(difficulty, 1 - k) for k in fractions]
    routings[-1][:] = True
    drawn = _peak_mb()
    timings = [time_sweep(data, exits, routings, arguments.repeats)]
    peak = _peak_mb()
    peers = PEERS if arguments.peer_thresholds else {}
    few = routings[:: max(len(routings) // max(arguments.peer_thresholds, 1), 1)]
    for name, evaluator in peers.items():
        package = name.split(",")[0]
        if importlib.util.find_spec(package.replace("-", "_")) is None:
            sys.stdout.write(f"{name} is not installed\n")
            continue
        slow = package == "pycocotools"
        images = min(arguments.slow_images, arguments.images) if slow else arguments.images
        name = f"{name} {importlib.metadata.version(package)}"
        timings.append(
            time_peer(name, evaluator, data, exits, few[:2] if slow else few, images, len(routings))
        )
    sys.stdout.write(table(timings, arguments.images, arguments.thresholds))
    sys.stdout.write(f"Peak memory: {peak} MB, of which {drawn} MB before the sweep\n")
    record = {
        "arguments": {k: v for k, v in vars(arguments).items() if k != "output"},
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "load_average": os.getloadavg()[0],
        "python": platform.python_version(),
        "numpy": np.__version__,
        "peak_mb": {"before the sweep": drawn, "after it": peak},
        "timings": [asdict(timing) for timing in timings],
    }
    arguments.output.write_text(json.dumps(record, indent=2) + "\n")


def time_sweep(
    data: COCO, exits: tuple[Results, Results], routings: list[np.ndarray], repeats: int
) -> Timing:
    """The median of several runs, each from the lists of results to the last figure."""
    runs = []
    for _ in range(repeats):
        seconds = [time.perf_counter()]
        sweep = CocoSweep(data, exits, "bbox", sorted(data.imgs))
        seconds.append(time.perf_counter())
        for hard in routings:
            sweep.evaluate(hard)
            seconds.append(time.perf_counter())
        runs.append(np.diff(seconds))
    once, *each = np.median(runs, axis=0)
    total = float(np.median(np.sum(runs, axis=1)))
    return Timing(
        "this sweep", len(data.imgs), len(routings), float(once), float(np.median(each)), total, 0.0
    )


def time_peer(
    name: str,
    evaluator: Callable[[COCO], Evaluate],
    data: COCO,
    exits: tuple[Results, Results],
    routings: list[np.ndarray],
    images: int,
    all_thresholds: int,
) -> Timing:
    """Evaluate some routings afresh, on the first images, and scale the time up."""
    part = first_images(data, images)
    first, second = (_within(results, images) for results in exits)
    sweep = CocoSweep(part, (first, second), "bbox", sorted(part.imgs))
    evaluate = evaluator(part)
    seconds, differences = [], []
    for hard in routings:
        # Copies: pycocotools adds keys to the results it is given.
        mixed = [
            dict(result)
            for number, results in enumerate((first, second))
            for result in results
            if hard[result["image_id"] - 1] == number
        ]
        begin = time.perf_counter()
        stats = evaluate(mixed)
        seconds.append(time.perf_counter() - begin)
        differences.append(np.abs(stats - sweep.evaluate(hard[:images]).stats).max())
    scale = all_thresholds * len(data.imgs) / images
    return Timing(
        name,
        images,
        len(routings),
        0.0,
        float(np.median(seconds)),
        float(np.mean(seconds)) * scale,
        float(max(differences)),
    )


def table(timings: list[Timing], images: int, thresholds: int) -> str:
    """The timings as a Markdown table."""
    total = f"{images} images, {thresholds} thresholds"
    lines = [
        f"| evaluator | run on | once, s | each threshold, s | {total}, s | ratio | difference |",
        "|---|---|---|---|---|---|---|",
    ]
    for t in timings:
        full = (t.images, t.thresholds) == (images, thresholds)
        lines.append(
            f"| {t.name} | {t.images} images, {t.thresholds} thresholds | {t.once_s:.2f} "
            f"| {t.threshold_s:.3f} | {t.total_s:.2f}{'' if full else ' (scaled up)'} "
            f"| {t.total_s / timings[0].total_s:.1f} | {t.difference:.1e} |"
        )
    return "\n".join(lines) + "\n"


def _pycocotools(data: COCO) -> Evaluate:
    def evaluate(results: Results) -> np.ndarray:
        with silence():
            evaluation = COCOeval(data, data.loadRes(results), "bbox")
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        return evaluation.stats

    return evaluate


def _faster_coco_eval(data: COCO) -> Evaluate:
    from faster_coco_eval import COCO as PeerCOCO
    from faster_coco_eval import COCOeval_faster

    own = PeerCOCO(data.dataset)

    def evaluate(results: Results) -> np.ndarray:
        evaluation = COCOeval_faster(own, own.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        return np.asarray(evaluation.stats[:12])

    return evaluate


def _hotcoco(data: COCO) -> Evaluate:
    import hotcoco

    own = hotcoco.COCO(data.dataset)

    def evaluate(results: Results) -> np.ndarray:
        with silence():
            evaluation = hotcoco.COCOeval(own, own.load_res(results), "bbox")
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        return np.asarray(evaluation.stats[:12])

    return evaluate


PEERS: dict[str, Callable[[COCO], Evaluate]] = {
    "pycocotools": _pycocotools,
    "faster-coco-eval": _faster_coco_eval,
    "hotcoco": _hotcoco,
}


def first_images(data: COCO, count: int) -> COCO:
    """The data set's images 1..count with their objects."""
    part = COCO()
    part.dataset = {
        **data.dataset,
        "images": [i for i in data.dataset["images"] if i["id"] <= count],
        "annotations": [dict(a) for a in _within(data.dataset["annotations"], count)],
    }
    with silence():
        part.createIndex()
    return part


def _within(records: Results, images: int) -> Results:
    return [record for record in records if record["image_id"] <= images]


def _peak_mb() -> int:
    return round(getrusage(RUSAGE_SELF).ru_maxrss / 2**10)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--classes", type=int, default=80)
    parser.add_argument("--detections", type=int, default=100, help="of each exit in an image")
    parser.add_argument("--thresholds", type=int, default=21)
    parser.add_argument("--repeats", type=int, default=3, help="runs of the sweep")
    parser.add_argument("--peer-thresholds", type=int, default=3, help="a peer's; 0: no peer")
    parser.add_argument("--slow-images", type=int, default=250, help="that pycocotools is run on")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".json"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
