# SPDX-License-Identifier: Apache-2.0
"""The static YOLOv7: built by keys, trained, batched, padded and folded."""

import copy

import pytest
import torch
from detectron2.structures import Instances
from torch import Tensor, nn

from dynamicdet_d2.acceleration.foldable import Foldable, fold_blocks
from dynamicdet_d2.acceleration.folding import fold_norms
from dynamicdet_d2.acceleration.padding import pad_to_multiple
from dynamicdet_d2.modeling.yolo import build, settings
from dynamicdet_d2.modeling.yolo.grid import flattened
from dynamicdet_d2.modeling.yolo.losses import LossSettings
from tests.support.toy import toy_inputs
from tests.support.toy_yolo import yolo_cfg, yolo_model

W6 = ("MODEL.YOLO.VARIANT", "yolov7_w6", "MODEL.YOLO.AUXILIARY", True)
VARIANT_KEYS = {
    "yolov7": (),
    "yolov7x": ("MODEL.YOLO.VARIANT", "yolov7x"),
    "yolov7_w6": W6,
}


def logits_of(model: nn.Module, inputs: list[dict]) -> Tensor:
    images = model.preprocess_image(inputs)
    return flattened(model.head(model.neck(model.backbone(images.tensor))))


@pytest.mark.parametrize("variant", VARIANT_KEYS)
def test_every_weight_learns(variant: str) -> None:
    model = yolo_model(*VARIANT_KEYS[variant]).train()
    losses = model(toy_inputs(2, 128, 128))
    assert list(losses) == ["loss_box", "loss_obj", "loss_cls"]
    sum(losses.values()).backward()
    for name, weight in model.named_parameters():
        assert weight.grad is not None and weight.grad.isfinite().all(), name
        assert weight.grad.any(), name


def test_images_without_objects_train() -> None:
    model = yolo_model(*W6).train()
    losses = model(toy_inputs(2, 64, 64, objects=0))
    assert losses["loss_box"] == losses["loss_cls"] == 0 < losses["loss_obj"]
    sum(losses.values()).backward()
    assert all(weight.grad is not None for weight in model.parameters())


def test_a_tiny_one_learns_two_images() -> None:
    """In 46 steps boxes and classes lose a quarter of their loss, and more.

    Objectness starts near 0, which is right nearly everywhere, and has to rise first.
    """
    inputs, model = toy_inputs(2, 64, 64, objects=1), yolo_model().train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True)
    history = []
    for _ in range(46):
        losses = model(inputs)
        history.append({name: loss.item() for name, loss in losses.items()})
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
    first, last = history[0], history[-1]
    for name in ("loss_box", "loss_cls"):
        assert last[name] < 0.75 * first[name]


def test_missing_ground_truth_is_one_sentence() -> None:
    model = yolo_model().train()
    inputs = [{"image": torch.zeros(3, 32, 32), "file_name": "street.jpg"}]
    with pytest.raises(ValueError, match=r"street\.jpg came without 'instances'; losses"):
        model(inputs)


# Inference


