# SPDX-License-Identifier: Apache-2.0
"""Costs by part and route against counts made by hand, and against the paper's tables."""

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from detectron2.config import CfgNode, get_cfg
from detectron2.layers import ShapeSpec
from detectron2.modeling import GeneralizedRCNN, build_model
from detectron2.modeling.backbone import FPN
from detectron2.modeling.proposal_generator import build_proposal_generator
from detectron2.modeling.roi_heads import StandardROIHeads, build_roi_heads
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from dynamicdet_d2 import DynamicRCNN, add_dynamicdet_config
from dynamicdet_d2.commands.main import main
from dynamicdet_d2.config import read_config
from dynamicdet_d2.evaluation import cost
from dynamicdet_d2.evaluation.cost import (
    RouteCost,
    count_flops,
    count_parts,
    kept_proposals,
    route_flops,
)
from dynamicdet_d2.evaluation.flop_meter import Meter
from dynamicdet_d2.evaluation.paper import PAPER, Setting, setting_of, system_name
from dynamicdet_d2.modeling.backbone.composite import CompositeBackbone, StagedBackbone
from dynamicdet_d2.modeling.necks.fpn import GivenFeatures
from dynamicdet_d2.modeling.router import AdaptiveRouter
from dynamicdet_d2.modeling.router_inputs import PooledFeatures
from dynamicdet_d2.modeling.routing import Features
from dynamicdet_d2.parts import Part, parts_of
from tests.support.toy import toy_cfg

NUM_PROPOSALS = 7

# Multiply-adds of TwoStages and of what tiny_model puts around it, at 64x64: level "a" and p2
# have 16x16 = 256 positions, level "b" and p3 have 8x8 = 64.
STEM = 256 * (3 * 4) * 4 * 4  # 4x4 convolution, 3 to 4 channels
STAGES = 256 * (4 * 8) + 64 * (8 * 16) * 2 * 2  # a: 1x1, 4 to 8; b: 2x2, 8 to 16
BY_HAND = {
    "bottom_up1": STEM + STAGES,
    "router": 24 * 6 + 6,  # 8 + 16 pooled channels
    # into a (4 channels) from a and b, into b (8 channels) from b; each at its source's size
    "connections": 256 * (8 * 4) + 64 * (16 * 4) + 64 * (16 * 8),
    "bottom_up2": STAGES,  # the stem is backbone 1's
    # lateral 1x1 and output 3x3 convolutions, 8 channels
    "neck": 256 * (8 * 8) + 64 * (16 * 8) + (256 + 64) * (8 * 8) * 9,
    # 3x3, then 3 anchors with a score and four deltas each
    "rpn_head": (256 + 64) * ((8 * 8) * 9 + 8 * 3 + 8 * 12),
    # 8x7x7 pooled values to 10, then 2 classes and background, and 4 deltas for each class
    "box_head": NUM_PROPOSALS * (8 * 7 * 7 * 10 + 10 * 3 + 10 * 8),
    "mask_head": 0,
}


class TwoStages(StagedBackbone):
    """A third family: a stem and two convolutions, level "a" of stride 4 and "b" of stride 8."""

    stage_names = ("a", "b")

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 4, stride=4)
        self.stages = nn.ModuleList([nn.Conv2d(4, 8, 1), nn.Conv2d(8, 16, 2, stride=2)])

    def output_shape(self) -> dict[str, ShapeSpec]:
        return {"a": ShapeSpec(channels=8, stride=4), "b": ShapeSpec(channels=16, stride=8)}

    def stem_forward(self, images: Tensor) -> Tensor:
        return self.stem(images)

    def run(self, stage: int, x: Tensor) -> Tensor:
        return self.stages[stage](x)

    def connection(self, source: int, target: int, in_channels: int) -> nn.Module:
        return nn.Conv2d((8, 16)[source], (4, 8)[target], 1)

    def drop_shared(self) -> None:
        del self.stem


class Attending(TwoStages):
    """Stage "a" ends in attention over its 256 positions, 8 channels in 2 heads."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def run(self, stage: int, x: Tensor) -> Tensor:
        x = super().run(stage, x)
        if stage > 0:
            return x
        tokens = x.flatten(2).transpose(1, 2)
        tokens = self.attention(tokens, tokens, tokens, need_weights=False)[0]
        return tokens.transpose(1, 2).reshape(x.shape)


class ReadsValues(TwoStages):
    """Cannot run on tensors without values."""

    def run(self, stage: int, x: Tensor) -> Tensor:
        return super().run(stage, x) * (1.0 if x.sum().item() > 0 else 0.5)


class AttendingAndReading(Attending, ReadsValues):
    """Both: attention that is counted by a real run."""


class Remembers(TwoStages):
    """Keeps a tensor of its first input's size for all later ones, as position codes are kept."""

    code: Tensor | None = None

    def stem_forward(self, images: Tensor) -> Tensor:
        x = super().stem_forward(images)
        self.code = torch.ones_like(x) if self.code is None else self.code
        return x + self.code


