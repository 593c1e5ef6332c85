# SPDX-License-Identifier: Apache-2.0
"""Dy-YOLOv7: routes, equality with the static detector, losses, weights, acceleration."""

import copy
from pathlib import Path

import pytest
import torch
from detectron2.engine import DefaultPredictor
from detectron2.modeling import build_model
from detectron2.structures import Instances
from detectron2.utils.events import EventStorage
from torch import nn

from dynamicdet_d2.acceleration import InferenceOptions, compilation, optimize_for_inference
from dynamicdet_d2.acceleration.foldable import Foldable
from dynamicdet_d2.checkpoint import DynamicCheckpointer
from dynamicdet_d2.engine.loss_table import detectors_fingerprint
from dynamicdet_d2.evaluation.cost import RouteCost
from dynamicdet_d2.modeling.architecture import is_dynamic, num_classes_key
from dynamicdet_d2.modeling.yolo.detections import DetectionSettings
from dynamicdet_d2.operating_point.fingerprint import input_fingerprint
from dynamicdet_d2.parts import BOTH, EASY, HARD, parts_of
from tests.support.optimized import assert_same
from tests.support.toy import toy_inputs
from tests.support.toy_yolo import DYNAMIC, dynamic_yolo, yolo_cfg, yolo_model

VARIANTS = ("yolov7", "yolov7x", "yolov7_w6")
PLACEMENTS = ("corner", "center", "letterbox")


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return dynamic_yolo("TEST.DETECTIONS_PER_IMAGE", 50)


def inputs_of(count: int, **options: int) -> list[dict]:
    return toy_inputs(count, **{"height": 60, "width": 90, **options})


