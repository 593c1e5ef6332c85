# SPDX-License-Identifier: Apache-2.0
"""AP of a detector's exports beside PyTorch's, per runtime and precision; and their time, if asked.

    python -m benchmarks.exported --config-file output/quickstart/config.yaml \\
        --calibration output/quickstart/calibration.json [--rounds 5] [--output FILE.json]

Exports to a temporary folder, in each runtime that is installed, in float32 and int8. With rounds,
every route of every export is timed in turns with PyTorch's; from this and AP follows how far the
slowest and the fastest point of one set of weights lie apart where at most 2 AP are lost.
"""

import argparse
import importlib.util
import json
import logging
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetMapper
from detectron2.utils.logger import setup_logger
from torch import nn

from benchmarks.speed.inference import Call, one_by_one
from benchmarks.speed.report import machine
from benchmarks.speed.setting import Setting
from benchmarks.speed.timing import Rounds, interleave
from dynamicdet_d2.commands.export import model_of, registered
from dynamicdet_d2.config import read_config
from dynamicdet_d2.data.loading.corrupt import Sample
from dynamicdet_d2.export import export
from dynamicdet_d2.export.accuracy import (
    Accuracy,
    ImageSet,
    exported_records,
    model_records,
    pictures_of,
    some_images,
)
from dynamicdet_d2.export.comparison import Comparison
from dynamicdet_d2.export.int8 import Quantisation, quantised_folder
from dynamicdet_d2.export.write import Request
from dynamicdet_d2.runner import Runner
from dynamicdet_d2.runner.folder import Folder
from dynamicdet_d2.utils.memory import keep_memory
from dynamicdet_d2.utils.spread import spread

RUNTIMES = {"onnx": "onnxruntime", "openvino": "openvino"}
PYTORCH, FLOAT, INT8 = "PyTorch", "float32", "int8"
# What may be lost between the slowest and the fastest point.
MOST_AP = 2.0
TIMED_IMAGES = 10
ROUTES = {"easy": 1.0, "hard": 0.0}


@dataclass(frozen=True)
class Range:
    """From all images hard in float32 to the fastest point that loses at most ``MOST_AP``.

    Attributes:
        slowest, fastest: names of the exports.
        hard_fraction: of the fastest point.
        ap_drop: there.
        ratio: of their times, paired.
    """

    slowest: str
    fastest: str
    hard_fraction: float
    ap_drop: float
    ratio: float


def export_all(
    model: nn.Module, cfg: CfgNode, folder: Path, calibration: str | None, how: Quantisation
) -> dict[str, Path]:
    """Name -> folder of every runtime that is installed, in both precisions."""
    found = {}
    source = export(model, cfg, folder / "onnx", Request("onnx", calibration))
    for runtime, package in RUNTIMES.items():
        if importlib.util.find_spec(package) is None:
            continue
        own = source
        if runtime != "onnx":
            own = export(model, cfg, folder / runtime, Request(runtime, calibration))
        found[f"{package} {FLOAT}"] = own
        int8 = folder / f"{runtime}-{INT8}"
        int8.mkdir()
        quantised_folder(source, int8, runtime, how)
        found[f"{package} {INT8}"] = int8
    return found


def compare_all(
    model: nn.Module, cfg: CfgNode, folders: Mapping[str, Path], images: ImageSet
) -> dict[str, Comparison]:
    """Every export beside PyTorch."""
    own = Accuracy(model_records(model, cfg, images.images), images.truth)
    found = {}
    for name, folder in folders.items():
        records = exported_records(Runner(folder), images.images, name)
        pair = own, Accuracy(records, images.truth)
        manifest = Folder.read(folder).manifest
        found[name] = Comparison.of((PYTORCH, name), pair, images, manifest)
    return found


def time_all(
    model: nn.Module,
    cfg: CfgNode,
    folders: Mapping[str, Path],
    images: Sequence[Sample],
    rounds: int,
) -> Rounds:
    """Both routes of PyTorch and of every export, one image at a time."""
    chosen = spread(images, TIMED_IMAGES)
    mapper = DatasetMapper(cfg, is_train=False)
    inputs, pictures = [mapper(image) for image in chosen], list(pictures_of(chosen))
    calls: dict[str, Call] = {}
    for route, threshold in ROUTES.items():
        calls[f"{PYTORCH} {FLOAT}, {route}"] = one_by_one(model, inputs, threshold)
        for name, folder in folders.items():
            detector = Runner(folder, threshold=threshold, threads=torch.get_num_threads())
            calls[f"{name}, {route}"] = (len(pictures), _each(detector, pictures))
    return interleave("Exports", calls, rounds)


