# SPDX-License-Identifier: Apache-2.0
"""How well candidates route images that they have not learnt from.

K: candidates; N: images of the loss table; V: validation images.
"""

import numpy as np
from numpy.typing import NDArray

from dynamicdet_d2.data.loading.epochs import derived_seed
from dynamicdet_d2.engine.auto.candidates import CANDIDATES, Candidate, Course
from dynamicdet_d2.engine.auto.record import Choice, Judged
from dynamicdet_d2.engine.loss_table import LossTable
from dynamicdet_d2.evaluation.coco.matched_sweep import MatchedSweep, from_rows
from dynamicdet_d2.evaluation.tradeoff.ranks import midranks
from dynamicdet_d2.evaluation.tradeoff.score_quality import (
    INNER,
    ScoreQuality,
    random_routing,
    score_quality,
)
from dynamicdet_d2.utils.plain import finite

FOLDS = 3
# Random routings, for the expectation of their AP curve and for the spread of its area.
DRAWS = 20
HALF = INNER.index(0.5)


def judged_on_folds(course: Course, table: LossTable) -> Choice:
    """Each third of the training images is scored by routers that learnt from the other two.

    Difficulties of different routers have no common scale, so that each third's are ranked within
    it, and all images are judged together.

    Raises:
        ValueError: if there are fewer images than folds.
    """
    if len(table) < FOLDS:
        raise ValueError(
            f"SOLVER.ROUTER.OBJECTIVE 'auto' needs at least {FOLDS} training images; there are "
            f"{len(table)}."
        )
    order = _generator(course.seed, "folds").permutation(len(table))
    scores = np.empty((len(CANDIDATES), len(table)))
    for fold in range(FOLDS):
        own = order[fold::FOLDS]
        stack = course.trained(table, np.setdiff1d(order, own).tolist())
        difficulties = course.difficulties(stack, table, own.tolist())
        scores[:, own] = [midranks(row) / len(own) for row in difficulties]
    return judged(table, scores, f"{FOLDS} folds of {len(table)} training images", course.seed)


def judged_on_validation(
    course: Course, table: LossTable, validation: LossTable, name: str
) -> Choice:
    """All training images are learnt from, and the images of another set are scored.

    Args:
        table, validation: (N) and (V) images, with the columns of ``COLUMNS``.
        name: of the other set, for the log.
    """
    stack = course.trained(table, range(len(table)))
    scores = course.difficulties(stack, validation, range(len(validation)))
    return judged(validation, scores, f"{len(validation)} images of {name}", course.seed)


def judged(table: LossTable, scores: NDArray[np.float64], judged_on: str, seed: int) -> Choice:
    """Every candidate's lead over random routing on the images of a table.

    Args:
        table: with column "matched".
        scores: (K, n), by their order the difficulties of the table's n images.
        judged_on: the images, in words.
        seed: of the random routings that tell what chance does.
    """
    sweep = MatchedSweep(from_rows(table["matched"].numpy(), len(table)))
    random = random_routing(sweep, DRAWS)
    generator = _generator(seed, "random")
    by_chance = [
        score_quality(sweep, generator.permutation(len(table)), random).area for _ in range(DRAWS)
    ]
    candidates = tuple(
        _as_record(candidate, score_quality(sweep, own, random))
        for candidate, own in zip(CANDIDATES, scores, strict=True)
    )
    return Choice(judged_on, candidates, _rounded(float(np.std(by_chance))))


def _as_record(candidate: Candidate, quality: ScoreQuality) -> Judged:
    return Judged(
        objective=candidate.objective,
        learning_rate=candidate.learning_rate,
        area=_rounded(quality.area),
        lead_at_half=_rounded(quality.ap[HALF] - quality.random_ap[HALF]),
        auroc=quality.auroc,
        kendall_tau=quality.kendall_tau,
    )


def _rounded(points: float) -> float | None:
    """So that what differs by rounding alone is the same, and chance of none is none."""
    return finite(round(points, 6) + 0.0)


def _generator(seed: int, purpose: str) -> np.random.RandomState:
    return np.random.RandomState(derived_seed(seed, purpose) % 2**32)
