# SPDX-License-Identifier: Apache-2.0
"""Dynamic RetinaNet and FCOS: routes, equality with stock Detectron2, losses and their divisors."""

import copy
import math
from pathlib import Path

import pytest
import torch
from detectron2.config import CfgNode
from detectron2.engine import DefaultPredictor
from detectron2.layers import CycleBatchNormList
from detectron2.modeling import META_ARCH_REGISTRY, build_model
from detectron2.modeling.meta_arch.fcos import FCOS
from detectron2.modeling.meta_arch.retinanet import RetinaNet
from detectron2.utils.events import EventStorage
from torch import nn

from dynamicdet_d2.acceleration import InferenceOptions, compilation, optimize_for_inference
from dynamicdet_d2.checkpoint import DynamicCheckpointer
from dynamicdet_d2.engine.loss_table import detectors_fingerprint
from dynamicdet_d2.modeling.architecture import is_dynamic, num_classes_key
from dynamicdet_d2.operating_point import weights_fingerprint
from tests.support.optimized import assert_same
from tests.support.toy import dense_cfg, dense_model, toy_inputs

HEADS = {"RetinaNet": RetinaNet, "FCOS": FCOS}
BACKBONES = {
    "RetinaNet": "build_retinanet_resnet_fpn_backbone",  # Detectron2's own
    "FCOS": "build_resnet_dense_fpn_backbone",
}
START = {"RetinaNet": 100.0, "FCOS": 300.0}
LOSSES = {
    "RetinaNet": ("loss_cls", "loss_box_reg"),
    "FCOS": ("loss_fcos_cls", "loss_fcos_loc", "loss_fcos_ctr"),
}