def middle_threshold(model: nn.Module, inputs: list[dict]) -> float:
    return sorted(model.difficulties(inputs))[(len(inputs) - 1) // 2]


def assert_equal(found: Instances, expected: Instances) -> None:
    """Bit for bit."""
    assert len(found) == len(expected) > 0
    assert torch.equal(found.pred_boxes.tensor, expected.pred_boxes.tensor)
    assert torch.equal(found.scores, expected.scores)
    assert torch.equal(found.pred_classes, expected.pred_classes)


# The static detector


@pytest.mark.parametrize("variant", VARIANTS)
@torch.no_grad()
def test_both_exits_begin_as_the_static_detector_bit_for_bit(variant: str, tmp_path: Path) -> None:
    """Connections start at zero here, and a static checkpoint goes into both detectors."""
    own = ("MODEL.YOLO.VARIANT", variant)
    auxiliary = ("MODEL.YOLO.AUXILIARY", variant == "yolov7_w6")
    static = yolo_model(*own, *auxiliary, "MODEL.YOLO.SCORE_THRESH_TEST", 0.0)
    torch.save({"model": static.state_dict()}, tmp_path / "static.pth")
    model = dynamic_yolo(*own, "MODEL.YOLO.CONNECTION_INIT", "zero", seed=1)
    checkpointer = DynamicCheckpointer(model)
    checkpointer.load(str(tmp_path / "static.pth"))
    report = checkpointer.report
    assert {name.split(".")[0] for name in report.unmatched} <= {"auxiliary_head"}
    initial = {name for name in report.initial if ".connections." not in name}
    assert {name.split(".")[0] for name in initial} == {"router", "loss_offset"}
    both = {name for name in static.state_dict() if not name.startswith("auxiliary_head")}
    assert set(report.duplicated) == both
    inputs = inputs_of(3)
    for exits, expected in zip(model.exits(inputs), static(inputs), strict=True):
        assert_equal(exits["detector1"], expected["instances"])
        assert_equal(exits["detector2"], expected["instances"])
    for threshold, route in ((1.0, "easy"), (0.0, "hard")):
        model.threshold = threshold
        for found, expected in zip(model(inputs), static(inputs), strict=True):
            assert found["route"] == route
            assert_equal(found["instances"], expected["instances"])


def test_a_dynamic_checkpoint_loads_as_it_is(tmp_path: Path) -> None:
    trained = dynamic_yolo(seed=2)
    torch.save({"model": trained.state_dict()}, tmp_path / "dynamic.pth")
    model = dynamic_yolo(seed=3)
    checkpointer = DynamicCheckpointer(model)
    checkpointer.load(str(tmp_path / "dynamic.pth"))
    assert not checkpointer.report.duplicated and not checkpointer.report.initial
    for name, weight in trained.state_dict().items():
        assert torch.equal(weight, model.state_dict()[name]) or weight.isnan().all(), name


# Routes


@pytest.mark.parametrize("placement", PLACEMENTS)
@torch.no_grad()
def test_a_mixed_batch_equals_single_images(placement: str) -> None:
    model = dynamic_yolo("MODEL.YOLO.PADDING", placement).double()  # scores do not tie
    inputs = inputs_of(5)
    model.threshold = middle_threshold(model, inputs)
    batch = model(inputs)
    routes = [x["route"] for x in batch]
    assert set(routes) == {"easy", "hard"} and routes != sorted(routes)  # not in order already
    for image, together, exits in zip(inputs, batch, model.exits(inputs), strict=True):
        (one,) = model([image])
        assert one["route"] == together["route"]
        assert one["difficulty"] == pytest.approx(together["difficulty"], abs=1e-6)
        assert_same(one["instances"], together["instances"])
        own = "detector2" if together["route"] == "hard" else "detector1"
        assert_same(exits[own], together["instances"])


@torch.no_grad()
def test_images_of_several_sizes_are_placed_apart() -> None:
    """Each image's boxes are moved by its own padding, whatever its route."""
    model = dynamic_yolo("MODEL.YOLO.PADDING", "center").double()
    inputs = inputs_of(2) + inputs_of(2, height=100, width=50)
    for image, found in zip(inputs, model.exits(inputs), strict=True):
        image["expected"] = found
    threshold = middle_threshold(model, inputs)
    model.threshold = threshold
    for image, found in zip(inputs, model(inputs), strict=True):
        route = "detector2" if found["route"] == "hard" else "detector1"
        assert_same(found["instances"], image["expected"][route])
        assert found["instances"].image_size == tuple(image["image"].shape[-2:])


@torch.no_grad()
def test_the_other_detectors_tail_does_not_run(model: nn.Module) -> None:
    inputs, calls = inputs_of(2), []
    hooks = [
        part.register_forward_hook(lambda *_, name=name: calls.append(name))
        for name, part in model.named_children()
        if name[:-1] in ("neck", "head")
    ]
    for threshold, number in ((1.0, 1), (0.0, 2)):
        calls.clear()
        model.threshold = threshold
        model(inputs)
        assert calls == [f"neck{number}", f"head{number}"]
    for hook in hooks:
        hook.remove()


# Losses


@pytest.mark.parametrize("variant", VARIANTS)
def test_joint_training_reaches_every_weight_but_the_routers(variant: str) -> None:
    model = dynamic_yolo("MODEL.YOLO.VARIANT", variant).train()
    with EventStorage():
        losses = model(toy_inputs(2, 128, 128))
    parts = ("loss_box", "loss_obj", "loss_cls")
    assert list(losses) == [f"detector{d}/{name}" for d in (1, 2) for name in parts]
    sum(losses.values()).backward()
    for name, weight in model.named_parameters():
        learns = weight.grad is not None and bool(weight.grad.any())
        assert learns == (not name.startswith("router")), name


def test_a_loss_per_image_is_the_training_loss_of_that_image() -> None:
    model = dynamic_yolo("MODEL.DYNAMIC.LOSS_WEIGHTS", [0.5, 2.0])
    (image,) = toy_inputs(1, 60, 90)
    measured = model.detector_losses_per_image([image])[0]
    model.train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    with EventStorage(), torch.no_grad():
        losses = model([image])
    for detector, weight in ((1, 0.5), (2, 2.0)):
        own = [v.item() for k, v in losses.items() if k.startswith(f"detector{detector}/")]
        assert weight * measured[detector - 1].item() == pytest.approx(sum(own), rel=1e-5)


def test_losses_per_image_are_their_own_and_change_nothing(model: nn.Module) -> None:
    inputs = [*inputs_of(2), *inputs_of(1, objects=0)]
    before, detectors = copy.deepcopy(model.state_dict()), detectors_fingerprint(model)
    together = model.detector_losses_per_image(inputs)
    assert together.shape == (3, 2) and torch.isfinite(together).all()
    model.train()
    alone = torch.cat([model.detector_losses_per_image([x]) for x in reversed(inputs)])
    model.eval()
    torch.testing.assert_close(together, alone.flip(0), atol=1e-4, rtol=1e-4)
    assert not torch.equal(together[:, 0], together[:, 1])
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]) or value.isnan().all(), name
    assert detectors_fingerprint(model) == detectors


