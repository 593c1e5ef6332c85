# SPDX-License-Identifier: Apache-2.0
"""EfficientNet-Lite: the family's tables, its padding by hand, composed, routed, counted."""

import pytest
import torch
from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_backbone
from detectron2.utils.events import EventStorage
from torch import nn

from dynamicdet_d2.acceleration import optimize_for_inference
from dynamicdet_d2.engine.optimizer import build_detectors_optimizer
from dynamicdet_d2.evaluation.cost import count_parts
from dynamicdet_d2.modeling.backbone.efficientnet_lite import (
    SameConv2d,
    build_composite_efficientnet_lite_backbone,
    build_staged_efficientnet_lite,
)
from dynamicdet_d2.modeling.backbone.lite_sizes import blocks_of, channels_of
from tests.support.toy import toy_cfg, toy_inputs, toy_model

IMAGE = ShapeSpec(channels=3)
STAGES = ["stage1", "stage2", "stage3", "stage4"]
LITE = ("MODEL.BACKBONE.NAME", "build_composite_efficientnet_lite_backbone")
LITE += ("MODEL.FPN.IN_FEATURES", STAGES, "MODEL.PIXEL_STD", [128.0, 128.0, 128.0])
WHOLE = (*LITE, "MODEL.COMPOSITE.NUM_BLOCKS1", [])
SHORT = (*LITE, "MODEL.COMPOSITE.NUM_BLOCKS1", [1, 1, 1, 1, 1, 1, 1])
APART = ("MODEL.COMPOSITE.SHARE_STEM", False)


def lite_cfg(*overrides: object) -> CfgNode:
    return toy_cfg(*WHOLE, *overrides)


def randomised(model: nn.Module) -> nn.Module:
    """Statistics and affines as after training, connections that are no longer zero."""
    generator = torch.Generator().manual_seed(3)
    for name, tensor in model.state_dict().items():
        if name.endswith(("norm.weight", "running_var")):
            tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
        elif name.endswith(("norm.bias", "running_mean")):
            tensor.copy_(0.2 * torch.randn(tensor.shape, generator=generator))
    return model


def short_model(*overrides: object) -> nn.Module:
    return randomised(toy_model(*SHORT, *overrides))


# One backbone


@pytest.mark.parametrize(
    ("size", "blocks", "levels", "parameters"),
    # The published sizes have 4.7, 5.4, 6.1, 8.2 and 13.0 million, of which head convolution and
    # classifier, not here, are 320 c 1280 + 2 * 1280 + 1281 * 1000 with c of the last group.
    [
        (0, (1, 2, 2, 3, 3, 4, 1), (24, 40, 112, 320), 4_652_008),
        (1, (1, 3, 3, 4, 4, 5, 1), (24, 40, 112, 320), 5_416_680),
        (2, (1, 3, 3, 4, 4, 5, 1), (24, 48, 120, 352), 6_092_072),
        (3, (1, 3, 3, 5, 5, 6, 1), (32, 48, 136, 384), 8_197_096),
        (4, (1, 4, 4, 6, 6, 8, 1), (32, 56, 160, 448), 13_006_568),
    ],
)
def test_members_are_the_familys(size: int, blocks: tuple, levels: tuple, parameters: int) -> None:
    assert blocks_of(size) == blocks
    with torch.device("meta"):
        cfg = lite_cfg("MODEL.EFFICIENTNET_LITE.NORM", "BN")
        lite = build_staged_efficientnet_lite(cfg, IMAGE, size, blocks)
    shapes = lite.output_shape()
    assert list(shapes) == STAGES
    assert tuple(shape.channels for shape in shapes.values()) == levels
    assert [shape.stride for shape in shapes.values()] == [4, 8, 16, 32]
    head = channels_of(size)[-1] * 1280 + 2 * 1280 + 1281 * 1000
    assert sum(p.numel() for p in lite.parameters()) + head == parameters


