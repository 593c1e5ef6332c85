# SPDX-License-Identifier: Apache-2.0
"""The tables of the page, as Markdown."""

from collections.abc import Mapping, Sequence

from tabulate import tabulate

from evidence.costs import GFLOPS, WITH_ENDS, Cost, with_ends
from evidence.figures import Figure
from evidence.group import HALF, Group, routing
from evidence.records import FRACTIONS, Route
from evidence.routers import AUTO, AUTO_BOTH, AUTO_FOLDS
from evidence.setups import title
from evidence.timing import Times

# Hard fractions of which a short table speaks: the first, half, the last.
PLACES = (0, HALF, len(FRACTIONS) - 1)
# By what a router was chosen, behind what it sees.
CHOSEN_ON = {AUTO: "", AUTO_FOLDS: ", chosen on folds", AUTO_BOTH: ", chosen on folds and val"}


def detectors(groups: Sequence[Group]) -> str:
    """Every set-up: AP and cost of its ends, and what there is to route."""
    rows = [_dynamic_row(group) if group.dynamic else _static_row(group) for group in groups]
    headers = (
        "set-up",
        "seeds",
        "GFLOPs",
        "AP",
        "random at 0.5",
        "oracle at 0.5",
        "detector2 better",
    )
    return _table(rows, headers)


def _dynamic_row(group: Group) -> list[str]:
    routes = [group.cost(route).text(".3f") for route in ("easy", "hard")]
    ends = [group.of(lambda x: x.easy_ap).text(), group.of(lambda x: x.hard_ap).text()]
    return [
        *(group.title, _seeds(group), " / ".join(routes), " / ".join(ends)),
        group.of(lambda x: x.random_ap[HALF]).text(),
        group.of(lambda x: x.oracle_ap[HALF]).text(),
        group.of(lambda x: x.better).text(),
    ]


def _static_row(group: Group) -> list[str]:
    cost = Figure.of(x.gflops for x in group.static).text(".3f")
    ap = Figure.of(x.ap for x in group.static).text()
    return [group.title, _seeds(group), cost, ap, "", "", ""]


def overview(groups: Sequence[Group], choice: Mapping[str, Sequence[str]]) -> str:
    """What routing gives in every dynamic set-up: over random, and over the static line.

    Args:
        choice: set-up -> what its router sees.
    """
    rows = []
    for group in groups:
        if not group.dynamic:
            continue
        inputs = choice[group.setup]
        lead = group.routing_at(inputs, AUTO, lambda x: x.lead)
        over = GFLOPS.over_line(group, inputs, AUTO, groups)[1:-1]
        shown = [lead[place] for place in PLACES] + [over[place] for place in PLACES]
        rows.append([group.title, "+".join(inputs), *_texts(shown, "+.2f")])
    kinds = ("over random", "over the static line")
    headers = [f"{kind} at {FRACTIONS[place]:g}" for kind in kinds for place in PLACES]
    return _table(rows, ("set-up", "router sees", *headers))


def curves(group: Group, costs: Sequence[Cost], every: Sequence[Group]) -> str:
    """AP from all easy to all hard: router by inputs, random, oracle; cost, and the static line.

    Args:
        costs: what AP is compared at.
        every: all set-ups, the static ones among them.
    """
    rows = [
        ["random routing", *_texts(group.at(lambda x: with_ends(x, x.random_ap)))],
        ["oracle", *_texts(group.at(lambda x: with_ends(x, x.oracle_ap)))],
    ]
    for inputs in group.inputs:
        for learns in group.choices:
            name = f"**{'+'.join(inputs)}**{CHOSEN_ON[learns]}"
            rows += _curve(group, inputs, learns, name, costs, every)
    return _table(rows, ("", *(f"{k:g}" for k in WITH_ENDS)))


