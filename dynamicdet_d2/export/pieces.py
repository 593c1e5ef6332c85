# SPDX-License-Identifier: Apache-2.0
"""A detector taken apart where decisions are taken: at the router, and at proposals.

static:    whole                                  images -> a tail's outputs
dynamic:   first                                  images -> F1, start, difficulty
           second                                 F1, start -> F2
           tail; or tail1 and tail2               F1 or F2 -> a tail's outputs
two-stage: boxes, masks; and boxes2, masks2       pooled regions -> scores, masks
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from dynamicdet_d2.export.kinds import Kind
from dynamicdet_d2.export.piece import IMAGES_AXES, Function, Piece, Tensors
from dynamicdet_d2.modeling.dynamic_detector import DynamicDetector
from dynamicdet_d2.modeling.routed_batch import in_one_pass

# Images of the example: a batch of one would let tracing take sizes of 1 for constants.
BATCH = 2


@dataclass(frozen=True)
class Pieces:
    """What a detector was taken apart into.

    Attributes:
        pieces: in the order of the data.
        levels: of F1; none of a static detector.
        second_levels: those that backbone 2 gives anew.
        example: the outputs of a tail.
    """

    pieces: tuple[Piece, ...]
    levels: tuple[str, ...]
    second_levels: tuple[str, ...]
    example: Tensors


def image_pieces(model: nn.Module, kind: Kind, side: tuple[int, int], fixed: bool) -> Pieces:
    """The pieces whose work depends on the padded size.

    Args:
        model: in evaluation mode.
        kind: of the model.
        side: height and width of the example, padded.
        fixed: whether the pieces are for this size alone; else for all.
    """
    images = torch.rand(BATCH, 3, *side, generator=torch.Generator().manual_seed(0))
    axes = {"images": _axes("", fixed)}
    if not isinstance(model, DynamicDetector):
        whole = Piece.of(
            "whole", model, lambda x: kind.tail(1, x["images"]), {"images": images}, axes
        )
        return Pieces((whole,), (), (), whole(whole.example))
    levels = tuple(model.backbone.output_shape())
    first = Piece.of("first", model, lambda x: _first(model, x), {"images": images}, axes)
    seen = first(first.example)
    features = {f"f1_{name}": seen[f"f1_{name}"] for name in levels}
    started = {**features, "start": seen["start"]}
    axes = {name: _axes(name, fixed) for name in started}
    second = Piece.of("second", model, lambda x: _second(model, levels, x), started, axes)
    renamed = {f"f1_{n.removeprefix('f2_')}": x for n, x in second(started).items()}
    features2 = {**features, **renamed}
    tails = ["tail"] if in_one_pass(model) else ["tail1", "tail2"]
    tail_pieces = [
        Piece.of(name, model, _tail(kind, levels, number), (features, features2)[number - 1], axes)
        for number, name in enumerate(tails, start=1)
    ]
    return Pieces(
        (first, second, *tail_pieces),
        levels,
        tuple(name.removeprefix("f2_") for name in second.outputs),
        tail_pieces[0](features),
    )


def router_pieces(model: nn.Module) -> list[Piece]:
    """The router's own where it looks on; else the first piece has it."""
    if not isinstance(model, DynamicDetector) or not looks_on(model):
        return []
    router = model.router
    numbers = torch.rand(BATCH, router.count, generator=torch.Generator().manual_seed(0))
    return [
        Piece.of(
            "router",
            router,
            lambda x: {"difficulty": router.difficulty(x["numbers"])},
            {"numbers": numbers},
            {"numbers": {0: IMAGES_AXES[0]}},
        )
    ]


def looks_on(model: DynamicDetector) -> bool:
    """Whether the router sees detector1's proposals or detections."""
    return model.router.reads != ("features",)


def _first(model: DynamicDetector, inputs: Tensors) -> Tensors:
    features, start = model.backbone.first(inputs["images"])
    found = {f"f1_{name}": level for name, level in features.items()}
    return {**found, "start": start, **_of_router(model, features)}


def _of_router(model: DynamicDetector, features: Tensors) -> Tensors:
    """What the router makes of F1: the difficulty, or where it looks on, its first numbers."""
    if not looks_on(model):
        return {"difficulty": model.router(features)}
    own = [seen(features) for seen in model.router.inputs.values() if seen.reads == "features"]
    return {"numbers": torch.cat(own, dim=1)} if own else {}


def _second(model: DynamicDetector, levels: Sequence[str], inputs: Tensors) -> Tensors:
    features = {name: inputs[f"f1_{name}"] for name in levels}
    found = model.backbone.second(features, inputs["start"])
    # Features of shared stages are still those of backbone 1.
    return {f"f2_{n}": level for n, level in found.items() if level is not features[n]}


def _tail(kind: Kind, levels: Sequence[str], detector: int) -> Function:
    def function(inputs: Tensors) -> Tensors:
        return kind.tail(detector, {name: inputs[f"f1_{name}"] for name in levels})

    return function


def _axes(name: str, fixed: bool) -> dict[int, str]:
    """Axes of (N, C, H, W) that change: the batch, and the size where it is not fixed."""
    if fixed:
        return {0: IMAGES_AXES[0]}
    return {i: f"{axis}_{name}" if i and name else axis for i, axis in IMAGES_AXES.items()}
