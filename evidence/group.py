# SPDX-License-Identifier: Apache-2.0
"""The runs of one set-up that differ in their seed alone, on one split."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from evidence.figures import Figure
from evidence.records import FRACTIONS, DynamicSplit, Result, Routing, StaticSplit
from evidence.routers import AUTO, AUTOS
from evidence.setups import SETUPS, title

HALF = FRACTIONS.index(0.5)


@dataclass(frozen=True)
class Group:
    """A set-up.

    Attributes:
        setup: its name.
        steps: of training, the most of its runs.
        seeds: of the runs, ascending.
        splits: what was found, run by run; all dynamic or all static.
    """

    setup: str
    steps: int
    seeds: tuple[int, ...]
    splits: Sequence[DynamicSplit | StaticSplit]

    @property
    def title(self) -> str:
        return title(self.setup)

    def peers(self, every: Iterable["Group"]) -> list["Group"]:
        """The set-ups that were trained as long."""
        return [group for group in every if group.steps == self.steps]

    @property
    def dynamic(self) -> list[DynamicSplit]:
        return [split for split in self.splits if isinstance(split, DynamicSplit)]

    @property
    def static(self) -> list[StaticSplit]:
        return [split for split in self.splits if isinstance(split, StaticSplit)]

    def of(self, what: Callable[[DynamicSplit], float | None]) -> Figure:
        """A figure of dynamic runs."""
        return Figure.of(map(what, self.dynamic))

    def at(self, what: Callable[[DynamicSplit], Sequence[float | None]]) -> list[Figure]:
        """(F,), a figure at each hard fraction."""
        rows = zip(*map(what, self.dynamic), strict=True)
        return [Figure.of(values) for values in rows]

    def cost(self, route: str) -> Figure:
        """10^9 multiply-adds of route "easy" or "hard", with a router on pooled features."""
        return self.of(lambda split: getattr(split.cost["features"], route))

    @property
    def inputs(self) -> list[tuple[str, ...]]:
        """What routers see, in the order of the file."""
        routings = [x for split in self.dynamic[:1] for x in split.routings]
        return list(dict.fromkeys(x.inputs for x in routings if x.inputs))

    def best_inputs(self) -> tuple[str, ...]:
        """Those by which "auto" has the largest area; of a static set-up none."""
        areas = {x: self.routing(x, AUTO, lambda routing: routing.area).mean for x in self.inputs}
        return max(areas, key=lambda inputs: areas[inputs] or 0.0, default=())

    @property
    def choices(self) -> list[str]:
        """The ways to choose among all candidates that every run has."""
        runs = [{x.learns for x in split.routings} for split in self.dynamic]
        return [name for name in AUTOS if all(name in learnt for learnt in runs)]

    @property
    def learners(self) -> list[str]:
        """What routers learn, choices first."""
        learnt = (x.learns for x in self.dynamic[0].routings if x.inputs)
        return list(dict.fromkeys((*self.choices, *(name for name in learnt if name not in AUTOS))))

    @property
    def references(self) -> list[str]:
        """Names of the scores that look at the ground truth."""
        return [x.learns for x in self.dynamic[0].routings if not x.inputs]

    def routing(
        self, inputs: Sequence[str], learns: str, what: Callable[[Routing], float | None]
    ) -> Figure:
        """A figure of one kind of router."""
        return self.of(lambda split: what(routing(split, inputs, learns)))

    def routing_at(
        self, inputs: Sequence[str], learns: str, what: Callable[[Routing], Sequence[float | None]]
    ) -> list[Figure]:
        """(F,), of one kind of router."""
        return self.at(lambda split: what(routing(split, inputs, learns)))

    def chosen(self, inputs: Sequence[str], learns: str) -> str:
        """How often what was chosen, over all seeds of detectors and routers."""
        total: Counter[str] = Counter()
        for split in self.dynamic:
            total.update(routing(split, inputs, learns).chosen)
        return ", ".join(f"{name} ({count})" for name, count in total.most_common())


def routing(split: DynamicSplit, inputs: Sequence[str], learns: str) -> Routing:
    """The one of these inputs that learns this."""
    wanted = tuple(inputs), learns
    return next(x for x in split.routings if (x.inputs, x.learns) == wanted)


def groups(results: Iterable[Result], split: str) -> list[Group]:
    """By set-up, in the order of ``SETUPS``, of the results that have the split."""
    found: dict[str, list[Result]] = {}
    for result in results:
        if split in result.dynamic or split in result.static:
            found.setdefault(result.setup, []).append(result)
    order = [*SETUPS, *sorted(found)]
    return [_group(name, found[name], split) for name in sorted(found, key=order.index)]


def _group(name: str, results: Sequence[Result], split: str) -> Group:
    ordered = sorted(results, key=lambda result: result.seed)
    splits = [result.dynamic.get(split) or result.static[split] for result in ordered]
    steps = max(result.steps for result in ordered)
    return Group(name, steps, tuple(result.seed for result in ordered), splits)
