#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Train or evaluate a dynamic detector; Detectron2's own command line.

python train_net.py --config-file configs/quickstart.yaml [--resume] [--eval-only] KEY VALUE ...
"""

import argparse
import logging

from detectron2.config import CfgNode
from detectron2.engine import DefaultTrainer, default_argument_parser
from detectron2.evaluation import verify_results
from detectron2.utils import comm

from dynamicdet_d2.checkpoint import DynamicCheckpointer, check_complete
from dynamicdet_d2.engine.launch import launch, one_sentence
from dynamicdet_d2.engine.setup import setup
from dynamicdet_d2.engine.static import StaticTrainer
from dynamicdet_d2.engine.trainer import DynamicTrainer
from dynamicdet_d2.modeling.architecture import is_dynamic

logger = logging.getLogger("dynamicdet_d2.train_net")


def run(args: argparse.Namespace) -> dict | None:
    """Evaluate the weights of the config, or train through all phases."""
    cfg = setup(args)
    if args.eval_only:
        return evaluate(cfg, args.resume)
    trainer = trainer_of(cfg)(cfg)
    trainer.resume_or_load(resume=args.resume)
    return trainer.train()


def trainer_of(cfg: CfgNode) -> type[DefaultTrainer]:
    """The dynamic detector's trainer, or that of the static baselines."""
    return DynamicTrainer if is_dynamic(cfg) else StaticTrainer


def evaluate(cfg: CfgNode, resume: bool) -> dict:
    """Evaluate ``MODEL.WEIGHTS``, or with ``resume`` the last checkpoint in ``OUTPUT_DIR``."""
    model = trainer_of(cfg).build_model(cfg)
    weights2 = cfg.MODEL.COMPOSITE.WEIGHTS2
    checkpointer = DynamicCheckpointer(model, cfg.OUTPUT_DIR, weights2=weights2)
    if not cfg.MODEL.WEIGHTS and not (resume and checkpointer.has_checkpoint()):
        logger.warning("MODEL.WEIGHTS is empty: random weights are evaluated.")
    checkpointer.resume_or_load(cfg.MODEL.WEIGHTS, resume=resume)
    check_complete(checkpointer, one_exit=cfg.MODEL.DYNAMIC.THRESHOLD in (0, 1))
    results = trainer_of(cfg).test(cfg, model)
    if comm.is_main_process():
        verify_results(cfg, results)
    return results


def main(args: argparse.Namespace) -> None:
    with one_sentence("train_net.py"):
        run(args)


if __name__ == "__main__":
    with one_sentence("train_net.py"):
        launch(main, default_argument_parser().parse_args())
