# SPDX-License-Identifier: Apache-2.0
"""How a run's log begins, and the random numbers that go with it."""

import argparse
import logging

import torch
from detectron2.config import CfgNode
from detectron2.utils import comm
from detectron2.utils.collect_env import collect_env_info
from detectron2.utils.env import seed_all_rng
from detectron2.utils.file_io import PathManager
from detectron2.utils.logger import setup_logger

logger = logging.getLogger(__name__)


def begin_log(cfg: CfgNode, args: argparse.Namespace) -> None:
    """Open ``OUTPUT_DIR/log.txt``, say what runs and where, and seed the process.

    It stands for Detectron2's ``default_setup``, which also writes ``config.yaml``, in place: that
    of a training would be gone where an evaluation in its folder is killed, or meets a full disk,
    before it could be put back, and whoever reads it meanwhile would read half of it.

    Args:
        args: of Detectron2's ``default_argument_parser``; its ``config_file`` can be opened.
    """
    rank = comm.get_rank()
    for name in ("fvcore", "detectron2", "dynamicdet_d2"):
        setup_logger(cfg.OUTPUT_DIR, distributed_rank=rank, name=name)
    logger.info("Process %d of %d", rank, comm.get_world_size())
    logger.info("Environment:\n%s", collect_env_info())
    logger.info("Command line: %s", args)
    if args.config_file:
        with PathManager.open(args.config_file, "rb") as file:
            logger.info("%s:\n%s", args.config_file, file.read().decode("utf-8", "replace"))
    logger.info("Config of this run:\n%s", cfg.dump())
    seed_all_rng(None if cfg.SEED < 0 else cfg.SEED + rank)
    if not args.eval_only:
        torch.backends.cudnn.benchmark = cfg.CUDNN_BENCHMARK
