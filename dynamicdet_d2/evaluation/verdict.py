# SPDX-License-Identifier: Apache-2.0
"""What a trade-off means, in words; written from its figures alone."""

from collections.abc import Mapping, Sequence
from typing import Any

# Difficulties that vary less than this are called collapsed; in (0, 1) a router that tells
# images apart spreads over many times as much.
COLLAPSED_STD = 0.01
# A threshold that sends more than this share of the images one way does not route.
ONE_ROUTE = 0.99
# Rank correlations with the loss gap from which the difficulty is said to follow it. The gap is
# noisy: a good router is far from 1.
FOLLOWS, FOLLOWS_WEAKLY = 0.3, 0.1

Point = Mapping[str, Any]


def verdict(tradeoff: Mapping[str, Any]) -> str:
    """Two or three sentences: hard end against easy end, router against random, and the gain.

    Args:
        tradeoff: content of tradeoff.json; ``points`` and ``rank_correlation`` are read.
    """
    points = tradeoff["points"]
    easy, hard = points[0], points[-1]
    if easy["box"]["AP"] is None or hard["box"]["AP"] is None:
        return "AP is undefined: the data set has no objects to find."
    inner = [p for p in points if 0 < p["realised_hard_fraction"] < 1]
    sentences = [_ends(easy["box"]["AP"], hard["box"]["AP"]), _router(inner)]
    best = max(points, key=lambda p: p["box"]["AP"])
    if best["box"]["AP"] <= easy["box"]["AP"]:
        sentences.append("No gain: no operating point is above detector1 alone.")
    sentences.append(_loss_gap(tradeoff["rank_correlation"].get("loss_gap")))
    return " ".join(sentence for sentence in sentences if sentence)


def warnings(tradeoff: Mapping[str, Any]) -> list[str]:
    """What a reader must know before trusting the figures; empty when all is well.

    Args:
        tradeoff: content of tradeoff.json: ``difficulty``, ``operating_point``, ``num_images``,
            ``images_missing`` and ``points`` are read.
    """
    found = [
        _collapse(tradeoff["difficulty"]),
        _one_route(tradeoff["operating_point"]),
        _luck(tradeoff["points"]),
        _missing(tradeoff["images_missing"]),
    ]
    return [sentence for sentence in found if sentence]


def _ends(easy: float, hard: float) -> str:
    gap = hard - easy
    if abs(gap) < 0.005:
        return f"Both ends reach the same AP, {hard:.2f}."
    side = "above" if gap > 0 else "BELOW"
    return f"The hard end is {abs(gap):.2f} AP {side} the easy end ({hard:.2f} against {easy:.2f})."


def _router(inner: Sequence[Point]) -> str:
    if not inner:
        return "No threshold divides these images, so the router cannot be judged."
    leads = ", ".join(f"{_lead(p):+.2f} at {p['realised_hard_fraction']:.2g}" for p in inner)
    ahead = sum(_lead(p) > 0 for p in inner)
    if ahead == len(inner):
        claim = "The router beats random routing at every inner point"
    elif ahead:
        claim = f"The router beats random routing at {ahead} of {len(inner)} inner points only"
    else:
        claim = "The router does NOT beat random routing"
    return f"{claim} ({leads} AP){_share(inner)}."


def _loss_gap(correlation: float | None) -> str:
    """Whether the router learnt what it was trained for; "" where the gap was not measured."""
    if correlation is None:
        return ""
    if correlation >= FOLLOWS:
        claim = "The difficulty follows the true loss gap L1 - L2"
    elif correlation >= FOLLOWS_WEAKLY:
        claim = "The difficulty follows the true loss gap L1 - L2 only weakly"
    else:
        claim = "The difficulty does NOT follow the true loss gap L1 - L2"
    return f"{claim} (rank correlation {correlation:.2f}; 1 is perfect, 0 is none)."


def _share(inner: Sequence[Point]) -> str:
    middle = min(inner, key=lambda p: abs(p["realised_hard_fraction"] - 0.5))
    share = middle["oracle_share"]
    if share is None or share <= 0:
        return ""
    return (
        f"; at {middle['realised_hard_fraction']:.2g} it reaches {share:.0%} of what an oracle "
        "gains over random"
    )


def _lead(point: Point) -> float:
    return point["box"]["AP"] - point["random_AP"]


def _collapse(difficulty: Mapping[str, float]) -> str:
    if difficulty["std"] >= COLLAPSED_STD:
        return ""
    return (
        f"The difficulties hardly differ (standard deviation {difficulty['std']:.2g}, from "
        f"{difficulty['min']:.4f} to {difficulty['max']:.4f}): the router has collapsed, or has "
        "learnt too little."
    )


def _one_route(own: Point) -> str:
    share = own["realised_hard_fraction"]
    if 1 - ONE_ROUTE < share < ONE_ROUTE or own["threshold"] in (0, 1):
        return ""
    route, taken = ("hard", share) if share > 0.5 else ("easy", 1 - share)
    return (
        f"The model's threshold, as set to {own['threshold']:.4g}, sends {taken:.1%} of the "
        f"images to the {route} route; calibrate.py finds a threshold for a wanted hard fraction."
    )


def _luck(points: Sequence[Point]) -> str:
    weak = [
        p
        for p in points
        if p["box"]["AP"] is not None
        and p["random_AP_std"] is not None
        and 0 < _lead(p) <= 2 * p["random_AP_std"]
    ]
    if not weak:
        return ""
    where = ", ".join(f"{p['realised_hard_fraction']:.2g}" for p in weak)
    return (
        f"At hard fraction {where} the lead over random routing is within two standard deviations "
        "of single random routings: it may be luck."
    )


def _missing(count: int) -> str:
    if not count:
        return ""
    return f"{count} images of the data set were not seen; all figures are over the others."
