# SPDX-License-Identifier: Apache-2.0
"""The objectness map: its numbers by hand, and what it learns from the detector's head."""

from functools import partial

import pytest
import torch
from detectron2.layers import ShapeSpec
from torch import nn

from dynamicdet_d2.modeling.routed_batch import features_and_objectness
from dynamicdet_d2.modeling.router_inputs.least_squares import WeightedLeastSquares
from dynamicdet_d2.modeling.router_inputs.objectness_map import (
    ObjectnessMap,
    closest_stride,
    map_numbers,
)
from tests.support.toy import dense_model, toy_inputs, toy_model
from tests.support.toy_yolo import dynamic_yolo

ROUNDING = {"rtol": 1e-5, "atol": 1e-5}
SHAPES = {"a": ShapeSpec(channels=2, stride=4), "b": ShapeSpec(channels=3, stride=8)}


def test_numbers_of_a_map_by_hand() -> None:
    p = torch.zeros(1, 3, 5)
    p[0, 0, 0], p[0, 1, 1], p[0, 2, 4] = 0.8, 0.5, 0.4
    # Sum 1.7; 0.8 * 0.2 + 0.5 * 0.5 + 0.4 * 0.6 = 0.65; the 0.5 lies beside the 0.8: 1.2 in peaks.
    assert map_numbers(p)[0].tolist() == pytest.approx([1.7, 0.65, 1.2])


def test_a_position_is_as_likely_as_its_best_channel() -> None:
    own = ObjectnessMap(SHAPES, channels=2)
    own.weight_a.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0]])[:, :, None, None])
    own.bias_a.copy_(torch.tensor([0.0, 1.0]))
    level = torch.tensor([2.0, -1.0]).view(1, 2, 1, 1)  # channels say 2 and 0
    assert own.objectness("a", level).item() == pytest.approx(torch.tensor(2.0).sigmoid())


def test_numbers_of_all_levels_side_by_side() -> None:
    own = ObjectnessMap(SHAPES, channels=1)
    found = own({"b": torch.rand(2, 3, 2, 2), "a": torch.rand(2, 2, 4, 4)})
    # Untaught, every position has 0.5 and is as high as its neighbours.
    assert own.count == 6
    assert found.tolist() == [[8, 4, 8, 2, 1, 2]] * 2


def test_the_closest_stride() -> None:
    strides = {8: None, 16: None, 64: None}
    assert [closest_stride(s, strides) for s in (4, 8, 16, 32)] == [8, 8, 16, 16]


def test_weighted_least_squares_by_hand() -> None:
    # One input, weights 1 and 3: sum w x y / (sum w x^2 with a ridge of a thousandth of it).
    x, y = torch.tensor([[1.0], [2.0]]), torch.tensor([[1.0], [4.0]])
    fit = WeightedLeastSquares.of(x, y, torch.tensor([1.0, 3.0]))
    assert fit.gram.item() == 13
    assert fit.moment.item() == 25
    assert fit.solution().item() == pytest.approx(25 / 13 / 1.001)


def test_rows_add_up_and_none_say_nothing() -> None:
    x, y, w = torch.rand(9, 3), torch.rand(9, 2), torch.rand(9)
    parts = [WeightedLeastSquares.of(x[s], y[s], w[s]) for s in (slice(4), slice(4, 9))]
    whole = WeightedLeastSquares.of(x, y, w)
    both = parts[0].plus(parts[1])
    torch.testing.assert_close((both.gram, both.moment), (whole.gram, whole.moment), **ROUNDING)
    nothing = WeightedLeastSquares.nothing(3, torch.zeros(2))
    assert nothing.solution().tolist() == [[0, 0]] * 3
    torch.testing.assert_close(nothing.plus(whole).solution(), whole.solution())


def test_it_learns_logits_that_are_linear_in_the_features() -> None:
    torch.manual_seed(0)
    truth = nn.Conv2d(2, 2, 1)
    features = {"a": torch.randn(4, 2, 8, 8), "b": torch.randn(4, 3, 4, 4)}
    own = ObjectnessMap(SHAPES, channels=2)
    with torch.no_grad():
        logits = truth(features["a"])
        own.teach(own.lessons(features, {4: logits}))
        expected = logits.amax(dim=1).sigmoid()
        torch.testing.assert_close(own.objectness("a", features["a"]), expected, atol=2e-3, rtol=0)
    # The other level learns from the same logits, at a quarter of the positions.
    assert float(own.bias_b.abs().sum()) > 0


@pytest.mark.parametrize("channels", [slice(None), 0])
def test_logits_of_minus_infinity_are_of_positions_without_an_object(channels: object) -> None:
    """Of all channels of a position they say nothing beside the others; of one it is unlikely."""
    torch.manual_seed(0)
    features = {"a": torch.randn(1, 2, 4, 4), "b": torch.randn(1, 3, 2, 2)}
    masked, low = torch.randn(1, 2, 4, 4), torch.tensor(-30.0)
    masked[:, channels, :, 0] = float("-inf")
    own, other = (ObjectnessMap(SHAPES, channels=2) for _ in range(2))
    own.teach(own.lessons(features, {4: masked}))
    other.teach(other.lessons(features, {4: masked.maximum(low)}))
    assert float(own.bias_a.abs().sum()) > 0
    torch.testing.assert_close(own.state_dict(), other.state_dict())


def test_it_is_no_parameter_and_travels_with_the_checkpoint() -> None:
    own = ObjectnessMap(SHAPES, channels=2)
    assert not list(own.parameters())
    assert list(own.state_dict()) == ["weight_a", "bias_a", "weight_b", "bias_b"]


BUILD = {
    "DynamicRCNN": toy_model,
    "RetinaNet": partial(dense_model, "RetinaNet"),
    "FCOS": partial(dense_model, "FCOS"),
    "DynamicYOLO": dynamic_yolo,
}


@pytest.mark.parametrize("kind", BUILD)
def test_a_detectors_own_head_teaches(kind: str) -> None:
    model = BUILD[kind]("MODEL.ROUTER.INPUTS", ["map"])
    inputs = toy_inputs(2)
    own = model.router.inputs["map"]
    before = model.difficulties(inputs)
    own.teach(own.lessons(*features_and_objectness(model, inputs)))
    assert all(float(weight.abs().sum()) > 0 for weight in own.buffers())
    assert model.difficulties(inputs) != before
