# SPDX-License-Identifier: Apache-2.0
"""What cost and acceleration need to know of a dynamic detector of any kind."""

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from dynamicdet_d2.acceleration.optimize import plain_copy
from dynamicdet_d2.modeling.dynamic_detector import DynamicDetector
from dynamicdet_d2.modeling.router import AdaptiveRouter
from dynamicdet_d2.modeling.routing import Features
from dynamicdet_d2.modeling.tail_pyramid import pyramid_of_tail
from dynamicdet_d2.modeling.tail_results import parts_of_tail
from dynamicdet_d2.parts import HARD, Part, Parts, layers_of, parts_of

# Steps of detector1's pass whose results have shapes without values.
_MAPS = ("features", "pyramid")


@parts_of.register
def _(model: DynamicDetector) -> Parts:
    backbone = model.backbone
    return Parts(
        parts=(
            Part("bottom_up1", backbone, "first", features=True),
            *_router_parts(model.router),
            Part("connections", backbone.connections, routes=HARD, inside=True),
            Part("bottom_up2", backbone, "second", routes=HARD, features=True),
            *_tail_parts(model),
        ),
        run_on_image=lambda images: _run_on_hard(model, images),
        heads=model.heads,
        padded_side=model.padded_side,
        regions=model.regions,
        run_on_easy=None if model.shared_tail else lambda images: _run_on_easy(model, images),
    )


def _router_parts(router: AdaptiveRouter) -> tuple[Part, ...]:
    """The router, where it sees F1 alone; else what of it is convolutions and matrix products."""
    exact = layers_of(router, ("hidden", "score"))
    if router.reads == ("features",):
        return (Part("router", router, features=True, exact=exact),)
    own = [x for x in router.inputs.values() if x.reads in _MAPS]
    later = {x for one in router.inputs.values() if one not in own for x in one.modules()}
    # What looks at proposals or detections is run as it is.
    layers = ((name, x) for name, x in router.named_modules() if x in later)
    exact += tuple(name for name, x in layers if [*x.parameters(recurse=False)])
    return (
        *(Part("router", x, features=True) for x in own),
        Part("router", router, "difficulty", features=True, exact=exact),
    )


def _run_router(router: AdaptiveRouter, seen: Mapping[str, Features]) -> None:
    """On ``_MAPS``, and on zeros for what comes of proposals and detections, which need values."""
    if router.reads == ("features",):
        router(seen["features"])
        return
    blank = next(iter(seen["features"].values()))
    numbers = [
        x(seen[x.reads]) if x.reads in _MAPS else blank.new_zeros(len(blank), x.count)
        for x in router.inputs.values()
    ]
    router.difficulty(torch.cat(numbers, dim=1))


def _tail_parts(model: DynamicDetector) -> tuple[Part, ...]:
    """With the runs of detector1's tail on the hard route that the router's look at it costs, or
    the merging of both exits."""
    steps = model.pass_type.steps
    looked_at = [steps.index(step) + 1 for step in model.router.reads if step in steps]
    run_by_all = len(steps) if model.exit_merging else max(looked_at, default=0)
    before_routes = steps[:run_by_all]
    return tuple(
        replace(part, routes=part.routes + HARD, as_easy=True)
        if part.step in before_routes and "easy" in part.routes
        else part
        for part in parts_of_tail(model)
    )


def _run_on_hard(model: DynamicDetector, images: Tensor) -> None:
    features1, start = model.backbone.first(images)
    features2 = model.backbone.second(features1, start)
    pyramid = pyramid_of_tail(model, 2, features2)
    if model.shared_tail:  # or else the router looks at detector1's own
        _run_router(model.router, {"features": features1, "pyramid": pyramid})
    model.predictions(2, pyramid)


def _run_on_easy(model: DynamicDetector, images: Tensor) -> None:
    features, _ = model.backbone.first(images)
    pyramid = pyramid_of_tail(model, 1, features)
    _run_router(model.router, {"features": features, "pyramid": pyramid})
    model.predictions(1, pyramid)


@plain_copy.register
def _(model: DynamicDetector, in_common: dict[int, Any] | None = None) -> DynamicDetector:
    # Its weights are others than those that a calibration was made with.
    model.operating_point.check(model)
    fast = copy.deepcopy(model, in_common)
    fast.threshold = model.threshold
    fast.optimized_copy.options = None  # it is one
    return fast
