# SPDX-License-Identifier: Apache-2.0
"""A model and its optimised copy over time: the one is left alone, the other kept up to date."""

import copy
import pickle
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from detectron2.modeling import GeneralizedRCNNWithTTA
from detectron2.modeling.roi_heads import StandardROIHeads
from detectron2.structures import Instances
from detectron2.utils.events import EventStorage
from torch import nn

from dynamicdet_d2.acceleration import InferenceOptions, optimize_for_inference, optimized_copy
from dynamicdet_d2.modeling import DynamicRCNN
from dynamicdet_d2.modeling.exit_merging import ExitMerging
from tests.support.optimized import MASK, assert_same, detector, raw
from tests.support.toy import toy_cfg, toy_inputs

ALL_SCORES = ("MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.0)

# The model is left alone


def state_of(model: nn.Module) -> list[tuple[str, bytes]]:
    return [(name, value.numpy().tobytes()) for name, value in model.state_dict().items()]


def test_the_model_is_left_as_it_is() -> None:
    model = detector(*MASK, optimize=True)
    before = state_of(model)
    flags = [(m.training, sorted(m.__dict__)) for m in model.modules()]
    wanted = [p.requires_grad for p in model.parameters()]
    model(toy_inputs(1))
    assert model.optimized_copy._copy is not None
    assert state_of(model) == before
    assert flags == [(m.training, sorted(m.__dict__)) for m in model.modules()]
    assert wanted == [p.requires_grad for p in model.parameters()] and any(wanted)


def test_the_copy_shares_no_memory_with_the_model() -> None:
    model = detector(*MASK).train()
    fast = optimize_for_inference(model)
    both = [{x.data_ptr() for x in (*m.parameters(), *m.buffers())} for m in (model, fast)]
    assert both[0].isdisjoint(both[1])
    assert model.training and not fast.training
    assert not any(module.training for module in fast.backbone.modules())
    assert not any(p.requires_grad for p in fast.parameters())


def test_the_copy_is_no_part_of_the_model() -> None:
    model = detector(optimize=True)
    parameters, modules = list(model.parameters()), list(model.modules())
    model(toy_inputs(1))
    assert all(a is b for a, b in zip(model.parameters(), parameters, strict=True))
    assert all(a is b for a, b in zip(model.modules(), modules, strict=True))


def test_training_never_touches_the_copy() -> None:
    losses = []
    for optimize in (False, True):
        model = detector(optimize=optimize)
        model(toy_inputs(2))  # makes the copy
        model.train()
        torch.manual_seed(2)
        with EventStorage():
            losses.append(model(toy_inputs(2)))
        sum(losses[-1].values()).backward()
        assert model.backbone.bottom_up1.res2[0].conv1.weight.grad.any()
    assert losses[0].keys() == losses[1].keys()
    assert all(torch.equal(loss, losses[1][name]) for name, loss in losses[0].items())


def test_making_a_copy_draws_no_random_numbers() -> None:
    """An evaluation in the middle of a training would change the steps behind it."""
    model = detector(optimize=True)
    before = torch.get_rng_state()
    model.optimized_copy.of(model)
    assert torch.equal(torch.get_rng_state(), before)


def test_losses_per_image_are_the_models_own() -> None:
    inputs = toy_inputs(2)
    plain, fast = detector(), detector(optimize=True)
    fast(inputs)  # makes the copy
    expected = plain.detector_losses_per_image(inputs)
    assert torch.equal(fast.detector_losses_per_image(inputs), expected)


# The copy follows the model


def test_the_copy_is_made_once() -> None:
    model = detector(optimize=True)
    assert model.optimized_copy._copy is None
    model(toy_inputs(1))
    fast = model.optimized_copy._copy
    model.exits(toy_inputs(2))
    model.difficulties(toy_inputs(1, height=40))
    model.threshold = 0.1
    model.detector_losses_per_image(toy_inputs(1))
    assert model.optimized_copy.of(model) is fast is not None
    # As evaluation in the middle of a training does, between its pass and its timing.
    model.train().eval()
    assert model.optimized_copy.of(model) is fast
    step(model)
    assert model.optimized_copy._copy is None


def step(model: nn.Module) -> None:
    model.train()
    with EventStorage():
        sum(model(toy_inputs(2)).values()).backward()
    torch.optim.SGD(model.parameters(), lr=1e-3).step()
    model.eval()


def only_statistics(model: nn.Module) -> None:
    model.train()
    with torch.no_grad():
        model.backbone.first(torch.randn(2, 3, 64, 64))
    model.eval()


def new_layer(model: nn.Module) -> None:
    model.router.score = copy.deepcopy(model.router.score)


def new_activation(model: nn.Module) -> None:
    """A module that has no weights."""
    model.roi_heads.box_head.fc_relu1 = nn.ReLU6()


def one_buffer_more(model: nn.Module) -> None:
    model.roi_heads.box_head.fc_relu1.register_buffer("slope", torch.zeros(1))


def averaged(model: nn.Module) -> None:
    """As many write an average of weights, in a way that tensors do not count."""
    for weight in model.parameters():
        weight.data.mul_(0.5).add_(torch.ones_like(weight), alpha=0.5)


def averaged_statistics(model: nn.Module) -> None:
    model.pixel_mean.data.mul_(0.5)


def one_filter_of_many(model: nn.Module) -> None:
    """As those prune who zero whole filters."""
    model.roi_heads.box_predictor.cls_score.weight.data[1] = 0


def one_bias_of_many(model: nn.Module) -> None:
    model.roi_heads.box_predictor.cls_score.bias.data[1] += 2


def through_numpy(model: nn.Module) -> None:
    model.router.score.weight.detach().numpy()[:] = 3.0


def other_eps(model: nn.Module) -> None:
    model.backbone.bottom_up1.stem.conv1.norm.eps = 1.0


def another_list(model: nn.Module) -> None:
    model.neck.in_features = list(model.neck.in_features)


def another_layer_in_a_list(model: nn.Module) -> None:
    model.neck.lateral_convs[0] = copy.deepcopy(model.neck.lateral_convs[0])


def one_setting_gone(model: nn.Module) -> None:
    """And another one come, so that they are as many."""
    del model.roi_heads.proposal_append_gt
    model.roi_heads.another = True


CHANGES = {
    "loaded": lambda model: model.load_state_dict(detector().state_dict()),
    "in place": lambda model: nn.init.constant_(model.router.score.bias, 1.0),
    "a buffer": lambda model: model.loss_offset.fill_(0.5),
    "a new layer": new_layer,
    "a new buffer": lambda model: setattr(model, "pixel_mean", model.pixel_mean + 1),
    "a new activation": new_activation,
    "one buffer more": one_buffer_more,
    "another dtype": lambda model: model.double(),
    "there and back": lambda model: model.to(torch.bfloat16).to(torch.float32),
    "a training step": step,
    "statistics": only_statistics,
    "through .data": averaged,
    "a buffer through .data": averaged_statistics,
    "one filter through .data": one_filter_of_many,
    "one bias through .data": one_bias_of_many,
    "through numpy": through_numpy,
    "a layer's setting": other_eps,
    "a list": another_list,
    "a layer in a list": another_layer_in_a_list,
    "a setting gone": one_setting_gone,
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_copy_is_made_anew_after(change: str) -> None:
    model = detector(optimize=True)
    before = model.optimized_copy.of(model)
    CHANGES[change](model)
    after = model.optimized_copy.of(model)
    assert after is not before
    assert next(after.parameters()).dtype == next(model.parameters()).dtype
    assert model.optimized_copy.of(model) is after


@pytest.mark.parametrize(
    "change", [step, only_statistics, averaged, averaged_statistics, other_eps]
)
def test_results_follow_the_weights(change: Callable[[nn.Module], None]) -> None:
    model, inputs = detector(optimize=True), toy_inputs(2)
    before = raw(model, inputs)
    change(model)
    after = raw(model, inputs)
    assert not torch.equal(before[0].scores[:5], after[0].scores[:5])
    plain = copy.deepcopy(model)
    plain.optimized_copy.options = None
    for ours, theirs in zip(after, raw(plain, inputs), strict=True):
        assert_same(ours, theirs)


def unmerged(model: nn.Module) -> None:
    model.exit_merging = None


def merged_otherwise(model: nn.Module) -> None:
    model.exit_merging = ExitMerging(least_iou=1.0, limit=3)


def raw_numbers(model: nn.Module) -> None:
    model.router.standardize = False


@pytest.mark.parametrize("change", [unmerged, merged_otherwise, raw_numbers])
def test_settings_of_model_and_router_are_followed(change: Callable[[nn.Module], None]) -> None:
    keys = ("MODEL.DYNAMIC.MERGE_EXITS_IOU", 0.6, "MODEL.ROUTER.STANDARDIZE", True)
    model, inputs = detector(*keys, "MODEL.DYNAMIC.THRESHOLD", 0.0, optimize=True), toy_inputs(1)
    nn.init.constant_(model.router.mean, 0.5)
    before = model(inputs)[0]
    fast = model.optimized_copy.of(model)
    change(model)
    after = model(inputs)[0]
    assert model.optimized_copy.of(model) is fast
    plain = copy.deepcopy(model)
    plain.optimized_copy.options = None
    expected = plain(inputs)[0]
    assert_same(after["instances"], expected["instances"])
    assert after["difficulty"] == pytest.approx(expected["difficulty"], abs=1e-6)
    same = torch.equal(after["instances"].scores, before["instances"].scores)
    assert not same or after["difficulty"] != before["difficulty"]


@pytest.mark.parametrize("number", [np.float32(0.2), torch.tensor(0.2)])
def test_a_threshold_may_become_a_number_of_another_kind(number: Any) -> None:
    model, inputs = detector(*ALL_SCORES, optimize=True), toy_inputs(1)
    before = raw(model, inputs)[0]
    assert 0 < before.scores.min() < 0.2 < before.scores.max()
    model.roi_heads.box_predictor.test_score_thresh = number
    after = raw(model, inputs)[0]
    assert 0 < len(after) < len(before) and after.scores.min() > 0.2


class OfSomeClasses(DynamicRCNN):
    wanted: Any

    def detections(self, *given: Any) -> list[Instances]:
        found = super().detections(*given)
        return [x[torch.isin(x.pred_classes, torch.tensor(self.wanted))] for x in found]


class OfSomeHeads(StandardROIHeads):
    wanted: Any

    def forward(self, *given: Any) -> Any:
        found, losses = super().forward(*given)
        if self.wanted is not None:
            found = [x[torch.isin(x.pred_classes, torch.as_tensor(self.wanted))] for x in found]
        return found, losses


def test_lists_of_a_model_of_ones_own_are_followed() -> None:
    model = detector(*ALL_SCORES, optimize=True)
    model.__class__ = OfSomeClasses

    def classes() -> set[int]:
        return set(raw(model, toy_inputs(1))[0].pred_classes.tolist())

    model.wanted = (0, 1, 2)
    assert classes() == {0, 1, 2}
    model.wanted = (0,)
    assert classes() == {0}
    model.wanted = [0, 2]
    assert classes() == {0, 2}
    model.wanted.remove(0)
    assert classes() == {2}


class Recorded(DynamicRCNN):
    calls: list[int]

    def forward(self, batched_inputs: list[dict]) -> Any:
        self.calls.append(len(batched_inputs))
        return super().forward(batched_inputs)


def test_a_list_that_grows_with_every_call_makes_no_other_copy() -> None:
    model = detector(optimize=True)
    model.__class__, model.calls = Recorded, []
    copies = set()
    for _ in range(3):
        model(toy_inputs(1))
        copies.add(model.optimized_copy.of(model))
    assert model.calls == [1, 1, 1]
    assert len(copies) == 1


def test_arrays_that_are_no_buffers_are_followed() -> None:
    """Also where None, which is handed on, was in their place."""
    model = detector("MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.0, optimize=True)
    model.roi_heads.__class__, model.roi_heads.wanted = OfSomeHeads, None

    def classes() -> set[int]:
        return set(raw(model, toy_inputs(1))[0].pred_classes.tolist())

    assert classes() == {0, 1, 2}
    for first, second in (
        (torch.tensor([0, 1]), torch.tensor([1, 2])),
        (np.array([0, 1]), np.array([1, 2])),
    ):
        model.roi_heads.wanted = first
        assert classes() == {0, 1}
        model.roi_heads.wanted = second
        assert classes() == {1, 2}
        second[1] = 1
        assert classes() == {1}
        model.roi_heads.wanted = None
        assert classes() == {0, 1, 2}


def test_threads_wait_for_one_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    made, slow = list[nn.Module](), optimized_copy.optimize_for_inference

    def once(*args: Any) -> nn.Module:
        time.sleep(0.2)  # others come meanwhile
        made.append(slow(*args))
        return made[-1]

    monkeypatch.setattr(optimized_copy, "optimize_for_inference", once)
    model = detector(optimize=True)
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(model.optimized_copy.of, [model] * 4))
    assert len(made) == 1 and all(own is made[0] for own in found)


def pickled(model: nn.Module) -> nn.Module:
    return pickle.loads(pickle.dumps(model))


@pytest.mark.parametrize("twin_of", [copy.deepcopy, pickled])
def test_copies_and_pickles_begin_without_one(twin_of: Callable[[nn.Module], nn.Module]) -> None:
    model, inputs = detector(optimize=True), toy_inputs(1)
    before = raw(model, inputs)
    twin = twin_of(model)
    assert twin.optimized_copy._copy is None
    assert twin.optimized_copy.options == InferenceOptions()
    assert_same(raw(twin, inputs)[0], before[0])
    assert twin.optimized_copy._copy is not None
    nn.init.zeros_(twin.roi_heads.box_predictor.cls_score.weight)
    assert len(raw(twin, inputs)[0].scores.unique()) < len(before[0].scores.unique())
    assert_same(raw(model, inputs)[0], before[0])


def test_a_dropped_copy_is_made_again() -> None:
    model = detector(optimize=True)
    fast = model.optimized_copy.of(model)
    model.optimized_copy.drop()
    assert model.optimized_copy._copy is None
    assert model.optimized_copy.of(model) is not fast


@torch.no_grad()
def test_detectron2s_augmented_inference_has_masks() -> None:
    """It turns the mask head off while it looks for boxes, and on again for the masks."""
    counts = []
    for optimize in (False, True):
        cfg, model = toy_cfg(*MASK), detector(*MASK, optimize=optimize)
        cfg.TEST.AUG.MIN_SIZES = (64,)
        image = {"image": toy_inputs(1)[0]["image"].byte(), "height": 64, "width": 96}
        found = GeneralizedRCNNWithTTA(cfg, model)([image])[0]["instances"]
        counts.append(len(found.pred_masks))
        assert model([image])[0]["instances"].has("pred_masks")
    assert counts[0] == counts[1] > 0


def test_settings_of_the_heads_can_be_changed() -> None:
    model = detector(optimize=True)
    assert len(raw(model, toy_inputs(1))[0]) > 0
    model.roi_heads.box_predictor.test_score_thresh = 1.0
    assert len(raw(model, toy_inputs(1))[0]) == 0


def test_numbers_of_proposals_can_be_changed() -> None:
    model = detector(optimize=True)
    assert len(raw(model, toy_inputs(1))[0]) > 0
    model.proposal_generator.post_nms_topk = {True: 1, False: 0}
    assert len(raw(model, toy_inputs(1))[0]) == 0
