# SPDX-License-Identifier: Apache-2.0
"""Evaluations and calibrations without charts and pictures, which are most of what they take.

Tables, pages and files are written as ever; tests of what is drawn do not use this.
"""

from collections.abc import Callable
from typing import Any

import pytest

_REPORT = "dynamicdet_d2.evaluation.report"
_SVG_CHARTS = ("curve_svg", "difficulties_svg", "gains_svg", "precision_svg")


def _no_png(_: object) -> bytes:
    return b"a picture by Matplotlib, left out"


def _no_text(*_: object) -> str:
    return ""


def _no_picture(*_: object) -> None:
    return None


_DRAWN: dict[str, Callable[..., Any]] = {
    f"{_REPORT}.files.tradeoff_png": _no_png,
    **{f"{_REPORT}.charts.{name}": _no_text for name in _SVG_CHARTS},
    f"{_REPORT}.pictures.Album._jpeg": _no_picture,
    "dynamicdet_d2.calibration.plot.calibration_png": _no_png,
    "dynamicdet_d2.calibration.plan.files.plan_png": _no_png,
}


def leave_undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, replacement in _DRAWN.items():
        monkeypatch.setattr(name, replacement)


def nothing_is_drawn() -> bool:
    """Whether this process draws nothing, so that the runs that it starts need not either."""
    # Not above: tests/conftest.py imports this file, and files that need no report need not wait.
    from dynamicdet_d2.evaluation.report import files

    return files.tradeoff_png is _no_png
