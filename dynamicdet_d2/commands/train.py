# SPDX-License-Identifier: Apache-2.0
"""``dynamicdet train``, which ``train_net.py`` is as well: Detectron2's own command line."""

import argparse
import logging
import os
from collections.abc import Sequence

from detectron2.config import CfgNode
from detectron2.engine import DefaultTrainer, default_argument_parser
from detectron2.evaluation import verify_results
from detectron2.utils import comm

from dynamicdet_d2.checkpoint import DynamicCheckpointer, check_complete
from dynamicdet_d2.checkpoint.conventions import say_other_boxes, say_other_classes
from dynamicdet_d2.checkpoint.learnt import say_learnt_images
from dynamicdet_d2.config import check, read_config
from dynamicdet_d2.config.pairs import option_behind
from dynamicdet_d2.config.start_weights import say_start_weights
from dynamicdet_d2.data.check import check_datasets
from dynamicdet_d2.data.check.findings import DatasetReport
from dynamicdet_d2.engine.alike import check_same_checkpoint, check_same_config
from dynamicdet_d2.engine.distributed import said_once
from dynamicdet_d2.engine.expected import check_expected
from dynamicdet_d2.engine.launch import launch
from dynamicdet_d2.engine.setup import setup, use_of
from dynamicdet_d2.engine.static import StaticTrainer
from dynamicdet_d2.engine.trainer import DynamicTrainer
from dynamicdet_d2.modeling.architecture import is_dynamic, num_classes_key
from dynamicdet_d2.utils.errors import one_sentence
from dynamicdet_d2.utils.run_files import CONFIG, LAST

logger = logging.getLogger(__name__)

EXAMPLES = """examples:
  --config-file configs/quickstart.yaml
  --config-file F --num-gpus 8 SOLVER.MAX_ITER 1000
  --config-file F --resume
  --config-file F --eval-only MODEL.WEIGHTS output/model_final.pth
"""


def parser() -> argparse.ArgumentParser:
    """Detectron2's own, with a free port unless ``--dist-url`` names one.

    Detectron2's default is one port per user, which a second run beside the first cannot have.
    """
    parser = default_argument_parser(epilog=EXAMPLES)
    parser.set_defaults(dist_url="auto")
    return parser


def run(args: argparse.Namespace) -> None:
    """Train through all phases, or evaluate, in as many processes as were asked for.

    Raises:
        ValueError: naming what is wrong with config or options, before a process is started.
    """
    _refuse_unclear(args)
    cfg = read_config(args.config_file, args.opts)
    check(cfg, use_of(args))
    _refuse_moved(args, cfg)
    on_gpus = cfg.MODEL.DEVICE.startswith("cuda")
    launch(_process, args, timeout=cfg.RUN.TIMEOUT, on_gpus=on_gpus)


def _refuse_unclear(args: argparse.Namespace) -> None:
    """
    Raises:
        ValueError: there is no config, or two settings say which weights are evaluated.
    """
    if not args.config_file:
        if "--config-file" in args.opts:
            raise ValueError(option_behind("--config-file", args.opts[0]))
        raise ValueError("There is no config: name a file with --config-file.")
    named = dict(zip(args.opts[::2], args.opts[1::2], strict=False)).get("MODEL.WEIGHTS")
    if args.eval_only and args.resume and named:
        raise ValueError(
            "--resume evaluates the last checkpoint in OUTPUT_DIR, and MODEL.WEIGHTS names another "
            "file: give one of them."
        )


def _refuse_moved(args: argparse.Namespace, cfg: CfgNode) -> None:
    """
    Raises:
        ValueError: a run is to be gone on with or evaluated by its ``config.yaml``, and was moved
            or copied, so that the OUTPUT_DIR in that is another folder, with a report of its own.
    """
    folder, name = os.path.split(os.path.abspath(args.config_file))
    begins = not (args.resume or args.eval_only)
    if begins or "OUTPUT_DIR" in args.opts[::2] or name != CONFIG:
        return
    purpose = "--resume goes on in" if args.resume else "the evaluation is written to"
    moved = os.path.realpath(folder) != os.path.realpath(cfg.OUTPUT_DIR)
    if moved and os.path.isfile(os.path.join(folder, LAST)):
        raise ValueError(
            f"--config-file {args.config_file} lies beside a {LAST}, but its OUTPUT_DIR is "
            f"{cfg.OUTPUT_DIR}: type behind the options which folder {purpose}, "
            f"OUTPUT_DIR {folder} or OUTPUT_DIR {cfg.OUTPUT_DIR}."
        )