def instances_equal(first: Instances, second: Instances) -> None:
    assert first.image_size == second.image_size
    assert len(first) == len(second) > 0
    for name in ("scores", "pred_classes"):
        torch.testing.assert_close(first.get(name), second.get(name))
    boxes = first.pred_boxes.tensor, second.pred_boxes.tensor
    torch.testing.assert_close(*boxes, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("placement", ["corner", "center", "letterbox"])
@torch.no_grad()
def test_a_batch_is_its_images(placement: str) -> None:
    model, inputs = yolo_model("MODEL.YOLO.PADDING", placement), toy_inputs(3, 60, 90)
    for alone, output in zip(inputs, model(inputs), strict=True):
        instances_equal(output["instances"], model([alone])[0]["instances"])


@torch.no_grad()
def test_boxes_are_scaled_to_the_size_that_is_asked_for() -> None:
    model, (source,) = yolo_model(), toy_inputs(1, 64, 96)
    plain = model([source])[0]["instances"]
    large = model([{**source, "height": 128, "width": 288}])[0]["instances"]
    factor = torch.tensor([3.0, 2.0, 3.0, 2.0])
    torch.testing.assert_close(large.pred_boxes.tensor, plain.pred_boxes.tensor * factor)
    raw = model.inference([source], do_postprocess=False)[0]
    assert raw.image_size == (64, 96) and len(raw) >= len(plain)
    torch.testing.assert_close(raw.scores[:3], plain.scores[:3])


@torch.no_grad()
def test_training_images_lie_in_the_corner() -> None:
    model, inputs = yolo_model("MODEL.YOLO.PADDING", "letterbox"), toy_inputs(1, 60, 90)
    assert model.preprocess_image(inputs).tensor.shape == (1, 3, 96, 128)
    images = model.train().preprocess_image(inputs)
    assert images.tensor.shape == (1, 3, 64, 96)
    torch.testing.assert_close(images[0], inputs[0]["image"] / 255)
    assert (images.tensor[..., 60:, :] == 114 / 255).all()


@torch.no_grad()
def test_auxiliary_head_is_for_training() -> None:
    model, inputs = yolo_model(*W6), toy_inputs(1, 64, 64)
    expected = model(inputs)[0]["instances"]
    model.auxiliary_head = None
    instances_equal(model(inputs)[0]["instances"], expected)


@torch.no_grad()
def test_settings_reach_the_detections() -> None:
    inputs = toy_inputs(1, 64, 64)
    assert len(yolo_model("TEST.DETECTIONS_PER_IMAGE", 7)(inputs)[0]["instances"]) <= 7
    assert len(yolo_model("MODEL.YOLO.SCORE_THRESH_TEST", 0.99)(inputs)[0]["instances"]) == 0
    assert yolo_model("MODEL.YOLO.MULTI_LABEL", False).detections.settings.multi_label is False


@torch.no_grad()
def test_padding_to_a_multiple_goes_on_with_the_grey() -> None:
    """What is compiled by size is padded further; boxes stay where they are."""
    model, inputs = yolo_model("MODEL.YOLO.PADDING", "center"), toy_inputs(1, 60, 60)
    before = model.preprocess_image(inputs)
    pad_to_multiple(model, 128)
    images = model.preprocess_image(inputs)
    assert images.tensor.shape == (1, 3, 128, 128)
    assert torch.equal(images.tensor[..., :64, :64], before.tensor)
    assert images.shifts == before.shifts == [(2.0, 2.0)]
    for border in (images.tensor[..., 64:, :], images.tensor[..., 64:]):
        torch.testing.assert_close(border, torch.full_like(border, 114 / 255))


# Folding


def folded(model: nn.Module) -> nn.Module:
    model = copy.deepcopy(model)
    assert fold_blocks(model) > 0 and fold_norms(model) > 0
    kinds = (Foldable, nn.BatchNorm2d)
    assert not any(isinstance(m, kinds) for m in model.modules())
    return model


@pytest.mark.parametrize("variant", VARIANT_KEYS)
@torch.no_grad()
def test_folding_is_exact(variant: str) -> None:
    """To 10^-6 pixels in float64, and to 2 x 10^-4 of the largest logit in float32."""
    model, inputs = yolo_model(*VARIANT_KEYS[variant]), toy_inputs(2, 64, 128)
    fast = folded(model)
    single, reference = logits_of(fast, inputs), logits_of(model.double(), inputs)
    limit = 2e-4 * reference.abs().max()
    assert (single.double() - reference).abs().max() < limit
    fast = folded(model)
    images = model.preprocess_image(inputs)
    grid = model.loss.grid(model.head(model.neck(model.backbone(images.tensor))))
    found, expected = (grid.decoded(x) for x in (logits_of(fast, inputs), reference))
    assert (found - expected).abs().max() < 1e-6
    assert expected[..., 2:4].max() > 100  # pixels


# Keys


def test_tiny_by_keys() -> None:
    cfg = yolo_cfg(
        *("MODEL.YOLO.WIDTH", 0.125, "MODEL.YOLO.DEPTHS", [1, 1, 2, 2, 1]),
        *("MODEL.YOLO.NECK_DEPTH", 1, "MODEL.YOLO.NUM_CLASSES", 2),
        *("MODEL.YOLO.ANCHORS", [[[8, 8]], [[16, 16]], [[32, 32]]]),
    )
    model = yolo_model(*_pairs(cfg))
    assert [len(level.blocks[0].chain) for level in (model.backbone.p2, model.backbone.p3)] == [
        1,
        2,
    ]
    assert len(model.neck.top_down["t3"].chain) == 1
    assert logits_of(model, toy_inputs(1, 64, 64)).shape == (1, 84, 7)


def _pairs(cfg: object) -> list:
    keys = ("WIDTH", "DEPTHS", "NECK_DEPTH", "NUM_CLASSES", "ANCHORS")
    return [x for key in keys for x in (f"MODEL.YOLO.{key}", cfg.MODEL.YOLO[key])]


def test_losses_are_of_the_keys() -> None:
    assert settings.loss_settings(yolo_cfg()) == LossSettings()
    cfg = yolo_cfg(
        *("MODEL.YOLO.LOSS.BOX_GAIN", 1.0, "MODEL.YOLO.LOSS.OBJECTNESS_GAIN", 2.0),
        *("MODEL.YOLO.LOSS.CLASS_GAIN", 3.0, "MODEL.YOLO.LOSS.BALANCE", [1.0, 2.0, 3.0]),
        *("MODEL.YOLO.LOSS.TRAIN_SIZE", 320, "MODEL.YOLO.LOSS.MAX_RATIO", 5.0),
        *("MODEL.YOLO.LOSS.TOP_K", 20, "MODEL.YOLO.LOSS.AUXILIARY_GAIN", 0.5),
    )
    expected = LossSettings(1.0, 2.0, 3.0, (1.0, 2.0, 3.0), 320, 5.0, 20, 0.5)
    assert settings.loss_settings(cfg) == expected


def test_composite_depths_and_connections_are_of_the_keys() -> None:
    cfg = yolo_cfg(
        *("MODEL.COMPOSITE.NUM_BLOCKS2", [1, 2, 6, 2, 2], "MODEL.YOLO.DEPTHS", [1, 2, 2, 2, 2]),
        *("MODEL.YOLO.CONNECTION_INIT", "zero", "MODEL.YOLO.STRIDED_FROM_BACKBONE1", ["p3"]),
    )
    backbone = build.build_composite_elan_backbone(cfg, build.ShapeSpec(channels=3))
    depths = [
        [len(getattr(b, name).blocks[0].chain) for name in ("p2", "p3")]
        for b in (backbone.bottom_up1, backbone.bottom_up2)
    ]
    assert depths == [[2, 2], [2, 6]]
    assert not any(weight.any() for weight in backbone.connections.parameters())
    assert backbone.bottom_up2._strided_from_first == {"p3"}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("VARIANT", "yolov8"), "VARIANT is 'yolov8'"),  # a range, as of all keys
        (("DEPTHS", [4, 4]), r"DEPTHS is \[4, 4\]; it must be empty or 5 positive .*p1\.\.p5"),
        (("ANCHORS", [[[8, 8]]]), "ANCHORS must have for each of 3 levels"),
        (("AUXILIARY", True), "AUXILIARY is True, but 'yolov7' has no .* one of yolov7_w6"),
        (("STRIDED_FROM_BACKBONE1", ["p2"]), "STRIDED_FROM_BACKBONE1 is .*some of p3, p4, p5"),
        (("LOSS.BALANCE", [1.0]), "LOSS.BALANCE is .*3 levels"),
    ],
)
def test_bad_keys_are_refused_by_name(overrides: tuple, message: str) -> None:
    key, value = overrides
    with pytest.raises(ValueError, match=f"MODEL.YOLO.{message}"):
        yolo_model(f"MODEL.YOLO.{key}", value)
