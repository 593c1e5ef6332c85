#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Does the drawn set need depth? Plain detectors of two depths, equal in all else, side by side.

A dynamic detector can only show something on images that a deeper backbone reads better than a
shallow one. The drawn set is kept as long as the deeper of two plain detectors (no router, no
composite, the same widths, steps and images) is ahead by 3 AP, and more on some images than on
others.

    python -m benchmarks.drawn_set_depth --steps 1200 --output FILE.json
"""

import argparse
import json
import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetMapper, MetadataCatalog
from detectron2.engine import SimpleTrainer
from detectron2.evaluation.coco_evaluation import instances_to_coco_json
from detectron2.layers import ShapeSpec
from detectron2.modeling import GeneralizedRCNN
from detectron2.modeling.proposal_generator import build_proposal_generator
from detectron2.modeling.roi_heads import build_roi_heads
from detectron2.solver import build_lr_scheduler
from detectron2.utils.events import EventStorage
from pycocotools.coco import COCO

from dynamicdet_d2.config import read_config
from dynamicdet_d2.data.loading.loaders import build_test_loader, build_training_loader
from dynamicdet_d2.data.shapes.dataset import register_shapes
from dynamicdet_d2.engine.optimizer import build_detectors_optimizer
from dynamicdet_d2.evaluation.coco.sweep import CocoSweep
from dynamicdet_d2.modeling.backbone.resnet import build_staged_resnet
from dynamicdet_d2.modeling.necks.fpn import build_fpn
from dynamicdet_d2.utils.progress import Progress

CONFIG = "configs/quickstart_from_scratch.yaml"
DEPTHS = {"10 layers": (1, 1, 1, 1), "34 layers": (3, 4, 6, 3)}
# Bounds of the drawn difficulty that AP is given between.
BOUNDS = (0.0, 0.25, 0.5, 0.75, 1.0)


def plain_detector(cfg: CfgNode, num_blocks: Sequence[int]) -> GeneralizedRCNN:
    """Detectron2's own detector with a ResNet of so many blocks a stage."""
    resnet = build_staged_resnet(cfg, ShapeSpec(channels=3), num_blocks)
    fpn = build_fpn(cfg, resnet)
    return GeneralizedRCNN(
        backbone=fpn,
        proposal_generator=build_proposal_generator(cfg, fpn.output_shape()),
        roi_heads=build_roi_heads(cfg, fpn.output_shape()),
        pixel_mean=cfg.MODEL.PIXEL_MEAN,
        pixel_std=cfg.MODEL.PIXEL_STD,
        input_format=cfg.INPUT.FORMAT,
    )


def train(cfg: CfgNode, model: GeneralizedRCNN, name: str) -> None:
    """The same steps on the same images for every depth."""
    optimizer = build_detectors_optimizer(cfg, model)
    scheduler = build_lr_scheduler(cfg, optimizer)
    loader = build_training_loader(cfg, DatasetMapper(cfg, is_train=True), seed=cfg.SEED)
    trainer = SimpleTrainer(model, loader, optimizer)
    progress = Progress(cfg.SOLVER.MAX_ITER, f"Training, {name}")
    with EventStorage():
        for _ in range(cfg.SOLVER.MAX_ITER):
            trainer.run_step()
            scheduler.step()
            progress.step()


@torch.no_grad()
def detect(cfg: CfgNode, model: GeneralizedRCNN, dataset: str) -> list[dict]:
    """COCO results on a data set, with the file's own category ids."""
    model.eval()
    to_file = {v: k for k, v in _metadata(dataset).thing_dataset_id_to_contiguous_id.items()}
    results = []
    for batch in build_test_loader(cfg, dataset):
        instances = model(batch)[0]["instances"]
        results.extend(instances_to_coco_json(instances, batch[0]["image_id"]))
    return [{**result, "category_id": to_file[result["category_id"]]} for result in results]


def compare(ground_truth: COCO, results: Sequence[list[dict]]) -> list[dict]:
    """AP of both depths over all images, and between the bounds of the drawn difficulty."""
    ids = sorted(ground_truth.imgs)
    easy, hard = results
    sweep = CocoSweep(ground_truth, (easy, hard), "bbox", ids)
    drawn = np.array([ground_truth.imgs[i]["difficulty"] for i in ids])
    everywhere = np.ones(len(ids), dtype=bool)
    parts = [("all", everywhere)]
    for low, high in zip(BOUNDS, BOUNDS[1:], strict=False):
        parts.append((f"{low} to {high}", (drawn >= low) & (drawn < high)))
    rows = []
    for name, images in parts:
        shallow, deep = (
            sweep.evaluate(hard, images=images).ap for hard in (~everywhere, everywhere)
        )
        row = {"difficulty": name, "images": int(images.sum()), "gain": deep - shallow}
        rows.append({**row, **dict(zip(DEPTHS, (shallow, deep), strict=True))})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--output", type=Path, metavar="FILE")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    cfg = read_config(CONFIG, ["SOLVER.MAX_ITER", str(args.steps)])
    dataset = cfg.DATASETS.TEST[0]
    register_shapes([*cfg.DATASETS.TRAIN, dataset])
    start = time.monotonic()
    results = []
    for name, num_blocks in DEPTHS.items():
        torch.manual_seed(cfg.SEED)
        model = plain_detector(cfg, num_blocks)
        train(cfg, model, name)
        results.append(detect(cfg, model, dataset))
    rows = compare(COCO(_metadata(dataset).json_file), tuple(results))
    _show(rows)
    if args.output:
        content = {"steps": args.steps, "seconds": round(time.monotonic() - start), "rows": rows}
        args.output.write_text(json.dumps(content, indent=1) + "\n")


def _metadata(dataset: str) -> MetadataCatalog:
    return MetadataCatalog.get(dataset)


def _show(rows: list[dict]) -> None:
    sys.stdout.write("| difficulty | images | " + " | ".join(DEPTHS) + " | gain |\n")
    sys.stdout.write("|---|---|---|---|---|\n")
    for row in rows:
        figures = [f"{row[name]:.1f}" for name in (*DEPTHS, "gain")]
        sys.stdout.write(f"| {row['difficulty']} | {row['images']} | {' | '.join(figures)} |\n")


if __name__ == "__main__":
    main()
