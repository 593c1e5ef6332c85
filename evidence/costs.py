# SPDX-License-Identifier: Apache-2.0
"""What detectors are compared at: multiply-adds or milliseconds, and the static line in either.

E: the hard fractions ``WITH_ENDS``, which are 0, 0.1 to 0.9, and 1.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from evidence.figures import Figure, Line, static_line
from evidence.group import Group, routing
from evidence.records import FRACTIONS, DynamicSplit, Routing
from evidence.timing import Times

WITH_ENDS = (0.0, *FRACTIONS, 1.0)


@dataclass(frozen=True)
class Cost:
    """A kind of cost per image.

    Attributes:
        unit: on the page.
        form: of a figure.
        static: of a set-up of static detectors; None where it is not known.
        routing: (E,), of a router on a split; empty where it is not known.
    """

    unit: str
    form: str
    static: Callable[[Group], float | None]
    routing: Callable[[Group, DynamicSplit, Routing], Sequence[float]]

    def at(self, group: Group, inputs: Sequence[str], learns: str) -> list[Figure]:
        """(E,), of one kind of router; empty where it is not known."""
        return group.at(lambda split: self.routing(group, split, routing(split, inputs, learns)))

    def line(self, every: Sequence[Group]) -> Line:
        """Through the means of the static set-ups."""
        points = [
            (self.static(group), Figure.of(x.ap for x in group.static).mean)
            for group in every
            if group.static
        ]
        return static_line([(x, ap) for x, ap in points if x is not None and ap is not None])

    def over_line(
        self, group: Group, inputs: Sequence[str], learns: str, every: Sequence[Group]
    ) -> list[Figure]:
        """(E,), AP above the static line at the same cost; empty where that is not known.

        Args:
            every: set-ups; the line is that of the static ones that were trained as long.
        """
        line = self.line(group.peers(every))

        def lead(split: DynamicSplit) -> list[float | None]:
            found = routing(split, inputs, learns)
            costs = map(line, self.routing(group, split, found))
            pairs = zip(with_ends(split, found.ap), costs, strict=False)
            return [None if None in (ap, on) else ap - on for ap, on in pairs]  # type: ignore[operator]

        return group.at(lead)


def with_ends(split: DynamicSplit, ap: Sequence[float | None]) -> list[float | None]:
    """(F,) AP of a routing -> (E,), with those of the split's two detectors."""
    return [split.easy_ap, *ap, split.hard_ap]


def _multiply_adds(group: Group, split: DynamicSplit, found: Routing) -> list[float]:
    ends = split.cost["+".join(found.inputs)]
    return [ends.easy, *found.gflops, ends.hard]


GFLOPS = Cost(
    "GFLOPs",
    ".3f",
    lambda group: Figure.of(x.gflops for x in group.static).mean,
    _multiply_adds,
)


def costs_of(group: Group, times: Sequence[Times]) -> list[Cost]:
    """What a set-up is compared at: multiply-adds, and milliseconds of the last run that has it."""
    timed = sorted((x for x in times if group.setup in x.setups), key=lambda x: x.origin.date)
    return [GFLOPS, *map(milliseconds, timed[-1:])]


def milliseconds(times: Times) -> Cost:
    """Of both routes of a set-up that the run has, weighted by the hard fraction."""

    def static(group: Group) -> float | None:
        own = times.setups.get(group.setup)
        return None if own is None else own[""].easy

    def weighted(group: Group, split: DynamicSplit, found: Routing) -> list[float]:
        own = times.setups.get(group.setup, {}).get("+".join(found.inputs))
        return [] if own is None else [(1 - k) * own.easy + k * own.hard for k in WITH_ENDS]

    return Cost("ms", ".1f", static, weighted)
