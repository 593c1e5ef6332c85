# SPDX-License-Identifier: Apache-2.0
"""The staged Swin Transformer: torchvision's features, composite equations, routing, training."""

import pytest
import torch
from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import GeneralizedRCNN, build_backbone
from detectron2.modeling.backbone import FPN
from detectron2.modeling.backbone.fpn import LastLevelMaxPool
from detectron2.structures import Instances
from detectron2.utils.events import EventStorage
from torch import Tensor, nn
from torchvision.models.swin_transformer import SwinTransformer
from torchvision.ops import StochasticDepth

from dynamicdet_d2.engine.optimizer import build_detectors_optimizer
from dynamicdet_d2.modeling.backbone import CompositeBackbone, StagedSwin
from dynamicdet_d2.modeling.backbone.resnet import build_composite_resnet_backbone
from dynamicdet_d2.modeling.backbone.swin import (
    SIZES,
    build_composite_swin_backbone,
    build_swin_fpn_backbone,
)
from tests.support.toy import toy_cfg, toy_inputs, toy_model

IMAGE = ShapeSpec(channels=3)
STAGES = ("stage1", "stage2", "stage3", "stage4")
BLOCKS, HEADS = (2, 2, 3, 1), (1, 2, 4, 8)
SWIN = ("MODEL.BACKBONE.NAME", "build_composite_swin_backbone", "MODEL.FPN.IN_FEATURES", STAGES)
SHALLOW = ("MODEL.COMPOSITE.NUM_BLOCKS1", [2, 1, 1, 1])


def swin_cfg(*overrides: object) -> CfgNode:
    return toy_cfg(*SWIN, *SHALLOW, *overrides)


def narrow_swin(**keys: object) -> StagedSwin:
    """16, 32, 64 and 128 channels, with norms and tables that are no longer at their start."""
    torch.manual_seed(0)
    keys = {"channels": 16, "num_blocks": BLOCKS, "num_heads": HEADS, **keys}
    return shaken(StagedSwin(**keys)).eval()


def shaken(module: nn.Module) -> nn.Module:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return module


def narrow_composite(blocks2: tuple[int, ...] = BLOCKS) -> CompositeBackbone:
    composite = CompositeBackbone(
        bottom_up1=narrow_swin(), bottom_up2=narrow_swin(num_blocks=blocks2)
    )
    return shaken(composite).eval()


def torchvision_twin(swin: StagedSwin) -> SwinTransformer:
    """torchvision's whole model with the weights of a staged one, put in place module by module."""
    twin = SwinTransformer([4, 4], 16, list(BLOCKS), list(HEADS), [7, 7], num_classes=1).eval()
    patches = twin.features[0]
    patches[0].load_state_dict(swin.patch_embed.proj.state_dict())
    patches[2].load_state_dict(swin.patch_embed.norm.state_dict())
    for number, name in enumerate(STAGES):
        stage = getattr(swin, name)
        twin.features[2 * number + 1].load_state_dict(stage.blocks.state_dict())
        if number:
            twin.features[2 * number].load_state_dict(stage.merge.state_dict())
    return twin


# One backbone


@pytest.mark.parametrize(
    "size",
    [(224, 224), (96, 160), (100, 132), (36, 484)],
    ids=["whole windows", "padded windows", "odd sizes", "smaller than a window"],
)
@torch.no_grad()
def test_features_are_torchvisions(size: tuple[int, int]) -> None:
    swin = narrow_swin()
    twin = torchvision_twin(swin)
    images = torch.randn(2, 3, *size)
    features = swin(images)
    x = twin.features[0](images)
    for number, name in enumerate(STAGES):
        for part in twin.features[max(2 * number, 1) : 2 * number + 2]:
            x = part(x)
        norm = getattr(swin, name).norm
        expected = nn.functional.layer_norm(x, x.shape[-1:], norm.weight, norm.bias)
        found = features[name].permute(0, 2, 3, 1)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_outputs_of_the_stages_before_their_norms_are_torchvisions() -> None:
    swin = narrow_swin()
    twin = torchvision_twin(swin)
    images = torch.randn(1, 3, 96, 160)
    outputs = swin.stages_from(0, swin.stem_forward(images))
    x = twin.features[:2](images)
    for number, (carried, _) in enumerate(outputs):
        x = twin.features[2 * number : 2 * number + 2](x) if number else x
        torch.testing.assert_close(carried.permute(0, 2, 3, 1), x, atol=1e-5, rtol=1e-5)


