# SPDX-License-Identifier: Apache-2.0
"""Which settings of the knobs a plan looks at: ``TEST.DYNAMIC.PLAN``."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product
from typing import TypeVar

from detectron2.config import CfgNode

from dynamicdet_d2.config import Use, check
from dynamicdet_d2.evaluation.passes import at_input_size

T = TypeVar("T", int, str)


@dataclass(frozen=True)
class Pass:
    """One pass over the images.

    Attributes:
        cfg: with its input size and precision.
        limits: values of ``MODEL.DYNAMIC.EASY_PROPOSALS`` that it gives the exits of.
    """

    cfg: CfgNode
    limits: tuple[int, ...]

    def at(self, limit: int) -> CfgNode:
        """The config with one of the limits."""
        cfg = self.cfg.clone()
        cfg.defrost()
        cfg.MODEL.DYNAMIC.EASY_PROPOSALS = limit
        cfg.freeze()
        return cfg


def passes_of(cfg: CfgNode) -> list[Pass]:
    """A pass for each input size and precision, the config's own first; so with the limits.

    The config's own values are always among them: a drop of AP is one against them.

    Raises:
        ValueError: a setting cannot be run, in the words of its keys.
    """
    keys = cfg.TEST.DYNAMIC.PLAN
    sizes: tuple[int, ...] = _values(cfg.INPUT.MIN_SIZE_TEST, keys.INPUT_SIZES)
    precisions: tuple[str, ...] = _values(cfg.MODEL.INFERENCE.PRECISION, keys.PRECISIONS)
    limits = _values(cfg.MODEL.DYNAMIC.EASY_PROPOSALS, keys.EASY_PROPOSALS)
    return [Pass(_set(cfg, *pair), limits) for pair in product(sizes, precisions)]


def _values(own: T, others: Iterable[T]) -> tuple[T, ...]:
    return tuple(dict.fromkeys([own]) | dict.fromkeys(others))


def _set(cfg: CfgNode, size: int, precision: str) -> CfgNode:
    other = cfg.clone() if size == cfg.INPUT.MIN_SIZE_TEST else at_input_size(cfg, size)
    other.defrost()
    other.MODEL.INFERENCE.PRECISION = precision
    other.freeze()
    try:
        check(other, Use.CALIBRATE)
    except ValueError as error:  # of a value that was typed as one of the plan's
        raise ValueError(f"TEST.DYNAMIC.PLAN, at {size} pixels in {precision}: {error}") from None
    return other
