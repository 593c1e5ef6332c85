# SPDX-License-Identifier: Apache-2.0
"""A trade-off in short, as Detectron2's logs and ``EvalHook`` take it."""

import math
from collections import OrderedDict
from collections.abc import Mapping

from dynamicdet_d2.evaluation.coco.sweep import FIGURE_NAMES
from dynamicdet_d2.evaluation.tradeoff.points import IOU_TYPES, TaskFigures
from dynamicdet_d2.evaluation.tradeoff.record import Tradeoff

# That COCOEvaluator has.
_FIGURES = FIGURE_NAMES[:6]


def summary(tradeoff: Tradeoff) -> OrderedDict[str, dict[str, float]]:
    """Floats by task and name; NaN where undefined.

    Returns:
        "bbox" and, with masks, "segm": COCO figures at the model's own threshold, as
        ``COCOEvaluator`` names them; "dynamic": the trade-off in short.
    """
    results = OrderedDict()
    for task, figures in tradeoff.operating_point.tasks.items():
        results[IOU_TYPES[task]] = _floats(_coco(figures))
    results["dynamic"] = _floats(_dynamic(tradeoff))
    return results


def _coco(figures: TaskFigures) -> dict[str, float | None]:
    classes = {f"AP-{name}": ap for name, ap in figures.classes.items()}
    return {name: getattr(figures, name) for name in _FIGURES} | classes


def _dynamic(tradeoff: Tradeoff) -> dict[str, float | None]:
    own = tradeoff.operating_point
    short = {
        "AP_easy_end": tradeoff.easy_end.box.AP,
        "AP_hard_end": tradeoff.hard_end.box.AP,
    }
    for point in tradeoff.points[1:-1]:
        at = f"at_{point.hard_fraction:g}"
        short[f"AP_{at}"] = point.box.AP
        short[f"random_AP_{at}"] = point.box.random_AP
        short[f"oracle_share_{at}"] = point.box.oracle_share
    return short | {
        "threshold": own.threshold,
        "realised_hard_fraction": own.realised_hard_fraction,
        "gflops": own.gflops,
        "latency_ms": own.latency_ms,
        "fps": own.fps,
        "difficulty_mean": tradeoff.difficulty.mean,
        "difficulty_std": tradeoff.difficulty.std,
        "loss_offset": tradeoff.loss_offset,
    }


def _floats(figures: Mapping[str, float | None]) -> dict[str, float]:
    return {name: math.nan if value is None else value for name, value in figures.items()}
