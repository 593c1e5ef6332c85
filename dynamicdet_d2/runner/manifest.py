# SPDX-License-Identifier: Apache-2.0
"""What a runner reads of ``manifest.json``: every value by type and range, before any piece.

``export/manifest.py`` says what the keys mean.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from dynamicdet_d2.utils.plain import from_plain
from dynamicdet_d2.utils.words import shown

Numbers = tuple[float, ...]
OfLevels = tuple[tuple[Numbers, ...], ...]
RouterInput = Literal["features", "map", "rpn", "detections"]


def _within(low: float, high: float, **values: float | None) -> None:
    for name, value in values.items():
        if value is not None and not low <= value <= high:
            limits = f"from {low:g} to {high:g}" if high < math.inf else f"at least {low:g}"
            raise ValueError(f"{name} is {value:g}; it must be {limits}")


def _four_above_0(weights: Numbers) -> None:
    _as_many(4, weights=weights)
    if min(weights) <= 0:  # deltas are divided by them
        raise ValueError(f"weights has {min(weights):g}; each must be above 0")


def _as_many(count: int, **values: Numbers) -> None:
    for name, value in values.items():
        if len(value) != count:
            raise ValueError(f"{name} has {len(value)} numbers; it must have {count}")


@dataclass(frozen=True)
class Input:
    """How pictures become the network's input."""

    format: Literal["RGB", "BGR"]
    min_size: int
    max_size: int
    mean: Numbers
    std: Numbers
    divisibility: int
    placement: Literal["corner", "center", "letterbox"]
    pad_value: float | None

    def __post_init__(self) -> None:
        _within(0, math.inf, min_size=self.min_size)
        _within(1, math.inf, max_size=self.max_size)
        _within(1, 4096, divisibility=self.divisibility)
        _as_many(3, mean=self.mean, std=self.std)
        if min(self.std) <= 0:
            raise ValueError(f"std has {min(self.std):g}; each must be above 0")


@dataclass(frozen=True)
class Entry:
    """Of a piece: hashes of its files, the one to open first; inputs and outputs in order."""

    files: Mapping[str, str]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.files:
            raise ValueError("files is empty; a piece has at least one")


@dataclass(frozen=True)
class Anchors:
    """Of dense predictions: by level, of its first position."""

    cell_anchors: OfLevels
    strides: Numbers
    offset: float

    def __post_init__(self) -> None:
        _within(1, math.inf, **{f"strides[{i}]": x for i, x in enumerate(self.strides)})
        if len(self.cell_anchors) != len(self.strides) or not self.strides:
            raise ValueError(
                f"cell_anchors has {len(self.cell_anchors)} levels and strides {len(self.strides)}"
            )
        for level in self.cell_anchors:
            for anchor in level:
                _as_many(4, cell_anchors=anchor)


@dataclass(frozen=True)
class Rpn(Anchors):
    """From its predictions to proposals."""

    weights: Numbers
    scale_clamp: float
    pre_nms_topk: int
    post_nms_topk: int
    nms_threshold: float
    min_box_size: float

    def __post_init__(self) -> None:
        super().__post_init__()
        _four_above_0(self.weights)
        _within(0, 1, nms_threshold=self.nms_threshold)
        _within(0, math.inf, min_box_size=self.min_box_size)
        _within(1, math.inf, pre_nms_topk=self.pre_nms_topk, post_nms_topk=self.post_nms_topk)


@dataclass(frozen=True)
class Pool:
    """Which level a region is pooled from, and how."""

    levels: tuple[str, ...]
    scales: Numbers
    size: tuple[int, ...]
    sampling_ratio: int
    aligned: bool
    min_level: int
    canonical_level: int
    canonical_size: float

    def __post_init__(self) -> None:
        if not self.levels:
            raise ValueError("levels is empty")
        _as_many(len(self.levels), scales=self.scales)
        _as_many(2, size=self.size)
        _within(0, 1, **{f"scales[{i}]": x for i, x in enumerate(self.scales)})
        _within(1, 1024, **{f"size[{i}]": x for i, x in enumerate(self.size)})
        _within(0, 1024, sampling_ratio=self.sampling_ratio)
        _within(1, math.inf, canonical_size=self.canonical_size)


@dataclass(frozen=True)
class Boxes(Pool):
    """From a region's scores and deltas to detections."""

    weights: Numbers
    scale_clamp: float
    score_threshold: float
    nms_threshold: float
    max_detections: int

    def __post_init__(self) -> None:
        super().__post_init__()
        _four_above_0(self.weights)
        _within(0, 1, score_threshold=self.score_threshold, nms_threshold=self.nms_threshold)
        _within(0, math.inf, max_detections=self.max_detections)