def _each(detector: Runner, pictures: Sequence[Any]) -> Any:
    return lambda: [detector([picture]) for picture in pictures]


def ranges(comparisons: Mapping[str, Comparison], rounds: Rounds) -> list[Range]:
    """Of PyTorch, and of every runtime in float32 and in int8 beside its own float32."""
    found = []
    first = next(iter(comparisons.values()))
    of = {f"{PYTORCH} {FLOAT}": (first, 0), **{name: (own, 1) for name, own in comparisons.items()}}
    for name, (comparison, place) in of.items():
        slowest = f"{name.rpartition(' ')[0]} {FLOAT}"
        whole, whole_place = of[slowest]
        best = whole.points[-1].ap["box"][whole_place]
        for point in comparison.points:
            share, lost = point.hard_fraction[place], best - point.ap["box"][place]
            if lost > MOST_AP:
                continue
            parts = {f"{name}, easy": 1 - share, f"{name}, hard": share}
            ratio = rounds.ratio_to_sum(f"{slowest}, hard", parts)
            found.append(Range(slowest, name, share, lost, ratio))
            break  # points are by rising share of hard images
    return found


def main() -> None:
    """Export, compare, time, report."""
    args = _parser().parse_args()
    setup_logger().setLevel(logging.WARNING)
    setup_logger(name="dynamicdet_d2").setLevel(logging.INFO)
    keep_memory()
    cfg = read_config(args.config_file, [])
    cfg.MODEL.DEVICE = "cpu"
    name = cfg.DATASETS.TEST[0]
    registered(cfg, name, args.calibration_data)
    images = ImageSet.read("DATASETS.TEST", name, args.images)
    chosen = some_images("--calibration-data", args.calibration_data, args.calibration_images)
    of = {"dataset": args.calibration_data, "num_images": len(chosen)}
    model = model_of(cfg)
    with tempfile.TemporaryDirectory() as folder:
        how = Quantisation(lambda: pictures_of(chosen), of)
        folders = export_all(model, cfg, Path(folder), args.calibration, how)
        comparisons = compare_all(model, cfg, folders, images)
        timed = time_all(model, cfg, folders, images.images, args.rounds) if args.rounds else None
    setting = Setting("cpu", cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST)
    content: dict[str, Any] = {"machine": machine(setting), "calibration": of}
    content["exports"] = {name: own.as_json() for name, own in comparisons.items()}
    for own in comparisons.values():
        sys.stdout.write(own.table() + "\n")
    if timed is not None:
        found = ranges(comparisons, timed)
        content["rounds"] = args.rounds
        content["milliseconds"] = {x: round(timed.milliseconds(x), 2) for x in timed.seconds}
        content["ranges"] = [own.__dict__ for own in found]
        sys.stdout.write(_times(content["milliseconds"], found))
    if args.output:
        args.output.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _times(milliseconds: Mapping[str, float], found: Sequence[Range]) -> str:
    lines = [f"{name}: {ms:.2f} ms an image" for name, ms in milliseconds.items()]
    lines += [
        f"{own.slowest}, all hard / {own.fastest}, {own.hard_fraction:.0%} hard "
        f"({own.ap_drop:.2f} AP lost): {own.ratio:.2f}"
        for own in found
    ]
    return "\n".join(lines) + "\n"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.exported", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--config-file", required=True, metavar="FILE")
    parser.add_argument("--calibration", metavar="FILE", help="of calibrate.py")
    parser.add_argument("--calibration-data", default="shapes_val", metavar="NAME")
    parser.add_argument("--calibration-images", type=int, default=100, metavar="N")
    parser.add_argument("--images", type=int, default=500, metavar="N")
    parser.add_argument("--rounds", type=int, default=0, help="0: no times are taken")
    parser.add_argument("--output", type=Path, metavar="FILE.json")
    return parser


if __name__ == "__main__":
    main()
