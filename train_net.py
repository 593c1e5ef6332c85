#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Train or evaluate a dynamic detector; Detectron2's own command line.

python train_net.py --config-file configs/quickstart.yaml [--resume] [--eval-only] KEY VALUE ...
"""

import argparse

from detectron2.engine import default_argument_parser

from dynamicdet_d2.checkpoint import DynamicCheckpointer
from dynamicdet_d2.engine.launch import launch, one_sentence
from dynamicdet_d2.engine.setup import setup
from dynamicdet_d2.engine.trainer import DynamicTrainer


def run(args: argparse.Namespace) -> dict | None:
    """Evaluate the weights of the config, or train through all phases."""
    cfg = setup(args)
    if args.eval_only:
        model = DynamicTrainer.build_model(cfg)
        checkpointer = DynamicCheckpointer(model, save_dir=cfg.OUTPUT_DIR)
        checkpointer.resume_or_load(cfg.MODEL.WEIGHTS, resume=args.resume)
        return DynamicTrainer.test(cfg, model)
    trainer = DynamicTrainer(cfg)
    trainer.resume_or_load(resume=args.resume)
    return trainer.train()


def main(args: argparse.Namespace) -> None:
    with one_sentence("train_net.py"):
        run(args)


if __name__ == "__main__":
    launch(main, default_argument_parser().parse_args())
