# SPDX-License-Identifier: Apache-2.0
"""Peak memory of training steps on the CPU, beside what is counted on small pictures.

    python -m benchmarks.step_memory [--output FILE.json] [CONFIG IMAGES HEIGHT WIDTH STEPS]

The ratio is what `engine/step_memory.py` allows for as room. A process per config, since a process
does not give its peak back.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import torch
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage

from dynamicdet_d2.config import read_config
from dynamicdet_d2.engine.optimizer import build_detectors_optimizer
from dynamicdet_d2.engine.step_memory import ROOM, step_bytes
from dynamicdet_d2.utils.files import write_json
from dynamicdet_d2.utils.memory import keep_memory, peak_memory
from dynamicdet_d2.utils.versions import versions

OUTPUT = Path(__file__).parent / "results" / "step_memory.json"
# Config, images a step, height and width in pixels, steps.
CASES = (
    ("quickstart_from_scratch.yaml", 8, 192, 256, 6),
    ("own_data.yaml", 4, 224, 320, 12),
    ("own_data.yaml", 4, 448, 640, 4),
    ("dy_faster_rcnn_R_50_FPN_1x.yaml", 1, 800, 1333, 2),
)
OBJECTS = 16


def picture(height: int, width: int, seed: int) -> dict:
    """An input of Detectron2's, of noise."""
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(OBJECTS, 2, generator=generator) * torch.tensor([width, height]) / 2
    size = torch.rand(OBJECTS, 2, generator=generator) * torch.tensor([width, height]) / 4 + 8
    objects = Instances((height, width))
    objects.gt_boxes = Boxes(torch.cat([corner, corner + size], dim=1))
    objects.gt_classes = torch.zeros(OBJECTS, dtype=torch.long)
    image = torch.rand(3, height, width, generator=generator) * 255
    return {"image": image, "instances": objects, "height": height, "width": width}


def measure(name: str, images: int, height: int, width: int, steps: int) -> dict:
    """Bytes of steps in this process: counted, and by its resident memory."""
    overrides = ["MODEL.DEVICE", "cpu", "MODEL.ROI_HEADS.NUM_CLASSES", "3"]
    # Weights are random, which FrozenBN leaves unscaled: they are not to run away.
    cfg = read_config(f"configs/{name}", [*overrides, "MODEL.WEIGHTS", "", "SOLVER.BASE_LR", "0.0"])
    keep_memory()  # as training on a CPU does
    torch.manual_seed(0)
    model = build_model(cfg).train()
    model.router.requires_grad_(False)  # which another phase trains
    optimizer = build_detectors_optimizer(cfg, model)
    counted = step_bytes(cfg, model, model, optimizer, images, height * width)
    before = resident()
    with EventStorage():
        for step in range(steps):
            batch = [picture(height, width, images * step + n) for n in range(images)]
            losses = model(batch)
            optimizer.zero_grad()
            sum(losses.values()).backward()
            optimizer.step()
            del losses
    peak = peak_memory()
    kept = step_bytes(cfg, model, model, optimizer, 1, height * width) - step_bytes(
        cfg, model, model, optimizer, 0, height * width
    )
    saved = images * kept / ROOM
    weights = counted - ROOM * saved
    return {
        "config": name,
        "images": images,
        "pixels": f"{height}x{width}",
        "steps": steps,
        "saved_gb": round(saved / 1e9, 3),
        "gradients_and_states_gb": round(weights / 1e9, 3),
        "measured_gb": round((peak - before) / 1e9, 3),
        "process_peak_gb": round(peak / 1e9, 3),
        "ratio": round((peak - before - weights) / saved, 3),
    }


def resident() -> int:
    """Bytes of the machine's memory that the process has now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    """All cases, each in a process of its own; or one, printed."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--output", type=Path, default=OUTPUT, metavar="FILE.json")
    options.add_argument("case", nargs="*", metavar="CONFIG IMAGES HEIGHT WIDTH STEPS")
    args = options.parse_args()
    if args.case:
        sys.stdout.write(json.dumps(measure(args.case[0], *map(int, args.case[1:]))) + "\n")
        return
    rows = []
    for case in CASES:
        words = [sys.executable, "-W", "ignore", "-m", "benchmarks.step_memory", *map(str, case)]
        output = subprocess.run(words, check=True, capture_output=True, text=True).stdout
        rows.append(json.loads(output.splitlines()[-1]))
        sys.stdout.write(f"{rows[-1]}\n")
        sys.stdout.flush()
    command = "python -m benchmarks.step_memory"
    content = {"command": command, "versions": versions(), "device": "cpu", "rows": rows}
    write_json(args.output, content)


if __name__ == "__main__":
    main()
