# SPDX-License-Identifier: Apache-2.0
"""The calibration record: what calibrate.py writes and the model reads."""

import dataclasses
import itertools
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dynamicdet_d2.operating_point.hard_fraction import hard_fraction_for_latency
from dynamicdet_d2.operating_point.knobs import are_knobs
from dynamicdet_d2.operating_point.thresholds import GRID, threshold_at
from dynamicdet_d2.utils.files import read_json, whole_file
from dynamicdet_d2.utils.plain import checked, is_finite, to_plain
from dynamicdet_d2.utils.words import LONGEST_LABEL, in_words


@dataclass(frozen=True)
class Calibration:
    """Thresholds and latencies of one model on one device, with what they were measured on.

    Any hard fraction is answered from ``grid``, not from ``thresholds``: between two rows of the
    table a straight line would be off by several per cent where difficulties crowd, while the
    nearest of 1001 grid points is off by at most 0.0005, in about 20 kB at any number of images.

    Attributes:
        num_images: images whose difficulties were counted.
        fingerprint: weights, input and dtype that this belongs to.
        latency_ms: "easy" and "hard" -> {"p50", "p95", "mean"}, milliseconds per image.
        device: what the latencies were measured on.
        thresholds: rows of :func:`threshold_table`.
        grid: thresholds of the hard fractions 0, 0.001, ..., 1.
        histogram: {"edges": (B + 1) rising in [0, 1], "counts": (B)} of the difficulties.
        measured: how: data set, images and warm-up of the latency, batch size, versions, date ...
        held_out: rows of :func:`held_out`.
        operating_point: {"target": what was asked, "hard_fraction", "threshold", ...}, or None;
            of a planned one also "keys": the config keys that it needs, and their values.
    """

    num_images: int
    fingerprint: dict[str, Any]
    latency_ms: dict[str, dict[str, float]]
    device: str
    thresholds: list[dict[str, Any]]
    grid: list[float]
    histogram: dict[str, list]
    measured: dict[str, Any]
    held_out: list[dict[str, Any]]
    operating_point: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        for name in _ALLOWED:
            object.__setattr__(self, name, checked_field(name, getattr(self, name)))

    def threshold(self, hard_fraction: float) -> float:
        """The threshold in [0, 1] for a hard fraction in [0, 1], to within 0.0005 of it."""
        return threshold_at(self.grid, hard_fraction)

    def hard_fraction_for_latency(self, target: float) -> float:
        """Eq. 14 on this record's mean latencies; ``target`` in milliseconds."""
        easy, hard = (self.latency_ms[route]["mean"] for route in ("easy", "hard"))
        return hard_fraction_for_latency(easy, hard, target)

    def threshold_for_latency(self, target: float) -> float:
        """The threshold at which the mean latency per image is ``target`` ms on ``device``."""
        return self.threshold(self.hard_fraction_for_latency(target))

    def to_json(self, path: str | os.PathLike) -> None:
        """Write the record; an interrupted write leaves the file that was there.

        Raises:
            ValueError: the path is none, or a field holds what it must not.
            OSError: the folder is missing or not writable.
        """
        dataclasses.replace(self)  # which refuses what was put into a field since
        # One line a field, so that the file can be read: the grid alone has 1001 numbers.
        lines = [
            f"  {json.dumps(field.name)}: {json.dumps(getattr(self, field.name))}"
            for field in dataclasses.fields(self)
        ]
        with whole_file(path) as file:
            file.write(("{\n" + ",\n".join(lines) + "\n}\n").encode())

    @classmethod
    def from_json(cls, path: str | os.PathLike) -> "Calibration":
        """Read what :meth:`to_json` wrote.

        Raises:
            ValueError: one sentence naming the file and what is wrong with it.
        """
        content = read_json(path, f"Calibration {path!s:.300}")  # which may be its content
        says = "an object, as 'dynamicdet calibrate' writes it."
        content = checked(dict, content, f"Calibration {path}", says)
        names = [field.name for field in dataclasses.fields(cls)]
        missing = [name for name in names if name not in content]
        if missing:
            raise ValueError(f"Calibration {path} lacks {', '.join(missing)}.")
        try:
            return cls(**{name: content[name] for name in names})
        except ValueError as error:
            raise ValueError(f"Calibration {path} is not valid: {error}") from None


