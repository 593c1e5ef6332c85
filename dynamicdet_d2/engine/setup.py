# SPDX-License-Identifier: Apache-2.0
"""From command line arguments to a checked config and a log."""

import logging
import os

import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.engine import default_setup
from detectron2.utils import comm
from detectron2.utils.logger import setup_logger

from dynamicdet_d2.config import add_dynamicdet_config
from dynamicdet_d2.data.check import check_datasets
from dynamicdet_d2.data.register import register_coco_json
from dynamicdet_d2.data.shapes import register_shapes


def load_config(config_file: str, overrides: list[str]) -> CfgNode:
    """The project's config: defaults, a yaml file, and ``KEY VALUE`` pairs, frozen.

    Without a GPU, ``MODEL.DEVICE`` "cuda" becomes "cpu". Data sets of ``DATASETS.COCO_JSON`` are
    registered.

    Raises:
        ValueError, KeyError: naming the file or the key that is wrong.
    """
    cfg = get_cfg()
    add_dynamicdet_config(cfg)
    if config_file:
        if not os.path.isfile(config_file):
            raise ValueError(f"--config-file {config_file} does not exist.")
        cfg.merge_from_file(config_file)
    if len(overrides) % 2:
        raise ValueError(f"Config overrides are KEY VALUE pairs; '{overrides[-1]}' has no value.")
    try:
        cfg.merge_from_list(overrides)
    except AssertionError as error:  # how yacs refuses an unknown key
        raise ValueError(str(error)) from None
    if cfg.MODEL.DEVICE == "cuda" and not torch.cuda.is_available():
        cfg.MODEL.DEVICE = "cpu"
    register_coco_json(cfg.DATASETS.COCO_JSON)
    register_shapes([*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST])
    cfg.freeze()
    return cfg


def setup(args: object) -> CfgNode:
    """``load_config``, Detectron2's ``default_setup``, the package's log and the data check.

    Args:
        args: of Detectron2's ``default_argument_parser``.
    """
    cfg = load_config(args.config_file, args.opts)
    default_setup(cfg, args)
    setup_logger(cfg.OUTPUT_DIR, distributed_rank=comm.get_rank(), name="dynamicdet_d2")
    _keep_debug_off_the_screen(logging.getLogger("dynamicdet_d2"))
    if cfg.DATASETS.CHECK:
        check_datasets(cfg, eval_only=args.eval_only)
    return cfg


def _keep_debug_off_the_screen(logger: logging.Logger) -> None:
    for handler in logger.handlers:
        if getattr(handler.stream, "isatty", None) and handler.stream.name == "<stdout>":
            handler.setLevel(logging.INFO)