def test_shapes_are_what_the_backbone_says() -> None:
    swin = narrow_swin()
    features = swin(torch.randn(1, 3, 64, 128))
    for number, (name, shape) in enumerate(swin.output_shape().items()):
        assert (shape.channels, shape.stride) == (16 * 2**number, 4 * 2**number)
        expected = (1, shape.channels, 64 // shape.stride, 128 // shape.stride)
        assert features[name].shape == expected and features[name].is_contiguous()


@pytest.mark.parametrize(
    ("size", "channels", "third", "parameters"),
    # The Swin paper has 29, 50 and 88 million with a classifier of 0.8 to 1 million.
    [("T", 96, 6, 27.5e6), ("S", 96, 18, 48.8e6), ("B", 128, 18, 86.7e6)],
)
def test_sizes_are_the_papers(size: str, channels: int, third: int, parameters: float) -> None:
    cfg = toy_cfg(*SWIN, "MODEL.SWIN.SIZE", size, "MODEL.COMPOSITE.NUM_BLOCKS1", [])
    with torch.device("meta"):
        backbone = build_composite_swin_backbone(cfg, IMAGE)
    for bottom_up in (backbone.bottom_up1, backbone.bottom_up2):
        assert [len(getattr(bottom_up, name).blocks) for name in STAGES] == [2, 2, third, 2]
    shapes = backbone.output_shape().values()
    assert [s.channels for s in shapes] == [channels * 2**i for i in range(4)]
    count = sum(p.numel() for p in backbone.bottom_up1.parameters())
    assert count == pytest.approx(parameters, rel=0.01)
    assert {SIZES[size].channels * 2**i // h for i, h in enumerate(SIZES[size].heads)} == {32}


def test_stochastic_depth_grows_evenly_over_the_blocks() -> None:
    swin = narrow_swin(num_blocks=(1, 1, 2, 1), drop_path_rate=0.4)
    rates = [m.p for m in swin.modules() if isinstance(m, StochasticDepth)]
    assert rates == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4])
    images = torch.randn(1, 3, 32, 32)
    assert torch.equal(swin(images)["stage4"], swin(images)["stage4"])
    swin.train()
    runs = torch.stack([swin(images)["stage4"] for _ in range(8)])
    assert not torch.equal(runs[0].expand_as(runs), runs)


def test_every_second_block_shifts_its_windows_by_half() -> None:
    blocks = narrow_swin(num_blocks=(1, 1, 4, 1)).stage3.blocks
    assert [block.attn.shift_size for block in blocks] == [[0, 0], [3, 3], [0, 0], [3, 3]]


@pytest.mark.parametrize(("freeze_at", "frozen"), [(0, 0), (1, 1), (2, 2), (5, 5)])
def test_frozen_parts_neither_train_nor_vary(freeze_at: int, frozen: int) -> None:
    swin = narrow_swin(drop_path_rate=0.5)
    swin.freeze(freeze_at)
    parts = [swin.patch_embed, *(getattr(swin, name) for name in STAGES)]
    for number, part in enumerate(parts):
        assert all(p.requires_grad == (number >= frozen) for p in part.parameters())
        if number < frozen:
            assert not any(m.p for m in part.modules() if isinstance(m, StochasticDepth))


@torch.no_grad()
def test_half_precision_runs() -> None:
    composite = narrow_composite()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features2 = composite.second(*composite.first(torch.randn(1, 3, 64, 64)))
    assert all(torch.isfinite(f).all() for f in features2.values())


# Composite


@torch.no_grad()
def test_injection_by_hand() -> None:
    composite = narrow_composite()
    features1, shared = composite.first(torch.randn(2, 3, 64, 96))
    features2 = composite.second(features1, shared)
    links = composite.connections.links
    x = shared.permute(0, 2, 3, 1)
    for number, name in enumerate(STAGES):
        stage = getattr(composite.bottom_up2, name)
        x = stage.merge(x)
        total = features1[name].permute(0, 2, 3, 1)  # g_ii: the channels agree
        for source in range(number + 1, 4):
            link = links[f"{name}_from_{STAGES[source]}"]
            f1 = features1[STAGES[source]].permute(0, 2, 3, 1)
            part = f1 @ link.weight[:, :, 0, 0].T + link.bias
            factor = 2 ** (source - number)
            total = total + part.repeat_interleave(factor, 1).repeat_interleave(factor, 2)
        x = x + total
        for block in stage.blocks:
            x = block(x)
        torch.testing.assert_close(
            features2[name].permute(0, 2, 3, 1), stage.norm(x), atol=1e-5, rtol=1e-5
        )


