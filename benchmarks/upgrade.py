# SPDX-License-Identifier: Apache-2.0
"""What an upgraded detector reaches beside one that was trained jointly, on the drawn set.

    python -m benchmarks.upgrade [--steps 2000] [--images shapes_demo] [--masks] [--output FILE]

A static detector on EfficientNet-Lite0 is trained from ImageNet weights (configs/
faster_rcnn_lite0.yaml); `dynamicdet upgrade` gives it a second backbone; and the same two backbones
are trained jointly, from ImageNet weights as well. Each of the three trainings makes as many steps
on the same images. With ``--masks`` it is a Mask R-CNN, and AP that of its masks.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
import yaml

from dynamicdet_d2.config import read_config
from dynamicdet_d2.engine.upgrade import dynamic_keys
from dynamicdet_d2.engine.upgrade.conversion import nested
from dynamicdet_d2.evaluation.tradeoff.point_json import PREFIX
from dynamicdet_d2.evaluation.tradeoff.points import IOU_TYPES, Task
from dynamicdet_d2.utils.files import write_json
from dynamicdet_d2.utils.versions import versions

ROOT = Path(__file__).parents[1]
OUTPUT = ROOT / "benchmarks" / "results" / "upgrade.json"
STOCK = {
    # Of the drawn images, as in the demo.
    "MODEL.ROI_HEADS.NUM_CLASSES": 6,
    "INPUT.MIN_SIZE_TRAIN": [192],
    "INPUT.MIN_SIZE_TEST": 192,
    "INPUT.MAX_SIZE_TRAIN": 256,
    "INPUT.MAX_SIZE_TEST": 256,
    "DATASETS.TEST": ["shapes_test"],
    "SOLVER.WARMUP_ITERS": 50,
    "TEST.DYNAMIC.LATENCY_IMAGES": 20,
    "SEED": 1,
    # A detector's own output, without the rounding of merged layers.
    "MODEL.INFERENCE.OPTIMIZE": False,
}
JOINT = {"SOLVER.PHASES": ["detectors", "router"]}
HEADER = (
    "| drawn set, {task} AP, {steps} steps each | easy end | hard end | half hard | random "
    "| oracle | CPU minutes |\n"
    "|---|---|---|---|---|---|---|\n"
)


def write_config(path: Path, keys: dict[str, Any]) -> Path:
    """The static EfficientNet-Lite0's, with some keys changed."""
    base = {"_BASE_": str(ROOT / "configs" / "faster_rcnn_lite0.yaml")}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump({**base, **nested(keys)}), encoding="utf-8")
    return path


def timed(*words: str) -> float:
    """Minutes of CPU time that a command and its processes took, whatever else ran.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-W", "ignore", *words], check=True, cwd=ROOT)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / 60


def stock_ap(folder: Path, task: Task) -> float:
    """AP that the static detector's own evaluation logged last."""
    name = f"{IOU_TYPES[task]}/AP"
    lines = (folder / "metrics.json").read_text(encoding="utf-8").splitlines()
    return [found[name] for found in map(json.loads, lines) if name in found][-1]


def dynamic_figures(folder: Path, task: Task, minutes: float) -> dict[str, float]:
    """AP of a dynamic detector's ends and at half hard."""
    path = folder / "inference" / "dynamic" / "tradeoff.json"
    points = json.loads(path.read_text(encoding="utf-8"))["points"]
    easy, half, hard = (
        next(point for point in points if point["hard_fraction"] == fraction)
        for fraction in (0.0, 0.5, 1.0)
    )
    return {
        "easy_AP": easy[task]["AP"],
        "hard_AP": hard[task]["AP"],
        "half_AP": half[task]["AP"],
        "half_random_AP": half[f"{PREFIX[task]}random_AP"],
        "half_oracle_AP": half[f"{PREFIX[task]}oracle_AP"],
        "minutes": minutes,
    }


def table(content: dict[str, Any]) -> str:
    """Of a result, as docs/upgrade.md shows it."""
    stock = content["stock"]
    rows = [f"| stock detector | {stock['AP']:.2f} |  |  |  |  | {stock['minutes']:.1f} |\n"]
    for name, title in (("upgraded", "upgraded"), ("joint", "trained jointly")):
        found = content[name]
        kinds = ("easy_AP", "hard_AP", "half_AP", "half_random_AP", "half_oracle_AP")
        cells = [f"{found[kind]:.2f}" for kind in kinds]
        rows.append(f"| {title} | {' | '.join(cells)} | {found['minutes']:.1f} |\n")
    return HEADER.format(task=content["task"], steps=content["steps"]) + "".join(rows)


def measure(steps: int, images: str, task: Task, folder: Path) -> dict[str, Any]:
    """Train the three, and read what they reached on ``shapes_test``."""
    common = {
        **STOCK,
        "MODEL.MASK_ON": task == "mask",
        "DATASETS.TRAIN": [images],
        "SOLVER.MAX_ITER": steps,
        "SOLVER.CHECKPOINT_PERIOD": 100_000,
    }
    own = {"OUTPUT_DIR": str(folder / "stock")}
    stock = write_config(folder / "stock.yaml", {**common, **own})
    weights = str(folder / "stock" / "model_final.pth")
    found: dict[str, Any] = {}
    minutes = timed("train_net.py", "--config-file", str(stock))
    found["stock"] = {"AP": stock_ap(folder / "stock", task), "minutes": minutes}
    upgraded = ["--config-file", str(stock), "--weights", weights]
    target = folder / "upgraded"
    minutes = timed("-m", "dynamicdet_d2", "upgrade", *upgraded, "--output", str(target))
    found["upgraded"] = dynamic_figures(target, task, minutes)
    dynamic = {**dynamic_keys(read_config(str(stock), [])), **JOINT}
    target = folder / "joint"
    joint = write_config(folder / "joint.yaml", {**common, **dynamic, "OUTPUT_DIR": str(target)})
    minutes = timed("train_net.py", "--config-file", str(joint))
    found["joint"] = dynamic_figures(target, task, minutes)
    return found


def main() -> None:
    """Measure, print the table, write the file."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--steps", type=int, default=2000, metavar="N", help="of each training")
    options.add_argument("--images", default="shapes_demo", help="to train on")
    options.add_argument("--masks", action="store_true", help="a Mask R-CNN, and AP of its masks")
    options.add_argument("--work", type=Path, default=ROOT / "output" / "upgrade", metavar="FOLDER")
    options.add_argument("--output", type=Path, default=OUTPUT, metavar="FILE.json")
    args = options.parse_args()
    task: Task = "mask" if args.masks else "box"
    options_given = f"--steps {args.steps} --images {args.images}" + " --masks" * args.masks
    content = {
        "command": f"python -m benchmarks.upgrade {options_given}",
        "commit": commit(),
        "date": time.strftime("%Y-%m-%d"),
        "device": f"cpu, {torch.get_num_threads()} threads",
        "seed": 1,
        "task": task,
        "steps": args.steps,
        "images": args.images,
        "versions": versions(),
        **measure(args.steps, args.images, task, args.work.resolve()),
    }
    write_json(args.output, content)
    sys.stdout.write(table(content))


def commit() -> str:
    """Of the clone that ran."""
    words = ["git", "rev-parse", "--short", "HEAD"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()


if __name__ == "__main__":
    main()
