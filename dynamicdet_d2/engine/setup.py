# SPDX-License-Identifier: Apache-2.0
"""From command line arguments to a checked config and a log."""

import argparse
import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from detectron2.config import CfgNode
from detectron2.utils import comm

from dynamicdet_d2.config import Use, check, read_config
from dynamicdet_d2.engine.alike import check_same_command
from dynamicdet_d2.engine.distributed import said_once
from dynamicdet_d2.engine.ending import failures_in_a_sentence
from dynamicdet_d2.engine.run_data import register_data
from dynamicdet_d2.engine.run_folder import folder_of_run
from dynamicdet_d2.engine.run_log import begin_log
from dynamicdet_d2.engine.saved_config import holds_config_of_training, save_config
from dynamicdet_d2.utils import stopping
from dynamicdet_d2.utils.memory import keep_memory
from dynamicdet_d2.utils.remarks import remarks_kept
from dynamicdet_d2.utils.shipped import shipped

logger = logging.getLogger(__name__)


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
    register_data(cfg)
    cfg.freeze()
    return cfg


@contextmanager
def setup(args: argparse.Namespace) -> Iterator[CfgNode]:
    """``load_config``, OUTPUT_DIR and the log.

    Inside, OUTPUT_DIR is this run's alone, and Ctrl-C, SIGTERM and a closed terminal end it
    without half a step.

    ``OUTPUT_DIR/config.yaml`` has absolute paths, so that it works from any folder. An evaluation
    in the folder of a training leaves it as it is; the log has the evaluation's keys. So does a
    run that resumes, until its trainer goes on: it may be refused.

    Args:
        args: of Detectron2's ``default_argument_parser``.

    Raises:
        ValueError, RunError, OSError: one sentence.
    """
    with said_once():
        cfg = load_config(args.config_file, args.opts, use_of(args))
    check_same_command(args)
    begins = not (args.resume or args.eval_only)
    resumes = args.resume and not args.eval_only
    with (
        remarks_kept(),
        stopping.signals_heeded(),
        failures_in_a_sentence(cfg, eval_only=args.eval_only),
        folder_of_run(cfg.OUTPUT_DIR, begins=begins, resumes=resumes) as remarks,
    ):
        args.config_file = shipped(args.config_file)  # which the log opens too
        begin_log(cfg, args)
        _calm_screen()
        kept = not begins and holds_config_of_training(cfg.OUTPUT_DIR)
        if cfg.OUTPUT_DIR and comm.is_main_process() and not kept:
            save_config(cfg)
        for remark in remarks:
            logger.warning(remark)
        if cfg.MODEL.DEVICE == "cpu":
            keep_memory()
        yield cfg


def use_of(args: argparse.Namespace) -> Use:
    """What a command line's config is for."""
    return Use.EVALUATE if args.eval_only else Use.TRAIN


def _calm_screen() -> None:
    """Neither debug messages nor tracebacks on the screen; ``log.txt`` keeps both.

    Detectron2 logs the traceback of whatever ends a training, a corrupt image as well. And a log
    that cannot be written, on a full disk, would put a traceback on the screen for every line.
    """
    logging.raiseExceptions = False
    for name in ("detectron2", "dynamicdet_d2"):
        for handler in logging.getLogger(name).handlers:
            if getattr(handler, "stream", None) is sys.stdout:
                handler.setLevel(logging.INFO)
                handler.addFilter(lambda record: not record.exc_info)
