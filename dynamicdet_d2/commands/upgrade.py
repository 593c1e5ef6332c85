# SPDX-License-Identifier: Apache-2.0
"""``dynamicdet upgrade``: a hard route for a trained Detectron2 detector, which stays as it is."""

import argparse
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetMapper
from detectron2.modeling import build_model
from detectron2.utils.env import seed_all_rng
from detectron2.utils.logger import setup_logger

from dynamicdet_d2.checkpoint import DynamicCheckpointer, check_complete
from dynamicdet_d2.checkpoint.conventions import keys_of, say_other_boxes
from dynamicdet_d2.checkpoint.learnt import in_checkpoint, recorded_by
from dynamicdet_d2.commands import train
from dynamicdet_d2.config import Use, check, read_config
from dynamicdet_d2.config.checking import value_of
from dynamicdet_d2.data.loading.corrupt import CorruptImageError, NamedErrors
from dynamicdet_d2.data.loading.images import training_dicts
from dynamicdet_d2.engine.setup import checked
from dynamicdet_d2.engine.upgrade import Proof, compare, dynamic_keys, proof_dicts, stock_file
from dynamicdet_d2.engine.upgrade.conversion import Keys
from dynamicdet_d2.engine.upgrade.folder import (
    START,
    check_output,
    write_config,
    write_record,
)
from dynamicdet_d2.engine.world import given_world
from dynamicdet_d2.modeling.architecture import building
from dynamicdet_d2.modeling.dynamic_detector import DynamicDetector
from dynamicdet_d2.utils.files import make_folder, whole_file
from dynamicdet_d2.utils.folder_lock import held
from dynamicdet_d2.utils.run_files import LAST

logger = logging.getLogger(__name__)

_OF_EASY_ROUTE = ("MODEL.COMPOSITE.NUM_BLOCKS1", "MODEL.DYNAMIC.EASY_PROPOSALS")


def parser() -> argparse.ArgumentParser:
    """The stock detector, where to put the dynamic one, and what to compare them on."""
    options = argparse.ArgumentParser(
        description="Give a trained Detectron2 detector a hard route. Writes a dynamic config, "
        "shows that the easy route is the detector bit for bit, trains connections, backbone 2 and "
        "router beside it, and shows it again."
    )
    options.add_argument(
        "--config-file",
        required=True,
        metavar="FILE",
        help="that the detector was trained with; or a name of Detectron2's model zoo",
    )
    options.add_argument("--weights", required=True, metavar="FILE", help="of the detector")
    options.add_argument("--output", type=Path, required=True, metavar="FOLDER")
    options.add_argument(
        "--images",
        nargs="+",
        action="extend",
        default=[],
        metavar="PATH",
        help="to compare the two on, files or folders (default: some of DATASETS.TRAIN)",
    )
    options.add_argument("--num-images", type=int, default=8, metavar="N", help="of them")
    options.add_argument("--prove-only", action="store_true", help="do not train")
    options.add_argument("--resume", action="store_true", help="go on with an upgrade")
    options.add_argument("--num-gpus", type=int, default=1, metavar="N")
    options.add_argument(
        "--opts",
        nargs=argparse.REMAINDER,
        default=[],
        metavar="KEY VALUE",
        help="config overrides, such as SOLVER.MAX_ITER 5000 MODEL.COMPOSITE.SHARE_HEADS False",
    )
    return options


