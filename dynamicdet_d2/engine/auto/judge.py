# SPDX-License-Identifier: Apache-2.0
"""How well candidates route images that they have not learnt from.

K: candidates; N: images of the loss table; V: validation images; n: images of a part of them.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dynamicdet_d2.data.loading.epochs import derived_seed
from dynamicdet_d2.engine.auto.candidates import CANDIDATES, Candidate, Course
from dynamicdet_d2.engine.auto.record import FALLBACK, Choice, Judged
from dynamicdet_d2.engine.loss_table import LossTable
from dynamicdet_d2.evaluation.coco.matched_sweep import MatchedSweep, from_rows
from dynamicdet_d2.evaluation.coco.set_gains import MatchedImage
from dynamicdet_d2.evaluation.tradeoff.ranks import midranks
from dynamicdet_d2.evaluation.tradeoff.score_quality import (
    INNER,
    ScoreQuality,
    random_routing,
    score_quality,
)
from dynamicdet_d2.utils.plain import finite

logger = logging.getLogger(__name__)

FOLDS = 3
# Random routings, for the expectation of their AP curve and for the spread of its area.
DRAWS = 20
HALF = INNER.index(0.5)


@dataclass(frozen=True)
class HeldOut:
    """Images that candidates have scored without having learnt from them.

    Attributes:
        images: in words.
        matched: of each of n images, its detections and objects.
        scores: (K, n) in (0, 1], a candidate's difficulties by their ranks: those of different
            routers have no common scale. NaN of candidates that have diverged.
    """

    images: str
    matched: Sequence[MatchedImage]
    scores: NDArray[np.float64]

    @classmethod
    def of(cls, images: str, table: LossTable, difficulties: NDArray[np.float64]) -> "HeldOut":
        """All images of a table, with (K, n) difficulties by one router of each candidate."""
        matched = from_rows(table["matched"].numpy(), len(table))
        return cls(images, matched, _ranks(difficulties))


def held_out_in_folds(course: Course, table: LossTable) -> HeldOut:
    """Each third of the training images, scored by routers that learnt from the other two.

    Args:
        table: with the columns of ``COLUMNS``.

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
        scores[:, own] = _ranks(course.difficulties(stack, table, own.tolist()))
    # Ranks of what are ranks within a fold already: their order stays.
    return HeldOut.of(f"{FOLDS} folds of {len(table)} training images", table, scores)


def held_out_set(course: Course, table: LossTable, validation: LossTable, name: str) -> HeldOut:
    """The images of another set, scored by routers that learnt from all training images.

    Args:
        table, validation: (N) and (V) images, with the columns of ``COLUMNS``.
        name: of the other set.
    """
    stack = course.trained(table, range(len(table)))
    difficulties = course.difficulties(stack, validation, range(len(validation)))
    return HeldOut.of(f"{len(validation)} images of {name}", validation, difficulties)


def judged(parts: Sequence[HeldOut], seed: int) -> Choice:
    """Every candidate's lead over random routing on all images together, which count alike.

    Args:
        seed: of the random routings that tell what chance does.

    Raises:
        FloatingPointError: as ``_converged``.
    """
    matched = [image for part in parts for image in part.matched]
    scores = np.concatenate([part.scores for part in parts], axis=1)
    sweep = MatchedSweep(matched)
    random = random_routing(sweep, DRAWS)
    generator = _generator(seed, "random")
    by_chance = [
        score_quality(sweep, generator.permutation(len(matched)), random).area for _ in range(DRAWS)
    ]
    candidates = tuple(
        _as_record(candidate, score_quality(sweep, own, random))
        for candidate, own in _converged(scores)
    )
    images = " and ".join(part.images for part in parts)
    return Choice(images, candidates, _rounded(float(np.std(by_chance))))


def _converged(scores: NDArray[np.float64]) -> list[tuple[Candidate, NDArray[np.float64]]]:
    """The candidates that can be judged, with their scores (n,).

    Raises:
        FloatingPointError: none of the paper's objective, which is what is left to fall back on.
    """
    pairs = list(zip(CANDIDATES, scores, strict=True))
    kept = [pair for pair in pairs if np.isfinite(pair[1]).all()]
    if len(kept) < len(pairs):
        numbers = f"{len(pairs) - len(kept)} of {len(pairs)} ways to train the router diverged"
        if all(candidate.objective != FALLBACK for candidate, _ in kept):
            raise FloatingPointError(
                f"{numbers}, all those of SOLVER.ROUTER.OBJECTIVE '{FALLBACK}' among them: a lower "
                "SOLVER.ROUTER.WEIGHT_DECAY may prevent that."
            )
        logger.warning("%s, and are left out of the choice.", numbers)
    return kept


def _ranks(difficulties: NDArray[np.float64]) -> NDArray[np.float64]:
    """(K, n) in (0, 1], each candidate's own; NaN of one that has diverged."""
    ranks = np.array([midranks(row) / len(row) for row in difficulties])
    ranks[~np.isfinite(difficulties).all(axis=1)] = np.nan
    return ranks


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
