# SPDX-License-Identifier: Apache-2.0
"""What all kinds of dynamic detectors have in common, and tails that are not shared."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.structures import ImageList, Instances
from torch import nn

from dynamicdet_d2 import add_dynamicdet_config
from dynamicdet_d2.evaluation.cost import count_flops, count_parts
from dynamicdet_d2.modeling import DynamicDetector, DynamicRCNN
from dynamicdet_d2.modeling.architecture import (
    architecture_of,
    building,
    is_dynamic,
    num_classes_key,
)
from dynamicdet_d2.modeling.routing import Features
from dynamicdet_d2.parts import EASY, HARD, Part
from tests.support.optimized import MASK, assert_same, detector
from tests.support.toy import toy_inputs, toy_model
from tests.support.toy_yolo import dynamic_yolo


class TwoTails(DynamicRCNN):
    """Each detector has a neck and an RPN of its own; ROI heads see neither."""

    shared_neck = shared_heads = False

    def own_tails(self) -> None:
        """Equal weights in both."""
        self.neck2, self.rpn2 = copy.deepcopy(self.neck), copy.deepcopy(self.proposal_generator)

    def pyramid(self, detector: int, features: Features) -> Features:
        return (self.neck, self.neck2)[detector - 1](features)

    def _of(self, detector: int) -> DynamicRCNN:
        """The detector's RPN in the place of the shared one."""
        view = copy.copy(self)
        view._modules = dict(self._modules)
        view.proposal_generator = (self.proposal_generator, self.rpn2)[detector - 1]
        return view

    def predictions(self, detector: int, pyramid: Features) -> object:
        return DynamicRCNN.predictions(self._of(detector), detector, pyramid)

    def proposals(self, detector: int, images: ImageList, pyramid: Features) -> list[Instances]:
        return DynamicRCNN.proposals(self._of(detector), detector, images, pyramid)

    def tail_parts(self) -> tuple[Part, ...]:
        rpn, *roi_heads = self.head_parts(1)
        return (
            Part("neck1", self.neck, routes=EASY, features=True),
            Part("rpn_head1", rpn.owner, routes=EASY),
            Part("neck2", self.neck2, routes=HARD, features=True),
            Part("rpn_head2", self.rpn2.rpn_head, routes=HARD),
            *roi_heads,
        )


@pytest.fixture(scope="module")
def model() -> DynamicRCNN:
    return toy_model()


@pytest.fixture(scope="module")
def two_tails(model: DynamicRCNN) -> TwoTails:
    """The same weights in both tails, which are the shared one's."""
    twin = copy.deepcopy(model)
    twin.__class__ = TwoTails
    twin.own_tails()
    return twin