def run(args: argparse.Namespace) -> None:
    """Convert, prove, train, prove again.

    Raises:
        ValueError: the detector cannot be upgraded, or an image has another output.
    """
    log = setup_logger(name="dynamicdet_d2")
    log.setLevel(logging.INFO)
    _refuse_none(args)
    _refuse_twice(args)
    check_output(args.output)
    if args.prove_only and os.path.lexists(args.output / LAST):
        raise ValueError(
            f"--prove-only: {args.output} has an upgrade that has been trained, of whose proofs it "
            "would leave the first alone; --resume shows both again."
        )
    if args.resume and not any(os.path.lexists(args.output / x) for x in (START, LAST)):
        raise ValueError(
            f"--resume: {args.output} has neither {START} nor {LAST}, so there is no upgrade "
            "to go on with."
        )
    stock = read_config(stock_file(args.config_file), args.opts, shared=True)
    say_other_boxes(args.weights, stock, stock_file(args.config_file))
    keys = dynamic_keys(stock) | {key: value_of(stock, key) for key in args.opts[::2]}
    make_folder(args.output)
    with held(args.output, "--output") as remark:  # a training holds it itself
        if remark:
            logger.warning(remark)
        config, cfg, overrides, proofs = _begun(args, stock, keys)
    if args.prove_only:
        return
    words = ["--config-file", config, "--num-gpus", str(args.num_gpus)]
    words += ["--resume"] if args.resume else []
    training = train.parser().parse_args([*words, *overrides])
    training.program = args.program
    with _silent(log):  # a training has a screen of its own, and would say each line twice
        train.run(training)
    final = loaded(cfg, str(args.output / "model_final.pth"), args)
    proofs["after training"] = prove(args, stock, final, cfg)
    write_record(args.output, args.config_file, args.weights, proofs)


def _begun(
    args: argparse.Namespace, stock: CfgNode, keys: Keys
) -> tuple[str, CfgNode, list[str], dict[str, Proof]]:
    """Write what an upgrade begins with, and show that its easy route is the detector.

    Args:
        keys: of the dynamic detector, with those that are typed.

    Returns:
        its config, as a file and read with the overrides, the overrides, and the proof.
    """
    config = write_config(args.output, stock_file(args.config_file), keys)
    overrides = [*args.opts, "OUTPUT_DIR", str(args.output)]
    cfg = read_config(config, overrides)
    check(cfg, Use.MODEL if args.prove_only else Use.TRAIN)
    if "detectors" in cfg.SOLVER.PHASES:
        raise ValueError(
            f"SOLVER.PHASES is {list(cfg.SOLVER.PHASES)}; an upgrade leaves detector1 as it is, "
            "which phase 'detectors' would train."
        )
    if not args.prove_only:
        say_untrained(cfg)
    seed_all_rng(None if cfg.SEED < 0 else cfg.SEED)
    # What an upgrade goes on from: of other weights it would be shown not to be the detector.
    start = args.output / START
    goes_on = args.resume and start.is_file()
    model = loaded(cfg, str(start) if goes_on else args.weights, args)
    if goes_on:
        _refuse_other_weights(model, cfg, args)
    proofs = {"before training": prove(args, stock, model, cfg)}
    if not args.resume:
        # One that goes on has it, and what was proved at its last end.
        write_record(args.output, args.config_file, args.weights, proofs)
        with whole_file(start) as file:
            # Its router is at random values, as in that phase.
            kept = in_checkpoint(recorded_by(args.weights), keys_of(cfg), "detector2")
            torch.save({"model": model.state_dict(), **kept}, file)
    return config, cfg, overrides, proofs


@contextmanager
def _silent(log: logging.Logger) -> Iterator[None]:
    """Without the handlers that a log has; with them again where it got no others inside."""
    handlers, log.handlers = log.handlers, []
    try:
        yield
    finally:
        log.handlers = log.handlers or handlers


def say_untrained(cfg: CfgNode) -> None:
    """Warn where no step trains what the upgrade adds: a router would choose between equals."""
    phases, steps = list(cfg.SOLVER.PHASES), cfg.SOLVER.MAX_ITER
    if "detector2" in phases and steps:
        return
    logger.warning(
        "SOLVER.PHASES %s%s trains no backbone 2: it stays what it begins as, and the hard route "
        "costs more and detects no better; phase 'detector2' trains it, for SOLVER.MAX_ITER steps.",
        *(phases, "" if steps else " with SOLVER.MAX_ITER 0"),
    )


