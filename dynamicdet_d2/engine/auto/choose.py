# SPDX-License-Identifier: Apache-2.0
"""The choice of a run: made once, kept for a resumed run, the same in every process."""

import hashlib
import logging

from detectron2.config import CfgNode
from detectron2.utils import comm

from dynamicdet_d2.data.loading.images import validation_dicts
from dynamicdet_d2.data.loading.loaders import build_finite_loader
from dynamicdet_d2.data.loading.mappers import annotated_mapper
from dynamicdet_d2.engine.auto.candidates import CANDIDATES, Course
from dynamicdet_d2.engine.auto.judge import held_out_in_folds, held_out_set, judged
from dynamicdet_d2.engine.auto.record import Choice, load_choice, save_choice
from dynamicdet_d2.engine.loss_table import LossTable, measure_losses
from dynamicdet_d2.engine.objectives import OBJECTIVES, Lesson
from dynamicdet_d2.modeling.dynamic_detector import DynamicDetector

logger = logging.getLogger(__name__)

NAME = "auto"
# Of the loss table, beside the router's inputs.
COLUMNS = (*dict.fromkeys(objective.column for objective in OBJECTIVES.values()), "matched")


def chosen_lesson(
    cfg: CfgNode, model: DynamicDetector, table: LossTable, seed: int, resumed: bool
) -> Lesson:
    """What the router learns from here on.

    Args:
        model: frozen but for its router.
        table: of the training images, with the router's inputs and ``COLUMNS``.
        seed: of the run.
        resumed: take the choice that the run had made, where its file is there and still right.
    """
    course = Course(cfg, model.router, seed)
    fingerprint = _fingerprint(course, table)
    choice = load_choice(cfg.OUTPUT_DIR, fingerprint) if resumed else None
    # Where the folder is not shared, processes without the file must not measure alone.
    if not all(comm.all_gather(choice is not None)):
        choice = _made(course, model, table)
        if comm.is_main_process():
            save_choice(choice, cfg.OUTPUT_DIR, fingerprint)
    choice = comm.all_gather(choice)[0]
    logger.info("Objectives of the router, judged on %s\n%s", choice.judged_on, choice.table())
    logger.log(logging.INFO if choice.beats_random else logging.WARNING, choice.verdict())
    return choice.lesson()


def _made(course: Course, model: DynamicDetector, table: LossTable) -> Choice:
    """Made by the main process alone: rounding might decide otherwise elsewhere."""
    name = course.cfg.SOLVER.ROUTER.VALIDATION
    validation = _validation_table(course, model, name) if name else None
    choice = None
    if comm.is_main_process():
        logger.info("Trying %d ways to train the router", len(CANDIDATES))
        parts = [held_out_in_folds(course, table)]
        if validation is not None:
            parts.append(held_out_set(course, table, validation, name))
        choice = judged(parts, course.seed)
    return comm.all_gather(choice)[0]


def _validation_table(course: Course, model: DynamicDetector, name: str) -> LossTable:
    cfg = course.cfg
    logger.info("One pass over validation set %s", name)
    images = validation_dicts(cfg)
    loader = build_finite_loader(cfg, annotated_mapper(cfg), dataset_dicts=images)
    return measure_losses(model, loader, (*course.router.counts, "losses", "matched"))


def _fingerprint(course: Course, table: LossTable) -> str:
    """16 hex digits of all that the choice follows from."""
    keys = course.cfg.SOLVER.ROUTER
    setting = (
        *(keys.IMS_PER_BATCH, keys.EPOCHS, keys.WEIGHT_DECAY, keys.VALIDATION),
        *(course.seed, course.router.counts, course.router.hidden.out_features),
        *(course.router.standardize, CANDIDATES),
    )
    digest = hashlib.sha256(repr(setting).encode())
    for name in sorted(table.columns):
        digest.update(name.encode())
        digest.update(table[name].contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