@pytest.fixture(params=HEADS, scope="module")
def head(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def model(head: str) -> nn.Module:
    return dense_model(head)


def middle_threshold(model: nn.Module, inputs: list[dict]) -> float:
    return sorted(model.difficulties(inputs))[len(inputs) // 2 - 1]


def wide_cfg(head: str, *overrides: object) -> CfgNode:
    """Wide enough for Detectron2's own builders."""
    width = ("MODEL.RESNETS.STEM_OUT_CHANNELS", 64, "MODEL.RESNETS.RES2_OUT_CHANNELS", 64)
    levels = ("MODEL.RESNETS.OUT_FEATURES", ["res3", "res4", "res5"])
    return dense_cfg(head, *width, *levels, "MODEL.COMPOSITE.NUM_BLOCKS1", [], *overrides)


def stock_detector(head: str) -> nn.Module:
    """Built by Detectron2 from the config, with weights that detect something."""
    cfg = wide_cfg(head, "MODEL.META_ARCHITECTURE", head, "MODEL.BACKBONE.NAME", BACKBONES[head])
    torch.manual_seed(3)
    stock = build_model(cfg)
    assert isinstance(stock, HEADS[head])
    for name, parameter in stock.named_parameters():
        if "cls_score" in name or "ctrness" in name:
            nn.init.normal_(parameter, std=0.1)
    return stock.eval()


# Stock Detectron2


@torch.no_grad()
def test_routes_are_stock_detectron2_bit_for_bit(head: str, tmp_path: Path) -> None:
    """Connections start at zero: after loading a stock detector the hard route is that one too."""
    stock = stock_detector(head)
    torch.save({"model": stock.state_dict()}, tmp_path / "stock.pth")
    model = build_model(wide_cfg(head)).eval()
    checkpointer = DynamicCheckpointer(model)
    checkpointer.load(str(tmp_path / "stock.pth"))
    assert checkpointer.report.unmatched == ()
    own = {name.split(".")[0] for name in checkpointer.report.initial if "connections" not in name}
    assert own == {"router", "loss_offset", "loss_normalizers"}
    inputs = toy_inputs(3)
    for threshold, route in ((1.0, "easy"), (0.0, "hard")):
        model.threshold = threshold
        for ours, theirs in zip(model(inputs), stock(inputs), strict=True):
            assert ours["route"] == route
            found, expected = ours["instances"], theirs["instances"]
            assert len(found) > 0
            assert torch.equal(found.pred_boxes.tensor, expected.pred_boxes.tensor)
            assert torch.equal(found.scores, expected.scores)
            assert torch.equal(found.pred_classes, expected.pred_classes)


def test_the_first_losses_are_stock_detectron2s(head: str) -> None:
    stock = stock_detector(head).train()
    model = build_model(wide_cfg(head)).train()
    model.load_state_dict(dynamic_state(model, stock), strict=False)
    inputs = toy_inputs(2)
    with EventStorage():
        ours, theirs = model(inputs), stock(inputs)
    assert ours.keys() == {f"detector{i}/{name}" for i in (1, 2) for name in LOSSES[head]}
    for name, loss in theirs.items():
        assert ours[f"detector1/{name}"].item() == pytest.approx(loss.item(), rel=1e-6)
    assert model.loss_normalizers[0].item() == pytest.approx(stock.loss_normalizer)


def dynamic_state(model: nn.Module, stock: nn.Module) -> dict:
    """The stock detector's weights as detector1's."""
    state = {}
    for name, value in stock.state_dict().items():
        ours = name.replace("backbone.bottom_up.", "backbone.bottom_up1.")
        state[ours if ours != name else f"dense.{name}"] = value
    assert state.keys() <= model.state_dict().keys()
    return state


# Routes


@torch.no_grad()
def test_a_mixed_batch_equals_single_images(model: nn.Module) -> None:
    inputs = toy_inputs(5)
    model.threshold = middle_threshold(model, inputs)
    batch = model(inputs)
    assert {x["route"] for x in batch} == {"easy", "hard"}
    for image, together in zip(inputs, batch, strict=True):
        one = model([image])[0]
        assert one["route"] == together["route"]
        assert len(one["instances"]) > 0
        torch.testing.assert_close(
            one["instances"].scores, together["instances"].scores, atol=1e-5, rtol=1e-4
        )


@torch.no_grad()
def test_exits_are_both_ends(model: nn.Module) -> None:
    inputs = toy_inputs(2)
    exits = model.exits(inputs)
    for threshold, name in ((1.0, "detector1"), (0.0, "detector2")):
        model.threshold = threshold
        for routed, both in zip(model(inputs), exits, strict=True):
            assert_same(routed["instances"], both[name])
            assert routed["difficulty"] == both["difficulty"]
    assert not torch.equal(exits[0]["detector1"].scores[:5], exits[0]["detector2"].scores[:5])


def test_default_predictor_carries_difficulty_and_route(head: str, tmp_path: Path) -> None:
    trained = dense_model(head)
    torch.save({"model": trained.state_dict()}, tmp_path / "model.pth")
    weights = ("MODEL.WEIGHTS", str(tmp_path / "model.pth"))
    cfg = dense_cfg(head, *weights, "INPUT.MIN_SIZE_TEST", 64, "MODEL.INFERENCE.OPTIMIZE", True)
    output = DefaultPredictor(cfg)((torch.rand(64, 96, 3) * 255).byte().numpy())
    assert 0 < output["difficulty"] < 1
    assert output["route"] == ("hard" if output["difficulty"] > 0.5 else "easy")
    assert len(output["instances"]) > 0


# Losses


def test_training_divides_by_a_running_mean_of_each_detector(head: str) -> None:
    model = dense_model(head, "MODEL.DYNAMIC.LOSS_WEIGHTS", [0.5, 1.0]).train()
    assert model.loss_normalizers.tolist() == [START[head]] * 2
    with EventStorage() as storage:
        losses = model(toy_inputs(2))
        # Anchors and objects are the same for both detectors.
        positives = 2 * storage.latest()["detector1/num_pos_anchors"][0]
    assert positives > 1
    expected = 0.9 * START[head] + 0.1 * positives
    assert model.loss_normalizers.tolist() == pytest.approx([expected] * 2)
    sum(losses.values()).backward()
    assert model.backbone.bottom_up2.res5[0].conv1.weight.grad.abs().sum() > 0
    assert all(p.grad is None for p in model.router.parameters())


def test_a_loss_per_image_is_the_training_loss_over_its_own_positives(head: str) -> None:
    model = dense_model(head)
    image = toy_inputs(1)
    measured = model.detector_losses_per_image(image)[0]
    model.train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    with EventStorage() as storage, torch.no_grad():
        losses = model(image)
        positives = storage.latest()["detector1/num_pos_anchors"][0]
    for i in (1, 2):
        trained = sum(v.item() for k, v in losses.items() if k.startswith(f"detector{i}/"))
        divided_by = model.loss_normalizers[i - 1].item()
        assert measured[i - 1].item() == pytest.approx(trained * divided_by / positives, rel=1e-5)


def test_measuring_losses_changes_nothing(model: nn.Module) -> None:
    before = {k: v.clone() for k, v in model.state_dict().items()}
    detectors, modes = detectors_fingerprint(model), [m.training for m in model.modules()]
    state = torch.get_rng_state()
    first = model.detector_losses_per_image(toy_inputs(2))
    model.train()
    again = model.detector_losses_per_image(toy_inputs(2))
    model.eval()
    assert torch.equal(first, again)  # in any mode, and whatever was measured before
    after = model.state_dict()
    assert all(torch.equal(v, after[k]) or math.isnan(v) for k, v in before.items())
    assert detectors_fingerprint(model) == detectors
    assert modes == [m.training for m in model.modules()]
    assert torch.equal(state, torch.get_rng_state())


def test_losses_per_image_do_not_depend_on_the_batch(model: nn.Module) -> None:
    inputs = [*toy_inputs(2), *toy_inputs(1, objects=0), *toy_inputs(1, seed=5)]
    together = model.detector_losses_per_image(inputs)
    assert together.shape == (4, 2) and torch.isfinite(together).all()
    alone = torch.cat([model.detector_losses_per_image([x]) for x in reversed(inputs)])
    torch.testing.assert_close(together, alone.flip(0), atol=1e-4, rtol=1e-4)
    assert not torch.equal(together[:, 0], together[:, 1])


def test_images_without_objects_train(head: str) -> None:
    model = dense_model(head).train()
    for inputs in (toy_inputs(2, objects=0), toy_inputs(1) + toy_inputs(1, objects=0)):
        with EventStorage():
            losses = model(inputs)
        sum(losses.values()).backward()
        assert all(torch.isfinite(loss) for loss in losses.values())


def test_normalizers_travel_with_the_checkpoint_and_belong_to_no_fingerprint(head: str) -> None:
    model, other = dense_model(head), dense_model(head, seed=1)
    before = weights_fingerprint(model)
    model.loss_normalizers.copy_(torch.tensor([7.0, 9.0]))
    assert weights_fingerprint(model) == before
    other.load_state_dict(model.state_dict())
    assert other.loss_normalizers.tolist() == [7.0, 9.0]


def test_batch_norms_of_the_head_keep_to_their_levels() -> None:
    """Detectron2 goes through one norm per level by counting calls."""
    model = dense_model("RetinaNet", "MODEL.RETINANET.NORM", "BN")
    inputs = toy_inputs(2)
    expected = model.detector_losses_per_image(inputs)
    with torch.no_grad():
        model(inputs)
    assert torch.equal(model.detector_losses_per_image(inputs), expected)


@torch.no_grad()
def test_batch_norms_of_the_head_know_their_levels() -> None:
    """Whatever became of an earlier call, or comes in from another thread."""
    model, inputs = dense_model("RetinaNet", "MODEL.RETINANET.NORM", "BN"), toy_inputs(1)
    for norms in (x for x in model.dense.head.modules() if isinstance(x, CycleBatchNormList)):
        for level, norm in enumerate(norms):
            nn.init.constant_(norm.running_mean, float(level))
    expected = model.exits(inputs)[0]["detector1"]
    score, calls = model.dense.head.cls_subnet[0], list[int]()

    def interrupt(*_: object) -> None:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt

    hook = score.register_forward_hook(interrupt)
    with pytest.raises(KeyboardInterrupt):
        model.exits(inputs)
    hook.remove()
    assert_same(model.exits(inputs)[0]["detector1"], expected)


def test_losses_under_autocast(head: str) -> None:
    """As SOLVER.AMP has it: fvcore's losses refuse boxes in halves."""
    found = []
    for enabled in (False, True):
        model = dense_model(head).train()
        with EventStorage(), torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            losses = model(toy_inputs(2))
        sum(losses.values()).backward()
        found.append(losses)
    exact, halves = found
    assert all(loss.dtype == torch.float32 for loss in halves.values())
    assert all(halves[k].item() == pytest.approx(x.item(), rel=0.05) for k, x in exact.items())


# Acceleration


@pytest.mark.parametrize("route", ["easy", "hard", "mixed"])
@torch.no_grad()
def test_an_optimised_copy_gives_the_models_results(model: nn.Module, route: str) -> None:
    inputs = toy_inputs(3, seed=3)
    model.threshold = {"easy": 1.0, "hard": 0.0}.get(route, middle_threshold(model, inputs))
    fast = optimize_for_inference(model)
    for ours, theirs in zip(fast(inputs), model(inputs), strict=True):
        assert ours["route"] == theirs["route"]
        assert_same(ours["instances"], theirs["instances"])
        ours["instances"].scores.mul_(0)  # ordinary tensors
        ours["instances"].pred_boxes.scale(2, 2)
    for ours, theirs in zip(fast.exits(inputs), model.exits(inputs), strict=True):
        for name in ("detector1", "detector2"):
            assert_same(ours[name], theirs[name])


@torch.no_grad()
def test_a_static_detector_is_optimised_too(head: str) -> None:
    stock, inputs = stock_detector(head), toy_inputs(2)
    for ours, theirs in zip(optimize_for_inference(stock)(inputs), stock(inputs), strict=True):
        assert len(ours["instances"]) > 0
        assert_same(ours["instances"], theirs["instances"])


@torch.no_grad()
def test_predictions_are_float32_in_every_precision(model: nn.Module) -> None:
    fast = optimize_for_inference(model, InferenceOptions(precision="bfloat16"))
    held = {name: w.dtype for name, w in fast.dense.head.named_parameters()}
    exact = {name.split(".")[0] for name, dtype in held.items() if dtype == torch.float32}
    norms = {"cls_subnet", "bbox_subnet"} if "cls_subnet.1.weight" in held else set()
    assert exact - norms <= {"cls_score", "bbox_pred", "ctrness"} and "cls_score" in exact
    assert held["cls_subnet.0.weight"] == torch.bfloat16
    images = fast.preprocess_image(toy_inputs(1))
    pyramid = fast.pyramid(1, fast.first(images).seen.features)
    assert {level.dtype for level in pyramid.values()} == {torch.bfloat16}
    predictions = [x for levels in fast.predictions(1, pyramid) for x in levels]
    assert {x.dtype for x in predictions} == {torch.float32}
    assert not any(x.is_inference() for x in predictions)
    assert not torch.equal(predictions[0], predictions[0].bfloat16())


def test_what_is_compiled(model: nn.Module, head: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(compilation.shutil, "which", lambda name: name)
    monkeypatch.setattr(torch, "compile", lambda f, **keys: seen.append(f.__qualname__) or f)
    optimize_for_inference(model, InferenceOptions(compile=True))
    dense = ["CompositeBackbone.first", "AdaptiveRouter.forward", "CompositeBackbone.second"]
    heads = {"RetinaNet": "RetinaNetHead.forward", "FCOS": "FCOSHead.forward"}
    assert seen == [*dense, "FPN.forward", heads[head]]


def test_score_thresholds_can_be_set_at_run_time(head: str) -> None:
    model = dense_model(head, "MODEL.INFERENCE.OPTIMIZE", True)
    assert len(model(toy_inputs(1))[0]["instances"]) > 0
    model.dense.test_score_thresh = 1.0
    assert len(model(toy_inputs(1))[0]["instances"]) == 0


# Configs


def test_the_class_count_is_the_heads(head: str) -> None:
    cfg = dense_cfg(head, f"MODEL.{head.upper()}.NUM_CLASSES", 5)
    assert is_dynamic(cfg)
    assert num_classes_key(cfg) == f"MODEL.{head.upper()}.NUM_CLASSES"
    assert build_model(cfg).dense.num_classes == 5


def test_fcos_is_registered_with_detectron2() -> None:
    assert issubclass(META_ARCH_REGISTRY.get("FCOS"), FCOS)


def test_group_norms_have_at_most_32_groups_of_two_channels_or_more() -> None:
    for channels, groups in ((16, 8), (64, 32), (128, 32), (15, 5), (80, 20)):
        cfg = dense_cfg("FCOS", "MODEL.FPN.OUT_CHANNELS", channels)
        norm = build_model(cfg).dense.head.cls_subnet[1]
        assert (norm.num_groups, norm.num_channels) == (groups, channels)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("MODEL.DENSE.HEAD", "SSD"), "MODEL.DENSE.HEAD is 'SSD'; .*'RetinaNet' or 'FCOS'"),
        (("MODEL.FPN.TOP_BLOCK", "p6"), "MODEL.FPN.TOP_BLOCK is 'p6'; .* 'maxpool' or 'p6p7'"),
        (("MODEL.FPN.TOP_BLOCK_INPUT", "p6"), "TOP_BLOCK_INPUT is 'p6'; .*res5.*p3.*p5"),
    ],
)
def test_refusals(overrides: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_model(dense_cfg("RetinaNet", *overrides))


def test_copies_have_normalizers_of_their_own(model: nn.Module) -> None:
    twin = copy.deepcopy(model).train()
    before = model.loss_normalizers.clone()
    with EventStorage():
        twin(toy_inputs(2))
    assert torch.equal(model.loss_normalizers, before)
    assert not torch.equal(twin.loss_normalizers, before)


def test_other_threads_see_no_limit_of_this_one(head: str) -> None:
    """The number of candidates is an attribute of Detectron2's detector, which threads share."""
    model = dense_model(head, "MODEL.DYNAMIC.EASY_PROPOSALS", 3, "MODEL.DYNAMIC.THRESHOLD", 1.0)
    kept, seen = model.dense.test_topk_candidates, list[int]()
    model.dense.anchor_generator.register_forward_hook(
        lambda *_: seen.append(model.dense.test_topk_candidates)
    )
    model(toy_inputs(1))
    assert seen == [kept] and kept > 3


@pytest.mark.parametrize("detector", ["detector1", "detector2"])
def test_an_image_whose_boxes_are_not_finite_is_named(detector: str) -> None:
    """The losses by overlap assert it, in words of their own."""
    model = dense_model("FCOS")
    if detector == "detector1":
        nn.init.constant_(model.dense.head.bbox_pred.weight, torch.nan)
    else:
        nn.init.constant_(model.backbone.bottom_up2.res5[0].conv1.weight, torch.nan)
    image = {**toy_inputs(1)[0], "file_name": "a.jpg"}
    with pytest.raises(
        FloatingPointError, match=rf"^Image a.jpg \(id 1\): what {detector} predicts is not finite"
    ):
        model.router_inputs_and_losses([image])


@pytest.mark.parametrize("merged", [0.0, 0.6])
@torch.no_grad()
def test_a_pyramid_of_ones_own_may_write_into_features(merged: float) -> None:
    """Backbone 2 begins with F1 as backbone 1 has made it, in evaluations as in inference."""
    model = dense_model("RetinaNet", "MODEL.DYNAMIC.MERGE_EXITS_IOU", merged)
    usual = model.pyramid

    def pyramid(detector: int, features: dict) -> dict:
        features["res5"] = features["res5"].mul_(0.5) + 1
        return usual(detector, features)

    model.pyramid, model.threshold, inputs = pyramid, 0.0, toy_inputs(2)
    start, kept = model.backbone.second, []
    model.backbone.second = lambda f1, x: (kept.append(f1["res5"].clone()), start(f1, x))[1]
    routed = model.inference(inputs)
    exits = model.exits(inputs)
    model.detector_losses_per_image(inputs)
    assert len(kept) == 3 and all(torch.equal(kept[0], other) for other in kept)
    for own, both in zip(routed, exits, strict=True):
        assert_same(own["instances"], both["detector2"])