def _refuse_none(args: argparse.Namespace) -> None:
    """
    Raises:
        ValueError: no image to compare on, or no process to train in; or processes that torchrun
            has started, of which each would write the folder that one of them holds.
    """
    world = given_world(os.environ, timeout=0, on_gpus=False)
    if world is not None and world.size > 1:
        raise ValueError(
            f"torchrun has started {world.size} processes, and an upgrade starts those of its "
            f"training itself: give --num-gpus {world.local_size} in the place of torchrun."
        )
    for option, number in (("--num-images", args.num_images), ("--num-gpus", args.num_gpus)):
        if number < 1:
            raise ValueError(f"{option} is {number}; it must be at least 1.")


def _refuse_twice(args: argparse.Namespace) -> None:
    """
    Raises:
        ValueError: a key says what an option says too.
    """
    for name, option in (("OUTPUT_DIR", "--output"), ("MODEL.WEIGHTS", "--weights")):
        if name in args.opts[::2]:
            raise ValueError(f"{name} and {option} say the same; {option} alone is read.")


def _refuse_other_weights(model: DynamicDetector, cfg: CfgNode, args: argparse.Namespace) -> None:
    """Images on which nothing is detected would not show it.

    Args:
        model: what the upgrade began with.

    Raises:
        ValueError: it has other weights than the detector.
    """
    began = model.state_dict()
    given = _load(cfg, args.weights, args)
    now, read = given.model.state_dict(), given.report.loaded if given.report else ()
    other = [name for name in read if not torch.equal(now[name], began[name])]
    if other:
        raise ValueError(
            f"The upgrade in {args.output} began with other weights than {args.weights}, such as "
            f"those of {other[0]}; without --resume one begins with these."
        )


def prove(args: argparse.Namespace, stock: CfgNode, model: DynamicDetector, cfg: CfgNode) -> Proof:
    """Compare the stock detector with the easy route of the dynamic one.

    Args:
        stock, cfg: configs of the two.
        model: the dynamic one.

    Raises:
        ValueError: weights do not fit, or an image has another output.
    """
    known: Sequence[dict] = [] if args.images else training_dicts(checked(cfg.clone(), Use.TRAIN))
    images = proof_dicts(args.images, known, args.num_images)
    detector = loaded(stock, args.weights, args)
    mapper = DatasetMapper(stock, is_train=False)
    try:
        proof = compare(detector, model, map(NamedErrors(mapper), images))
    except CorruptImageError as error:
        raise ValueError(f"{error.sentence} It was to be compared on.") from None
    if proof.differing:
        by = [name for name in _OF_EASY_ROUTE if name in args.opts[::2]]
        why = f" It is changed by {' and '.join(by)}." if by else ""
        raise ValueError(
            f"The easy route is not the stock detector: {len(proof.differing)} of {proof.images} "
            f"images have another output, the first {proof.differing[0]}.{why}"
        )
    little = "" if proof.detections else " Without any they show little: name others by --images."
    sys.stdout.write(
        f"The easy route is the stock detector bit for bit: {proof.detections} detections in "
        f"{proof.images} images.{little}\n"
    )
    return proof


def loaded(cfg: CfgNode, weights: str, args: argparse.Namespace) -> Any:
    """A detector with all weights that its easy exit needs, to be compared in full precision.

    Args:
        cfg: of the stock detector or of the dynamic one.
        weights: file or address.
    """
    return _load(cfg, weights, args).model


def _load(cfg: CfgNode, weights: str, args: argparse.Namespace) -> DynamicCheckpointer:
    cfg = cfg.clone()
    cfg.defrost()
    inference = cfg.MODEL.INFERENCE
    inference.OPTIMIZE, inference.PRECISION = False, "float32"
    inference.COMPILE, inference.SIZE_MULTIPLE = False, 0
    cfg.MODEL.DYNAMIC.THRESHOLD, cfg.MODEL.DYNAMIC.CALIBRATION = 1.0, ""
    with building():
        model = build_model(cfg)
    checkpointer = DynamicCheckpointer(
        model,
        weights2=cfg.MODEL.COMPOSITE.WEIGHTS2,
        trained_by=stock_file(args.config_file),
    )
    checkpointer.load(weights)
    check_complete(checkpointer, one_exit=True, without_second=True)
    return checkpointer