def test_connections_start_at_zero_or_are_the_identity() -> None:
    composite = CompositeBackbone(bottom_up1=narrow_swin(), bottom_up2=narrow_swin())
    links = composite.connections.links
    assert len(links) == 4 + 3 + 2 + 1
    for target in range(4):
        for source in range(target, 4):
            link = links[f"{STAGES[target]}_from_{STAGES[source]}"]
            if source == target:
                assert isinstance(link, nn.Identity)
            else:
                assert link.weight.shape == (16 * 2**target, 16 * 2**source, 1, 1)
                assert not link.weight.any() and not link.bias.any()


def test_the_patch_embedding_exists_once_and_all_stages_twice() -> None:
    composite = narrow_composite(blocks2=(1, 2, 4, 1))
    assert not hasattr(composite.bottom_up2, "patch_embed")
    assert [len(getattr(composite.bottom_up2, name).blocks) for name in STAGES] == [1, 2, 4, 1]
    assert not {p.data_ptr() for p in composite.bottom_up1.parameters()} & {
        p.data_ptr() for p in composite.bottom_up2.parameters()
    }


def test_blocks_of_both_backbones_come_from_the_config() -> None:
    cfg = swin_cfg("MODEL.COMPOSITE.NUM_BLOCKS2", [1, 1, 3, 1])
    with torch.device("meta"):
        backbone = build_backbone(cfg)
    found = [
        [len(getattr(bottom_up, name).blocks) for name in STAGES]
        for bottom_up in (backbone.bottom_up1, backbone.bottom_up2)
    ]
    assert found == [[2, 1, 1, 1], [1, 1, 3, 1]]


def test_blocks_of_other_stages_are_refused() -> None:
    cfg = toy_cfg(*SWIN, "MODEL.COMPOSITE.NUM_BLOCKS1", [2, 2])
    with pytest.raises(ValueError, match="NUM_BLOCKS1 is \\[2, 2\\].*stage1..stage4"):
        build_composite_swin_backbone(cfg, IMAGE)


def test_plain_backbone_refuses_levels_of_another_family() -> None:
    cfg = toy_cfg("MODEL.FPN.IN_FEATURES", ["res2"])
    with (
        torch.device("meta"),
        pytest.raises(ValueError, match="MODEL.FPN.IN_FEATURES is \\['res2'\\].*stage1"),
    ):
        build_swin_fpn_backbone(cfg, IMAGE)


# Gradient checkpointing


def gradients(module: nn.Module, images: Tensor) -> dict[str, Tensor]:
    module.zero_grad()
    torch.manual_seed(3)  # for stochastic depth
    sum(f.square().mean() for f in module(images).values()).backward()
    return {name: p.grad.clone() for name, p in module.named_parameters()}


def test_gradient_checkpointing_gives_the_same_gradients() -> None:
    swin = narrow_swin(drop_path_rate=0.5).train()
    images = torch.randn(2, 3, 64, 64)
    expected = gradients(swin, images)
    calls = []
    swin.stage3.blocks[0].register_forward_pre_hook(lambda *_: calls.append(1))
    swin.checkpoint_gradients()
    found = gradients(swin, images)
    assert len(calls) == 2  # forward, and again in the backward pass
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, msg=name)


def test_gradient_checkpointing_keeps_less() -> None:
    kept = {}
    for checkpointing in (False, True):
        swin = narrow_swin().train()
        if checkpointing:
            swin.checkpoint_gradients()
        sizes: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda x, sizes=sizes: sizes.append(x.numel()) or x, lambda x: x
        ):
            swin(torch.randn(1, 3, 64, 64))
        kept[checkpointing] = sum(sizes)
    assert kept[True] < kept[False] / 3