def test_losses_do_not_depend_on_where_images_lie_at_inference() -> None:
    inputs = inputs_of(2)
    losses = [
        dynamic_yolo("MODEL.YOLO.PADDING", placement).detector_losses_per_image(inputs)
        for placement in PLACEMENTS
    ]
    assert torch.equal(losses[0], losses[1]) and torch.equal(losses[0], losses[2])


# Parts, cost


def test_parts_by_route(model: nn.Module) -> None:
    routes = parts_of(model).routes
    assert routes == {
        "bottom_up1": BOTH, "router": BOTH, "connections": HARD, "bottom_up2": HARD,
        "neck1": EASY, "head1": EASY, "neck2": HARD, "head2": HARD,
    }  # fmt: skip
    owned = {id(w) for part in parts_of(model).parts for w in part.owner.parameters()}
    assert {id(w) for w in model.parameters()} == owned
    static = yolo_model()
    assert parts_of(static).routes == dict.fromkeys(("bottom_up1", "neck", "head"), BOTH)


@pytest.mark.parametrize(
    ("placement", "size"), [("corner", (64, 96)), ("center", (64, 96)), ("letterbox", (96, 128))]
)
def test_padded_sizes_know_the_placement(placement: str, size: tuple[int, int]) -> None:
    """480 x 640 becomes 512 x 672 with a letterbox, as in the published evaluation."""
    for overrides in (DYNAMIC, ()):
        model = build_model(yolo_cfg(*overrides, "MODEL.YOLO.PADDING", placement))
        (image,) = toy_inputs(1, 64, 96)
        model.eval()
        assert tuple(model.preprocess_image([image]).tensor.shape[-2:]) == size
        assert RouteCost(model).padded_size(64, 96) == size
    if placement == "letterbox":
        assert RouteCost(model).padded_size(480, 640) == (512, 672)
        plain = build_model(yolo_cfg(*DYNAMIC))
        assert RouteCost(model).at(64, 96)["easy"] > RouteCost(plain).at(64, 96)["easy"] / 2


def test_a_size_multiple_comes_after_the_placement() -> None:
    keys = ("MODEL.INFERENCE.OPTIMIZE", True, "MODEL.INFERENCE.SIZE_MULTIPLE", 64)
    model = build_model(yolo_cfg(*DYNAMIC, *keys, "MODEL.YOLO.PADDING", "letterbox")).eval()
    (image,) = toy_inputs(1, 64, 100)
    fast = model.optimized_copy.of(model)
    # 64 + 16 becomes 96, then 128; 100 + 16 becomes 128.
    assert tuple(fast.preprocess_image([image]).tensor.shape[-2:]) == (128, 128)
    assert RouteCost(model).padded_size(64, 100) == (128, 128)


# Acceleration


@pytest.mark.parametrize("route", ["easy", "hard", "mixed"])
@torch.no_grad()
def test_an_optimised_copy_gives_the_models_results(model: nn.Module, route: str) -> None:
    inputs = inputs_of(3, seed=3)
    model.threshold = {"easy": 1.0, "hard": 0.0}.get(route, middle_threshold(model, inputs))
    fast = optimize_for_inference(model)
    assert not any(isinstance(m, Foldable | nn.BatchNorm2d) for m in fast.modules())
    assert any(isinstance(m, Foldable) for m in model.modules())
    for ours, theirs in zip(fast(inputs), model(inputs), strict=True):
        assert ours["route"] == theirs["route"]
        assert_same(ours["instances"], theirs["instances"])
        ours["instances"].scores.mul_(0)  # ordinary tensors
        ours["instances"].pred_boxes.scale(2, 2)


