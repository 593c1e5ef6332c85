# SPDX-License-Identifier: Apache-2.0
"""The router, its loss, and the routing of a batch, against values computed by hand."""

from typing import Any

import pytest
import torch
from detectron2.layers import ShapeSpec
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from dynamicdet_d2.modeling import routing
from dynamicdet_d2.modeling.losses import loss_gap, loss_offset, router_ap_loss, router_loss
from dynamicdet_d2.modeling.router import AdaptiveRouter
from dynamicdet_d2.modeling.router_inputs import PooledFeatures, RouterInput

SHAPES = {"a": ShapeSpec(channels=3, stride=4), "b": ShapeSpec(channels=5, stride=8)}
difficulties = st.floats(1e-6, 1 - 1e-6)


def paper_router(shapes: dict[str, ShapeSpec] = SHAPES, reduction: int = 4) -> AdaptiveRouter:
    return AdaptiveRouter(inputs={"features": PooledFeatures(shapes)}, reduction=reduction)


def test_pooling_concatenates_the_means_of_the_levels() -> None:
    features = {
        "b": torch.full((1, 5, 1, 1), 7.0),
        "a": torch.tensor([1.0, 2.0, 3.0, 6.0]).view(1, 1, 2, 2).expand(1, 3, 2, 2),
    }
    pooled = paper_router().numbers(features)
    assert pooled.tolist() == [[3.0, 3.0, 3.0, 7.0, 7.0, 7.0, 7.0, 7.0]]


def test_difficulty_of_known_weights() -> None:
    router = paper_router()
    for parameter in router.parameters():
        torch.nn.init.constant_(parameter, 0.5)
    # d = 8, hidden 2 units: relu(0.5 * 8 * 1 + 0.5) = 4.5 each; logit 0.5 * 9 + 0.5 = 5.
    assert router.difficulty(torch.ones(1, 8)).item() == pytest.approx(1 / (1 + 2.718281828**-5))


def test_images_that_are_hard_beyond_doubt_are_told_apart() -> None:
    router = paper_router()
    for parameter in router.parameters():
        torch.nn.init.constant_(parameter, 0.5)
    # Hidden units relu(4 x + 0.5), logit that + 0.5: 5, 41, 81 and, with both units at 0, 0.5.
    numbers = torch.tensor([1.0, 10.0, 20.0, -1.0]).view(4, 1).expand(4, 8)
    assert router.logit(numbers).tolist() == [5, 41, 81, 0.5]
    _, hard, harder, _ = router.difficulty(numbers)
    assert hard == harder
    router.tell_apart(numbers[:1])  # none is too large: nothing changes
    assert router.logit(numbers).tolist() == [5, 41, 81, 0.5]
    router.tell_apart(numbers)
    expected = [logit * 8 / 81 for logit in (5, 41, 81, 0.5)]
    assert router.logit(numbers).tolist() == pytest.approx(expected)
    _, hard, harder, _ = router.difficulty(numbers)
    assert hard < harder < 0.9997


class Given(RouterInput):
    """What it is told to."""

    count = 2

    def __init__(self, numbers: Tensor) -> None:
        super().__init__()
        self.numbers = numbers

    def forward(self, result: Any) -> Tensor:
        return self.numbers


IMAGES = {"a": torch.ones(3, 1, 1, 1)}


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.int64])
def test_numbers_of_another_type_become_those_of_the_router(dtype: torch.dtype) -> None:
    router = AdaptiveRouter(inputs={"given": Given(torch.ones(3, 2, dtype=dtype))})
    assert router.numbers(IMAGES).dtype is torch.float32
    assert router(IMAGES).shape == (3,)
    assert router.double().numbers(IMAGES).dtype is torch.float64


@pytest.mark.parametrize("rows", [1, 4])
def test_numbers_of_other_images_than_there_are(rows: int) -> None:
    router = AdaptiveRouter(inputs={"given": Given(torch.ones(rows, 2))})
    says = rf"^Given, an input of the router, gives shape \({rows}, 2\) for 3 images; it must "
    for result in (IMAGES, [None] * 3):
        with pytest.raises(ValueError, match=says):
            router(result)


@pytest.mark.parametrize("name", ["half", "keys", "", "a.b", 1])
def test_an_input_of_a_name_that_no_module_can_have(name: Any) -> None:
    with pytest.raises(ValueError, match=rf"^An input of the router is registered as {name!r}; "):
        AdaptiveRouter(inputs={name: Given(torch.ones(3, 2))})


def test_hidden_layer_is_a_quarter_rounded_down() -> None:
    assert paper_router().hidden.out_features == 2
    r50 = {f"res{i}": ShapeSpec(channels=256 * 2**i) for i in range(4)}
    assert paper_router(r50).hidden.weight.shape == (960, 3840)


def test_reduction_without_hidden_units_is_refused() -> None:
    with pytest.raises(ValueError, match="MODEL.ROUTER.REDUCTION is 9"):
        paper_router(reduction=9)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            {"inputs": {}},
            "inputs of the router is {}; it must be RouterInputs by name, at least one.",
        ),
        ({"inputs": [PooledFeatures(SHAPES)]}, "it must be RouterInputs by name, at least one."),
        ({"inputs": {"features": "map"}}, "it must be RouterInputs by name, at least one."),
        (
            {"reduction": 1.5},
            "router is 1.5; it must be a whole number from 1 on.",
        ),
        ({"standardize": "no"}, "standardize of the router is 'no'; it must be True or False."),
    ],
)
def test_what_no_router_is_built_from(arguments: dict, says: str) -> None:
    with pytest.raises(ValueError) as refused:
        AdaptiveRouter(**{"inputs": {"features": PooledFeatures(SHAPES)}, **arguments})
    assert str(refused.value).endswith(says)