def _curve(
    group: Group,
    inputs: Sequence[str],
    learns: str,
    name: str,
    costs: Sequence[Cost],
    every: Sequence[Group],
) -> list[list[str]]:
    """The rows of one kind of router."""
    ap = group.at(lambda x: with_ends(x, routing(x, inputs, learns).ap))
    lead = group.routing_at(inputs, learns, lambda x: x.lead)
    rows = [[name, *_texts(ap)], ["over random", "", *_texts(lead, "+.2f"), ""]]
    for cost in costs:
        own = cost.at(group, inputs, learns)
        over = cost.over_line(group, inputs, learns, every)
        if not own:  # nothing of it was timed
            continue
        rows += [
            [cost.unit, *_means(own, cost.form)],
            [f"over the static line, {cost.unit}", *_texts(over, "+.2f")],
        ]
    return rows


def times(found: Times) -> str:
    """Milliseconds of every set-up: of static ones, and of both routes by what a router sees."""
    seen = list(dict.fromkeys(inputs for own in found.setups.values() for inputs in own))
    rows = [
        [title(setup), *(_routes(own[inputs], inputs) if inputs in own else "" for inputs in seen)]
        for setup, own in found.setups.items()
    ]
    return _table(rows, ("set-up", *(inputs or "static" for inputs in seen)))


def _routes(route: Route, inputs: str) -> str:
    return f"{route.easy:.1f} / {route.hard:.1f}" if inputs else f"{route.easy:.1f}"


def routers(group: Group) -> str:
    """What is chosen by each way, by inputs, and scores that look at the ground truth."""
    rows = [
        _quality(group, inputs, learns, "+".join(inputs) + CHOSEN_ON[learns])
        for learns in group.choices
        for inputs in group.inputs
    ]
    rows += [_quality(group, (), name, f"*{name}*") for name in group.references]
    leads = [f"over random at {FRACTIONS[place]:g} (least)" for place in PLACES]
    headers = ("router sees", *leads, "area", "oracle's share at 0.5", "AUROC", "Kendall's tau")
    return _table(rows, headers)


def _quality(group: Group, inputs: Sequence[str], learns: str, name: str) -> list[str]:
    leads = group.routing_at(inputs, learns, lambda x: x.lead)
    shown = [
        leads[place].text("+.2f")
        + ("" if leads[place].least is None else f" ({leads[place].least:+.2f})")
        for place in PLACES
    ]
    return [
        *(name, *shown, group.routing(inputs, learns, lambda x: x.area).text("+.2f")),
        group.routing(inputs, learns, lambda x: x.share[HALF]).text(),
        group.routing(inputs, learns, lambda x: x.auroc).text(".3f"),
        group.routing(inputs, learns, lambda x: x.kendall_tau).text(".3f"),
    ]


def objectives(group: Group) -> str:
    """Lead at half hard, and area, of everything that can be learnt from everything seen."""
    rows = [
        [name, *(_lead(group, inputs, name) for inputs in group.inputs)] for name in group.learners
    ]
    return _table(rows, ("learns", *("+".join(inputs) for inputs in group.inputs)))


def _lead(group: Group, inputs: Sequence[str], learns: str) -> str:
    lead = group.routing(inputs, learns, lambda x: x.lead[HALF]).text("+.2f")
    return f"{lead} ({group.routing(inputs, learns, lambda x: x.area).text('+.2f')})"


def chosen(group: Group) -> str:
    """What was chosen by each way, by inputs."""
    rows = [
        ["+".join(inputs), *(group.chosen(inputs, name) for name in group.choices)]
        for inputs in group.inputs
    ]
    return _table(rows, ("router sees", *group.choices))


def _seeds(group: Group) -> str:
    return ", ".join(map(str, group.seeds))


def _texts(figures: Sequence[Figure], form: str = ".2f") -> list[str]:
    return [figure.text(form) for figure in figures]


def _means(figures: Sequence[Figure], form: str) -> list[str]:
    return ["-" if x.mean is None else f"{x.mean:{form}}" for x in figures]


def _table(rows: Sequence[Sequence[str]], headers: Sequence[str]) -> str:
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True)
