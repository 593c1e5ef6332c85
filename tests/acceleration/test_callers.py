# SPDX-License-Identifier: Apache-2.0
"""What a caller has put inside a model that has an optimised copy: hooks, functions and layers."""

import functools
from threading import Thread

import numpy as np
import pytest
import torch
from detectron2.layers import Conv2d
from detectron2.modeling.poolers import ROIPooler
from torch import nn
from torch.nn.modules.module import register_module_forward_hook
from torch.nn.utils import prune

from dynamicdet_d2.acceleration import InferenceOptions, OptimizedCopy, optimize_for_inference
from dynamicdet_d2.acceleration.optimized_copy import _say_it_runs_as_it_is
from dynamicdet_d2.engine.predictor import Predictor
from tests.support.optimized import STATIC, assert_same, detector, raw
from tests.support.toy import toy_cfg, toy_inputs


def hooked(model: nn.Module) -> list[str]:
    seen: list[str] = []
    layers = {
        "norm": model.backbone.bottom_up1.res3[0].conv1.norm,
        "fc1": model.roi_heads.box_head.fc1,
    }
    for name, layer in layers.items():
        layer.register_forward_hook(lambda *_, name=name: seen.append(name))
    return seen


class Leaky(nn.BatchNorm2d):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.leaky_relu(super().forward(x), 0.3)


class Doubled(Conv2d):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(x)


@pytest.mark.parametrize(("own", "base"), [(Leaky, nn.BatchNorm2d), (Doubled, Conv2d)])
def test_layers_with_a_forward_of_their_own_are_not_folded(own: type, base: type) -> None:
    """Only once the model was built, so that its weights are those of the plain one."""
    model = detector("MODEL.RESNETS.NORM", "BN")
    for layer in model.backbone.modules():
        if type(layer) is base:
            layer.__class__ = own
    images = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        ours, theirs = (
            one.backbone.first(images)[0]["res5"] for one in (optimize_for_inference(model), model)
        )
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_a_traced_layer_is_run() -> None:
    model = detector(optimize=True)
    model.backbone.bottom_up1.stem = torch.jit.trace(
        model.backbone.bottom_up1.stem, torch.rand(1, 3, 64, 96)
    )
    assert len(raw(model, toy_inputs(1))[0]) > 0


def test_the_copy_of_another_model_is_not_taken() -> None:
    """As a predictor's, whose model was set anew."""
    first, second = detector(), detector()
    kept = OptimizedCopy(InferenceOptions(), whole=True)
    assert kept.of(second) is not kept.of(first)
    second.register_forward_hook(lambda *_: None)  # the copy would be called without it
    assert kept.of(second) is second


@pytest.mark.parametrize("late", [False, True])
def test_hooks_are_called_whenever_they_come(late: bool, caplog: pytest.LogCaptureFixture) -> None:
    """Norms are folded in the copy, and the box head's layers are others."""
    _say_it_runs_as_it_is.cache_clear()
    model, inputs = detector(optimize=True), toy_inputs(1)
    if late:
        model(inputs)
    seen = hooked(model)
    model.threshold = 1.0
    model(inputs)
    model(inputs)
    assert seen == ["norm", "fc1"] * 2
    assert [x.message for x in caplog.records] == [
        "backbone.bottom_up1.res3.0.conv1.norm of the model has a hook or a forward of its own: "
        "the model is run as it is, without what MODEL.INFERENCE says, which is slower."
    ]


def test_hooks_of_a_static_detector_itself_are_called() -> None:
    """Also where they come after the first image; the copy is called in its place."""
    predictor, seen = Predictor(toy_cfg(*STATIC, "MODEL.INFERENCE.OPTIMIZE", True)), []
    image = np.full((64, 96, 3), 99, np.uint8)
    predictor(image)
    predictor.model.register_forward_hook(lambda *_: seen.append(1))
    predictor(image)
    assert seen == [1]


def test_hooks_of_all_modules_are_called() -> None:
    """The copy has a pooler and box head of other layers."""
    model, seen = detector(optimize=True), set()
    model(toy_inputs(1))
    handle = register_module_forward_hook(lambda module, *_: seen.add(type(module)))
    try:
        model(toy_inputs(1))
    finally:
        handle.remove()
    assert {nn.Linear, ROIPooler} <= seen


def test_a_method_of_a_layer_that_was_replaced_is_called() -> None:
    model = detector("MODEL.INFERENCE.PRECISION", "bfloat16", optimize=True)
    own = model.roi_heads._forward_box
    model.roi_heads._forward_box = lambda *given: [found[:3] for found in own(*given)]
    assert len(raw(model, toy_inputs(1))[0]) <= 3
    assert model.optimized_copy.of(model) is model


def test_a_copy_may_be_dropped_while_another_thread_runs_it() -> None:
    """Which takes it for a call, and then no more."""
    kept = OptimizedCopy(InferenceOptions())
    with kept._alone:
        dropping = Thread(target=kept.drop)
        dropping.start()
        dropping.join(0.1)
        assert dropping.is_alive()
    dropping.join()


