#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Does the second backbone pay on the drawn set? The demo's detector beside static ones.

    python -m benchmarks.drawn_set_front --model output/quickstart [--output FILE.json]

Static detectors of three depths are trained from random weights as the demo's pair was
(configs/quickstart_from_scratch.yaml: the same widths, images, steps and schedule); those whose
weights lie in ``--work`` already are not trained again. Each is tested at several input sizes. The
pair's curve is compared with the line through those that no cheaper one beats, at equal
multiply-adds and at equal milliseconds, which are measured in turns in this process: let nothing
run beside the end of it.
"""

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.modeling import GeneralizedRCNN, build_model
from pycocotools.coco import COCO
from torch import nn

from benchmarks.drawn_set_depth import CONFIG, detect, plain_detector, train
from dynamicdet_d2.acceleration import optimize_for_inference
from dynamicdet_d2.checkpoint import DynamicCheckpointer
from dynamicdet_d2.config import read_config
from dynamicdet_d2.data.loading.loaders import build_test_loader
from dynamicdet_d2.data.shapes.dataset import register_shapes
from dynamicdet_d2.evaluation.coco.sweep import CocoSweep
from dynamicdet_d2.evaluation.cost import RouteCost
from dynamicdet_d2.evaluation.latency import measure_thresholds
from dynamicdet_d2.evaluation.passes import at_input_size
from dynamicdet_d2.utils.files import read_json, whole_file, write_json
from dynamicdet_d2.utils.memory import keep_memory
from dynamicdet_d2.utils.versions import versions
from evidence.figures import static_line
from evidence.records import ROOT, commit

OUTPUT = ROOT / "benchmarks" / "results" / "drawn_set_front.json"
# Blocks a stage: backbone 1's, backbone 2's, and in between.
DEPTHS = {"shallow": (1, 1, 1, 1), "deep": (1, 4, 6, 3), "between": (1, 2, 3, 2)}
# Shorter side in pixels that a static detector is tested at; the first is the one of the training.
SIZES = (192, 224, 256)
ROUNDS, IMAGES, WARMUP = 15, 20, 2
# A model, its images one by one, and the thresholds of its two routes, or None alone.
Timed = tuple[nn.Module, list[list[dict]], tuple[float | None, ...]]


def trained(cfg: CfgNode, name: str, folder: Path) -> GeneralizedRCNN:
    """A static detector with its weights, from the folder or from a training."""
    path = folder / f"{name}.pth"
    torch.manual_seed(cfg.SEED)
    model = plain_detector(cfg, DEPTHS[name])
    if path.is_file():
        model.load_state_dict(torch.load(path, weights_only=True))
    else:
        train(cfg, model, name)
        folder.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as file:
            torch.save(model.state_dict(), file)
    return model.eval()


def static_figures(cfg: CfgNode, model: GeneralizedRCNN) -> dict[str, float]:
    """AP and average 10^9 multiply-adds per image on the test images."""
    (dataset,) = cfg.DATASETS.TEST
    results = detect(cfg, model, dataset)
    truth = COCO(MetadataCatalog.get(dataset).json_file)
    ids = sorted(truth.imgs)
    ap = CocoSweep(truth, (results, results), "bbox", ids).evaluate(np.zeros(len(ids), bool)).ap
    sizes = [tuple(batch[0]["image"].shape[-2:]) for batch in build_test_loader(cfg, dataset)]
    return {"AP": ap, "gflops": RouteCost(model).average(sizes, [False] * len(sizes))}


def timed(cfg: CfgNode, model: nn.Module, thresholds: tuple[float | None, ...]) -> Timed:
    """The optimised copy, and some of the test images."""
    every = list(build_test_loader(cfg, cfg.DATASETS.TEST[0]))
    return optimize_for_inference(model), every[:: len(every) // IMAGES][:IMAGES], thresholds


def milliseconds(every: Mapping[str, Timed]) -> dict[str, list[float]]:
    """Per image and threshold, in turns.

    Of each image its median over the rounds, and of these the mean over the images.
    """
    keep_memory()
    samples: dict[str, list[Any]] = {name: [] for name in every}
    for _ in range(ROUNDS):
        for name, (model, images, thresholds) in every.items():
            found = measure_thresholds(model, images, thresholds, WARMUP)
            samples[name].append([latency.samples for latency in found])
    return {name: np.median(x, axis=0).mean(axis=1).tolist() for name, x in samples.items()}


def leads(
    points: Sequence[Mapping[str, Any]],
    statics: Mapping[str, Mapping[str, float]],
    routes_ms: Sequence[float],
) -> list[dict[str, float | None]]:
    """Of each point of the curve: AP above the static line at an equal cost, None outside of it."""
    easy, hard = routes_ms
    lines = {
        unit: static_line([(own[unit], own["AP"]) for own in statics.values()])
        for unit in ("gflops", "ms")
    }
    rows = []
    for point in points:
        share, ap = point["realised_hard_fraction"], point["box"]["AP"]
        cost = {"gflops": point["gflops"], "ms": (1 - share) * easy + share * hard}
        on_line = {unit: line(cost[unit]) for unit, line in lines.items()}
        row = {"hard_fraction": share, "AP": ap, "random_AP": point["random_AP"], **cost}
        over = {f"over_{k}": None if x is None else ap - x for k, x in on_line.items()}
        rows.append({**row, **over})
    return rows


def measure(folder: Path, work: Path) -> dict[str, Any]:
    """Train what is missing, and measure.

    Args:
        folder: of the demo, which has evaluated itself.
        work: for the weights of the static detectors.
    """
    cfg = read_config(str(ROOT / CONFIG))
    register_shapes([*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST])
    models = {name: trained(cfg, name, work) for name in DEPTHS}
    statics, turns = {}, {}
    for size in SIZES:
        sized = at_input_size(cfg, size)
        for name, model in models.items():
            title = name if size == SIZES[0] else f"{name} at {size}"
            statics[title] = static_figures(sized, model)
            turns[title] = timed(sized, model, (None,))
    dynamic = build_model(read_config(str(folder / "config.yaml"))).eval()
    DynamicCheckpointer(dynamic).load(folder / "model_final.pth")
    times = milliseconds({**turns, "dynamic": timed(cfg, dynamic, (1.0, 0.0))})
    for title, own in statics.items():
        (own["ms"],) = times[title]
    tradeoff = read_json(folder / "inference" / "dynamic" / "tradeoff.json", "the trade-off")
    rows = leads(tradeoff["points"], statics, times["dynamic"])
    return {"static": statics, "dynamic_ms": times["dynamic"], "points": rows}


def table(content: Mapping[str, Any]) -> str:
    """Of a result, as docs/drawn_set.md shows it."""
    lines = ["| static | GFLOPs | ms | AP |", "|---|---|---|---|"]
    for name, own in content["static"].items():
        lines.append(f"| {name} | {own['gflops']:.3f} | {own['ms']:.2f} | {own['AP']:.2f} |")
    lines += ["", "| hard | GFLOPs | ms | AP | random | over the line, GFLOPs | ms |"]
    lines += ["|---|---|---|---|---|---|---|"]
    for row in content["points"]:
        over = ["-" if row[k] is None else f"{row[k]:+.2f}" for k in ("over_gflops", "over_ms")]
        cells = [f"{row['hard_fraction']:g}", f"{row['gflops']:.3f}", f"{row['ms']:.2f}"]
        cells += [f"{row['AP']:.2f}", f"{row['random_AP']:.2f}", *over]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, write the file, print the tables."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--model", type=Path, required=True, metavar="FOLDER", help="of the demo")
    work = ROOT / "output" / "drawn_set_front"
    options.add_argument("--work", type=Path, default=work, metavar="FOLDER", help="static weights")
    options.add_argument("--output", type=Path, default=OUTPUT, metavar="FILE.json")
    args = options.parse_args()
    content = {
        "command": "python -m benchmarks.drawn_set_front --model output/quickstart",
        "commit": commit(),
        "date": time.strftime("%Y-%m-%d"),
        "device": f"cpu, {torch.get_num_threads()} threads",
        "versions": versions(),
        **measure(args.model, args.work),
    }
    write_json(args.output, content)
    sys.stdout.write(table(content))


if __name__ == "__main__":
    main()
