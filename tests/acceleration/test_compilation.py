# SPDX-License-Identifier: Apache-2.0
"""What is compiled and how (nothing is: it takes long), and padding to few sizes for its sake."""

import copy
import functools
from collections.abc import Callable

import pytest
import torch
from detectron2.modeling import build_model
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from dynamicdet_d2.acceleration import InferenceOptions, compilation, optimize_for_inference
from dynamicdet_d2.acceleration.padding import pad_to_multiple
from tests.support.optimized import STATIC, assert_same, decided, detector, raw
from tests.support.toy import dense_model, toy_cfg, toy_inputs, toy_model


@pytest.mark.parametrize(
    ("overrides", "names"),
    [
        ((), ["CompositeBackbone.first", "AdaptiveRouter.forward", "CompositeBackbone.second",
              "FPN.forward", "StandardRPNHead.forward"]),
        (STATIC, ["FPN.forward", "StandardRPNHead.forward"]),
    ],
)  # fmt: skip
def test_what_is_of_fixed_shape_is_compiled(
    monkeypatch: pytest.MonkeyPatch, overrides: tuple, names: list[str]
) -> None:
    seen = []
    monkeypatch.setattr(compilation.shutil, "which", lambda name: name)
    monkeypatch.setattr(torch, "compile", lambda f, **keys: seen.append((f, keys)) or f)
    torch.manual_seed(0)
    model = decided(build_model(toy_cfg(*overrides)))
    optimize_for_inference(model)
    assert seen == []
    fast = optimize_for_inference(model, InferenceOptions(compile=True))
    assert [function.__qualname__ for function, _ in seen] == names
    assert not any(keys["dynamic"] for _, keys in seen)
    assert_same(raw(fast, toy_inputs(1))[0], raw(model, toy_inputs(1))[0])


@pytest.mark.parametrize(
    "build", [detector, lambda: dense_model("RetinaNet"), lambda: dense_model("FCOS")]
)
@torch.no_grad()
def test_each_compiled_part_is_one_graph(
    build: Callable[[], nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Traced, and run as it was traced without a compiler."""
    compile = functools.partial(torch.compile, backend="eager", fullgraph=True)
    monkeypatch.setattr(compilation.shutil, "which", lambda name: name)
    monkeypatch.setattr(torch, "compile", lambda f, dynamic, options: compile(f, dynamic=dynamic))
    model, inputs = build(), toy_inputs(2)
    model.threshold = min(model.difficulties(inputs))
    fast = optimize_for_inference(model, InferenceOptions(compile=True))
    for ours, theirs in zip(fast(inputs), model(inputs), strict=True):
        assert ours["route"] == theirs["route"]
        assert_same(ours["instances"], theirs["instances"])


def test_torch_knows_the_options_of_compilation() -> None:
    """It refuses unknown ones before it compiles anything."""
    config = torch._dynamo.config
    limit = "recompile_limit" if hasattr(config, "recompile_limit") else "cache_size_limit"
    with config.patch(limit, 8):  # monkeypatch would take it away for good
        for device in ("cpu", "cuda"):
            assert callable(compilation.compiled(torch.relu, torch.device(device)))
        assert getattr(config, limit) == compilation.MAX_SHAPES


def test_compilation_without_a_compiler_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compilation.shutil, "which", lambda name: None)
    with pytest.raises(ValueError, match="MODEL.INFERENCE.COMPILE is True, but no C.. compiler"):
        optimize_for_inference(detector(), InferenceOptions(compile=True))


# Padding


PLAIN = toy_model()


@given(st.integers(1, 150), st.integers(1, 150), st.sampled_from([0, 32, 96, 128]))
def test_images_are_padded_to_the_multiple(height: int, width: int, multiple: int) -> None:
    model = copy.copy(PLAIN)  # whose attributes can be set without changing the model
    inputs = toy_inputs(1, height, width, objects=0)
    before = model.preprocess_image(inputs)
    pad_to_multiple(model, multiple)
    images = model.preprocess_image(inputs)
    least = before.tensor.shape[-2:]
    steps = max(multiple, 1)
    assert images.tensor.shape[-2:] == tuple(-(-size // steps) * steps for size in least)
    assert images.image_sizes == before.image_sizes == [(height, width)]
    assert torch.equal(images.tensor[..., : least[0], : least[1]], before.tensor)
    assert images.tensor.count_nonzero() == before.tensor.count_nonzero()


@pytest.mark.parametrize("multiple", [1, 48])
def test_a_multiple_that_the_backbone_cannot_take_is_refused(multiple: int) -> None:
    message = f"MODEL.INFERENCE.SIZE_MULTIPLE is {multiple}; .* a multiple of the backbone's 32"
    with pytest.raises(ValueError, match=message):
        pad_to_multiple(copy.copy(PLAIN), multiple)


def test_only_the_copy_pads() -> None:
    model = detector("MODEL.INFERENCE.SIZE_MULTIPLE", 128, optimize=True)
    inputs = toy_inputs(1)
    images = model.optimized_copy.of(model).preprocess_image(inputs)
    assert images.tensor.shape == (1, 3, 128, 128) and images.image_sizes == [(64, 96)]
    assert model.preprocess_image(inputs).tensor.shape == (1, 3, 64, 96)
    assert model(inputs)[0]["instances"].image_size == (64, 96)
    assert (model.padded_side(96), PLAIN.padded_side(96)) == (128, 96)
