# SPDX-License-Identifier: Apache-2.0
"""Other detectors in a report's plots: static baselines, and this one at other input sizes.

A series is ``{"name": str, "points": [{"label", "gflops", "latency_ms", "AP", "mask_AP"}, ...]}``:
10^9 multiply-adds, milliseconds and percent, each None where it is not known.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dynamicdet_d2.utils.files import read_json

Series = dict[str, Any]

_FORM = "NAME,AP,GFLOPS,MS (or - for what is not known), or [NAME=]a tradeoff.json"


def parse_comparison(text: str) -> Series:
    """A series from what a user typed.

    Args:
        text: "R101,39.4,283,55" with "-" or nothing for what is not known, box AP; or the path of
            another run's tradeoff.json, "NAME=" before it where its data set is no name for it.

    Raises:
        ValueError: it is neither.
    """
    if text.endswith(".json"):
        name, _, path = text.rpartition("=")
        return from_tradeoff(read_tradeoff(path), name)
    name, *numbers = (part.strip() for part in text.split(","))
    if not name or len(numbers) != 3:
        raise ValueError(f"--compare {text} must be {_FORM}.")
    ap, gflops, ms = (_number(text, number) for number in numbers)
    if ap is None:
        raise ValueError(f"--compare {text} has no AP; it must be {_FORM}.")
    point = {"label": name, "gflops": gflops, "latency_ms": ms, "AP": ap, "mask_AP": None}
    return {"name": name, "points": [point]}


def from_tradeoff(tradeoff: Mapping[str, Any], name: str = "") -> Series:
    """The operating points of another run; ``name``: its data set's if empty."""
    points = [_point(f"{point['hard_fraction']:g} hard", point) for point in tradeoff["points"]]
    return {"name": name or tradeoff["dataset"], "points": points}


def input_size_series(by_size: Mapping[int, Mapping[str, Any]]) -> list[Series]:
    """Both ends at several input sizes (Fig. 10 of the paper).

    Args:
        by_size: ``INPUT.MIN_SIZE_TEST`` in pixels -> content of tradeoff.json.
    """
    return [
        {
            "name": f"{detector} at input sizes",
            "points": [
                _point(f"{size} px", by_size[size]["points"][end]) for size in sorted(by_size)
            ],
        }
        for detector, end in (("detector1", 0), ("detector2", -1))
    ]


def read_tradeoff(path: str | Path) -> dict[str, Any]:
    """Content of a tradeoff.json.

    Raises:
        ValueError: naming the file that is missing or is something else.
    """
    content = read_json(path, str(path))
    if not isinstance(content, dict) or "points" not in content:
        raise ValueError(f"{path} is no tradeoff.json: it has no 'points'.")
    return content


def _point(label: str, point: Mapping[str, Any]) -> dict[str, Any]:
    mask = point.get("mask")
    return {
        "label": label,
        **{name: point[name] for name in ("gflops", "latency_ms")},
        **{"AP": point["box"]["AP"], "mask_AP": mask and mask["AP"]},
    }


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
