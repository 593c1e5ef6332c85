# SPDX-License-Identifier: Apache-2.0
"""What layers hold is the model's and its copy's; classes of one's own are run as they are."""

import copy
from array import array
from collections import deque
from collections.abc import Callable
from functools import partial
from threading import Lock
from types import MethodType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from detectron2.modeling.backbone import FPN
from torch import nn

from dynamicdet_d2.acceleration import InferenceOptions, OptimizedCopy, optimize_for_inference
from dynamicdet_d2.acceleration.in_common import copied, in_common
from dynamicdet_d2.acceleration.optimized_copy import _say_it_runs_as_it_is
from dynamicdet_d2.engine.predictor import Predictor
from dynamicdet_d2.modeling import DynamicRCNN
from tests.support.optimized import STATIC, assert_same, detector, raw
from tests.support.toy import toy_cfg, toy_inputs

ALL_SCORES = ("MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.0)


class Scale:
    """A function with a setting in a slot."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 1.0

    def of(self, x: float) -> float:
        return self.value * x


class Holding(FPN):
    """A neck whose features are multiplied by all that it holds."""

    optimizable = True
    held: Any

    def forward(self, x: Any) -> dict[str, torch.Tensor]:
        factor = 1.0
        for read in READ.values():
            factor = factor * float(read(self.held))
        return {name: factor * level for name, level in super().forward(x).items()}


READ: dict[str, Callable[[Any], Any]] = {
    "text": lambda held: {"same": 1, "twice": 2}[held.text],
    "list": lambda held: held.list[-1],
    "dict": lambda held: held.dict["p2"],
    "set": lambda held: 1 + ("p3" in held.set),
    "tensor": lambda held: held.tensor[0],
    "array": lambda held: held.array[0],
    "bytes": lambda held: held.bytes[0],
    "deep": lambda held: held.deep[0]["inner"].scale.value,
    "method": lambda held: held.method(1.0),
    "partial": lambda held: held.partial(),
    "function": lambda held: held.function(1.0),
    "layer": lambda held: held.layers[0].weight[0, 0],
}

CHANGE: dict[str, Callable[[Any], object]] = {
    "text": lambda held: setattr(held, "text", "twice"),
    "list": lambda held: held.list.append(2.0),
    "dict": lambda held: held.dict.update(p2=2.0),
    "set": lambda held: held.set.add("p3"),
    "tensor": lambda held: held.tensor.data.fill_(2.0),
    "array": lambda held: held.array.__setitem__(0, 2.0),
    "bytes": lambda held: held.bytes.__setitem__(0, 2.0),
    "deep": lambda held: setattr(held.deep[0]["inner"].scale, "value", 2.0),
    "method": lambda held: setattr(held.method.__self__, "value", 2.0),
    "partial": lambda held: held.partial.keywords.update(x=2.0),
    "function": lambda held: setattr(held, "function", lambda x: 2.0 * x),
    "layer": lambda held: nn.init.constant_(held.layers[0].weight, 2.0),
}


def all_of_them() -> SimpleNamespace:
    layer = nn.Linear(1, 1)
    nn.init.ones_(layer.weight)
    return SimpleNamespace(
        text="same",
        list=deque([1.0], maxlen=4),
        dict={"p2": 1.0},
        set={"p2"},
        tensor=torch.ones(2),
        array=np.ones(2),
        bytes=array("d", [1.0]),
        deep=[{"inner": SimpleNamespace(scale=Scale())}],
        method=Scale().of,
        partial=partial(Scale().of, x=1.0),
        function=lambda x: x,
        layers=[layer],
        lock=Lock(),  # which nothing can copy
    )


def plain_twin(model: nn.Module) -> nn.Module:
    """The same modules, run as they are."""
    twin = copy.copy(model)
    twin.optimized_copy = OptimizedCopy(None)
    return twin


@pytest.mark.parametrize("name", CHANGE)
def test_layers_may_hold_anything(name: str) -> None:
    model, inputs = detector(*ALL_SCORES, optimize=True), toy_inputs(1)
    model.neck.__class__, model.neck.held = Holding, all_of_them()
    before = raw(model, inputs)[0]
    assert_same(before, raw(plain_twin(model), inputs)[0])
    fast = model.optimized_copy.of(model)
    assert fast is not model
    CHANGE[name](model.neck.held)
    after = raw(model, inputs)[0]
    assert not torch.equal(after.scores[:5], before.scores[:5])
    assert_same(after, raw(plain_twin(model), inputs)[0])
    assert model.optimized_copy.of(model) is fast


@pytest.mark.parametrize(
    "change",
    [
        lambda model: setattr(
            model.roi_heads.box_predictor.box2box_transform, "weights", (1.0, 1.0, 1.0, 1.0)
        ),
        lambda model: model.proposal_generator.in_features.remove("p2"),
        lambda model: model.proposal_generator.post_nms_topk.update({False: 2}),
    ],
)
def test_objects_of_detectron2s_are_followed(change: Callable[[Any], object]) -> None:
    model, inputs = detector(*ALL_SCORES, optimize=True), toy_inputs(1)
    before = raw(model, inputs)[0]
    change(model)
    after = raw(model, inputs)[0]
    assert not torch.equal(after.pred_boxes.tensor[:5], before.pred_boxes.tensor[:5])
    assert_same(after, raw(plain_twin(model), inputs)[0])


class Smoothed(FPN):
    """A neck that keeps what it has seen."""

    def forward(self, x: Any) -> dict[str, torch.Tensor]:
        levels = super().forward(x)
        before = getattr(self, "previous", levels)
        self.previous = {name: (level + before[name]) / 2 for name, level in levels.items()}
        self.calls = getattr(self, "calls", 0) + 1
        return self.previous


def test_what_layers_keep_is_the_models() -> None:
    """Also when the copy is made anew between two images."""
    fast, plain = detector(*ALL_SCORES, optimize=True), detector(*ALL_SCORES)
    images = [toy_inputs(1, seed=seed) for seed in range(4)]
    for model in (fast, plain):
        model.neck.__class__ = Smoothed
    for number, inputs in enumerate(images):
        if number == 2:
            fast.optimized_copy.drop()
        assert_same(raw(fast, inputs)[0], raw(plain, inputs)[0])
        assert fast.neck.calls == plain.neck.calls == number + 1
        torch.testing.assert_close(fast.neck.previous, plain.neck.previous, rtol=1e-4, atol=1e-4)


class Counting(DynamicRCNN):
    calls = 0

    def detections(self, *given: Any) -> Any:
        self.calls += 1
        return super().detections(*given)


def test_what_methods_of_the_model_keep_is_the_models() -> None:
    model = detector(optimize=True)
    model.__class__ = Counting
    for calls in (1, 2, 3):
        raw(model, toy_inputs(1))
        assert model.calls == calls


def test_a_static_detectors_layers_keep_what_they_have_seen() -> None:
    predictor = Predictor(toy_cfg(*STATIC, "MODEL.INFERENCE.OPTIMIZE", True))
    predictor.model.backbone.__class__ = Smoothed
    for calls in (1, 2, 3):
        predictor(np.full((64, 96, 3), 99, np.uint8))
        assert predictor.model.backbone.calls == calls


def test_a_class_of_ones_own_is_run_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    _say_it_runs_as_it_is.cache_clear()
    model = detector(optimize=True)
    fast = model.optimized_copy.of(model)
    assert fast is not model
    model.neck.__class__ = Smoothed
    assert model.optimized_copy.of(model) is model
    assert caplog.messages == [
        "neck of the model is of the class Smoothed, of a program's own that does not say "
        "optimizable = True: the model is run as it is, without what MODEL.INFERENCE says, which "
        "is slower."
    ]


class Doubled(FPN):
    """A neck that says that it keeps nothing."""

    optimizable = True

    def forward(self, x: Any) -> dict[str, torch.Tensor]:
        return {name: 2 * level for name, level in super().forward(x).items()}


def test_a_class_that_says_so_is_optimised() -> None:
    model, inputs = detector(*ALL_SCORES, "MODEL.FPN.NORM", "BN", optimize=True), toy_inputs(1)
    model.neck.__class__ = Doubled
    fast = model.optimized_copy.of(model)
    assert fast is not model and fast.neck.fpn_output2.norm is None
    assert_same(raw(model, inputs)[0], raw(plain_twin(model), inputs)[0])


class Inheriting(Doubled):
    """Which says nothing itself."""


def test_a_class_does_not_inherit_that_it_is_optimised() -> None:
    model = detector(optimize=True)
    model.neck.__class__ = Inheriting
    assert model.optimized_copy.of(model) is model


def counting(neck: Any, x: torch.Tensor) -> torch.Tensor:
    neck.calls = getattr(neck, "calls", 0) + 1
    return neck.calls * x


def test_functions_that_are_bound_to_a_layer_write_into_the_models() -> None:
    fast, plain = detector(*ALL_SCORES, optimize=True), detector(*ALL_SCORES)
    for model in (fast, plain):
        model.neck.fpn_output2.activation = MethodType(counting, model.neck)
    for number in (1, 2, 3):
        assert_same(raw(fast, toy_inputs(1))[0], raw(plain, toy_inputs(1))[0])
        assert fast.neck.calls == plain.neck.calls == number


def test_lists_that_lead_to_layers_lead_to_the_copys() -> None:
    """A list that holds itself ends too."""
    model = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1))
    endless: list[Any] = ["a"]
    endless.append(endless)
    other, method = nn.Linear(1, 1), model[0].forward
    model.held = {"mixed": [model[1], other, "a"], "endless": endless, "method": method}
    fast = copy.deepcopy(model, in_common(model))
    mixed = fast.held["mixed"]
    assert mixed[0] is fast[1] is not model[1] and mixed[1] is other
    assert fast.held["endless"] is endless
    assert fast.held["method"].__self__ is fast[0]
    found = copied(model)
    assert [x in found for x in (model.held, model.held["mixed"], method)] == [True] * 3
    assert len(found) == 3


def test_a_public_copy_has_nothing_in_common() -> None:
    model = detector()
    model.neck.gains = {"p2": 1.0}
    fast = optimize_for_inference(model, InferenceOptions())
    assert fast.neck.gains == {"p2": 1.0} and fast.neck.gains is not model.neck.gains
