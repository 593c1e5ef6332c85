# SPDX-License-Identifier: Apache-2.0
"""From command line arguments to a checked config and a log."""

import argparse
import logging
import os
import sys
from collections.abc import Sequence

from detectron2.config import CfgNode
from detectron2.engine import default_setup
from detectron2.utils import comm
from detectron2.utils.logger import setup_logger

from dynamicdet_d2.config import Use, check, read_config
from dynamicdet_d2.data.check.run import check_datasets
from dynamicdet_d2.data.register import checked_entry, register_coco_json
from dynamicdet_d2.data.shapes.dataset import register_shapes
from dynamicdet_d2.modeling.architecture import num_classes_key
from dynamicdet_d2.utils.files import whole_file
from dynamicdet_d2.utils.memory import keep_memory
from dynamicdet_d2.utils.shipped import shipped


def load_config(config_file: str, overrides: Sequence[str], use: Use = Use.EVALUATE) -> CfgNode:
    """``read_config`` and ``checked``.

    Args:
        config_file, overrides: as ``read_config`` takes them.
        use: what the config is for.

    Raises:
        ValueError: naming the file, the keys or the data set that is wrong.
    """
    return checked(read_config(config_file, overrides), use)


def checked(cfg: CfgNode, use: Use) -> CfgNode:
    """The config itself, checked, its data sets registered, frozen.

    Raises:
        ValueError: naming the keys or the data set that is wrong.
    """
    check(cfg, use)
    register_coco_json(cfg.DATASETS.COCO_JSON)
    register_shapes([*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST, cfg.SOLVER.ROUTER.VALIDATION])
    cfg.freeze()
    return cfg


def setup(args: argparse.Namespace) -> CfgNode:
    """``load_config``, Detectron2's ``default_setup``, the package's log and the data check.

    ``OUTPUT_DIR/config.yaml`` has absolute paths, so that it works from any folder.

    Args:
        args: of Detectron2's ``default_argument_parser``.
    """
    cfg = load_config(args.config_file, args.opts, Use.EVALUATE if args.eval_only else Use.TRAIN)
    args.config_file = shipped(args.config_file)  # which Detectron2 opens too
    default_setup(cfg, args)
    if comm.is_main_process():
        _save_config(cfg)
    setup_logger(cfg.OUTPUT_DIR, distributed_rank=comm.get_rank(), name="dynamicdet_d2")
    _calm_screen()
    if cfg.MODEL.DEVICE == "cpu":
        keep_memory()
    if cfg.DATASETS.CHECK:
        check_datasets(cfg, num_classes_key(cfg), eval_only=args.eval_only)
    return cfg


def _save_config(cfg: CfgNode) -> None:
    """``config.yaml`` in the place of Detectron2's, with absolute paths."""
    saved = cfg.clone()
    saved.defrost()
    saved.OUTPUT_DIR = os.path.abspath(cfg.OUTPUT_DIR)
    saved.DATASETS.COCO_JSON = [list(checked_entry(entry)) for entry in cfg.DATASETS.COCO_JSON]
    for node, key in (
        (saved.MODEL, "WEIGHTS"),
        (saved.MODEL.COMPOSITE, "WEIGHTS2"),
        (saved.MODEL.DYNAMIC, "CALIBRATION"),
    ):
        if os.path.isfile(node[key]):  # not an address, nor the name of a package's weights
            node[key] = os.path.abspath(node[key])
    with whole_file(os.path.join(cfg.OUTPUT_DIR, "config.yaml")) as file:
        file.write(saved.dump().encode())


def _calm_screen() -> None:
    """Neither debug messages nor tracebacks on the screen; ``log.txt`` keeps both.

    Detectron2 logs the traceback of whatever ends a training, a corrupt image as well.
    """
    for name in ("detectron2", "dynamicdet_d2"):
        for handler in logging.getLogger(name).handlers:
            if getattr(handler, "stream", None) is sys.stdout:
                handler.setLevel(logging.INFO)
                handler.addFilter(lambda record: not record.exc_info)
