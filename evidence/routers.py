# SPDX-License-Identifier: Apache-2.0
"""All routers of a trained detector: trained on its table, chosen by val or folds, judged.

Routers learn as phase "router" has them learn (``engine.auto``), all objectives and learning rates
at once. K: candidates; I: images of a split; F: hard fractions.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from dynamicdet_d2.engine.auto.candidates import CANDIDATES, Course
from dynamicdet_d2.engine.auto.judge import HeldOut, held_out_in_folds, judged
from dynamicdet_d2.engine.auto.record import Choice
from dynamicdet_d2.engine.loss_table import LossTable
from dynamicdet_d2.engine.objectives import OBJECTIVES
from dynamicdet_d2.evaluation.coco.matched_sweep import MatchedSweep, from_rows
from dynamicdet_d2.evaluation.coco.references import oracle_hard
from dynamicdet_d2.evaluation.tradeoff.score_quality import (
    hard_by_score,
    random_routing,
    score_quality,
)
from dynamicdet_d2.modeling.router import AdaptiveRouter
from dynamicdet_d2.utils.plain import finite
from evidence.linear import Classification, Ridge
from evidence.passes import INPUTS, Passes
from evidence.records import FRACTIONS, DynamicSplit, Route, Routing

ROUTER_SEEDS = (1, 2, 3)
# Random routings that their expectation is taken over.
DRAWS = 100
# What chooses among all candidates: val, folds of the training images, or both, each image counting
# once. The last two are what a training does without and with SOLVER.ROUTER.VALIDATION.
AUTO, AUTO_FOLDS, AUTO_BOTH = AUTOS = ("auto", "auto on folds", "auto on folds and val")
LINEAR: dict[str, type[Ridge | Classification]] = {"ridge": Ridge, "classification": Classification}

Scores = Mapping[str, NDArray[np.float64]]
"""Split -> (I,), the higher the harder."""


@dataclass(frozen=True)
class Scored:
    """Scores of the images, and by what they were learnt."""

    scores: Scores
    by: str


class Judge:
    """A split, and what its references are."""

    def __init__(self, table: LossTable) -> None:
        self.table = table
        self.sweep = MatchedSweep(from_rows(table["matched"].numpy(), len(table)))
        self.random = random_routing(self.sweep, DRAWS)

    @cached_property
    def random_ap(self) -> NDArray[np.float64]:
        """(F,)."""
        return np.array([self.random(k).mean for k in FRACTIONS])

    @cached_property
    def oracle_ap(self) -> NDArray[np.float64]:
        """(F,), of the first-order oracle."""
        gains = self.sweep.image_gains()
        return np.array([self.sweep.evaluate(oracle_hard(gains, k)).ap for k in FRACTIONS])

    @cached_property
    def ends(self) -> tuple[float | None, float | None]:
        """AP of the easy and of the hard end."""
        everything = np.ones(len(self.table), dtype=bool)
        easy, hard = (self.sweep.evaluate(mask).ap for mask in (~everything, everything))
        return finite(easy), finite(hard)

    @cached_property
    def random_area_std(self) -> float:
        generator = np.random.default_rng(0)
        count = len(self.table)
        areas = [
            score_quality(self.sweep, generator.permutation(count), self.random).area
            for _ in range(DRAWS // 5)
        ]
        return float(np.std(areas))

    def routing(
        self,
        inputs: Sequence[str],
        learns: str,
        found: Sequence[tuple[NDArray[np.float64], str]],
        costs: NDArray[np.float64] | None = None,
    ) -> Routing:
        """Figures of one kind of scores.

        Args:
            found: scores (I,) and what they were learnt by, one pair a seed of the router.
            costs: (I, 2) of the images; None: of a reference, which costs nothing that counts.
        """
        qualities = [score_quality(self.sweep, scores, self.random) for scores, _ in found]
        ap = np.array([quality.ap for quality in qualities])
        lead = (ap - [quality.random_ap for quality in qualities]).mean(axis=0)
        areas = [quality.area for quality in qualities]
        return Routing(
            inputs=tuple(inputs),
            learns=learns,
            chosen=dict(Counter(by for _, by in found if by)),
            ap=_finite(ap.mean(axis=0)),
            ap_std=_finite(ap.std(axis=0)),
            lead=_finite(lead),
            share=_finite(_share(lead, self.oracle_ap - self.random_ap)),
            gflops=() if costs is None else _gflops(costs, [scores for scores, _ in found]),
            area=finite(float(np.mean(areas))),
            area_std=finite(float(np.std(areas))),
            auroc=_mean([quality.auroc for quality in qualities]),
            kendall_tau=_mean([quality.kendall_tau for quality in qualities]),
        )

    def references(self) -> list[Routing]:
        """What nobody has: scores that look at the ground truth."""
        losses = self.table["losses"].double().numpy()
        truths = {
            "true loss gap": losses[:, 0] - losses[:, 1],
            "true L1": losses[:, 0],
            "true gain": self.sweep.image_gains(),
        }
        return [self.routing((), name, [(scores, "")]) for name, scores in truths.items()]

    def split(self, costs: Mapping[str, Route], routings: Sequence[Routing]) -> DynamicSplit:
        """The record, with the references behind the routers."""
        return DynamicSplit(
            images=len(self.table),
            easy_ap=self.ends[0],
            hard_ap=self.ends[1],
            random_ap=_finite(self.random_ap),
            oracle_ap=_finite(self.oracle_ap),
            better=float((self.sweep.image_gains() > 0).mean()),
            random_area_std=finite(self.random_area_std),
            cost=costs,
            routings=(*routings, *self.references()),
        )


def dynamic_splits(found: Passes) -> dict[str, DynamicSplit]:
    """Figures of every split but "train", all chosen on "val"."""
    judges = {split: Judge(table) for split, table in found.tables.items() if split != "train"}
    routings: dict[str, list[Routing]] = {split: [] for split in judges}
    costs: dict[str, dict[str, Route]] = {split: {} for split in judges}
    for inputs in INPUTS:
        router, by_image = found.router(inputs)
        by_learner = learners_of(found, router)
        for split, judge in judges.items():
            own = by_image[split]
            costs[split]["+".join(inputs)] = Route(*own.mean(axis=0).tolist())
            routings[split] += [
                judge.routing(inputs, learns, [(s.scores[split], s.by) for s in some], own)
                for learns, some in by_learner.items()
            ]
    return {split: judges[split].split(costs[split], routings[split]) for split in judges}


def learners_of(found: Passes, router: AdaptiveRouter) -> dict[str, list[Scored]]:
    """What a router with certain inputs can learn -> its scores by each seed of the router."""
    train, val = found.tables["train"], found.tables["val"]
    folds = held_out_in_folds(Course(found.cfg, router, ROUTER_SEEDS[0]), train)
    by_folds = judged([folds], ROUTER_SEEDS[0])
    learners: dict[str, list[Scored]] = {name: [] for name in (*AUTOS, *OBJECTIVES)}
    for seed in ROUTER_SEEDS:
        course = Course(found.cfg, router, seed)
        stack = course.trained(train, range(len(train)))
        scores = {
            split: course.difficulties(stack, table, range(len(table)))
            for split, table in found.tables.items()
            if split != "train"
        }
        own = HeldOut.of("val", val, scores["val"])
        choices = {
            AUTO: judged([own], seed),
            AUTO_FOLDS: by_folds,
            AUTO_BOTH: judged([folds, own], seed),
        }
        for learns, place in _places(choices).items():
            learnt = {split: all_of[place] for split, all_of in scores.items()}
            learners[learns].append(Scored(learnt, _name(place)))
    return {**learners, **_linear(found, router)}


def _places(choices: Mapping[str, Choice]) -> dict[str, int]:
    """What is learnt -> the candidate that is taken for it; of an objective, val's choice."""
    places = {name: made.candidates.index(made.chosen) for name, made in choices.items()}
    on_val = choices[AUTO].candidates
    for name in OBJECTIVES:
        own = [i for i, candidate in enumerate(CANDIDATES) if candidate.objective == name]
        places[name] = max(own, key=lambda i: on_val[i].rank)
    return places


