# SPDX-License-Identifier: Apache-2.0
"""Classes and methods of a program's own are told from Detectron2's and ours."""

import functools
from typing import Any

import pytest
import torch
from detectron2.modeling.roi_heads import StandardROIHeads
from torch import nn

from dynamicdet_d2.modeling import DynamicRCNN
from dynamicdet_d2.utils.own_code import is_own, own_methods

# As in a file that takes all that Detectron2's package lists, its own name with it.
STARRED = """
from detectron2.modeling.roi_heads import *
class Starred(StandardROIHeads):
    def forward(self, *given): return super().forward(*given)
"""


class Own(StandardROIHeads):
    def forward(self, *given: Any) -> Any:
        return super().forward(*given)


def starred() -> type:
    names: dict[str, Any] = {}
    exec(STARRED, names)  # noqa: S102
    assert names["Starred"].__module__ == "detectron2.modeling.roi_heads"
    return names["Starred"]


@pytest.mark.parametrize("kind", [StandardROIHeads, DynamicRCNN, nn.Conv2d])
def test_known_classes(kind: type) -> None:
    part = kind.__new__(kind)
    assert not is_own(part)
    assert own_methods(part, ("forward", "inference", "gone")) == []


@pytest.mark.parametrize("kind", [Own, starred()])
def test_classes_of_a_program(kind: type) -> None:
    part = kind.__new__(kind)
    assert is_own(part)
    assert own_methods(part, ("forward", "_forward_box", "gone")) == ["forward"]


class Decorated(StandardROIHeads):
    @torch.no_grad()
    def forward(self, *given: Any) -> Any:
        return super().forward(*given)


def test_decorated_methods() -> None:
    """By decorators of torch's, or of a program's, which say the name of what they wrap."""
    assert own_methods(Decorated.__new__(Decorated), ("forward", "inference")) == ["forward"]

    @functools.wraps(StandardROIHeads._forward_box)
    def wrapped(*given: Any) -> Any:
        return StandardROIHeads._forward_box(*given)

    assert wrapped.__module__ == StandardROIHeads.__module__
    part = StandardROIHeads.__new__(StandardROIHeads)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StandardROIHeads, "_forward_box", wrapped)
        assert own_methods(part, ("forward", "_forward_box")) == ["_forward_box"]
    # label_and_sample_proposals is decorated by torch.no_grad in Detectron2.
    assert own_methods(part, ("_forward_box", "label_and_sample_proposals")) == []


def test_functions_in_the_place_of_methods(monkeypatch: pytest.MonkeyPatch) -> None:
    part = StandardROIHeads.__new__(StandardROIHeads)
    part.__dict__["_forward_mask"] = lambda *_: None
    monkeypatch.setattr(StandardROIHeads, "_forward_box", lambda *_: None)
    assert own_methods(part, ("forward", "_forward_box", "_forward_mask")) == [
        "_forward_box",
        "_forward_mask",
    ]
