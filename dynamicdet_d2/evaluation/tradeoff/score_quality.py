# SPDX-License-Identifier: Apache-2.0
"""How well a score of images routes: its AP curve, and its agreement with the true gains.

Any score will do, a router's or a number of the easy route's detections: only its order counts.
Letters: I images, F hard fractions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dynamicdet_d2.evaluation.coco.references import RandomFigures, random_figures
from dynamicdet_d2.evaluation.coco.sweep import CocoSweep
from dynamicdet_d2.evaluation.tradeoff.ranks import auroc, kendall_tau, midranks
from dynamicdet_d2.operating_point import threshold_for_hard_fraction

# Hard fractions that the area is the mean over.
INNER = tuple(k / 10 for k in range(1, 10))


@dataclass(frozen=True)
class ScoreQuality:
    """What a score is worth as a difficulty.

    Attributes:
        hard_fractions: (F,) realised; ties in the score may keep it from those asked for.
        ap: (F,) percent, when the images of the highest scores take detector2.
        random_ap: (F,) percent, expected of random routing with as many hard images.
        area: mean lead over random routing in points of AP; NaN without objects.
        auroc: chance that an image where detector2 is better scores above one where it is not; 0.5
            for a score that says nothing. None where it is better everywhere or nowhere.
        kendall_tau: tau-b of the score and whether detector2 is better, in [-1, 1]; None as above,
            and for a constant score.
    """

    hard_fractions: tuple[float, ...]
    ap: tuple[float, ...]
    random_ap: tuple[float, ...]
    area: float
    auroc: float | None
    kendall_tau: float | None


def random_routing(sweep: CocoSweep, draws: int, seed: int = 0) -> Callable[[float], RandomFigures]:
    """Expected AP of random routing by hard fraction, measured once for all scores of a sweep."""
    return cache(lambda hard_fraction: random_figures(sweep, hard_fraction, draws, seed))


def score_quality(
    sweep: CocoSweep,
    scores: ArrayLike,
    random: Callable[[float], RandomFigures],
    hard_fractions: Sequence[float] = INNER,
) -> ScoreQuality:
    """Judge a score by what routing by it would give.

    Detector2 is better in an image where the first-order gain (``CocoSweep.image_gains``) is above
    0; where both exits are alike it is not, since it costs more.

    Args:
        sweep: of boxes or of masks.
        scores: (I,) finite, the higher the harder, in the order of the sweep's image ids.
        random: of the same sweep, see ``random_routing``.

    Raises:
        ValueError: there is not one finite score per image.
    """
    scores = _checked(scores, len(sweep.image_ids))
    routings = [hard_by_score(scores, k) for k in hard_fractions]
    realised = [float(hard.mean()) for hard in routings]
    ap = [sweep.evaluate(hard).ap for hard in routings]
    random_ap = [random(k).mean for k in realised]
    better = sweep.image_gains() > 0
    return ScoreQuality(
        hard_fractions=tuple(realised),
        ap=tuple(ap),
        random_ap=tuple(random_ap),
        area=float(np.mean(np.subtract(ap, random_ap))),
        auroc=auroc(scores, better),
        kendall_tau=kendall_tau(scores, better),
    )


def hard_by_score(scores: ArrayLike, hard_fraction: float) -> NDArray[np.bool_]:
    """(I,) which images are hard when a share of them is, by the highest scores.

    Images of equal score take the same route, as by a threshold on difficulties.
    """
    ranks = midranks(scores)
    places = ranks / (len(ranks) + 1)
    return places > threshold_for_hard_fraction(places, hard_fraction)


def _checked(scores: ArrayLike, count: int) -> NDArray[np.float64]:
    values = np.asarray(scores, dtype=np.float64)
    if values.shape != (count,) or not np.isfinite(values).all():
        raise ValueError(
            f"scores must be {count} finite numbers, one per image, not an array of shape "
            f"{values.shape} with {int((~np.isfinite(values)).sum())} that are not finite."
        )
    return values
