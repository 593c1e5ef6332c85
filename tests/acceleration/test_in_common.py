# SPDX-License-Identifier: Apache-2.0
"""What layers hold beside weights, and keep from call to call, is the model's and its copy's."""

import copy
from array import array
from collections import deque
from collections.abc import Callable
from functools import partial
from threading import Barrier, Lock, Thread
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from detectron2.modeling.backbone import FPN
from torch import nn

from dynamicdet_d2.acceleration import InferenceOptions, OptimizedCopy, optimize_for_inference
from dynamicdet_d2.acceleration.in_common import copied, in_common
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
    fast.neck.calls = 10  # of a program, between two
    raw(fast, images[0])
    assert fast.neck.calls == 11


class WithBuffers(FPN):
    """A neck that counts in place, and keeps a gain that it sets anew."""

    def forward(self, x: Any) -> dict[str, torch.Tensor]:
        self.seen += 1
        self.gain = 0.5 * self.gain + 1
        return {name: self.gain * self.seen * level for name, level in super().forward(x).items()}


def test_buffers_that_layers_change_are_the_models() -> None:
    fast, plain = detector(*ALL_SCORES, optimize=True), detector(*ALL_SCORES)
    for model in (fast, plain):
        model.neck.__class__ = WithBuffers
        model.neck.register_buffer("seen", torch.zeros(1))
        model.neck.register_buffer("gain", torch.ones(1, 1, 1, 1))  # of the shape of a map
    copies = set()
    for number in range(4):
        assert_same(raw(fast, toy_inputs(1))[0], raw(plain, toy_inputs(1))[0])
        assert fast.neck.seen == plain.neck.seen == number + 1
        assert fast.neck.gain == plain.neck.gain == 2 - 0.5 ** (number + 1)
        copies.add(fast.optimized_copy._copy)
    assert len(copies) == 1
    for model in (fast, plain):  # of a program, between two
        model.neck.seen.data.zero_()
        model.neck.gain = torch.zeros(1, 1, 1, 1)
    assert_same(raw(fast, toy_inputs(1))[0], raw(plain, toy_inputs(1))[0])
    assert fast.neck.seen == fast.neck.gain == 1


class Alternating(FPN):
    """A neck that doubles every second image, by whether an attribute is there."""

    def forward(self, x: Any) -> dict[str, torch.Tensor]:
        levels = super().forward(x)
        if hasattr(self, "seen"):
            del self.seen
            return levels
        self.seen = True
        return {name: 2 * level for name, level in levels.items()}


def test_attributes_that_layers_delete_are_gone_from_the_model() -> None:
    fast, plain = detector(*ALL_SCORES, optimize=True), detector(*ALL_SCORES)
    for model in (fast, plain):
        model.neck.__class__ = Alternating
    for _ in range(5):
        assert_same(raw(fast, toy_inputs(1))[0], raw(plain, toy_inputs(1))[0])
        assert hasattr(fast.neck, "seen") == hasattr(plain.neck, "seen")


def test_a_layer_that_counts_makes_no_other_copy() -> None:
    model = detector(optimize=True)
    model.neck.__class__ = Smoothed
    raw(model, toy_inputs(1))  # which first makes the attributes
    raw(model, toy_inputs(1))
    fast = model.optimized_copy._copy
    raw(model, toy_inputs(1))
    assert model.optimized_copy.of(model) is fast


class Counting(DynamicRCNN):
    calls = 0

    def detections(self, *given: Any) -> Any:
        self.calls += 1
        self.last = super().detections(*given)
        return self.last


def test_what_methods_of_the_model_keep_is_the_models() -> None:
    model = detector(optimize=True)
    model.__class__ = Counting
    found = [raw(model, toy_inputs(1))[0] for _ in range(3)]
    assert model.calls == 3
    assert model.last[0] is found[-1]


def test_what_a_failed_call_has_kept_is_the_models() -> None:
    model = detector(optimize=True)
    model.__class__ = Counting
    model.router.__class__ = Failing
    with pytest.raises(ZeroDivisionError):
        model(toy_inputs(1))
    assert model.router.seen == 1


class Failing(type(detector().router)):
    def forward(self, *given: Any) -> Any:
        self.seen = 1
        raise ZeroDivisionError


def test_a_setting_of_another_call_is_not_handed_back() -> None:
    """Of two calls at the same time the first that ends leaves the model what it was given."""
    model = detector(optimize=True)
    model.__class__ = Counting
    fast, inside, out = model.optimized_copy.of(model), Barrier(2), Barrier(2)

    def longer() -> None:
        with model.optimized_copy.called(fast):
            fast.loss_proposals = 7  # for the time of the call
            inside.wait()
            out.wait()
            fast.loss_proposals = 512

    other = Thread(target=longer)
    other.start()
    inside.wait()
    with model.optimized_copy.called(fast):
        pass
    assert model.loss_proposals == 512
    out.wait()
    other.join()
    assert model.loss_proposals == 512


def test_a_static_detectors_layers_keep_what_they_have_seen() -> None:
    cfg = toy_cfg(*STATIC, "MODEL.INFERENCE.OPTIMIZE", True)
    predictor = Predictor(cfg)
    predictor.model.backbone.__class__ = Smoothed
    image = np.full((64, 96, 3), 99, np.uint8)
    for number in (1, 2, 3):
        predictor(image)
        assert predictor.model.backbone.calls == number


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