@dataclass(frozen=True)
class TwoStage:
    """Heads of a two-stage detector."""

    rpn: Rpn
    boxes: Boxes
    masks: Pool | None


@dataclass(frozen=True)
class Candidates:
    """Of one-stage detectors: what becomes a detection."""

    score_threshold: float
    nms_threshold: float
    max_candidates: int
    max_detections: int

    def __post_init__(self) -> None:
        _within(0, 1, score_threshold=self.score_threshold, nms_threshold=self.nms_threshold)
        _within(0, math.inf, max_detections=self.max_detections)
        _within(1, math.inf, max_candidates=self.max_candidates)


@dataclass(frozen=True)
class Dense(Anchors):
    """RetinaNet's or FCOS' head beside its candidates; FCOS has distances and no deltas."""

    num_classes: int
    weights: Numbers | None
    scale_clamp: float | None

    def __post_init__(self) -> None:
        super().__post_init__()
        _within(1, math.inf, num_classes=self.num_classes)


@dataclass(frozen=True)
class Yolo:
    """YOLOv7's head beside its candidates."""

    anchors: OfLevels
    strides: Numbers
    multi_label: bool

    def __post_init__(self) -> None:
        _within(1, math.inf, **{f"strides[{i}]": x for i, x in enumerate(self.strides)})
        if len(self.anchors) != len(self.strides) or not self.strides:
            raise ValueError(f"anchors has {len(self.anchors)} levels, strides {len(self.strides)}")


@dataclass(frozen=True)
class Grid:
    """Thresholds of the hard fractions from 0 to 1 in equal steps."""

    grid: Numbers

    def __post_init__(self) -> None:
        if len(self.grid) < 2:
            raise ValueError(f"grid has {len(self.grid)} thresholds; it must have more")
        _within(0, 1, **{f"grid[{i}]": x for i, x in enumerate(self.grid)})


@dataclass(frozen=True)
class Merging:
    """Of both exits of a hard image."""

    least_iou: float
    limit: int

    def __post_init__(self) -> None:
        _within(0, 1, least_iou=self.least_iou)
        _within(0, math.inf, limit=self.limit)


@dataclass(frozen=True)
class Manifest:
    """All of it but the heads."""

    runtime: str
    dynamic: bool
    shared_tail: bool
    pieces: Mapping[str, Entry]
    levels: tuple[str, ...]
    second_levels: tuple[str, ...]
    sides: tuple[tuple[int, ...], ...] | None
    input: Input
    class_names: tuple[str, ...]
    router_inputs: tuple[RouterInput, ...]
    easy_proposals: int
    merge_exits: Merging | None
    threshold: float | None
    calibration: Grid | None
    fingerprint: Mapping[str, Any]

    def __post_init__(self) -> None:
        _within(0, math.inf, easy_proposals=self.easy_proposals)
        _within(0, 1, threshold=self.threshold)
        if self.dynamic and self.threshold is None:
            raise ValueError("threshold is None; a dynamic detector has one")
        if self.dynamic and not self.router_inputs:
            raise ValueError("router_inputs is empty; a dynamic detector's router sees something")
        for side in self.sides or ():
            _as_many(2, sides=side)
        if self.sides == ():
            raise ValueError("sides is empty; it must be null, or have pairs")


HEADS: dict[str, tuple[type, ...]] = {
    "two_stage": (TwoStage,),
    "retinanet": (Dense, Candidates),
    "fcos": (Dense, Candidates),
    "yolo": (Yolo, Candidates),
}


def check_manifest(content: Any) -> None:
    """
    Args:
        content: of the JSON file.

    Raises:
        ValueError: naming the value that is missing, of another type, or out of range.
    """
    from_plain(Manifest, content, "")
    heads = content.get("heads")
    if not isinstance(heads, dict):
        raise ValueError(f"heads is {shown(heads)}; it must be an object")
    kind = heads.get("kind")
    if not isinstance(kind, str) or kind not in HEADS:
        raise ValueError(f"heads.kind is {shown(kind)}; it must be one of {', '.join(HEADS)}")
    for part in HEADS[kind]:
        from_plain(part, heads, "heads")
    if kind != "two_stage" and "rpn" in content["router_inputs"]:
        raise ValueError(f"router_inputs has 'rpn', and heads of kind '{kind}' have no proposals")
    if kind == "retinanet" and None in (heads["weights"], heads["scale_clamp"]):
        raise ValueError("heads.weights and heads.scale_clamp are of a RetinaNet, and are missing")