def tiny_cfg(roi_heads: str = "StandardROIHeads", mask: bool = False) -> CfgNode:
    cfg = get_cfg()
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.ANCHOR_GENERATOR.SIZES = [[16], [32]]
    cfg.MODEL.RPN.IN_FEATURES = ["p2", "p3"]
    heads = cfg.MODEL.ROI_HEADS
    heads.NAME, heads.IN_FEATURES, heads.NUM_CLASSES = roi_heads, ["p2", "p3"], 2
    box = cfg.MODEL.ROI_BOX_HEAD
    box.NAME, box.NUM_FC, box.FC_DIM, box.POOLER_RESOLUTION = "FastRCNNConvFCHead", 1, 10, 7
    box.CLS_AGNOSTIC_BBOX_REG = roi_heads == "CascadeROIHeads"
    cfg.MODEL.MASK_ON = mask
    head = cfg.MODEL.ROI_MASK_HEAD
    head.NAME, head.NUM_CONV, head.CONV_DIM = "MaskRCNNConvUpsampleHead", 1, 6
    return cfg


def tiny_model(
    family: Callable[[], StagedBackbone] = TwoStages,
    roi_heads: str = "StandardROIHeads",
    mask: bool = False,
) -> DynamicRCNN:
    cfg = tiny_cfg(roi_heads, mask)
    backbone = CompositeBackbone(bottom_up1=family(), bottom_up2=family())
    shape = backbone.output_shape()
    neck = FPN(bottom_up=GivenFeatures(shape), in_features=["a", "b"], out_channels=8)
    return DynamicRCNN(
        backbone=backbone,
        neck=neck,
        router=AdaptiveRouter(inputs={"features": PooledFeatures(shape)}),
        proposal_generator=build_proposal_generator(cfg, neck.output_shape()),
        roi_heads=build_roi_heads(cfg, neck.output_shape()),
        pixel_mean=[0.0, 0.0, 0.0],
        pixel_std=[1.0, 1.0, 1.0],
    )


def tiny_parts(attention_matmul: bool = True, **options: object) -> dict[str, int]:
    return count_parts(tiny_model(**options), 64, 64, NUM_PROPOSALS, attention_matmul)


# One operator at a time


def test_convolution_counts_one_per_multiply_add() -> None:
    meter = Meter()
    out = meter("conv", nn.Conv2d(16, 32, 3, padding=1), torch.zeros(1, 16, 10, 12))
    assert out.shape == (1, 32, 10, 12)
    assert meter.work["conv"] == (0, 3 * 3 * 16 * 32 * 10 * 12)


def test_grouped_and_transposed_convolution() -> None:
    meter = Meter()
    meter("grouped", nn.Conv2d(8, 8, 3, groups=8, padding=1), torch.zeros(1, 8, 5, 6))
    meter("transposed", nn.ConvTranspose2d(6, 5, 2, stride=2), torch.zeros(1, 6, 14, 14))
    assert meter.work["grouped"].other == 8 * 9 * 5 * 6
    assert meter.work["transposed"].other == 6 * 5 * 2 * 2 * 14 * 14


def test_linear_layer_over_tokens_is_no_attention() -> None:
    meter = Meter()
    meter("linear", nn.Linear(7, 3), torch.zeros(2, 5, 7))
    assert meter.work["linear"] == (0, 2 * 5 * 7 * 3)


def test_attention_counts_the_same_however_it_is_written() -> None:
    # 2 images, 3 heads, 9 tokens, 4 channels a head: q k^T and its product with v.
    by_hand = 2 * (2 * 3) * 9 * 9 * 4
    q = torch.zeros(2, 3, 9, 4)
    meter = Meter()
    meter("products", lambda: (q @ q.transpose(-2, -1)).softmax(-1) @ q)
    meter("fused", F.scaled_dot_product_attention, q, q, q)
    assert meter.work == {"products": (by_hand, 0), "fused": (by_hand, 0)}


def test_fused_transformer_layer_is_counted() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, dim_feedforward=16, batch_first=True).eval()
    meter = Meter()
    meter("layer", layer, torch.zeros(1, 5, 8))
    assert torch.backends.mha.get_fastpath_enabled()
    projections = 5 * (8 * 24 + 8 * 8 + 8 * 16 + 16 * 8)
    assert meter.work["layer"] == (2 * 5 * 5 * 8, projections)


# One model


def test_parts_of_a_third_family_by_hand() -> None:
    assert tiny_parts() == BY_HAND


