# SPDX-License-Identifier: Apache-2.0
"""Say what can hardly be meant, before hours are spent in it."""

import logging
from collections.abc import Collection, Sequence

from detectron2.config import CfgNode

from dynamicdet_d2.checkpoint.complete import unfilled
from dynamicdet_d2.checkpoint.packaged import CONVENTIONS, is_packaged
from dynamicdet_d2.checkpoint.report import LoadReport, summarise
from dynamicdet_d2.modeling.built_from import are_shares

logger = logging.getLogger(__name__)


def warn_of_random_detectors(report: LoadReport | None, cfg: CfgNode) -> None:
    """Say that nothing will train detector1, and that nothing has: a router of random detectors.

    Args:
        report: of the weights that the run begins with; None where there were none.
    """
    if report is not None:
        return
    phases, steps = list(cfg.SOLVER.PHASES), cfg.SOLVER.MAX_ITER
    if "detectors" not in phases or not steps:
        logger.warning(
            "MODEL.WEIGHTS is empty, and SOLVER.PHASES %s trains no detector1%s: its random values "
            "stay what they are.",
            phases,
            "" if steps else " with SOLVER.MAX_ITER 0",
        )


def warn_of_untrained(
    reports: Sequence[LoadReport | None], trained: Collection[str], cfg: CfgNode
) -> None:
    """Say which weights of the detectors neither a file has nor a phase trains.

    Args:
        reports: of the weights that the run begins with, and of ``MODEL.COMPOSITE.WEIGHTS2``; None
            where there were none.
        trained: names of the weights and statistics that a phase trains.
    """
    for report in filter(None, reports):
        left = [x for x in unfilled(report) if x not in trained and not x.startswith("router.")]
        if left:
            logger.warning(
                "%s leaves parts of the detectors at initial values, which SOLVER.PHASES %s with "
                "SOLVER.MAX_ITER %d does not train: %s.",
                *(report.path, list(cfg.SOLVER.PHASES), cfg.SOLVER.MAX_ITER),
                summarise(left, report.model_names),
            )


def warn_of_doubtful_keys(cfg: CfgNode) -> None:
    """Say which keys cannot do what they seem to be meant for."""
    if cfg.TEST.EVAL_PERIOD and not cfg.DATASETS.TEST:
        logger.warning(
            "TEST.EVAL_PERIOD is %d, but DATASETS.TEST names no data set: nothing is evaluated.",
            cfg.TEST.EVAL_PERIOD,
        )
    for name in ("PIXEL_MEAN", "PIXEL_STD"):
        numbers: list[float] = list(cfg.MODEL[name])
        if are_shares(numbers):
            logger.warning(
                "MODEL.%s is %s, which looks like shares of 255: pixels are from 0 to 255, and "
                "MODEL.PIXEL_MEAN and PIXEL_STD are so, too.",
                *(name, numbers),
            )
    _warn_of_other_pixels(cfg)
    _warn_of_sizes(cfg)
    _warn_of_nothing_learnt(cfg)


def _warn_of_sizes(cfg: CfgNode) -> None:
    """Shorter sides that no image gets, as its longer one is held below them."""
    sizes = {"TEST": cfg.INPUT.MIN_SIZE_TEST}
    if not cfg.INPUT.MOSAIC.ENABLED:  # which has squares of MAX_SIZE_TRAIN
        sizes["TRAIN"] = max(cfg.INPUT.MIN_SIZE_TRAIN)
    for kind, shorter in sizes.items():
        longer = cfg.INPUT[f"MAX_SIZE_{kind}"]
        if shorter > longer:
            logger.warning(
                "INPUT.MIN_SIZE_%s is %d and INPUT.MAX_SIZE_%s %d: images get no longer side above "
                "%d, and so no shorter one of %d.",
                *(kind, shorter, kind, longer, longer, shorter),
            )


def _warn_of_other_pixels(cfg: CfgNode) -> None:
    """Of weights that come as a package, whose conventions are known without a config."""
    keys = cfg.MODEL
    found = (cfg.INPUT.FORMAT, list(keys.PIXEL_MEAN), list(keys.PIXEL_STD))
    for name in (keys.WEIGHTS, keys.COMPOSITE.WEIGHTS2):
        if is_packaged(name) and found != CONVENTIONS:
            logger.warning(
                "%s were trained on pixels under INPUT.FORMAT %s, MODEL.PIXEL_MEAN %s and "
                "MODEL.PIXEL_STD %s; here they are %s, %s and %s.",
                *(name, *CONVENTIONS, *found),
            )
            return


def _warn_of_nothing_learnt(cfg: CfgNode) -> None:
    """A learning rate or a weight of 0, by which a phase trains nothing, or not all it is for."""
    phases = [name for name in cfg.SOLVER.PHASES if name != "router"]
    if phases and cfg.SOLVER.MAX_ITER and not cfg.SOLVER.BASE_LR:
        logger.warning("SOLVER.BASE_LR is 0: no weight of a detector changes.")
    if cfg.SOLVER.BEST.METRIC and not (phases and cfg.SOLVER.MAX_ITER):
        logger.warning(
            "SOLVER.BEST.METRIC is '%s', but no phase trains detectors, whose best weights it "
            "keeps: the run ends with its last ones, and SOLVER.BEST.PATIENCE ends nothing.",
            cfg.SOLVER.BEST.METRIC,
        )
    weights = list(cfg.MODEL.DYNAMIC.LOSS_WEIGHTS)
    if "detectors" in phases and 0 in weights:
        logger.warning(
            "MODEL.DYNAMIC.LOSS_WEIGHTS are %s: nothing is learnt from detector%d's loss.",
            *(weights, weights.index(0) + 1),
        )
    router = cfg.SOLVER.ROUTER
    still = [name for name in ("EPOCHS", "BASE_LR") if not router[name]]
    if router.OBJECTIVE == "auto" and "BASE_LR" in still:  # it has rates of its own
        still.remove("BASE_LR")
    if "router" in cfg.SOLVER.PHASES and still:
        logger.warning("SOLVER.ROUTER.%s is 0: no weight of the router changes.", still[0])