def test_without_its_hooks_a_model_is_optimised_again() -> None:
    model = detector(optimize=True)
    handle = model.router.register_forward_hook(lambda *_: None)
    assert model.optimized_copy.of(model) is model
    handle.remove()
    assert model.optimized_copy.of(model) is not model


def test_hooks_of_the_model_itself_leave_it_its_copy() -> None:
    model, seen = detector(optimize=True), []
    model.register_forward_hook(lambda *_: seen.append(1))
    model(toy_inputs(1))
    assert seen == [1] and model.optimized_copy._copy is not None


def test_a_forward_of_the_callers_is_run() -> None:
    model, inputs = detector(optimize=True), toy_inputs(1)
    model(inputs)
    model.router.score.forward = lambda x: torch.zeros(len(x), 1)
    assert model(inputs)[0]["difficulty"] == 0.5


def test_a_pruned_model_is_run() -> None:
    """Its weights are computed by a hook, and cannot be copied."""
    model, inputs = detector(optimize=True), toy_inputs(1)
    prune.random_unstructured(model.router.score, "weight", 1.0)
    with torch.no_grad():
        model.router.score.bias.zero_()
    assert model(inputs)[0]["difficulty"] == 0.5


class Adapted(nn.Module):
    """A layer that is there twice."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * self.layer(x)


def test_a_layer_of_the_callers_in_the_box_head_is_run() -> None:
    plain, fast = detector(), detector(optimize=True)
    for model in (plain, fast):
        model.roi_heads.box_head.fc1 = Adapted(model.roi_heads.box_head.fc1)
    assert_same(raw(fast, toy_inputs(1))[0], raw(plain, toy_inputs(1))[0])


def test_a_function_in_the_place_of_a_method_is_called() -> None:
    """Before and after the copy was made."""
    model, inputs, seen = detector(optimize=True), toy_inputs(1), []
    model(inputs)
    prepared = model.preprocess_image
    model.preprocess_image = lambda given: (seen.append(1), prepared(given))[1]
    model(inputs)
    assert seen == [1] and model.optimized_copy.of(model) is model


def test_torch_compile_of_the_whole_reads_the_model_itself() -> None:
    model = detector(optimize=True)
    read = torch.compile(lambda: model.optimized_copy.of(model) is model, backend="eager")
    assert read() and model.optimized_copy.of(model) is not model


def test_a_wrapped_forward_leaves_a_model_its_copy() -> None:
    model = detector(optimize=True)
    forward = model.forward
    model.forward = lambda given: forward(given)
    model(toy_inputs(1))
    assert model.optimized_copy._copy is not None


@pytest.mark.parametrize("late", [False, True])
def test_dropout_that_samples_is_run(late: bool, caplog: pytest.LogCaptureFixture) -> None:
    """All of it is dropped, so that the difficulty is that of a bias of 0."""
    _say_it_runs_as_it_is.cache_clear()
    model, inputs = detector(optimize=True), toy_inputs(1)
    dropout = nn.Dropout(1.0)
    model.router.hidden = nn.Sequential(model.router.hidden, dropout)
    model.eval()
    if late:
        model(inputs)
    dropout.train()
    with torch.no_grad():
        model.router.score.bias.zero_()
    assert model(inputs)[0]["difficulty"] == 0.5
    assert [x.message for x in caplog.records] == [
        "router.hidden.1 of the model is in training mode, and the model is not: the model is run "
        "as it is, without what MODEL.INFERENCE says, which is slower."
    ]
    model.eval()
    assert model.optimized_copy.of(model) is not model


def test_weights_that_are_lent_for_a_call() -> None:
    """A bias of 0, and a score without weights, give the difficulty 0.5; then its own again."""
    model, inputs = detector(optimize=True), toy_inputs(1)
    own = model(inputs)[0]["difficulty"]
    zeros = {
        f"router.score.{k}": torch.zeros_like(v) for k, v in model.router.score.state_dict().items()
    }
    assert torch.func.functional_call(model, zeros, (inputs,))[0]["difficulty"] == 0.5
    assert model(inputs)[0]["difficulty"] == own != 0.5
    assert model.optimized_copy.of(model) is not model


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("late", [False, True])
def test_a_forward_that_was_replaced_in_a_class_is_run(
    late: bool, wrapped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copy has a pooler of another kind in the place of Detectron2's."""
    original = ROIPooler.forward
    model, inputs = detector(optimize=True), toy_inputs(1)
    before = model(inputs)[0]["instances"].scores

    def other(self: ROIPooler, *args: object) -> torch.Tensor:
        return 0 * original(self, *args)

    replaced = functools.wraps(original)(other) if wrapped else other
    monkeypatch.setattr(ROIPooler, "forward", replaced)
    if not late:
        model = detector(optimize=True)
    after = model(inputs)[0]["instances"].scores
    assert model.optimized_copy.of(model) is model
    assert before.unique().numel() > 1
    # All boxes have the same features now.
    assert after.unique().numel() <= model.roi_heads.num_classes