def test_routes_are_sums_of_parts() -> None:
    shared = sum(BY_HAND[p] for p in ("neck", "rpn_head", "box_head"))
    easy = BY_HAND["bottom_up1"] + BY_HAND["router"] + shared
    hard = easy + BY_HAND["connections"] + BY_HAND["bottom_up2"]
    routes = {"easy": easy, "hard": hard, "router": 150}
    model = tiny_model()
    assert route_flops(BY_HAND, parts_of(model).routes) == routes
    assert count_flops(model, 64, 64, NUM_PROPOSALS) == routes


def test_mask_head_is_counted_for_a_hundred_detections() -> None:
    # 3x3 from 8 to 6 at 14x14, 2x2 transposed from 6 to 6, 1x1 from 6 to 2 at 28x28
    one = (8 * 6) * 9 * 196 + (6 * 6) * 4 * 196 + (6 * 2) * 784
    assert tiny_parts(mask=True) == BY_HAND | {"mask_head": 100 * one}


def test_cascade_heads_count_their_three_stages() -> None:
    stage = 8 * 7 * 7 * 10 + 10 * 3 + 10 * 4  # deltas do not depend on the class
    parts = tiny_parts(roi_heads="CascadeROIHeads")
    assert parts == BY_HAND | {"box_head": 3 * NUM_PROPOSALS * stage}


@pytest.mark.parametrize("family", [Attending, AttendingAndReading])
def test_attention_products_can_be_left_out(family: type[TwoStages]) -> None:
    model = tiny_model(family).requires_grad_(False)
    with_products = count_parts(model, 64, 64, NUM_PROPOSALS)
    without = count_parts(model, 64, 64, NUM_PROPOSALS, attention_matmul=False)
    assert not any(weight.requires_grad for weight in model.parameters())
    for part in ("bottom_up1", "bottom_up2"):
        assert without[part] == BY_HAND[part] + 256 * (8 * 24 + 8 * 8)
        assert with_products[part] == without[part] + 2 * 256 * 256 * 8
    rest = set(BY_HAND) - {"bottom_up1", "bottom_up2"}
    assert all(with_products[p] == without[p] == BY_HAND[p] for p in rest)


META = ("MODEL.META_ARCHITECTURE",)
STATIC = (
    *(*META, "GeneralizedRCNN", "MODEL.BACKBONE.NAME", "build_resnet_fpn_backbone"),
    *("MODEL.RESNETS.RES2_OUT_CHANNELS", 64),
)