def _linear(found: Passes, router: AdaptiveRouter) -> dict[str, list[Scored]]:
    """Linear learners of the gain on the same numbers, beside the router's two layers."""
    numbers = {
        split: np.concatenate([table[name].double().numpy() for name in router.counts], axis=1)
        for split, table in found.tables.items()
    }
    gains = found.tables["train"]["gain"].double().numpy()
    learnt = {name: learner(numbers["train"], gains) for name, learner in LINEAR.items()}
    return {
        name: [Scored({split: own(x) for split, x in numbers.items() if split != "train"}, "")]
        for name, own in learnt.items()
    }


def _name(place: int) -> str:
    candidate = CANDIDATES[place]
    return f"{candidate.objective} at {candidate.learning_rate:g}"


def _gflops(costs: NDArray[np.float64], found: Sequence[NDArray[np.float64]]) -> tuple[float, ...]:
    """(F,), mean over the images and the router's seeds."""
    rows = [
        [np.where(hard_by_score(scores, k), costs[:, 1], costs[:, 0]).mean() for k in FRACTIONS]
        for scores in found
    ]
    return tuple(np.mean(rows, axis=0).tolist())


def _share(lead: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.divide(lead, whole, out=np.full(len(lead), np.nan), where=whole > 0)


def _finite(values: NDArray[np.float64]) -> tuple[float | None, ...]:
    return tuple(finite(value) for value in values.tolist())


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
