# SPDX-License-Identifier: Apache-2.0
"""The optimised copy as a whole: the model's results, in every system, and what callers may do."""

import copy
from types import SimpleNamespace

import pytest
import torch
from detectron2.modeling import GeneralizedRCNN, build_model
from detectron2.modeling.backbone import Backbone
from detectron2.structures import Instances
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from dynamicdet_d2.acceleration import optimize_for_inference
from dynamicdet_d2.acceleration.roi_align import RowPooler
from dynamicdet_d2.calibration import fingerprint
from dynamicdet_d2.modeling import DynamicRCNN, routing
from dynamicdet_d2.modeling.routed_batch import routed_features
from dynamicdet_d2.operating_point.point import OperatingPoint
from tests.support.optimized import MASK, STATIC, assert_same, decided, detector, raw
from tests.support.toy import toy_cfg, toy_inputs

CASCADE = (
    *("MODEL.ROI_HEADS.NAME", "CascadeROIHeads"),
    *("MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG", True),
)
SWIN = (
    *("MODEL.BACKBONE.NAME", "build_composite_swin_backbone"),
    *("MODEL.FPN.IN_FEATURES", ["stage1", "stage2", "stage3", "stage4"]),
)
SYSTEMS = {"faster": (), "mask": MASK, "cascade": MASK + CASCADE, "swin": SWIN}
CPU = torch.device("cpu")

Pair = tuple[nn.Module, nn.Module]


@pytest.fixture(scope="module", params=SYSTEMS)
def pair(request: pytest.FixtureRequest) -> Pair:
    """A model, and one of the same weights that runs on an optimised copy."""
    return tuple(detector(*SYSTEMS[request.param], optimize=x) for x in (False, True))


