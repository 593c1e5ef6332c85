# SPDX-License-Identifier: Apache-2.0
"""Pure: a plan, its front, and the point of it that meets a target."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from dynamicdet_d2.calibration.ap_drop import ApDrop, say_near_zero
from dynamicdet_d2.calibration.plan.curves import PlanPoint
from dynamicdet_d2.calibration.target import Target
from dynamicdet_d2.calibration.targets import Gflops, Latency
from dynamicdet_d2.operating_point.front import (
    best_within_cost,
    cheapest_within_ap,
    pareto_front,
)
from dynamicdet_d2.operating_point.hard_fraction import least_ap
from dynamicdet_d2.operating_point.knobs import as_pairs
from dynamicdet_d2.utils.words import rounded_inward

Cost = Literal["gflops", "ms"]
UNITS: dict[Cost, str] = {"gflops": "GFLOPs", "ms": "ms"}


@dataclass(frozen=True)
class Plan:
    """Everything that was measured, and what was chosen of it.

    Attributes:
        dataset: name in Detectron2's catalogs.
        num_images: of it.
        device: that milliseconds are of.
        date: of the measurement.
        cost: what AP is weighed against.
        target: its name -> its value.
        points: of all curves, first the config's own; within a curve by rising hard fraction.
        reference: place of the config's own point at all images hard, which a drop is against.
        front: places of the points that no other one beats, by rising cost.
        chosen: place of the point that meets the target; None before one was looked for.
    """

    dataset: str
    num_images: int
    device: str
    date: str
    cost: Cost
    target: dict[str, float]
    points: tuple[PlanPoint, ...]
    reference: int
    front: tuple[int, ...]
    chosen: int | None = None


def check_target(target: Target | None, latency: bool) -> tuple[Target, Cost]:
    """The target itself, and what a plan for it weighs AP against.

    Args:
        target: that was asked for.
        latency: milliseconds were asked for.

    Raises:
        ValueError: a plan cannot be made for it.
    """
    if not isinstance(target, Latency | Gflops | ApDrop):
        options = [kind.option for kind in (Latency, Gflops, ApDrop)]
        raise ValueError(f"--plan needs {options[0]}, {options[1]} or {options[2]}.")
    if target.guarantee is not None:
        raise ValueError(
            "--confidence promises nothing of a point that was chosen among many settings: leave "
            "out --plan, or --confidence and calibrate the chosen keys with it on other images."
        )
    wants_ms = isinstance(target, Latency) or (latency and isinstance(target, ApDrop))
    return target, "ms" if wants_ms else "gflops"


def costs_of(points: Sequence[PlanPoint], cost: Cost) -> list[float]:
    """(P,) in the unit of the cost."""
    return [getattr(point, cost) for point in points]


def front_of(points: Sequence[PlanPoint], cost: Cost) -> tuple[int, ...]:
    """Places of the points that no other one beats, by rising cost."""
    return tuple(pareto_front(costs_of(points, cost), [point.ap for point in points]))


def choose(plan: Plan, target: Target) -> int:
    """The place of the point that meets a target.

    Of a cost: the best AP for at most so much; of a drop: the least cost within so many points of
    AP of the plan's reference, which always is one. Where AP is near zero, that is said.

    Raises:
        ValueError: every point costs more; naming the one that costs least.
    """
    costs, aps = costs_of(plan.points, plan.cost), [point.ap for point in plan.points]
    say_near_zero(aps[plan.reference])
    if isinstance(target, ApDrop):
        found = cheapest_within_ap(costs, aps, least_ap(aps[plan.reference], target.value).item())
        return plan.reference if found is None else found
    found = best_within_cost(costs, aps, target.value)
    if found is None:
        least, unit = plan.front[0], UNITS[plan.cost]
        point, (cost, _) = plan.points[least], rounded_inward(costs[least], costs[least])
        raise ValueError(
            f"No point of the plan has {target.value:g} {unit} or less; the nearest has "
            f"{cost} {unit} and {point.ap:.2f} AP: {as_pairs(point.keys)} "
            f"MODEL.DYNAMIC.THRESHOLD {point.threshold:.6g}."
        )
    return found


def gains(plan: Plan, drops: Sequence[float]) -> list[tuple[float, PlanPoint, float]]:
    """For each drop of AP the cheapest point within it, and how many times less it costs.

    Against the plan's reference, whatever the target is.
    """
    costs, aps = costs_of(plan.points, plan.cost), [point.ap for point in plan.points]
    rows = []
    for drop in drops:
        found = cheapest_within_ap(costs, aps, least_ap(aps[plan.reference], drop).item())
        place = plan.reference if found is None else found
        rows.append((drop, plan.points[place], costs[plan.reference] / costs[place]))
    return rows