@pytest.mark.parametrize("channels", [3, 1])  # colours, or grey images
def test_static_detector_has_one_route_and_no_router(channels: int) -> None:
    class Plain(TwoStages):
        size_divisibility = 8

        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(channels, 4, 4, stride=4)

    cfg = tiny_cfg()
    fpn = FPN(bottom_up=Plain(), in_features=["a", "b"], out_channels=8)
    shape = fpn.output_shape()
    heads = build_proposal_generator(cfg, shape), build_roi_heads(cfg, shape)
    model = GeneralizedRCNN(
        backbone=fpn,
        proposal_generator=heads[0],
        roi_heads=heads[1],
        pixel_mean=[0.0] * channels,
        pixel_std=[1.0] * channels,
    )
    parts = count_parts(model, 64, 64, NUM_PROPOSALS)
    by_hand = {**BY_HAND, "bottom_up1": STEM * channels // 3 + STAGES}
    assert parts == {
        name: work
        for name, work in by_hand.items()
        if name not in ("router", "connections", "bottom_up2")
    }
    routes = count_flops(model, 64, 64, NUM_PROPOSALS)
    assert routes["easy"] == routes["hard"] and routes["router"] == 0


def test_what_no_part_describes_is_said(caplog: pytest.LogCaptureFixture) -> None:
    """Of a kind that is derived from Detectron2's, with a further head, as a panoptic one has."""
    model = build_model(toy_cfg(*STATIC))
    RouteCost(model).at(64, 64)
    assert "not counted" not in caplog.text
    model.sem_seg_head = nn.Conv2d(16, 4, 1)
    RouteCost(model).at(64, 64)
    assert "Multiply-adds of sem_seg_head are not counted: no part of G" in caplog.text


class Refined(DynamicRCNN):
    """With one convolution behind the necks, and one that easy images alone go through."""

    refine: nn.Module
    easy: nn.Module

    def pyramid(self, detector: int, features: Features) -> Features:
        levels = super().pyramid(detector, features)
        levels = {name: self.refine(level) for name, level in levels.items()}
        return {name: self.easy(x) for name, x in levels.items()} if detector == 1 else levels

    def tail_parts(self) -> tuple[Part, ...]:
        own = Part("refine", self.refine), Part("easy", self.easy, routes=("easy",))
        return *super().tail_parts(), *own


@pytest.mark.parametrize("share", [True, False])
def test_parts_of_ones_own_are_counted_as_often_as_a_route_runs_them(share: bool) -> None:
    """Of 64 x 64 pixels: levels of strides 4, 8, 16, 32 and 64, whose convolutions are 1 x 1."""
    model: Any = build_model(toy_cfg("MODEL.COMPOSITE.SHARE_NECK", share))
    before = count_flops(model, 64, 64)
    model.__class__ = Refined
    model.refine, model.easy = nn.Conv2d(16, 16, 1), nn.Conv2d(16, 16, 1)
    positions = sum(side**2 for side in (16, 8, 4, 2, 1))
    parts, routes = count_parts(model, 64, 64), count_flops(model, 64, 64)
    assert parts["refine"] == parts["easy"] == positions * 16 * 16
    assert routes["hard"] - before["hard"] == positions * 16 * 16
    assert routes["easy"] - before["easy"] == 2 * positions * 16 * 16


class OnMaps(StandardROIHeads):
    """A convolution over whole maps before regions are pooled."""

    context: nn.Module

    def forward(self, images: Any, features: dict, *given: Any) -> Any:
        seen = {name: self.context(level) for name, level in features.items()}
        return super().forward(images, seen, *given)


def test_heads_of_ones_own_are_counted_at_each_size() -> None:
    model = build_model(toy_cfg())
    sizes = ((64, 96), (256, 384))
    before = [count_parts(model, *size)["box_head"] for size in sizes]
    assert before[0] == before[1]
    model.roi_heads.__class__, model.roi_heads.context = OnMaps, nn.Conv2d(16, 16, 1)
    found = [count_parts(model, *size)["box_head"] for size in sizes]
    positions = [sum(-(-h // s) * -(-w // s) for s in (4, 8, 16, 32, 64)) for h, w in sizes]
    more = [now - was for now, was in zip(found, before, strict=True)]
    assert more == [16 * 16 * count for count in positions]


def test_parts_may_be_called_with_names() -> None:
    """Of 4 positions in 8 channels: four projections, and two products of 4 x 4."""
    attention, meter = nn.MultiheadAttention(8, 2, batch_first=True), Meter()
    with meter.watching(Part("attention", attention)):
        attention(*torch.zeros(3, 1, 4, 8), need_weights=False)
    assert meter.work["attention"] == (2 * 4 * 4 * 8, 4 * 4 * 8 * 8)


def test_threads_may_count_one_model() -> None:
    model = tiny_model()
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda _: count_flops(model, 64, 64, NUM_PROPOSALS), range(12)))
    assert found == [found[0]] * 12


def test_a_network_of_proposals_alone_is_counted() -> None:
    whole = count_parts(build_model(toy_cfg(*STATIC)), 64, 64)
    alone = count_parts(build_model(toy_cfg(*STATIC, *META, "ProposalNetwork")), 64, 64)
    assert alone == {name: whole[name] for name in ("bottom_up1", "neck", "rpn_head")}
    assert alone["rpn_head"] > 0


@pytest.mark.parametrize(("before", "after", "kept"), [(10, 1000, 50), (10, 7, 7), (90, 40, 40)])
def test_no_more_proposals_are_kept_than_there_are_candidates(
    before: int, after: int, kept: int
) -> None:
    """On each of the toy's five levels the RPN takes so many before NMS, and after it so many."""
    keys = ("MODEL.RPN.PRE_NMS_TOPK_TEST", before, "MODEL.RPN.POST_NMS_TOPK_TEST", after)
    model = build_model(toy_cfg(*keys))
    assert len(model.proposal_generator.in_features) == 5
    assert kept_proposals(model) == kept_proposals(model, "easy") == kept


def test_no_more_proposals_are_counted_than_there_are_anchors() -> None:
    """At 32x32: 3 anchors in each place of maps of 8x8, 4x4, 2x2, 1x1 and 1x1, at most 50 each."""
    keys = ("MODEL.RPN.PRE_NMS_TOPK_TEST", 50, "MODEL.RPN.POST_NMS_TOPK_TEST", 1000)
    model = build_model(toy_cfg(*keys, "MODEL.RPN.NMS_THRESH", 1.0)).eval()
    assert kept_proposals(model, size=(32, 32)) == 50 + 48 + 12 + 3 + 3
    assert kept_proposals(model, size=(1024, 1024)) == 5 * 50
    assert count_parts(model, 32, 32) != (found := RouteCost(model).parts(32, 32))
    assert found == count_parts(model, 32, 32, 116)
    with torch.no_grad():
        images = model.preprocess_image([{"image": torch.zeros(3, 32, 32)}])
        features = model.neck(model.backbone.bottom_up1(images.tensor))
        proposals, _ = model.proposal_generator(images, features)
    assert len(proposals[0]) <= 116


def test_module_that_reads_values_is_counted_by_a_real_run(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.DEBUG, logger="dynamicdet_d2"):
        assert tiny_parts() == BY_HAND
        assert "real run" not in caplog.text
        assert tiny_parts(family=ReadsValues) == BY_HAND
    assert "real run" in caplog.text


def test_weights_do_not_matter() -> None:
    model = tiny_model(mask=True)
    before = count_parts(model, 64, 64, NUM_PROPOSALS)
    with torch.no_grad():
        # Class 0 for certain: every proposal becomes a detection, where before few or none did.
        model.roi_heads.box_predictor.cls_score.bias.copy_(torch.tensor([99.0, 0.0, 0.0]))
    assert count_parts(model, 64, 64, NUM_PROPOSALS) == before


@pytest.mark.parametrize("family", [TwoStages, ReadsValues])
def test_counting_leaves_no_trace(family: type[TwoStages]) -> None:
    model = tiny_model(family, mask=True).train()
    model.backbone.bottom_up1.eval()
    modes = [module.training for module in model.modules()]
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    random, attributes = torch.get_rng_state(), set(vars(model.roi_heads))
    count_flops(model, 64, 64, NUM_PROPOSALS)
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), random)
    assert set(vars(model.roi_heads)) == attributes
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, weights[name], rtol=0, atol=0, equal_nan=True)


