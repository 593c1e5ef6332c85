# SPDX-License-Identifier: Apache-2.0
"""Points as they lie in tradeoff.json: flat, with the keys of both tasks side by side."""

from __future__ import annotations

from typing import Any

from dynamicdet_d2.evaluation.coco.sweep import FIGURE_NAMES
from dynamicdet_d2.evaluation.tradeoff.points import CurvePoint, Point, RoutedAP, Task, TaskFigures
from dynamicdet_d2.utils.plain import checked, from_plain, to_plain

# What a task's keys begin with, beside those that are named after it.
PREFIX: dict[Task, str] = {"box": "", "mask": "mask_"}
_PLACE = ("hard_fraction", "threshold", "realised_hard_fraction", "gflops")
_REFERENCES = ("random_AP", "random_AP_stderr", "random_AP_std", "oracle_AP")

Plain = dict[str, Any]


def point_to_plain(point: Point) -> Plain:
    """An entry of "points"."""
    plain = {name: getattr(point, name) for name in _PLACE} | dict.fromkeys(PREFIX)
    for task, figures in point.tasks.items():
        plain[task] = {name: getattr(figures, name) for name in FIGURE_NAMES}
        plain[f"{task}_classes"] = to_plain(figures.classes)
        if figures.detections is not None:
            plain[f"{task}_detections"] = to_plain(figures.detections)
        plain |= _comparison(task, figures)
    plain["routes"] = {"easy": to_plain(point.easy), "hard": to_plain(point.hard)}
    plain |= {"latency_ms": point.latency_ms, "fps": point.fps, "latency": None}
    if point.latency is not None:
        plain["latency"] = to_plain(point.latency)
        del plain["latency"]["mean"]
    return plain


def curve_point_to_plain(point: CurvePoint) -> Plain:
    """An entry of "curve"."""
    plain = {name: getattr(point, name) for name in _PLACE}
    for task, figures in point.tasks.items():
        plain |= {f"{PREFIX[task]}AP": figures.AP} | _comparison(task, figures)
    return plain


def _comparison(task: Task, figures: RoutedAP) -> Plain:
    names = (*_REFERENCES, "oracle_share")
    return {PREFIX[task] + name: getattr(figures, name) for name in names}


def point_from_plain(content: Any, name: str) -> Point:
    """A point from an entry of "points".

    Args:
        name: of the entry in messages.

    Raises:
        ValueError: naming what is missing, of another type or out of range.
    """
    content = checked(dict, content, name, "an object")
    figures = {task: content[task] for task in PREFIX if content.get(task) is not None}
    routes = checked(dict, content.get("routes", {}), f"{name}.routes", "an object")
    return from_plain(
        Point,
        {
            **_known(content, _PLACE),
            "tasks": {
                task: _figures(task, content, values, f"{name}.{task}")
                for task, values in figures.items()
            },
            **_known(routes, ("easy", "hard")),
            "latency": _latency(content, name),
        },
        name,
    )


def curve_point_from_plain(content: Any, name: str) -> CurvePoint:
    """A point from an entry of "curve"; arguments and errors as above."""
    content = checked(dict, content, name, "an object")
    tasks = {
        task: from_plain(RoutedAP, _unprefixed(content, prefix), f"{name}.{task}")
        for task, prefix in PREFIX.items()
        if f"{prefix}AP" in content
    }
    return from_plain(CurvePoint, {**_known(content, _PLACE), "tasks": tasks}, name)


def _figures(task: Task, content: Plain, values: Any, name: str) -> TaskFigures:
    values = dict(checked(dict, values, name, "an object"))
    values |= _known(_unprefixed(content, PREFIX[task]), _REFERENCES)
    values |= _unprefixed(content, f"{task}_")
    return from_plain(TaskFigures, values, name)


def _latency(content: Plain, name: str) -> Plain | None:
    if content.get("latency_ms") is None:
        return None
    spread = checked(dict, content.get("latency"), f"{name}.latency", "an object")
    return {**spread, "mean": content["latency_ms"]}


def _unprefixed(content: Plain, prefix: str) -> Plain:
    return {key.removeprefix(prefix): v for key, v in content.items() if key.startswith(prefix)}


def _known(content: Plain, names: tuple[str, ...]) -> Plain:
    return {name: content[name] for name in names if name in content}
