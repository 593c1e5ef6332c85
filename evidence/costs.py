# SPDX-License-Identifier: Apache-2.0
"""What detectors are compared at: multiply-adds or milliseconds, and the static line in either."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from evidence.figures import Figure, Line, static_line
from evidence.group import Group
from evidence.results import FRACTIONS, Routing
from evidence.times import Times


@dataclass(frozen=True)
class Cost:
    """A kind of cost per image.

    Attributes:
        unit: on the page.
        form: of a figure.
        static: of a set-up of static detectors; None where it is not known.
        routing: (F,), of a router of a set-up at each hard fraction; empty where it is not known.
    """

    unit: str
    form: str
    static: Callable[[Group], float | None]
    routing: Callable[[Group, Routing], Sequence[float]]

    def at(self, group: Group, inputs: Sequence[str], learns: str) -> list[Figure]:
        """(F,), of one kind of router; empty where it is not known."""
        return group.routing_at(inputs, learns, lambda found: self.routing(group, found))

    def line(self, every: Sequence[Group]) -> Line:
        """Through the means of the static set-ups."""
        points = [
            (self.static(group), Figure.of(x.ap for x in group.static).mean)
            for group in every
            if group.static
        ]
        return static_line([(x, ap) for x, ap in points if x is not None and ap is not None])

    def over_line(
        self, group: Group, inputs: Sequence[str], learns: str, line: Line
    ) -> list[Figure]:
        """(F,), AP above the static line at the same cost; empty where that is not known."""

        def lead(found: Routing) -> list[float | None]:
            pairs = zip(found.ap, map(line, self.routing(group, found)), strict=False)
            return [None if None in (ap, on) else ap - on for ap, on in pairs]  # type: ignore[operator]

        return group.routing_at(inputs, learns, lead)


GFLOPS = Cost(
    "GFLOPs",
    ".3f",
    lambda group: Figure.of(x.gflops for x in group.static).mean,
    lambda group, found: found.gflops,
)


def milliseconds(times: Times) -> Cost:
    """Of both routes of a set-up, weighted by the hard fraction."""

    def static(group: Group) -> float | None:
        own = times.setups.get(group.setup)
        return None if own is None else own[""].easy

    def routing(group: Group, found: Routing) -> list[float]:
        own = times.setups.get(group.setup, {}).get("+".join(found.inputs))
        return [] if own is None else [(1 - k) * own.easy + k * own.hard for k in FRACTIONS]

    return Cost("ms", ".1f", static, routing)