def test_a_module_that_remembers_keeps_no_fake_tensor() -> None:
    model = tiny_model(Remembers).eval()
    assert count_parts(model, 64, 64, NUM_PROPOSALS) == BY_HAND
    assert model.backbone.bottom_up1.code is None


# Sizes and averages


@pytest.fixture(scope="module")
def route_cost() -> RouteCost:
    return RouteCost(tiny_model(), num_proposals=NUM_PROPOSALS)


def test_sizes_are_padded_as_the_model_pads(route_cost: RouteCost) -> None:
    assert route_cost.at(57, 64) == route_cost.at(64, 57) == route_cost.at(64, 64)
    # Twice the width doubles all but the router and the ROI heads.
    narrow, wide = route_cost.parts(64, 64), route_cost.parts(64, 128)
    fixed = ("router", "box_head")
    assert wide == {p: macs * (1 if p in fixed else 2) for p, macs in narrow.items()}


def test_each_padded_size_is_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes, roi_runs = [], []
    dense, roi = cost.measure_dense, cost.measure_roi_heads
    monkeypatch.setattr(
        cost, "measure_dense", lambda m, h, w: sizes.append((h, w)) or dense(m, h, w)
    )
    monkeypatch.setattr(cost, "measure_roi_heads", lambda m, n: roi_runs.append(n) or roi(m, n))
    route_cost = RouteCost(tiny_model(), num_proposals=NUM_PROPOSALS)
    for size in ((64, 64), (60, 63), (64, 72), (64, 64), (64, 65)):
        route_cost.at(*size)
    assert sizes == [(64, 64), (64, 72)]
    assert roi_runs == [NUM_PROPOSALS]


def test_average_by_hand(route_cost: RouteCost) -> None:
    small, large = route_cost.at(64, 64), route_cost.at(64, 128)
    sizes = [(64, 64), (64, 128), (64, 64)]
    total = small["easy"] + large["hard"] + small["hard"]
    found = route_cost.average(sizes, [False, True, True])
    assert found == pytest.approx(total / 3 / 1e9)


@settings(max_examples=50, deadline=None)
@given(mask=st.lists(st.booleans(), min_size=1, max_size=20))
def test_average_of_one_size_is_linear_in_the_hard_fraction(mask: list[bool]) -> None:
    route_cost = RouteCost(nn.Module())
    route_cost.at = lambda height, width: {"easy": 2 * 10**9, "hard": 5 * 10**9}
    average = route_cost.average([(8, 8)] * len(mask), mask)
    assert average == pytest.approx(2 + 3 * sum(mask) / len(mask))


def test_average_takes_tensors(route_cost: RouteCost) -> None:
    difficulties = torch.tensor([0.2, 0.8])
    found = route_cost.average(torch.tensor([[64, 64], [64, 64]]), difficulties > 0.5)
    assert found == pytest.approx(sum(route_cost.at(64, 64)[r] for r in ("easy", "hard")) / 2e9)


@pytest.mark.parametrize(("sizes", "mask"), [([], []), ([(64, 64)], []), ([], [True])])
def test_average_of_nothing_is_refused(
    route_cost: RouteCost, sizes: list[tuple[int, int]], mask: list[bool]
) -> None:
    with pytest.raises(ValueError, match="at least one image and one route for each"):
        route_cost.average(sizes, mask)


