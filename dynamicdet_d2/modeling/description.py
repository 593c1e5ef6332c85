# SPDX-License-Identifier: Apache-2.0
"""What cost and acceleration need to know of a dynamic detector of any kind."""

import copy

from torch import Tensor

from dynamicdet_d2.acceleration.optimize import plain_copy
from dynamicdet_d2.modeling.dynamic_detector import DynamicDetector
from dynamicdet_d2.parts import HARD, Part, Parts, parts_of


@parts_of.register
def _(model: DynamicDetector) -> Parts:
    backbone = model.backbone
    return Parts(
        parts=(
            Part("bottom_up1", backbone, "first", features=True),
            Part("router", model.router, features=True, exact=("hidden", "score")),
            Part("connections", backbone.connections, routes=HARD, inside=True),
            Part("bottom_up2", backbone, "second", routes=HARD, features=True),
            *model.tail_parts(),
        ),
        run_on_image=lambda images: _run_on_image(model, images),
        heads=model.heads,
        padded_side=model.padded_side,
        regions=model.regions,
    )


def _run_on_image(model: DynamicDetector, images: Tensor) -> None:
    features1, start, _ = model.first(images)
    features2 = model.backbone.second(features1, start)
    if not model.shared_tail:
        model.predictions(1, model.pyramid(1, features1))
    model.predictions(2, model.pyramid(2, features2))


@plain_copy.register
def _(model: DynamicDetector) -> DynamicDetector:
    # Its weights are others than those that a calibration was made with.
    model.operating_point.check(model)
    fast = copy.deepcopy(model)
    fast.threshold = model.threshold
    fast.optimized_copy.options = None  # it is one
    return fast