def middle_threshold(model: nn.Module, inputs: list[dict]) -> float:
    return sorted(model.difficulties(inputs))[len(inputs) // 2 - 1]


# The model's results


@pytest.mark.parametrize("route", ["easy", "hard", "mixed"])
def test_results_are_the_models(pair: Pair, route: str) -> None:
    plain, fast = pair
    inputs = toy_inputs(3, seed=3)
    middle = middle_threshold(plain, inputs)
    plain.threshold = fast.threshold = {"easy": 1.0, "hard": 0.0, "mixed": middle}[route]
    with torch.no_grad():
        outputs, expected = fast(inputs), plain(inputs)
    assert [x["route"] for x in outputs] == [x["route"] for x in expected]
    assert {x["route"] for x in outputs} == ({"easy", "hard"} if route == "mixed" else {route})
    for ours, theirs in zip(outputs, expected, strict=True):
        assert ours["difficulty"] == pytest.approx(theirs["difficulty"], abs=1e-5)
        assert ours["instances"].image_size == theirs["instances"].image_size
        assert ours["instances"].get_fields().keys() == theirs["instances"].get_fields().keys()
    for ours, theirs in zip(raw(fast, inputs), raw(plain, inputs), strict=True):
        assert len(ours) > 0
        assert_same(ours, theirs)


def without_masks(instances: Instances) -> Instances:
    """Pixels lie on one side of 0.5 or the other, and rounding may choose."""
    fields = {k: v for k, v in instances.get_fields().items() if k != "pred_masks"}
    return Instances(instances.image_size, **fields)


def test_both_exits_are_the_models(pair: Pair) -> None:
    inputs = toy_inputs(2)
    for plain, fast in zip(*(model.exits(inputs) for model in pair), strict=True):
        assert fast["difficulty"] == pytest.approx(plain["difficulty"], abs=1e-5)
        for name in ("detector1", "detector2"):
            assert_same(without_masks(fast[name]), without_masks(plain[name]))
        assert not torch.equal(fast["detector1"].scores[:9], fast["detector2"].scores[:9])


def test_a_batch_is_its_images(pair: Pair) -> None:
    fast, inputs = pair[1], toy_inputs(4)
    fast.threshold = middle_threshold(fast, inputs)
    for ours, image in zip(raw(fast, inputs), inputs, strict=True):
        assert_same(ours, raw(fast, [image])[0])


def test_images_of_several_sizes(pair: Pair) -> None:
    inputs = toy_inputs(1) + toy_inputs(1, height=70, width=50, seed=1)
    pair[0].threshold = pair[1].threshold = 0.0
    for ours, theirs in zip(raw(pair[1], inputs), raw(pair[0], inputs), strict=True):
        assert_same(ours, theirs)


# Every detection is refused; every proposal is too small.
NOTHING = [("MODEL.ROI_HEADS.SCORE_THRESH_TEST", 1.0), ("MODEL.PROPOSAL_GENERATOR.MIN_SIZE", 9999)]


@pytest.mark.parametrize("nothing", NOTHING)
@pytest.mark.parametrize("system", ["mask", "cascade"])
def test_images_without_detections(nothing: tuple, system: str) -> None:
    for output in detector(*SYSTEMS[system], *nothing, optimize=True)(toy_inputs(2)):
        assert len(output["instances"]) == 0
        assert output["instances"].pred_masks.shape == (0, 64, 96)


@torch.no_grad()
def test_given_boxes_are_kept() -> None:
    plain, fast = (detector(*MASK, optimize=x) for x in (False, True))
    found = raw(plain, toy_inputs(1))
    given = [x.inference(toy_inputs(1), copy.deepcopy(found), False)[0] for x in (plain, fast)]
    assert torch.equal(given[1].pred_boxes.tensor, found[0].pred_boxes.tensor)
    assert_same(given[1], given[0])


@torch.no_grad()
def test_a_static_detector() -> None:
    torch.manual_seed(0)
    model = decided(build_model(toy_cfg(*STATIC)))
    inputs = toy_inputs(2)
    fast = optimize_for_inference(model)
    assert type(fast) is type(model) is GeneralizedRCNN
    for ours, theirs in zip(fast(inputs), model(inputs), strict=True):
        assert len(ours["instances"]) > 0
        assert_same(ours["instances"], theirs["instances"])


class Detector1(Backbone):
    """Backbone 1 and neck, as the backbone of a stock detector."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.bottom_up, self.neck = model.backbone, model.neck

    @property
    def size_divisibility(self) -> int:
        return self.bottom_up.size_divisibility

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return self.neck(self.bottom_up(images))


@pytest.mark.parametrize("optimize", [False, True])
def test_without_options_the_easy_route_is_stock_bit_for_bit(optimize: bool) -> None:
    model, inputs = detector("MODEL.DYNAMIC.THRESHOLD", 1.0, optimize=optimize), toy_inputs(2)
    stock = GeneralizedRCNN(
        backbone=Detector1(model),
        proposal_generator=model.proposal_generator,
        roi_heads=model.roi_heads,
        pixel_mean=model.pixel_mean.flatten().tolist(),
        pixel_std=model.pixel_std.flatten().tolist(),
    ).eval()
    for ours, theirs in zip(raw(model, inputs), raw(stock, inputs), strict=True):
        assert_same(ours, theirs)
        assert torch.equal(ours.scores, theirs.scores) is not optimize
    assert (model.optimized_copy.of(model) is model) is not optimize


@torch.no_grad()
def test_what_the_copy_is_made_of() -> None:
    model = detector(*MASK)
    fast = optimize_for_inference(model)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in fast.modules())
    heads = fast.roi_heads
    assert isinstance(heads.box_head.fc1, nn.Conv2d)
    assert type(heads.box_pooler) is type(heads.mask_pooler) is RowPooler
    weight = fast.backbone.bottom_up1.res5[0].conv1.weight
    assert weight.is_contiguous(memory_format=torch.channels_last)


# What callers may do


class HalvedInPlace(DynamicRCNN):
    def pyramid(self, detector: int, features: dict) -> dict:
        own = super().pyramid(detector, features)
        for level in own.values():
            level.mul_(0.5)
        return own


def test_methods_of_a_callers_may_change_features_in_place() -> None:
    plain, fast = detector(), detector(optimize=True)
    plain.__class__ = fast.__class__ = HalvedInPlace
    for ours, theirs in zip(raw(fast, toy_inputs(2)), raw(plain, toy_inputs(2)), strict=True):
        assert_same(ours, theirs)


def test_the_copy_has_no_gradients() -> None:
    """Also where a caller has not said so."""
    images = (fast := optimize_for_inference(detector())).preprocess_image(toy_inputs(1))
    images.tensor.requires_grad_()
    seen, _, difficulties = fast.first(images)
    assert not any(x.requires_grad for x in (difficulties, *seen.pyramid.values()))


def test_a_copy_is_not_optimised_again() -> None:
    model = detector()
    with pytest.raises(ValueError, match="^The model is a copy that optimize_for_inference has"):
        optimize_for_inference(copy.deepcopy(optimize_for_inference(model)))
    optimize_for_inference(model)


def test_results_may_be_changed_in_place() -> None:
    model = detector(*MASK, optimize=True)
    results = [model(toy_inputs(1))[0]["instances"], model.exits(toy_inputs(1))[0]["detector2"]]
    results += raw(model, toy_inputs(1))
    for instances in results:
        corners = instances.pred_boxes.tensor.clone()
        instances.pred_boxes.scale(2, 2)
        assert torch.equal(instances.pred_boxes.tensor, 2 * corners)
        instances.scores.mul_(0)
        instances.pred_masks.logical_not_()
        assert not any(x.is_inference() for x in (instances.scores, instances.pred_masks))


def test_the_threshold_can_be_set_at_any_time() -> None:
    model, inputs = detector("MODEL.DYNAMIC.THRESHOLD", 0.25, optimize=True), toy_inputs(2)
    model(inputs)
    assert model.threshold == 0.25
    for threshold, route in ((0.0, "hard"), (1.0, "easy"), (0.0, "hard")):
        model.threshold = threshold
        assert [x["route"] for x in model(inputs)] == [route] * 2
        assert model.threshold == threshold
    lowest, highest = sorted(model.difficulties(inputs))
    model.threshold = (lowest + highest) / 2
    assert sorted(x["route"] for x in model(inputs)) == ["easy", "hard"]


def test_a_calibrated_model_can_be_optimised() -> None:
    """The copy's weights are others than those that the calibration was made with."""
    cfg, model = toy_cfg(), detector()
    record = SimpleNamespace(fingerprint=fingerprint(model, cfg))
    point = OperatingPoint(threshold=0.25, calibration=record, cfg=cfg)
    model.operating_point = point
    assert len(optimize_for_inference(model)(toy_inputs(1))) == 1


def test_a_callers_autocast_is_followed() -> None:
    """As in the model itself, whose calibration says what it was measured under."""
    features = []
    for model in (detector(), optimize_for_inference(detector())):
        images = model.preprocess_image(toy_inputs(1))
        with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
            features.append(model.first(images).seen.features["res5"])
    assert features[0].dtype == features[1].dtype == torch.bfloat16


# Routing


def test_merging_keeps_the_type_of_the_easy_features() -> None:
    easy = {"a": torch.zeros(2, 1, 1, 1, dtype=torch.bfloat16)}
    merged = routing.merge(easy, {"a": torch.ones(1, 1, 1, 1)}, routing.on_device([1], CPU))["a"]
    assert merged.dtype == torch.bfloat16 and merged.flatten().tolist() == [0, 1]


def test_no_hard_images_at_all() -> None:
    index = routing.on_device([], CPU)
    assert index.shape == (0,) and index.dtype == torch.long
    easy = {"a": torch.rand(2, 3, 1, 1)}
    chosen = routing.select(easy, index)
    assert chosen["a"].shape == (0, 3, 1, 1)
    assert torch.equal(routing.merge(easy, chosen, index)["a"], easy["a"])


class Operations(TorchDispatchMode):
    """Names of the operations that ran, such as "aten.nonzero"."""

    def __init__(self) -> None:
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None) -> object:  # noqa: ANN001
        name = str(func.overloadpacket)
        masked = name == "aten.index" and any(x.dtype == torch.bool for x in args[1])
        self.names.add("aten.masked_select" if masked else name)
        return func(*args, **(kwargs or {}))


