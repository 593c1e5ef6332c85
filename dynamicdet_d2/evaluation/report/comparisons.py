# SPDX-License-Identifier: Apache-2.0
"""Other detectors in a report: static baselines, other runs, this one at other input sizes."""

import logging
import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dynamicdet_d2.data.register import LONGEST_NAME, is_class_name
from dynamicdet_d2.evaluation.tradeoff.points import Point
from dynamicdet_d2.evaluation.tradeoff.record import Series, SeriesPoint, SizeRange, Tradeoff
from dynamicdet_d2.utils.words import is_whole

logger = logging.getLogger(__name__)

# More would take minutes to draw, and nobody could read it.
MOST_COMPARED = 50
# Times as much or as little is no other detector, but another unit.
_IMPLAUSIBLE = 300
_FORM = (
    "NAME,AP,GFLOPS,MS such as R101,39.4,283,55 (- for what is not known), or [NAME=]a "
    "tradeoff.json"
)


@dataclass(frozen=True)
class Compared:
    """Another detector, as a user has named it.

    Attributes:
        text: what was typed.
        series: to be drawn.
        run: that it is of; None of typed figures.
    """

    text: str
    series: Series
    run: Tradeoff | None = None


def parse_comparison(text: str) -> Compared:
    """What a user typed.

    Args:
        text: "R101,39.4,283,55" with "-" or nothing for what is not known, box AP; or the path of
            another run's tradeoff.json, "NAME=" before it where its data set is no name for it.

    Raises:
        ValueError: it is neither.
    """
    if not is_whole(text):
        raise ValueError(f"--compare {text!a:.200} has a character that is none.")
    if text.endswith(".json"):
        name, path = _named(text)
        if name:
            _check_name(text, name)
        run = Tradeoff.from_json(path)
        return Compared(text, from_tradeoff(run, name), run)
    return Compared(text, _typed(text))


def _typed(text: str) -> Series:
    """Of figures."""
    name, *numbers = (part.strip() for part in text.split(","))
    if not name or len(numbers) != 3:
        comma = " A comma stands between figures, and a point in them." if numbers else ""
        raise ValueError(f"--compare {text:.200} must be {_FORM}.{comma}")
    _check_name(text, name)
    ap, gflops, ms = (_number(text, number) for number in numbers)
    if ap is None:
        raise ValueError(f"--compare {text} has no AP; it must be {_FORM}.")
    if not 0 <= ap <= 100:
        raise ValueError(f"--compare {text} has an AP of {ap:g}; it must be from 0 to 100.")
    for what, value in (("GFLOPS", gflops), ("MS", ms)):
        if value is not None and value <= 0:
            raise ValueError(
                f"--compare {text} has {what} of {value:g}; it must be above 0, or - where it is "
                "not known."
            )
    if 0 < ap < 1:
        logger.warning(
            "--compare %s has an AP of %g, and is drawn there; AP is in per cent: 39.4, not 0.394.",
            *(text, ap),
        )
    return Series(name, (SeriesPoint(name, gflops, ms, ap),))


def _check_name(text: str, name: str) -> None:
    """
    Raises:
        ValueError: it is too long for a chart, or not of one line of characters that can be drawn.
    """
    if not is_class_name(name):
        raise ValueError(
            f"--compare {text:.200} has a NAME that no chart has room for: it must be in one "
            f"line, of {LONGEST_NAME} characters at most."
        )


def say_incomparable(compared: Compared, own: Tradeoff) -> None:
    """Where its figures are not of the same images, machine or units as those of a run.

    Args:
        own: the run that it is drawn beside.
    """
    if compared.run is not None:
        _say_other_run(compared.text, compared.run, own)
        return
    (typed,), end = compared.series.points, own.hard_end
    _say_other_unit(compared.text, "GFLOPS", typed.gflops, end.gflops)
    _say_other_unit(compared.text, "MS", typed.latency_ms, end.latency_ms)


def _say_other_run(text: str, other: Tradeoff, own: Tradeoff) -> None:
    if (other.dataset, other.num_images) != (own.dataset, own.num_images):
        logger.warning(
            "--compare %s was evaluated on %d images of %s, and what it is drawn beside on %d of "
            "%s: AP of other images cannot be compared.",
            *(text, other.num_images, other.dataset, own.num_images, own.dataset),
        )
    if other.device != own.device:
        logger.warning(
            "--compare %s was timed on %.200s, and what it is drawn beside on %.200s: milliseconds "
            "of other machines cannot be compared.",
            *(text, other.device, own.device),
        )
    counts = other.attention_matmul, own.attention_matmul
    if None not in counts and counts[0] != counts[1]:
        said = "counts", "leaves out"
        logger.warning(
            "--compare %s %s the two products of attention in its GFLOPs, and what it is drawn "
            "beside %s them (TEST.DYNAMIC.ATTENTION_MATMUL): GFLOPs of detectors with attention "
            "cannot be compared.",
            *(text, *(said if counts[0] else said[::-1])),
        )


def _say_other_unit(text: str, unit: str, typed: float | None, own: float | None) -> None:
    if typed and own and not 1 / _IMPLAUSIBLE < typed / own < _IMPLAUSIBLE:
        logger.warning(
            "--compare %s has %s of %g, and is drawn there beside %.4g: GFLOPS are 10^9 "
            "multiply-adds, and MS milliseconds.",
            *(text, unit, typed, own),
        )


def _named(text: str) -> tuple[str, str]:
    """ "NAME=PATH" as name and path, "PATH" as "" and path: folders may have "=" in their names."""
    name, equals, path = text.partition("=")
    return ("", text) if not equals or os.path.exists(text) else (name.strip(), path.strip())


def say_same_names(others: Sequence[Compared]) -> None:
    """Say where charts and tables could not tell two detectors apart; at least one is there."""
    name, count = Counter(other.series.name for other in others).most_common(1)[0]
    if count > 1:
        logger.warning(
            "--compare has %d detectors called %s, which charts and tables do not tell apart: "
            "NAME=a tradeoff.json, or another NAME, does.",
            *(count, name),
        )


def from_tradeoff(tradeoff: Tradeoff, name: str = "") -> Series:
    """The operating points of another run; ``name``: its data set's if empty."""
    sizes = tradeoff.image_sizes
    points = (_point(f"{point.hard_fraction:g} hard", point, sizes) for point in tradeoff.points)
    return Series(name or tradeoff.dataset, tuple(points))


def input_size_series(by_size: Mapping[int, Tradeoff]) -> tuple[Series, Series]:
    """Both ends at several input sizes (Fig. 10 of the paper).

    Args:
        by_size: ``INPUT.MIN_SIZE_TEST`` in pixels -> the trade-off there.
    """
    ordered = [(f"{size} px", by_size[size]) for size in sorted(by_size)]
    easy = tuple(_point(name, found.easy_end, found.image_sizes) for name, found in ordered)
    hard = tuple(_point(name, found.hard_end, found.image_sizes) for name, found in ordered)
    return Series("detector1 at input sizes", easy), Series("detector2 at input sizes", hard)


def _point(label: str, point: Point, sizes: SizeRange) -> SeriesPoint:
    mask = point.tasks.get("mask")
    mask_ap = None if mask is None else mask.AP
    return SeriesPoint(label, point.gflops, point.latency_ms, point.box.AP, mask_ap, sizes)


def _number(text: str, number: str) -> float | None:
    if number in ("", "-"):
        return None
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"--compare {text} has '{number}' for a number; it must be {_FORM}.")
    return value