@pytest.mark.parametrize("bias", [-1e4, 1e4])
def test_difficulty_stays_inside_the_open_interval(bias: float) -> None:
    router = paper_router()
    torch.nn.init.constant_(router.score.bias, bias)
    difficulty = router.difficulty(torch.ones(1, 8)).item()
    assert 0 < difficulty < 1


def test_router_loss_by_hand() -> None:
    # (1 - .25)(.8 - .05) + .25(.5 + .05) = .5625 + .1375 = .7
    loss = router_loss(torch.tensor([0.25]), torch.tensor([[0.8, 0.5]]), 0.1)
    assert loss.item() == pytest.approx(0.7)


def test_router_loss_has_the_gradient_of_equation_13() -> None:
    difficulty = torch.tensor([0.3, 0.6], requires_grad=True)
    losses = torch.tensor([[0.8, 0.5], [0.52, 0.5]], requires_grad=True)
    router_loss(difficulty, losses, 0.1).backward()
    # -(L1 - L2 - Delta) / 2 images: -(0.3 - 0.1) / 2 and -(0.02 - 0.1) / 2.
    assert difficulty.grad.tolist() == pytest.approx([-0.1, 0.04])
    assert losses.grad is None


def test_ap_loss_by_hand() -> None:
    difficulty = torch.tensor([0.8, 0.8, 0.3], requires_grad=True)
    # Towards hard: -ln 0.8 = 0.2231; towards easy: -ln 0.2 = 1.6094; a tie is left out.
    loss = router_ap_loss(difficulty, torch.tensor([5.0, -1.0, 0.0]))
    assert loss.item() == pytest.approx((0.22314 + 1.60944) / 2, abs=1e-4)
    loss.backward()
    assert difficulty.grad[0] < 0 < difficulty.grad[1]
    assert difficulty.grad[2] == 0


def test_ap_loss_of_nan_is_nan_and_moves_no_other() -> None:
    difficulty = torch.tensor([0.25, torch.nan], requires_grad=True)
    loss = router_ap_loss(difficulty, torch.tensor([5.0, 1.0]))
    loss.backward()
    assert loss.isnan()
    assert difficulty.grad[0].item() == pytest.approx(-2)  # -1 / 0.25, of two images


def test_ap_loss_of_ties_alone_is_nothing() -> None:
    difficulty = torch.tensor([0.8], requires_grad=True)
    loss = router_ap_loss(difficulty, torch.zeros(1))
    loss.backward()
    assert loss.item() == 0
    assert difficulty.grad.item() == 0


def test_loss_offset_is_the_median_gap() -> None:
    losses = torch.tensor([[1.0, 0.9], [1.0, 0.5], [1.0, 0.8], [1.0, 1.1]])
    assert loss_gap(losses).tolist() == pytest.approx([0.1, 0.5, 0.2, -0.1])
    assert loss_offset(losses) == pytest.approx(0.15)
    assert loss_offset(losses[:3]) == pytest.approx(0.2)


def test_loss_offset_of_nothing_or_nan_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        loss_offset(torch.zeros(0, 2))
    with pytest.raises(ValueError, match="1 of 2"):
        loss_offset(torch.tensor([[1.0, 0.5], [float("nan"), 0.5]]))


@given(st.lists(difficulties, max_size=8), st.floats(0, 1))
def test_hard_iff_above_the_threshold(scores: list[float], threshold: float) -> None:
    hard = routing.hard_indices(scores, threshold)
    assert hard == [i for i, s in enumerate(scores) if s > threshold]
    names = [routing.route_name(s, threshold) for s in scores]
    assert [i for i, name in enumerate(names) if name == "hard"] == hard


@given(st.lists(difficulties, max_size=8), st.floats(0, 1))
def test_every_image_has_one_route(scores: list[float], threshold: float) -> None:
    easy, hard = routing.by_route(scores, threshold)
    assert hard == routing.hard_indices(scores, threshold)
    assert easy == sorted(set(range(len(scores))) - set(hard))


@given(st.lists(difficulties, min_size=1, max_size=6))
def test_both_ends_of_the_threshold(scores: list[float]) -> None:
    assert routing.hard_indices(scores, 1.0) == []
    assert routing.hard_indices(scores, 0.0) == list(range(len(scores)))


def test_torchs_default_device_does_not_matter() -> None:
    with torch.device("meta"):
        index = routing.on_device([0, 2], torch.device("cpu"))
    assert index.tolist() == [0, 2]


@given(st.sets(st.integers(0, 4)).map(sorted))
def test_merge_puts_hard_features_in_their_place(hard: list[int]) -> None:
    easy = {"a": torch.arange(5.0).view(5, 1, 1, 1)}
    index = routing.on_device(hard, torch.device("cpu"))
    second = {"a": 100 + routing.select(easy, index)["a"]}
    merged = routing.merge(easy, second, index)["a"].flatten().tolist()
    assert merged == [i + 100 if i in hard else i for i in range(5)]
    assert easy["a"].flatten().tolist() == [0, 1, 2, 3, 4]