def test_gradient_checkpointing_by_config_serves_both_families() -> None:
    key = ("MODEL.BACKBONE.GRADIENT_CHECKPOINTING", True)
    wide = ("MODEL.RESNETS.STEM_OUT_CHANNELS", 32, "MODEL.RESNETS.RES2_OUT_CHANNELS", 32)
    cfg = toy_cfg(*key, *wide, "MODEL.RESNETS.NORM", "GN")
    resnet = build_composite_resnet_backbone(cfg, IMAGE)
    with torch.device("meta"):
        swin = build_composite_swin_backbone(swin_cfg(*key), IMAGE)
        plain = build_swin_fpn_backbone(swin_cfg(*key), IMAGE).bottom_up
    backbones = [b for c in (resnet, swin) for b in (c.bottom_up1, c.bottom_up2)]
    assert all(backbone.gradient_checkpointing for backbone in [*backbones, plain])
    calls = []
    resnet.bottom_up2.res4[0].register_forward_pre_hook(lambda *_: calls.append(1))
    resnet.second(*resnet.first(torch.randn(1, 3, 64, 64)))["res5"].sum().backward()
    assert len(calls) == 2
    with pytest.raises(ValueError, match="GRADIENT_CHECKPOINTING is True, but .* batch norms"):
        build_composite_resnet_backbone(toy_cfg(*key), IMAGE)


# In a detector


@pytest.fixture(scope="module")
def model() -> nn.Module:
    model = toy_model(*SWIN, *SHALLOW)
    with torch.no_grad():
        for link in model.backbone.connections.parameters():
            link.add_(0.05 * torch.randn_like(link))
    return model


def same(a: Instances, b: Instances) -> bool:
    boxes = torch.equal(a.pred_boxes.tensor, b.pred_boxes.tensor)
    return boxes and torch.equal(a.scores, b.scores)


@torch.no_grad()
def test_easy_route_is_stock_detectron2_bit_for_bit(model: nn.Module) -> None:
    fpn = FPN(model.backbone.bottom_up1, STAGES, 16, top_block=LastLevelMaxPool())
    fpn.load_state_dict(model.neck.state_dict(), strict=False)
    stock = GeneralizedRCNN(
        backbone=fpn,
        proposal_generator=model.proposal_generator,
        roi_heads=model.roi_heads,
        pixel_mean=model.pixel_mean.flatten().tolist(),
        pixel_std=model.pixel_std.flatten().tolist(),
    ).eval()
    model.threshold = 1.0
    inputs = toy_inputs(2)
    for ours, theirs in zip(model(inputs), stock(inputs), strict=True):
        assert ours["route"] == "easy" and len(ours["instances"]) > 0
        assert same(ours["instances"], theirs["instances"])


@torch.no_grad()
def test_a_mixed_batch_equals_single_images(model: nn.Module) -> None:
    inputs = toy_inputs(4)
    model.threshold = sorted(model.difficulties(inputs))[1]
    batch = model(inputs)
    assert [x["route"] for x in batch].count("hard") == 2
    for one, together in zip([model([x])[0] for x in inputs], batch, strict=True):
        assert one["route"] == together["route"]
        assert one["difficulty"] == pytest.approx(together["difficulty"], abs=1e-6)
        scores = (one["instances"].scores, together["instances"].scores)
        torch.testing.assert_close(*scores, atol=1e-5, rtol=1e-4)


def test_losses_per_image_do_not_depend_on_the_batch(model: nn.Module) -> None:
    inputs = toy_inputs(2)
    together = model.detector_losses_per_image(inputs)
    alone = torch.cat([model.detector_losses_per_image([x]) for x in inputs])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-4)
    assert not torch.equal(together[:, 0], together[:, 1])


@pytest.mark.parametrize("first", [0, 1])
def test_every_weight_that_trains_gets_a_gradient(first: int) -> None:
    """Training on several processes waits for the gradient of each."""
    levels = [f"p{number}" for number in range(2 + first, 6)]
    overrides = ["MODEL.FPN.IN_FEATURES", STAGES[first:], "MODEL.ROI_HEADS.IN_FEATURES", levels]
    overrides += ["MODEL.RPN.IN_FEATURES", [*levels, "p6"]]
    overrides += ["MODEL.ANCHOR_GENERATOR.SIZES", [[32], [64], [128], [256], [512]][first:]]
    model = toy_model(*SWIN, *SHALLOW, *overrides).train()
    model.router.requires_grad_(False)
    with EventStorage():
        sum(model(toy_inputs(2)).values()).backward()
    assert [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None] == []


def test_norms_and_position_tables_do_not_decay() -> None:
    cfg = swin_cfg("SOLVER.OPTIMIZER", "ADAMW", "SOLVER.WEIGHT_DECAY", 0.05)
    backbone = narrow_composite()
    optimizer = build_detectors_optimizer(cfg, backbone)
    names = {p: name for name, p in backbone.named_parameters()}
    decays = {names[p]: g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    assert decays.keys() == set(names.values())
    for name, decay in decays.items():
        free = "norm" in name or name.endswith("relative_position_bias_table")
        assert decay == (0.0 if free else 0.05), name