@pytest.mark.parametrize(("height", "width"), [(64, 96), (70, 65)])
def test_features_have_the_stated_shapes(height: int, width: int) -> None:
    lite = build_staged_efficientnet_lite(lite_cfg(), IMAGE, 0, [1] * 7)
    for name, level in lite(torch.rand(2, 3, height, width)).items():
        shape = lite.output_shape()[name]
        size = (-(-height // shape.stride), -(-width // shape.stride))
        assert level.shape == (2, shape.channels, *size)


@pytest.mark.parametrize(
    ("size", "kernel", "first"),
    # "Same" at stride 2 in one dimension. Of 4 positions and kernel 3, windows begin at 0 and 2 and
    # one zero is behind; of 5, at -1, 1, 3. With kernel 5 they begin at -1, 1 and at -2, 0, 2.
    [(4, 3, 0), (5, 3, -1), (4, 5, -1), (5, 5, -2)],
)
def test_padding_by_hand(size: int, kernel: int, first: int) -> None:
    conv = SameConv2d(1, 1, kernel_size=kernel, stride=2, padding=0, bias=False)
    nn.init.zeros_(conv.weight)
    conv.weight.data[0, 0, 0, 0] = 1.0  # picks the first position of each window
    x = torch.arange(1.0, size + 1).repeat(size, 1)
    x = (10 * x.t() + x)[None, None]
    padded = nn.functional.pad(x[0, 0], (2, 2, 2, 2))
    count = -(-size // 2)
    expected = padded[2 + first :: 2, 2 + first :: 2][:count, :count]
    assert torch.equal(conv(x)[0, 0], expected)


def test_fixed_statistics_are_those_of_a_batch_norm() -> None:
    """Outputs and gradients of the weights, whatever the norm is computed on."""
    overrides = ([], ["MODEL.EFFICIENTNET_LITE.NORM", "BN"])
    frozen, batch = (
        randomised(build_staged_efficientnet_lite(lite_cfg(*o), IMAGE, 0, [1] * 7)).eval()
        for o in overrides
    )
    batch.load_state_dict(frozen.state_dict(), strict=False)
    images = torch.randn(2, 3, 64, 64)
    for lite in (frozen, batch):
        sum(level.square().sum() for level in lite(images).values()).backward()
    for (name, level), other in zip(frozen(images).items(), batch(images).values(), strict=True):
        torch.testing.assert_close(level, other, rtol=1e-4, atol=1e-4, msg=name)
    for name, weight in frozen.named_parameters():
        other = batch.get_parameter(name).grad
        torch.testing.assert_close(weight.grad, other, rtol=1e-3, atol=1e-3 * other.abs().max())


def test_norms_have_the_familys_epsilon() -> None:
    for norm in ("FrozenBN", "BN", "SyncBN"):
        cfg = lite_cfg("MODEL.EFFICIENTNET_LITE.NORM", norm)
        lite = build_staged_efficientnet_lite(cfg, IMAGE, 0, [1] * 7)
        epsilons = {m.eps for m in lite.modules() if hasattr(m, "running_var")}
        assert epsilons == {1e-3}, norm


@pytest.mark.parametrize(("freeze_at", "frozen"), [(0, 0), (1, 1), (2, 2), (5, 5)])
def test_frozen_parts_do_not_train(freeze_at: int, frozen: int) -> None:
    cfg = lite_cfg("MODEL.BACKBONE.FREEZE_AT", freeze_at, "MODEL.EFFICIENTNET_LITE.NORM", "BN")
    lite = build_staged_efficientnet_lite(cfg, IMAGE, 0, [1] * 7)
    parts = [lite.stem, *(getattr(lite, name) for name in STAGES)]
    for number, part in enumerate(parts):
        assert all(p.requires_grad == (number >= frozen) for p in part.parameters())
        batch_norms = [m for m in part.modules() if isinstance(m, nn.BatchNorm2d)]
        assert bool(batch_norms) == (number >= frozen)


def test_gradient_checkpointing_changes_nothing() -> None:
    cfg = lite_cfg("MODEL.BACKBONE.GRADIENT_CHECKPOINTING", True)
    lite = build_staged_efficientnet_lite(cfg, IMAGE, 0, [1, 2, 1, 1, 1, 1, 1])
    images, grads = torch.randn(1, 3, 64, 64), []
    for checkpointed in (True, False):
        lite.gradient_checkpointing = checkpointed
        lite.zero_grad()
        lite(images)["stage4"].sum().backward()
        grads.append([p.grad.clone() for p in lite.parameters()])
    for ours, expected in zip(*grads, strict=True):
        torch.testing.assert_close(ours, expected)


# Composite


@pytest.mark.parametrize("apart", [False, True])
def test_at_the_start_detector2_is_a_plain_backbone(apart: bool) -> None:
    torch.manual_seed(0)
    cfg = toy_cfg(*SHORT, "MODEL.COMPOSITE.SHARE_STEM", not apart)
    backbone = build_composite_efficientnet_lite_backbone(cfg, IMAGE).eval()
    plain = build_staged_efficientnet_lite(cfg, IMAGE, 0, [1] * 7).eval()
    own, rest = backbone.bottom_up2.state_dict(), backbone.bottom_up1.state_dict()
    plain.load_state_dict({**rest, **own})
    images = torch.rand(2, 3, 64, 96)
    features2 = backbone.second(*backbone.first(images))
    for name, feature in plain(images).items():
        assert torch.equal(features2[name], feature), name


def test_injection_by_hand() -> None:
    backbone = short_model().backbone
    features1, start = backbone.first(torch.rand(2, 3, 64, 96))
    assert start is features1["stage1"]
    links = backbone.connections.links
    x = start
    for number, name in enumerate(STAGES[1:], start=1):
        total = torch.zeros_like(x)
        for source in range(number, 4):
            part = links[f"{name}_from_{STAGES[source]}"](features1[STAGES[source]])
            factor = 2 ** (source - number + 1)
            total = total + part.repeat_interleave(factor, 2).repeat_interleave(factor, 3)
        x = getattr(backbone.bottom_up2, name)(x + total)
        found = backbone.second(features1, start)[name]
        torch.testing.assert_close(found, x, rtol=1e-4, atol=1e-4)


def test_stem_and_stage1_exist_once_unless_they_are_apart() -> None:
    for apart in (False, True):
        cfg = lite_cfg("MODEL.COMPOSITE.SHARE_STEM", not apart)
        names = [n for n, _ in build_composite_efficientnet_lite_backbone(cfg, IMAGE)
                 .bottom_up2.named_children()]  # fmt: skip
        assert names == [*(["stem", "stage1"] if apart else []), *STAGES[1:]]


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ([], [(1, 2, 2, 3, 3, 4, 1), (None, None, 2, 3, 3, 4, 1)]),
        (["SIZE2", 1], [(1, 2, 2, 3, 3, 4, 1), (None, None, 3, 4, 4, 5, 1)]),
        (["SIZE2", 1, *APART], [(1, 2, 2, 3, 3, 4, 1), (1, 3, 3, 4, 4, 5, 1)]),
        (["SIZE", 1, "SIZE2", 0, *APART], [(1, 3, 3, 4, 4, 5, 1), (1, 2, 2, 3, 3, 4, 1)]),
        (
            ["MODEL.COMPOSITE.NUM_BLOCKS1", [1, 2, 1, 1, 1, 1, 1]],
            [(1, 2, 1, 1, 1, 1, 1), (None, None, 1, 1, 1, 1, 1)],
        ),
        (
            ["SIZE2", 1, "MODEL.COMPOSITE.NUM_BLOCKS1", [1, 1, 1, 1, 1, 1, 1], *APART],
            [(1, 1, 1, 1, 1, 1, 1), (1, 3, 3, 4, 4, 5, 1)],
        ),
    ],
)
def test_members_and_blocks_of_both_backbones(overrides: list, expected: list) -> None:
    keys = [f"MODEL.EFFICIENTNET_LITE.{o}" if o in ("SIZE", "SIZE2") else o for o in overrides]
    with torch.device("meta"):
        backbone = build_backbone(lite_cfg(*keys))
    for bottom_up, blocks in zip((backbone.bottom_up1, backbone.bottom_up2), expected, strict=True):
        names = {name for _, stage in bottom_up.named_children() for name, _ in
                 stage.named_children() if name.startswith("group")}  # fmt: skip
        assert names == {f"group{g}_{i}" for g, n in enumerate(blocks) for i in range(n or 0)}


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["MODEL.EFFICIENTNET_LITE.SIZE2", 2], "SHARE_NECK must be False"),
        (["MODEL.COMPOSITE.NORM", "FrozenBN"], "MODEL.COMPOSITE.NORM is 'FrozenBN'"),
        (
            ["MODEL.COMPOSITE.NUM_BLOCKS1", [1] * 4],
            "7 positive .* group0..group6",
        ),
        (["MODEL.COMPOSITE.NUM_BLOCKS2", [1, 1, 2, 3, 3, 4, 1]], "group1 is shared"),
    ],
)
def test_wrong_keys_are_named(overrides: list, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        build_composite_efficientnet_lite_backbone(lite_cfg(*overrides), IMAGE)


# Detectors


@pytest.fixture(scope="module", params=[(), APART], ids=["shared", "apart"])
def model(request: pytest.FixtureRequest) -> nn.Module:
    return short_model(*request.param)


@torch.no_grad()
def test_mixed_batches_take_the_exits_of_their_routes(model: nn.Module) -> None:
    inputs = toy_inputs(4)
    difficulties = model.difficulties(inputs)
    model.threshold = sorted(difficulties)[1]
    exits = model.exits(inputs)
    routes = [routed["route"] for routed in model(inputs)]
    assert sorted(routes) == ["easy", "easy", "hard", "hard"]
    for routed, both in zip(model(inputs), exits, strict=True):
        taken = both["detector2" if routed["route"] == "hard" else "detector1"]
        torch.testing.assert_close(routed["instances"].scores, taken.scores)
        torch.testing.assert_close(
            routed["instances"].pred_boxes.tensor, taken.pred_boxes.tensor, atol=1e-2, rtol=1e-4
        )
        assert len(taken) > 0


def test_optimised_copy_gives_the_same_exits(model: nn.Module) -> None:
    inputs = toy_inputs(2)
    fast = optimize_for_inference(model)
    assert not any(hasattr(m, "running_var") for m in fast.backbone.modules())
    for ours, theirs in zip(fast.exits(inputs), model.exits(inputs), strict=True):
        assert ours["difficulty"] == pytest.approx(theirs["difficulty"], abs=1e-5)
        for name in ("detector1", "detector2"):
            torch.testing.assert_close(ours[name].scores, theirs[name].scores, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("overrides", [(), APART], ids=["shared", "apart"])
def test_every_weight_trains(overrides: tuple) -> None:
    model = short_model(*overrides).train()
    optimizer = build_detectors_optimizer(toy_cfg("SOLVER.OPTIMIZER", "ADAMW"), model)
    with EventStorage():
        losses = model(toy_inputs(2))
    sum(losses.values()).backward()
    for name, weight in model.backbone.named_parameters():
        assert weight.grad is not None and weight.grad.any(), name
    optimizer.step()


def test_losses_per_image_are_of_both_detectors(model: nn.Module) -> None:
    losses = model.detector_losses_per_image(toy_inputs(2))
    assert losses.shape == (2, 2) and torch.isfinite(losses).all()
    assert (losses[:, 0] != losses[:, 1]).all()


def test_a_backbone_apart_costs_what_backbone_1_costs() -> None:
    apart, shared = (count_parts(short_model(*o), 64, 96, 5) for o in (APART, ()))
    assert apart["bottom_up2"] == apart["bottom_up1"] == shared["bottom_up1"]
    # Stem; group0: depthwise, project; group1: expand, depthwise, project.
    half, quarter = 32 * 48, 16 * 24
    stem = half * 32 * 27 + half * 32 * (9 + 16)
    stage1 = half * 16 * 96 + quarter * 96 * (9 + 24)
    assert apart["bottom_up2"] - shared["bottom_up2"] == stem + stage1
    assert apart["connections"] == shared["connections"]


@pytest.mark.parametrize("name", ["build_composite_resnet_backbone", "swin"])
def test_other_families_come_apart_too(name: str) -> None:
    swin = ("MODEL.BACKBONE.NAME", "build_composite_swin_backbone", "MODEL.FPN.IN_FEATURES", STAGES)
    own = () if "resnet" in name else swin
    model = toy_model(*own, *APART)
    shared = toy_model(*own)
    assert set(model.backbone.connections.links) == set(shared.backbone.connections.links)
    inputs = toy_inputs(4)
    with torch.no_grad():
        model.threshold = sorted(model.difficulties(inputs))[1]
        exits = model.exits(inputs)
        for routed, both in zip(model(inputs), exits, strict=True):
            taken = both["detector2" if routed["route"] == "hard" else "detector1"]
            torch.testing.assert_close(routed["instances"].scores, taken.scores)
    parts = count_parts(model, 64, 96, 5)
    assert parts["bottom_up2"] == parts["bottom_up1"]
