# SPDX-License-Identifier: Apache-2.0
"""The config keys that a planned operating point consists of beside its threshold."""

from collections.abc import Mapping
from typing import Any

from detectron2.config import CfgNode

from dynamicdet_d2.config.checking import value_of

Knobs = dict[str, int | str]

_LONGEST_WORD = 20
_PRECISION = "MODEL.INFERENCE.PRECISION"
# The knobs of a plan, by their keys.
KEYS = (
    "MODEL.DYNAMIC.EASY_PROPOSALS",
    "INPUT.MIN_SIZE_TEST",
    "INPUT.MAX_SIZE_TEST",
    _PRECISION,
)


def knobs_of(cfg: CfgNode) -> Knobs:
    """Their values in a config."""
    return {name: value_of(cfg, name) for name in KEYS}  # type: ignore[misc]


def as_pairs(knobs: Mapping[str, int | str]) -> str:
    """``KEY VALUE KEY VALUE``, as a command line takes them."""
    return " ".join(f"{name} {value}" for name, value in knobs.items())


def are_knobs(value: Any) -> bool:
    """Whether something read from a file is as ``knobs_of`` gives it, or part of that."""
    return isinstance(value, dict) and all(
        name in KEYS and (_is_word(own) if name == _PRECISION else _is_count(own))
        for name, own in value.items()
    )


def check_knobs(operating_point: Mapping[str, Any] | None, path: str, cfg: CfgNode) -> None:
    """Refuse a planned calibration whose keys are set in another way.

    Args:
        operating_point: of the calibration.
        path: of its file.
        cfg: of the model in use.

    Raises:
        ValueError: naming each key that differs, with both values.
    """
    planned = (operating_point or {}).get("keys", {})
    ours = knobs_of(cfg)
    differing = {name: value for name, value in planned.items() if ours[name] != value}
    if differing:
        here = as_pairs({name: ours[name] for name in differing})
        raise ValueError(
            f"Calibration {path} has an operating point that was planned with other values of some "
            f"keys: set {as_pairs(differing)} (here {here})."
        )


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 31


def _is_word(value: Any) -> bool:
    return isinstance(value, str) and value.isalnum() and len(value) <= _LONGEST_WORD
