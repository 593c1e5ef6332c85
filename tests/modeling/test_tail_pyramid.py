# SPDX-License-Identifier: Apache-2.0
"""The pyramid that a user's own detector gives."""

from typing import Any

import pytest
import torch
from detectron2.utils.events import EventStorage

from dynamicdet_d2.modeling.routing import Features
from dynamicdet_d2.modeling.tail_pyramid import pyramid_of_tail
from tests.support.toy import toy_inputs, toy_model


class Points:
    """A kind of detector that gives the pyramid that it is told to."""

    def __init__(self, result: Features) -> None:
        self.result = result

    def pyramid(self, *_: object) -> Features:
        return self.result


def levels(kind: torch.dtype) -> Features:
    return {"p3": torch.zeros(1, 2, 2, 2, dtype=kind)}


def test_a_pyramid_of_another_type_than_its_features() -> None:
    points: Any = Points(levels(torch.float16))
    says = (
        r"^pyramid\(\) of Points gives 'p3' as torch.float16; its features are torch.float32, and "
        "so must it be.$"
    )
    with pytest.raises(ValueError, match=says):
        pyramid_of_tail(points, 1, levels(torch.float32))
    with torch.autocast("cpu", dtype=torch.float16):
        assert pyramid_of_tail(points, 1, levels(torch.float32)) is points.result
    # As of the neck of a program's own in an optimised copy.
    points.result = levels(torch.float32)
    assert pyramid_of_tail(points, 1, levels(torch.bfloat16)) is points.result


def test_losses_look_at_the_type_of_the_pyramid() -> None:
    model: Any = toy_model()
    own = model.pyramid
    model.pyramid = lambda *given: {k: level.double() for k, level in own(*given).items()}
    with pytest.raises(
        ValueError, match=r"^pyramid\(\) of DynamicRCNN gives 'p2' as torch.float64"
    ):
        with EventStorage():
            model.train()(toy_inputs(1))