def test_impossible_sizes_are_refused(route_cost: RouteCost) -> None:
    for side, must in ((0, "a whole number"), (64.5, "a whole number"), ("64", "a number")):
        with pytest.raises(ValueError, match=f"height is {side!r}; it must be {must}"):
            route_cost.at(side, 64)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="width is -1;"):
        route_cost.at(64, -1)
    with pytest.raises(ValueError, match="num_proposals is 1.5; it must be a whole number in"):
        RouteCost(tiny_model(), num_proposals=1.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="num_proposals is 0"):
        count_flops(tiny_model(), 64, 64, num_proposals=0)


# The paper's figures


def paper_cfg(backbone: str, meta_architecture: str, depth: int = 50) -> CfgNode:
    cfg = get_cfg()
    add_dynamicdet_config(cfg)
    model = cfg.MODEL
    model.DEVICE = "cpu"
    model.META_ARCHITECTURE, model.BACKBONE.NAME = meta_architecture, backbone
    model.RESNETS.DEPTH, model.RESNETS.STRIDE_IN_1X1 = depth, False
    levels = ["res2", "res3", "res4", "res5"]
    model.RESNETS.OUT_FEATURES = model.FPN.IN_FEATURES = levels
    model.ANCHOR_GENERATOR.SIZES = [[32], [64], [128], [256], [512]]
    model.RPN.IN_FEATURES = ["p2", "p3", "p4", "p5", "p6"]
    model.ROI_HEADS.NAME = "StandardROIHeads"
    model.ROI_HEADS.IN_FEATURES = ["p2", "p3", "p4", "p5"]
    box = model.ROI_BOX_HEAD
    box.NAME, box.NUM_FC, box.POOLER_RESOLUTION = "FastRCNNConvFCHead", 2, 7
    return cfg