def refuse_no_calibration(calibration: object) -> None:
    """Refuse the path of a calibration in its place, and the like.

    Raises:
        ValueError: it is none.
    """
    says = "a Calibration, as Calibration.from_json reads it from a file."
    checked(Calibration, calibration, "The calibration", says)


def checked_field(name: str, value: Any) -> Any:
    """A field of a calibration as plain types, where it may hold numpy's.

    Raises:
        ValueError: naming the field and what it must be.
    """
    allowed, says = _ALLOWED[name]
    value = to_plain(value)
    try:
        fits = bool(allowed(value))
    except (AttributeError, LookupError, TypeError, ValueError):
        fits = False
    if not fits:
        raise ValueError(f"{name!r} must be {says}.")
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:
        raise ValueError(f"{name!r} must be finite in all its numbers.") from None
    except TypeError as error:
        raise ValueError(f"{name!r} holds what no file can: {in_words(error)}.") from None
    return value


def _share(value: Any) -> bool:
    """A number in [0, 1]."""
    return is_finite(value) and 0 <= value <= 1


def _count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= _MOST_IMAGES


def _latencies(value: dict) -> bool:
    return all(
        is_finite(value[route][name]) and value[route][name] > 0
        for route in ("easy", "hard")
        for name in ("p50", "p95", "mean")
    )


def _grid(value: list) -> bool:
    return len(value) == len(GRID) and all(map(_share, value)) and value == sorted(value)[::-1]


def _rows(value: list) -> bool:
    return isinstance(value, list) and all(
        _share(row["hard_fraction"]) and _share(row["threshold"]) for row in value
    )


def _operating_point(value: dict | None) -> bool:
    return value is None or (_rows([value]) and are_knobs(value.get("keys", {})))


def _histogram(value: dict) -> bool:
    edges, counts = value["edges"], value["counts"]
    return (
        len(edges) == len(counts) + 1
        and all(map(_share, edges))
        and all(low < high for low, high in itertools.pairwise(edges))
        and all(map(_count, counts))
        and any(counts)
    )


def _name(value: object) -> bool:
    """Longer ones take a chart minutes."""
    return isinstance(value, str) and len(value) <= LONGEST_LABEL


def _measured(value: dict) -> bool:
    inference = value.get("inference", {})
    return (
        _name(value.get("dataset", ""))
        and all(type(setting) is bool for setting in inference.values())
        and isinstance(value.get("box_counts", {}), dict)
    )


# What the methods above, and readers of the file, rely on.
_MOST_IMAGES = 10**12
_ALLOWED: dict[str, tuple[Callable[[Any], bool], str]] = {
    "num_images": (lambda value: _count(value) and value > 0, "a whole number above 0"),
    "fingerprint": (lambda value: isinstance(value, dict), "an object"),
    "latency_ms": (_latencies, "p50, p95 and mean above 0 for 'easy' and 'hard'"),
    "device": (_name, f"a string of at most {LONGEST_LABEL} characters"),
    "thresholds": (_rows, "rows with 'hard_fraction' and 'threshold' in [0, 1]"),
    "grid": (_grid, f"{len(GRID)} thresholds in [0, 1] that never rise"),
    "histogram": (_histogram, "'edges' that rise in [0, 1] and 'counts' between them"),
    "measured": (
        _measured,
        f"an object, with a string 'dataset' of at most {LONGEST_LABEL} characters and true or "
        "false in 'inference' and an object 'box_counts'",
    ),
    "held_out": (_rows, "rows with 'hard_fraction' and 'threshold' in [0, 1]"),
    "operating_point": (
        _operating_point,
        "null or have its threshold in [0, 1], with 'keys' of a plan",
    ),
}