def _process(args: argparse.Namespace) -> None:
    with one_sentence(args.program), setup(args) as cfg:
        if args.eval_only:
            reports = []
            if cfg.DATASETS.CHECK:  # as a trainer does of what it learns from
                with said_once():
                    reports = check_datasets(cfg, num_classes_key(cfg), eval_only=True)
            if not args.resume and "MODEL.WEIGHTS" not in args.opts[::2]:
                say_start_weights(args.config_file, cfg)
            evaluate(cfg, args.resume, reports)
        else:
            say_unread_weights(args, cfg)
            train(cfg, args.resume)


def say_unread_weights(args: argparse.Namespace, cfg: CfgNode) -> None:
    """Weights that are typed are not read where a run goes on from its last checkpoint."""
    names = args.opts[::2]
    typed = [name for name in ("MODEL.WEIGHTS", "MODEL.COMPOSITE.WEIGHTS2") if name in names]
    last = os.path.join(cfg.OUTPUT_DIR, LAST)
    if args.resume and typed and os.path.isfile(last):
        logger.warning(
            "%s: not read, as --resume goes on from what %s names.", " and ".join(typed), last
        )


def train(cfg: CfgNode, resume: bool) -> None:
    """Train through all phases; with ``resume`` from the last checkpoint in ``OUTPUT_DIR``."""
    trainer = trainer_of(cfg)(cfg)
    trainer.resume_or_load(resume=resume)
    trainer.train()


def evaluate(cfg: CfgNode, resume: bool, reports: Sequence[DatasetReport] = ()) -> dict:
    """Evaluate ``MODEL.WEIGHTS``, or with ``resume`` the last checkpoint in ``OUTPUT_DIR``.

    Args:
        reports: of the data sets that were checked, whose images are compared with the learnt.

    Raises:
        ValueError: there is none, or no data set, or no image of one; parts of the model have
            random values; ``TEST.EXPECTED_RESULTS`` names what is not measured.
    """
    check_same_config(cfg)
    if not cfg.DATASETS.TEST:
        raise ValueError("DATASETS.TEST names no data set to evaluate on.")
    model = trainer_of(cfg).build_model(cfg)
    weights2 = cfg.MODEL.COMPOSITE.WEIGHTS2
    checkpointer = DynamicCheckpointer(model, cfg.OUTPUT_DIR, weights2=weights2)
    if resume and not checkpointer.has_checkpoint():
        raise ValueError(
            f"OUTPUT_DIR {cfg.OUTPUT_DIR} has no last_checkpoint, which --resume evaluates; "
            "without --resume MODEL.WEIGHTS is evaluated."
        )
    if resume:
        check_same_checkpoint(checkpointer)
    if not (cfg.MODEL.WEIGHTS or resume):
        logger.warning("MODEL.WEIGHTS is empty: random weights are evaluated.")
    checkpointer.resume_or_load(cfg.MODEL.WEIGHTS, resume=resume)
    check_complete(checkpointer, one_exit=cfg.MODEL.DYNAMIC.THRESHOLD in (0, 1))
    weights = checkpointer.get_checkpoint_file() if resume else cfg.MODEL.WEIGHTS
    say_other_classes(weights, cfg.DATASETS.TEST)
    say_other_boxes(weights, cfg)
    for report in reports:
        say_learnt_images(weights, report.name, report.files)
    results = trainer_of(cfg).test(cfg, model)
    if comm.is_main_process():
        _refuse_unread(cfg.DATASETS.TEST, results)
        check_expected(cfg.TEST.EXPECTED_RESULTS, results)
        verify_results(cfg, results)
    return results


def _refuse_unread(names: Sequence[str], results: dict) -> None:
    """
    Args:
        names: of the data sets.
        results: of an evaluation, by name where there are several.

    Raises:
        ValueError: one of them has no figures.
    """
    by_name = results if len(set(names)) > 1 else {names[0]: results}
    for name, figures in by_name.items():
        if not figures:
            raise ValueError(f"No image of data set {name} was read: there are no figures of it.")


def trainer_of(cfg: CfgNode) -> type[DefaultTrainer]:
    """The dynamic detector's trainer, or that of the static baselines."""
    return DynamicTrainer if is_dynamic(cfg) else StaticTrainer