def middle_threshold(model: nn.Module, inputs: list[dict]) -> float:
    return sorted(model.difficulties(inputs))[len(inputs) // 2 - 1]


@torch.no_grad()
@pytest.mark.parametrize("threshold", [0.0, 1.0, None])
def test_own_tails_of_equal_weights_are_a_shared_one(
    model: DynamicRCNN, two_tails: TwoTails, threshold: float | None
) -> None:
    inputs = toy_inputs(5)
    middle = middle_threshold(model, inputs)
    model.threshold = two_tails.threshold = middle if threshold is None else threshold
    for ours, theirs in zip(two_tails(inputs), model(inputs), strict=True):
        assert ours["route"] == theirs["route"]
        assert_same(ours["instances"], theirs["instances"])


@torch.no_grad()
def test_each_route_passes_its_own_tail(model: DynamicRCNN, two_tails: TwoTails) -> None:
    changed = copy.deepcopy(two_tails)
    for weight in changed.neck2.parameters():
        nn.init.normal_(weight, std=0.1)
    inputs = toy_inputs(4)
    changed.threshold = two_tails.threshold = middle_threshold(changed, inputs)
    together, before, exits = changed(inputs), two_tails(inputs), changed.exits(inputs)
    assert {x["route"] for x in together} == {"easy", "hard"}
    for i, ours in enumerate(together):
        assert_same(ours["instances"], changed([inputs[i]])[0]["instances"])
        detector = {"easy": "detector1", "hard": "detector2"}[ours["route"]]
        assert_same(ours["instances"], exits[i][detector])
        scores = ours["instances"].scores[:5], before[i]["instances"].scores[:5]
        assert torch.equal(*scores) is (ours["route"] == "easy")


@torch.no_grad()
def test_an_easy_batch_never_touches_the_second_tail(two_tails: TwoTails) -> None:
    seen = []
    hook = two_tails.neck2.register_forward_hook(lambda *_: seen.append(1))
    two_tails.threshold = 1.0
    two_tails(toy_inputs(2))
    assert not seen
    two_tails.threshold = 0.0
    two_tails(toy_inputs(2))
    assert seen == [1]
    hook.remove()


def test_own_tails_cost_each_route_its_own(model: DynamicRCNN, two_tails: TwoTails) -> None:
    shared, own = count_parts(model, 64, 96, 50), count_parts(two_tails, 64, 96, 50)
    for name in ("neck", "rpn_head"):
        assert own[f"{name}1"] == own[f"{name}2"] == shared[name] > 0
    assert count_flops(model, 64, 96, 50) == count_flops(two_tails, 64, 96, 50)


def test_losses_per_image_pass_both_tails(model: DynamicRCNN, two_tails: TwoTails) -> None:
    inputs = toy_inputs(2)
    expected = model.detector_losses_per_image(inputs)
    torch.testing.assert_close(two_tails.detector_losses_per_image(inputs), expected)


def test_what_is_computed_before_the_routes_is_kept(model: DynamicRCNN) -> None:
    images = model.preprocess_image(toy_inputs(2))
    first = model.first(images)
    assert first.difficulties.shape == (2,)
    assert list(first.seen.features) == ["res2", "res3", "res4", "res5"]
    assert first.start is first.seen.features["res2"]


class Unfinished(DynamicDetector):
    """Says nothing of its tails."""


def test_a_kind_of_detector_must_say_what_its_tails_do() -> None:
    with pytest.raises(TypeError, match="abstract"):
        Unfinished(backbone=nn.Identity(), router=nn.Identity(), pixel_mean=[0], pixel_std=[1])


class OneTail(Unfinished):
    shared_neck = False


def test_a_kind_that_shares_what_it_is_not_to_share() -> None:
    cfg = config("DynamicRCNN")
    Unfinished.check_shared(cfg)
    cfg.MODEL.COMPOSITE.SHARE_NECK = False
    with pytest.raises(ValueError) as error:
        Unfinished.check_shared(cfg)
    assert str(error.value) == (
        "MODEL.COMPOSITE.SHARE_NECK is False, but both detectors of a Unfinished have one and the "
        "same: a kind that can have two is a SharableTail."
    )
    for own in (OneTail, DynamicRCNN):
        own.check_shared(cfg)


def test_a_method_in_the_place_of_a_property() -> None:
    with pytest.raises(TypeError, match=r"^shared_neck of Own must be a property, and is a method"):
        type("Own", (Unfinished,), {"shared_neck": lambda self: False})


def test_a_method_that_takes_less_than_the_one_it_overrides() -> None:
    def detections(
        self: object, detector: int, images: object, pyramid: object, limits: object
    ) -> list:
        return []

    detections.__qualname__ = "Own.detections"
    type("Own", (Unfinished,), {"detections": detections})
    with pytest.raises(TypeError) as error:
        type("Own", (DynamicRCNN,), {"detections": detections})
    assert str(error.value) == (
        "Own.detections takes ('self', 'detector', 'images', 'pyramid', 'limits'); it is called "
        "with as many as DynamicRCNN.detections takes: ('self', 'detector', 'images', 'pyramid', "
        "'limits', 'proposals')."
    )


class KeyOfNothing(Unfinished):
    @classmethod
    def num_classes_key(cls, cfg: CfgNode) -> str:
        return "MODEL.POINTS.NUM_CLASSES"


def test_a_number_of_classes_that_no_key_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(META_ARCH_REGISTRY._obj_map, "KeyOfNothing", KeyOfNothing)
    with pytest.raises(ValueError) as error:
        num_classes_key(config("KeyOfNothing"))
    assert str(error.value) == (
        "num_classes_key() of KeyOfNothing gives 'MODEL.POINTS.NUM_CLASSES', which is no key."
    )


def test_a_class_that_takes_other_arguments() -> None:
    def build(cfg: CfgNode) -> None: ...

    with pytest.raises(ValueError) as error, building():
        build()  # type: ignore[call-arg]
    assert str(error.value).startswith(
        "No model can be built from the config's keys below MODEL, of which one names what takes "
        "other arguments: TypeError: "
    )


# What a config says of the architecture


def config(name: str) -> CfgNode:
    cfg = get_cfg()
    add_dynamicdet_config(cfg)
    cfg.MODEL.META_ARCHITECTURE = name
    return cfg


@pytest.mark.parametrize(
    ("name", "dynamic", "key"),
    [
        ("DynamicRCNN", True, "ROI_HEADS"),
        ("GeneralizedRCNN", False, "ROI_HEADS"),
        ("RetinaNet", False, "RETINANET"),
    ],
)
def test_architectures_are_asked_by_type(name: str, dynamic: bool, key: str) -> None:
    cfg = config(name)
    assert architecture_of(cfg) is META_ARCH_REGISTRY.get(name)
    assert is_dynamic(cfg) is dynamic
    assert num_classes_key(cfg) == f"MODEL.{key}.NUM_CLASSES"


def test_an_unknown_architecture_is_refused() -> None:
    says = (
        r"^MODEL.META_ARCHITECTURE is 'FasterRCNN'; it must be one of .*DynamicRCNN, .*, or one of "
        r"your own whose file is imported\.$"
    )
    with pytest.raises(ValueError, match=says):
        architecture_of(config("FasterRCNN"))


# A shared tail, and methods of a program's own that look whose images they are given


class OneEach(DynamicRCNN):
    """Of a hard image the best detection alone."""

    def detections(self, detector: int, *given: Any) -> list[Instances]:
        found = super().detections(detector, *given)
        return [own[:1] for own in found] if detector == 2 else found


class NothingSeen(DynamicRCNN):
    def pyramid(self, detector: int, features: Features) -> Features:
        return {name: 0 * level for name, level in super().pyramid(detector, features).items()}


@torch.no_grad()
def test_a_hard_image_is_detector2s(model: DynamicRCNN) -> None:
    own, inputs = copy.deepcopy(model), toy_inputs(3)
    own.__class__ = OneEach
    own.threshold = middle_threshold(own, inputs)
    for output, exits in zip(own(inputs), own.exits(inputs), strict=True):
        detector = "detector2" if output["route"] == "hard" else "detector1"
        assert_same(output["instances"], exits[detector])
        assert (len(output["instances"]) == 1) == (detector == "detector2")


class HardNeck(DynamicRCNN):
    """A neck of detector2's own, by the method that says whose a module is."""

    def tail_module(self, detector: int, name: str) -> Any:
        own = self.hard_neck if (detector, name) == (2, "neck") else None
        return own or super().tail_module(detector, name)


@torch.no_grad()
def test_a_neck_of_ones_own_is_detector2s_everywhere() -> None:
    own, inputs = toy_model(), toy_inputs(1)
    shared = count_parts(own, 64, 64)["neck"]
    own.hard_neck = copy.deepcopy(own.neck)
    for weight in own.hard_neck.parameters():
        weight.mul_(1.5)
    own.__class__, own.threshold = HardNeck, 0.0
    assert not own.shared_neck and own.shared_heads
    assert_same(own(inputs)[0]["instances"], own.exits(inputs)[0]["detector2"])
    parts = count_parts(own, 64, 64)
    assert (parts["neck"], parts["neck2"]) == (shared, shared)


class Described(DynamicRCNN):
    """With a part that nothing runs."""

    def tail_parts(self) -> tuple[Part, ...]:
        return *super().tail_parts(), Part("refine", self.refine, step="pyramid")


def test_a_part_that_nothing_runs_is_said(caplog: pytest.LogCaptureFixture) -> None:
    own = toy_model()
    count_parts(own, 64, 64)
    assert not caplog.text
    own.__class__, own.refine = Described, nn.Conv2d(16, 16, 1)
    count_parts(own, 64, 64)
    assert "of refine are not counted: by the description of Described nothing" in caplog.text


@torch.no_grad()
def test_given_boxes_pass_a_pyramid_of_ones_own() -> None:
    model, inputs = detector(*MASK), toy_inputs(1)
    found = model.inference(inputs, do_postprocess=False)
    masks = model.inference(inputs, found, do_postprocess=False)[0].pred_masks
    model.__class__ = NothingSeen
    blank = model.inference(inputs, found, do_postprocess=False)[0].pred_masks
    seen, nothing = (own.flatten(1).std(dim=1) for own in (masks, blank))
    assert seen.min() > 1e-3 and nothing.max() < 1e-6


# Models as they are when they are built


@torch.no_grad()
@pytest.mark.parametrize("method", ["inference", "exits", "difficulties"])
@pytest.mark.parametrize("built", [toy_model, dynamic_yolo])
def test_training_mode_gives_no_detections(built: Callable, method: str) -> None:
    """Norms would take the statistics of the batch, and keep them."""
    model, inputs = built().train(), toy_inputs(2)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(RuntimeError) as refused:
        getattr(model, method)(inputs)
    assert str(refused.value) == (
        f"The {type(model).__name__} is in training mode, in which it gives losses; model.eval() "
        "comes before detections and difficulties."
    )
    after = model.state_dict()
    assert all(torch.equal(x, after[k]) for k, x in before.items() if not x.isnan().any())


# Threads that move the threshold while others detect


def test_a_threshold_that_is_set_during_a_call_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was read before must not be written behind it."""
    model = toy_model()
    written = list[str]()
    monkeypatch.setattr(DynamicRCNN, "__setattr__", lambda self, name, value: written.append(name))
    model.difficulties(toy_inputs(1))
    assert not written


@pytest.mark.parametrize(
    "keys",
    [
        (),
        ("MODEL.COMPOSITE.SHARE_NECK", False),
        ("MODEL.DYNAMIC.MERGE_EXITS_IOU", 0.6),
        ("MODEL.ROUTER.INPUTS", ["rpn"]),
    ],
    ids=["one pass", "two necks", "merged", "looking on"],
)
def test_the_route_that_is_said_is_the_one_that_was_taken(keys: tuple) -> None:
    model = toy_model("MODEL.DYNAMIC.THRESHOLD", 0.0, *keys)
    ran = list[float]()

    def later(*_: object) -> None:
        ran.append(model.threshold)
        model.threshold = 1.0  # as another thread does, behind the routes

    model.backbone.bottom_up2.res5.register_forward_hook(later)
    (output,) = model(toy_inputs(1))
    assert ran == [0.0] and output["route"] == "hard"