def resnet_stages(depths: tuple[int, ...], height: int, width: int) -> int:
    """res3.. (by depths) of a ResNet with bottlenecks, stride in the 3x3 convolution."""
    total = 0
    for stage, blocks in enumerate(depths, start=1):
        outside, inside = 256 * 2**stage, 64 * 2**stage
        area = (height >> stage + 2) * (width >> stage + 2)
        block = area * inside * (outside + 9 * inside + outside)
        # The first block: its 1x1 runs before the stride on half the channels, and a shortcut.
        first = area * (4 * inside * outside // 2 + 9 * inside**2 + inside * outside)
        total += first + area * outside * outside // 2 + (blocks - 1) * block
    return total


def test_dynamic_faster_rcnn_resnet50_costs_what_the_paper_says() -> None:
    cfg = paper_cfg("build_composite_resnet_backbone", "DynamicRCNN")
    model = build_model(cfg)
    parts = count_parts(model, 800, 1280)
    res3_to_res5 = resnet_stages((4, 6, 3), 800, 1280)
    stem = 400 * 640 * 3 * 64 * 49
    res2 = 200 * 320 * (64 * 64 + 2 * 64 * 256 + 2 * 2 * 64 * 256 + 3 * 9 * 64 * 64)
    assert parts["bottom_up2"] == res3_to_res5
    assert parts["bottom_up1"] == stem + res2 + res3_to_res5
    sources = ((100 * 160, 512), (50 * 80, 1024), (25 * 40, 2048))
    targets = (256, 512, 1024)
    links = [a * c * t for i, t in enumerate(targets) for a, c in sources[i:]]
    assert parts["connections"] == sum(links)
    routes = route_flops(parts, parts_of(model).routes)
    assert routes["easy"] == pytest.approx(207.1e9, rel=0.01)
    assert routes["hard"] == pytest.approx(283.7e9, rel=0.01)
    assert routes["router"] == 3840 * 960 + 960 == pytest.approx(3.7e6, rel=0.01)
    assert (routes["easy"] + routes["hard"]) / 2 == pytest.approx(245.4e9, rel=0.01)


@pytest.mark.parametrize(("depth", "paper"), [(50, 207.1e9), (101, 283.1e9)])
def test_static_faster_rcnn_costs_what_the_paper_says(depth: int, paper: float) -> None:
    cfg = paper_cfg("build_resnet_fpn_backbone", "GeneralizedRCNN", depth)
    found = count_flops(build_model(cfg), 800, 1280)
    assert found["easy"] == found["hard"] == pytest.approx(paper, rel=0.01)


# The command


def test_table_puts_the_papers_figures_beside(monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = paper_cfg("build_composite_resnet_backbone", "DynamicRCNN")
    parts = dict.fromkeys(BY_HAND, 0) | {
        "bottom_up1": 200 * 10**9,
        "router": 4 * 10**6,
        "bottom_up2": 80 * 10**9,
    }
    monkeypatch.setattr(RouteCost, "parts", lambda self, height, width, route="hard": parts)
    model = tiny_model()
    rows = cost.table(model, cfg, Setting(800, 1280)).splitlines()
    assert rows[0].startswith("Dy-Faster R-CNN ResNet-50, multiply-adds at 3x800x1280, 1000 pr")
    cells = {row[:16].strip(): row[16:].split() for row in rows[2:-1]}
    assert cells["route hard"] == ["280.00", "G", "280.00", "G", "283.7", "G", "-1.30%"]
    assert cells["router"] == ["4.00", "M", "4.00", "M", "3.7", "M", "+8.11%"]
    assert cells["average at 0.1"] == ["208.00", "G", "208.00", "G"]
    assert cells["average at 0.9"] == ["272.00", "G", "272.00", "G", "276.0", "G", "-1.45%"]
    elsewhere = cost.table(model, cfg, Setting(640, 1280))
    assert "283.7" not in elsewhere


@pytest.mark.parametrize(
    ("keys", "parts"),
    [
        (("MODEL.ROUTER.INPUTS", ["rpn"]), "neck, rpn_head"),
        (("MODEL.DYNAMIC.MERGE_EXITS_IOU", 0.6), "neck, rpn_head, box_head"),
    ],
)
def test_table_says_what_the_hard_route_runs_twice(keys: tuple, parts: str) -> None:
    cfg = toy_cfg(*keys)
    said = f"route hard: {parts} run twice, once by each detector."
    assert cost.table(build_model(cfg), cfg, Setting(64, 96, 50)).splitlines()[-1] == said
    assert "twice" not in cost.table(build_model(toy_cfg()), toy_cfg(), Setting(64, 96, 50))


@pytest.mark.parametrize(
    "keys",
    [
        ("MODEL.DYNAMIC.MERGE_EXITS_IOU", 0.6),
        ("MODEL.ROUTER.INPUTS", ["detections"]),
        (
            *("MODEL.DYNAMIC.MERGE_EXITS_IOU", 0.6),
            *("MODEL.COMPOSITE.SHARE_NECK", False, "MODEL.COMPOSITE.SHARE_HEADS", False),
        ),
    ],
)
def test_detector1s_run_of_a_hard_image_has_the_proposals_of_an_easy_one(keys: tuple) -> None:
    """Of 50: 16 channels of 7 x 7 to two layers of 32, then 4 scores and 4 deltas of 3 classes."""
    of_all, of_five = (
        count_flops(build_model(toy_cfg(*keys, "MODEL.DYNAMIC.EASY_PROPOSALS", n)), 64, 96, 50)
        for n in (0, 5)
    )
    box = (16 * 7 * 7 + 32 + 4 + 3 * 4) * 32
    for route in ("easy", "hard"):
        assert of_all[route] - of_five[route] == 45 * box


def test_table_compares_table_1_with_twice_the_multiply_adds() -> None:
    cfg = read_config("configs/dy_yolov7.yaml")
    cfg.MODEL.DEVICE = "meta"
    with torch.device("meta"):
        model = build_model(cfg)
    rows = cost.table(model, cfg, Setting(640, 640)).splitlines()
    assert rows[0] == "Dy-YOLOv7, multiply-adds at 3x640x640"
    assert rows[-1].startswith("paper: its table prints 2 operations for each multiply-add")
    cells = {row[:16].strip(): row[16:].split() for row in rows[2:-2]}
    # 2 x 52.2576 = 104.515, and 104.515 / 104.7 - 1 = -0.18 %.
    assert cells["route easy"] == ["52.26", "G", "52.26", "G", "104.7", "G", "-0.18%"]
    assert cells["route hard"] == ["90.86", "G", "90.86", "G", "181.7", "G", "+0.01%"]
    assert cells["head1"] == ["6.39", "G", "6.39", "G"]
    elsewhere = cost.table(model, cfg, Setting(320, 320))
    assert "104.7" not in elsewhere and "paper:" not in elsewhere


def test_system_names_follow_the_config() -> None:
    cfg = paper_cfg("build_composite_resnet_backbone", "DynamicRCNN")
    assert system_name(cfg) in PAPER
    cfg.MODEL.MASK_ON = True
    assert system_name(cfg) == "Dy-Mask R-CNN ResNet-50"
    cfg.MODEL.COMPOSITE.NUM_BLOCKS2 = [3, 4, 9, 3]
    assert system_name(cfg) == ""
    static = paper_cfg("build_resnet_fpn_backbone", "GeneralizedRCNN", 101)
    assert system_name(static) in PAPER
    static.MODEL.ROI_HEADS.NUM_CLASSES = 3
    assert system_name(static) == ""
    for key, value in (("MODEL.KEYPOINT_ON", True), ("MODEL.RESNETS.NUM_GROUPS", 32)):
        other = paper_cfg("build_resnet_fpn_backbone", "GeneralizedRCNN", 101)
        other.merge_from_list([key, value])
        assert system_name(other) == ""
    # Dilated, without an FPN.
    assert system_name(paper_cfg("build_resnet_backbone", "GeneralizedRCNN")) == ""


def test_yolos_have_names_and_settings_of_their_own() -> None:
    for name, system, side in (
        ("yolov7", "YOLOv7", 640),
        ("dy_yolov7x", "Dy-YOLOv7-X", 640),
        ("dy_yolov7_w6", "Dy-YOLOv7-W6", 1280),
    ):
        cfg = read_config(f"configs/{name}.yaml")
        assert system_name(cfg) == system and system in PAPER
        assert setting_of(cfg) == Setting(side, side)
        cfg.MODEL.YOLO.WIDTH = 0.5
        assert system_name(cfg) == ""
        assert setting_of(cfg) == Setting(800, 1280, 1000)


@pytest.fixture
def config_file(tmp_path: Path) -> str:
    cfg = paper_cfg("build_composite_resnet_backbone", "DynamicRCNN", depth=18)
    cfg.MODEL.RESNETS.RES2_OUT_CHANNELS = 64
    # Where the threshold comes from is no business of a cost.
    cfg.MODEL.DYNAMIC.CALIBRATION = "missing/calibration.json"
    cfg.MODEL.DYNAMIC.HARD_FRACTION = 0.5
    file = tmp_path / "tiny.yaml"
    file.write_text(cfg.dump())
    return str(file)


def test_command_prints_parts_and_routes(
    config_file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    size = ["--height", "64", "--width", "96", "--num-proposals", "3"]
    fractions = ["TEST.DYNAMIC.HARD_FRACTIONS", "[0.25]"]
    assert main(["cost", "--config-file", config_file, *size, *fractions]) == 0
    text = capsys.readouterr().out
    assert "at 3x64x96, 3 proposals, 100 detections" in text
    rows = {line[:16].strip(): float(line[16:].split()[0]) for line in text.splitlines()[2:-1]}
    mixed = 0.75 * rows["route easy"] + 0.25 * rows["route hard"]
    assert rows["average at 0.25"] == pytest.approx(mixed, abs=0.02)
    assert "mask_head" not in rows and "average at 0.5" not in rows


@pytest.mark.parametrize("number", [3, 20])
def test_command_counts_the_proposals_of_the_config(
    config_file: str, capsys: pytest.CaptureFixture[str], number: int
) -> None:
    """As a report does, where no number is given."""
    size = ["--height", "64", "--width", "96"]
    command = ["cost", "--config-file", config_file, *size]
    assert main([*command, "MODEL.RPN.POST_NMS_TOPK_TEST", str(number)]) == 0
    by_key = capsys.readouterr().out
    assert main([*command, "--num-proposals", str(number)]) == 0
    assert f"at 3x64x96, {number} proposals," in by_key
    assert capsys.readouterr().out == by_key


@pytest.mark.parametrize("own", [STATIC, ()], ids=["static", "dynamic"])
def test_command_pads_as_the_optimised_copy_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], own: tuple
) -> None:
    """As an evaluation counts it: of a static detector it counted the image as it came."""
    file = tmp_path / "toy.yaml"
    file.write_text(toy_cfg(*own).dump())
    padded = ["MODEL.INFERENCE.OPTIMIZE", "True", "MODEL.INFERENCE.SIZE_MULTIPLE", "128"]
    command = ["cost", "--config-file", str(file), "--height"]
    assert main([*command, "64", "--width", "96", *padded]) == 0
    found = capsys.readouterr().out
    assert "multiply-adds at 3x128x128, 50 proposals" in found
    assert main([*command, "128", "--width", "128"]) == 0
    assert capsys.readouterr().out == found


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config-file", "no/such.yaml"], "no/such.yaml does not exist"),
        (["MODEL.NO_SUCH_KEY", "1"], "MODEL.NO_SUCH_KEY"),
        (["--height", "0"], "height is 0; it must be a whole number, at least 1."),
        (["--num-proposals", "0"], "num_proposals is 0"),
    ],
)
def test_command_refuses_in_one_sentence(
    config_file: str, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    with pytest.raises(SystemExit) as refusal:
        main(["cost", "--config-file", config_file, *arguments])
    assert refusal.value.code == 2
    assert message in capsys.readouterr().err