WAITING = {"aten.nonzero", "aten._local_scalar_dense", "aten.masked_select", "aten.unique"}


@torch.no_grad()
def test_routing_asks_for_no_values_but_the_difficulties() -> None:
    """Operations whose course depends on values make a GPU be waited for."""
    model, inputs = detector(), toy_inputs(3)
    model.threshold = middle_threshold(model, inputs)
    images = model.preprocess_image(inputs)
    with Operations() as operations:
        _, difficulties = routed_features(model, images, model.threshold)
    assert 0 < sum(d > model.threshold for d in difficulties) < 3
    assert {"aten.index_copy", "aten.index"} <= operations.names
    assert not operations.names & WAITING


@pytest.mark.skipif(not torch.cuda.is_available(), reason="whether a GPU is waited for needs one")
@torch.no_grad()
def test_a_mixed_batch_waits_for_the_device_once() -> None:
    model = detector("MODEL.DEVICE", "cuda", optimize=True)
    fast = model.optimized_copy.of(model)
    images = fast.preprocess_image(toy_inputs(3))

    def routed(features: dict[str, Tensor], shared: Tensor) -> dict[str, Tensor]:
        index = routing.on_device([0, 2], shared.device)
        features2 = fast.backbone.second(routing.select(features, index), shared[index])
        return fast.neck(routing.merge(features, features2, index))

    seen, shared, difficulties = fast.first(images)
    features = seen.features
    expected = routed(features, shared)  # libraries are loaded and memory is taken
    assert len(difficulties.tolist()) == 3
    torch.cuda.set_sync_debug_mode("error")
    try:
        found = routed(features, shared)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert all(torch.allclose(found[name], level) for name, level in expected.items())
