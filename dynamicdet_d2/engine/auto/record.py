# SPDX-License-Identifier: Apache-2.0
"""What came of the candidates: the choice, its table, and its file beside the checkpoints."""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass

from tabulate import tabulate

from dynamicdet_d2.engine.objectives import Lesson
from dynamicdet_d2.utils.files import read_json, write_json
from dynamicdet_d2.utils.plain import from_plain, to_plain

FILE = "router_objective.json"
FALLBACK = "loss"
# A router beats random routing where its area is larger than this many standard deviations of the
# area that a random routing has by chance.
MIN_DEVIATIONS = 2.0


@dataclass(frozen=True)
class Judged:
    """A candidate and how it routes; None stands for what is undefined.

    Attributes:
        objective, learning_rate: what it was trained by.
        area: mean lead over random routing at hard fractions 0.1 to 0.9, in points of AP.
        lead_at_half: the lead with half of the images hard.
        auroc, kendall_tau: of its difficulties, for "detector2 is better in this image".
    """

    objective: str
    learning_rate: float
    area: float | None
    lead_at_half: float | None
    auroc: float | None
    kendall_tau: float | None

    @property
    def rank(self) -> float:
        """What candidates are compared by; an area that is undefined comes last."""
        return -math.inf if self.area is None else self.area


@dataclass(frozen=True)
class Choice:
    """All candidates, and the one to train by.

    Attributes:
        judged_on: the images, in words.
        candidates: in the order in which they were tried.
        random_std: standard deviation of the area of a random routing; None where undefined.
    """

    judged_on: str
    candidates: tuple[Judged, ...]
    random_std: float | None

    @property
    def best(self) -> Judged:
        """The candidate of the largest area; of equal ones the first."""
        return max(self.candidates, key=lambda judged: judged.rank)

    @property
    def beats_random(self) -> bool:
        """Whether the best one leads by more than chance would."""
        return self.best.rank > MIN_DEVIATIONS * (self.random_std or 0.0)

    @property
    def chosen(self) -> Judged:
        """The best one; where nothing beats random routing, the best of the paper's objective."""
        if self.beats_random:
            return self.best
        fallback = [x for x in self.candidates if x.objective == FALLBACK]
        return max(fallback, key=lambda judged: judged.rank)

    def lesson(self) -> Lesson:
        """What the phase trains; the objective's name is among its scalars."""
        chosen = self.chosen
        values = {
            f"objective_{chosen.objective}": 1.0,
            "learning_rate": chosen.learning_rate,
            "area": chosen.area,
            "random_std": self.random_std,
            "beats_random": float(self.beats_random),
        }
        scalars = {f"router_auto/{name}": x for name, x in values.items() if x is not None}
        return Lesson(chosen.objective, chosen.learning_rate, scalars)

    def table(self) -> str:
        """The candidates as text, the best first."""
        ordered = sorted(self.candidates, key=lambda judged: judged.rank, reverse=True)
        headers = ("objective", "learning rate", "area", "at 0.5", "AUROC", "Kendall's tau")
        rows = [
            (
                *(x.objective, f"{x.learning_rate:g}"),
                *(_shown(lead, "+.3f") for lead in (x.area, x.lead_at_half)),
                *(_shown(agreement, ".3f") for agreement in (x.auroc, x.kendall_tau)),
            )
            for x in ordered
        ]
        return tabulate(rows, headers, disable_numparse=True)

    def verdict(self) -> str:
        """What was chosen and why, in a sentence or two."""
        chosen, best = self.chosen, self.best
        margin = MIN_DEVIATIONS * (self.random_std or 0)
        by_chance = f"where chance alone may give {margin:.3f}"
        if self.beats_random:
            return (
                f"The router learns '{chosen.objective}' at learning rate "
                f"{chosen.learning_rate:g}: {chosen.area:+.3f} AP over random routing, {by_chance}."
            )
        found = "nothing" if best.area is None else f"{best.area:+.3f} AP, {by_chance}"
        return (
            f"NO objective beats random routing (the best: {found}). The router learns "
            f"'{FALLBACK}', and is not to be expected to be better than chance."
        )


def _shown(value: float | None, form: str) -> str:
    return "-" if value is None else f"{value:{form}}"


def save_choice(choice: Choice, folder: str, fingerprint: str) -> None:
    """Write the file into ``OUTPUT_DIR``.

    Args:
        fingerprint: of all that the choice follows from.
    """
    chosen = to_plain(choice.chosen)
    content: Mapping = {"of": fingerprint, "chosen": chosen, **to_plain(choice)}
    write_json(os.path.join(folder, FILE), content)


def load_choice(folder: str, fingerprint: str) -> Choice | None:
    """The choice that a run had made, where its file is there and of the same fingerprint."""
    path = os.path.join(folder, FILE)
    try:
        content = read_json(path, path)
        if content["of"] == fingerprint:
            return from_plain(Choice, content, "")
    except (ValueError, KeyError, TypeError):
        return None
    return None
