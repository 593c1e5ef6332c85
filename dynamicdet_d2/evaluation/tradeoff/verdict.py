# SPDX-License-Identifier: Apache-2.0
"""What a trade-off means, in words; written from its figures alone."""

from collections.abc import Sequence

from dynamicdet_d2.evaluation.tradeoff.difficulties import DifficultySummary
from dynamicdet_d2.evaluation.tradeoff.points import Point
from dynamicdet_d2.evaluation.tradeoff.record import Tradeoff

# Difficulties that vary less than this are called collapsed; in (0, 1) a router that tells
# images apart spreads over many times as much.
COLLAPSED_STD = 0.01
# A threshold that sends more than this share of the images one way does not route.
ONE_ROUTE = 0.99
# Rank correlations with the loss gap from which the difficulty is said to follow it. The gap is
# noisy: a good router is far from 1.
FOLLOWS, FOLLOWS_WEAKLY = 0.3, 0.1
# AP in percent below which detectors find next to nothing, and a router's lead means nothing.
NEAR_ZERO = 1.0
# Lead over random routing, in points of AP, below which it is none, however sure.
LEAST_LEAD = 0.05
# Latencies that differ by less than this share are ties: timings move as much from run to run.
TIE = 0.05


def verdict(tradeoff: Tradeoff) -> str:
    """Some sentences: hard end against easy end, router against random, and the gain.

    What speaks against the router comes first: that it does not beat random routing, or that AP is
    too low for any routing to matter.
    """
    easy, hard = tradeoff.easy_end.box.AP, tradeoff.hard_end.box.AP
    if easy is None or hard is None:
        return "AP is undefined: the data set has no objects to find."
    highest = max(point.box.AP or 0.0 for point in tradeoff.points)
    ends, router = _ends(easy, hard), _router(tradeoff.inner_points)
    if highest < NEAR_ZERO:
        sentences = [_near_zero(highest), ends]
    elif all(map(beats_random, tradeoff.inner_points)):
        sentences = [ends, router]
    else:
        sentences = [router, ends]
    if highest <= easy:
        sentences.append("No gain: no operating point is above detector1 alone.")
    sentences.append(_loss_gap(tradeoff.rank_correlation.loss_gap))
    return " ".join(sentence for sentence in sentences if sentence)


def warnings(tradeoff: Tradeoff) -> list[str]:
    """What a reader must know before trusting the figures; empty when all is well."""
    # One image has one difficulty and takes one route, whatever the router is.
    several = tradeoff.num_images > 1
    found = [
        _collapse(tradeoff.difficulty) if several else "",
        _one_route(tradeoff.operating_point) if several else "",
        _luck(tradeoff.points),
        _no_time_saved(tradeoff),
        _missing(tradeoff.images_missing),
    ]
    return [sentence for sentence in found if sentence]


def beats_random(point: Point) -> bool:
    """Whether the lead over random routing is more than two standard deviations of a single one.

    Of one draw alone the deviation is not known, and no lead is proved. Nor is one where AP is near
    zero, or one that nobody would notice.
    """
    figures = point.box
    lead, deviation = figures.lead, figures.random_AP_std
    if lead is None or deviation is None or (figures.AP or 0.0) < NEAR_ZERO:
        return False
    return lead >= LEAST_LEAD and lead > 2 * deviation


def tied(one: Point, other: Point) -> bool:
    """Whether the latencies of two points differ by less than ``TIE`` of the smaller one."""
    if one.latency_ms is None or other.latency_ms is None:
        return False
    low, high = sorted((one.latency_ms, other.latency_ms))
    return high - low < TIE * low


def _near_zero(highest: float) -> str:
    return (
        f"AP is near zero ({highest:.2f} at most): the detectors find next to nothing, so that no "
        "routing can be judged."
    )


def _ends(easy: float, hard: float) -> str:
    gap = hard - easy
    if abs(gap) < 0.005:
        return f"Both ends reach the same AP, {hard:.2f}."
    side = "above" if gap > 0 else "BELOW"
    return f"The hard end is {abs(gap):.2f} AP {side} the easy end ({hard:.2f} against {easy:.2f})."


def _router(inner: Sequence[Point]) -> str:
    if not inner:
        return "No threshold divides these images, so the router cannot be judged."
    leads = ", ".join(f"{p.box.lead:+.2f} at {p.hard_fraction:g}" for p in inner)
    return f"{_claim(inner)} ({leads} AP){_share(inner)}."


def _claim(inner: Sequence[Point]) -> str:
    ahead = sum(map(beats_random, inner))
    if ahead == len(inner):
        return "The router beats random routing at every inner point"
    if ahead:
        return f"The router beats random routing at {ahead} of {len(inner)} inner points only"
    if any((point.box.lead or 0) > 0 for point in inner):
        return "The router does NOT beat random routing by more than chance"
    return "The router does NOT beat random routing"


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
    """How much of the oracle's gain is reached at about half hard, where that is more than luck."""
    middle = min(inner, key=lambda point: abs(point.realised_hard_fraction - 0.5))
    share = middle.box.oracle_share
    if share is None or not beats_random(middle):
        return ""
    return (
        f"; at {middle.hard_fraction:g} it reaches {share:.0%} of what an oracle gains over random"
    )


def _collapse(difficulty: DifficultySummary) -> str:
    if difficulty.std >= COLLAPSED_STD:
        return ""
    return (
        f"The difficulties hardly differ (standard deviation {difficulty.std:.2g}, from "
        f"{difficulty.min:.4f} to {difficulty.max:.4f}): the router has collapsed, or has "
        "learnt too little."
    )


def _one_route(own: Point) -> str:
    share = own.realised_hard_fraction
    if 1 - ONE_ROUTE < share < ONE_ROUTE or own.threshold in (0, 1):
        return ""
    route, taken = ("hard", share) if share > 0.5 else ("easy", 1 - share)
    return (
        f"The model's threshold, as set to {own.threshold:.4g}, sends {taken:.1%} of the "
        f"images to the {route} route; calibrate.py finds a threshold for a wanted hard fraction."
    )


def _luck(points: Sequence[Point]) -> str:
    weak = [p for p in points if 0 < (p.box.lead or 0) <= 2 * (p.box.random_AP_std or 0)]
    if not weak:
        return ""
    where = ", ".join(f"{point.hard_fraction:g}" for point in weak)
    return (
        f"At hard fraction {where} the lead over random routing is within two standard deviations "
        "of single random routings: it may be luck."
    )


def _no_time_saved(tradeoff: Tradeoff) -> str:
    easy, hard = tradeoff.easy_end, tradeoff.hard_end
    if easy.latency_ms is None or hard.latency_ms is None:
        return ""
    if hard.latency_ms > easy.latency_ms and not tied(easy, hard):
        return ""
    return (
        f"No gain on this device: the easy route takes {easy.latency_ms:.2f} ms per image and the "
        f"hard one {hard.latency_ms:.2f} ms, so that routing saves no time here."
    )


def _missing(count: int) -> str:
    if not count:
        return ""
    return f"{count} images of the data set were not seen; all figures are over the others."