@torch.no_grad()
def test_a_static_detector_is_optimised_too() -> None:
    few = ("TEST.DETECTIONS_PER_IMAGE", 50)
    static, inputs = yolo_model("MODEL.YOLO.SCORE_THRESH_TEST", 0.0, *few), inputs_of(2)
    for ours, theirs in zip(optimize_for_inference(static)(inputs), static(inputs), strict=True):
        assert len(ours["instances"]) > 0
        assert_same(ours["instances"], theirs["instances"])


@torch.no_grad()
def test_predictions_are_float32_in_every_precision(model: nn.Module) -> None:
    fast = optimize_for_inference(model, InferenceOptions(precision="bfloat16"))
    for head in (fast.head1, fast.head2):
        assert {p.weight.dtype for p in head.predictors.values()} == {torch.float32}
        assert {conv.weight.dtype for conv in head.convs.values()} == {torch.bfloat16}
    images = fast.preprocess_image(inputs_of(1))
    pyramid = fast.pyramid(1, fast.first(images).seen.features)
    assert {level.dtype for level in pyramid.values()} == {torch.bfloat16}
    logits = fast.predictions(1, pyramid)
    assert {level.dtype for level in logits} == {torch.float32}
    assert not torch.equal(logits[0], logits[0].bfloat16())


def test_what_is_compiled(model: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(compilation.shutil, "which", lambda name: name)
    monkeypatch.setattr(torch, "compile", lambda f, **keys: seen.append(f.__qualname__) or f)
    optimize_for_inference(model, InferenceOptions(compile=True))
    dense = ["CompositeBackbone.first", "AdaptiveRouter.forward", "CompositeBackbone.second"]
    assert seen == [*dense, *["YOLONeck.forward", "YOLOHead.forward"] * 2]


def test_what_is_compiled_is_one_graph(model: nn.Module) -> None:
    fast = optimize_for_inference(model)
    image = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        features, start = fast.backbone.first(image)
        maps = fast.neck1(features)
        calls = [
            (fast.backbone.second, (features, start)),
            (fast.neck1, (features,)),
            (fast.head1, (maps,)),
        ]
        for function, arguments in calls:
            explained = torch._dynamo.explain(function)(*arguments)
            assert explained.graph_break_count == 0, explained.break_reasons


def test_thresholds_can_be_set_at_run_time() -> None:
    model = dynamic_yolo("MODEL.INFERENCE.OPTIMIZE", True)
    assert len(model(inputs_of(1))[0]["instances"]) > 0
    model.detect.settings = DetectionSettings(score_threshold=0.99)
    assert len(model(inputs_of(1))[0]["instances"]) == 0


# Configs


def test_the_class_count_is_the_heads() -> None:
    cfg = yolo_cfg(*DYNAMIC, "MODEL.YOLO.NUM_CLASSES", 5)
    assert is_dynamic(cfg)
    assert num_classes_key(cfg) == num_classes_key(yolo_cfg()) == "MODEL.YOLO.NUM_CLASSES"
    model = build_model(cfg)
    assert model.head1.num_classes == model.head2.num_classes == 5


def test_padding_belongs_to_a_calibration() -> None:
    """Difficulties depend on it."""
    plain, boxed = (input_fingerprint(yolo_cfg("MODEL.YOLO.PADDING", p)) for p in PLACEMENTS[:2])
    assert boxed == {**plain, "placement": "center", "pad_value": 114.0}


def test_default_predictor_carries_difficulty_and_route(tmp_path: Path) -> None:
    torch.save({"model": dynamic_yolo().state_dict()}, tmp_path / "model.pth")
    weights = ("MODEL.WEIGHTS", str(tmp_path / "model.pth"), "INPUT.MIN_SIZE_TEST", 64)
    optimized = ("MODEL.INFERENCE.OPTIMIZE", True, "MODEL.YOLO.SCORE_THRESH_TEST", 0.0)
    cfg = yolo_cfg(*DYNAMIC, *weights, *optimized)
    output = DefaultPredictor(cfg)((torch.rand(64, 96, 3) * 255).byte().numpy())
    assert output["route"] == ("hard" if output["difficulty"] > 0.5 else "easy")
    assert len(output["instances"]) > 0
