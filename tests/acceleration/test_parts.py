# SPDX-License-Identifier: Apache-2.0
"""The parts of an optimised copy, each alone: options, norms, box heads, precision."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from detectron2.config import CfgNode
from detectron2.layers import Conv2d, FrozenBatchNorm2d, ShapeSpec
from detectron2.modeling import build_model
from detectron2.modeling.poolers import ROIPooler
from detectron2.modeling.proposal_generator import PROPOSAL_GENERATOR_REGISTRY, RPN
from detectron2.modeling.roi_heads.box_head import FastRCNNConvFCHead
from detectron2.structures import Boxes, ImageList, Instances
from torch import Tensor, nn

from dynamicdet_d2.acceleration import InferenceOptions, optimize_for_inference
from dynamicdet_d2.acceleration.box_head import replace_fully_connected
from dynamicdet_d2.acceleration.folding import fold_norms
from dynamicdet_d2.acceleration.precision import as_float32, hold_weights, pool_in_float32
from dynamicdet_d2.modeling.router import AdaptiveRouter
from dynamicdet_d2.modeling.router_inputs import RouterInput
from dynamicdet_d2.parts import undescribed
from tests.support.optimized import MASK, STATIC
from tests.support.toy import toy_cfg, toy_inputs, toy_model

OPTIMIZE, PRECISION, COMPILE, SIZE_MULTIPLE = (
    f"MODEL.INFERENCE.{key}" for key in ("OPTIMIZE", "PRECISION", "COMPILE", "SIZE_MULTIPLE")
)


# Options


def test_options_are_read_from_the_config() -> None:
    cfg = toy_cfg(OPTIMIZE, True, PRECISION, "bfloat16", COMPILE, True, SIZE_MULTIPLE, 128)
    options = InferenceOptions.from_config(cfg)
    assert options == InferenceOptions("bfloat16", True, 128)
    assert options.dtype == torch.bfloat16 and options.reduced


def test_without_optimize_there_are_no_options() -> None:
    assert InferenceOptions.from_config(toy_cfg(OPTIMIZE, False)) is None
    options = InferenceOptions.from_config(toy_cfg(OPTIMIZE, True))
    assert options == InferenceOptions("float32", False, 0)
    assert options.dtype == torch.float32 and not options.reduced


def test_bad_options_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="MODEL.INFERENCE.PRECISION is 'int8'.*float32, bfloat16"):
        InferenceOptions("int8")
    with pytest.raises(ValueError, match="MODEL.INFERENCE.SIZE_MULTIPLE is -1; .* at least 0"):
        InferenceOptions(size_multiple=-1)
    wrong: Any
    for wrong in (["float32"], None):
        with pytest.raises(ValueError, match="MODEL.INFERENCE.PRECISION is .*; it must be one of"):
            InferenceOptions(wrong)
    for wrong in ("no", 1, None):
        with pytest.raises(ValueError, match="MODEL.INFERENCE.COMPILE is .*; it must be True or"):
            InferenceOptions(compile=wrong)
    for wrong in ("64", 64.5, True):
        with pytest.raises(ValueError, match="MODEL.INFERENCE.SIZE_MULTIPLE"):
            InferenceOptions(size_multiple=wrong)


# Norms


def set_norm(norm: nn.Module, mean: float, var: float, weight: float, bias: float) -> nn.Module:
    for name, value in (("running_mean", mean), ("running_var", var), ("weight", weight)):
        getattr(norm, name).data.fill_(value)
    norm.bias.data.fill_(bias)
    return norm.eval()


@pytest.mark.parametrize("kind", [FrozenBatchNorm2d, nn.BatchNorm2d])
@pytest.mark.parametrize(("conv_bias", "expected"), [(None, -1.0), (5.0, 6.5)])
def test_folding_by_hand(kind: type[nn.Module], conv_bias: float | None, expected: float) -> None:
    """3 (2 x - 1) / sqrt(4) + 0.5 = 3 x - 1, and 7.5 more with a bias of 5."""
    conv = Conv2d(1, 1, 1, bias=conv_bias is not None, norm=kind(1, eps=0.0)).eval()
    set_norm(conv.norm, mean=1.0, var=4.0, weight=3.0, bias=0.5)
    conv.weight.data.fill_(2.0)
    if conv_bias is not None:
        conv.bias.data.fill_(conv_bias)
    assert fold_norms(conv) == 1
    assert conv.norm is None
    assert (conv.weight.item(), conv.bias.item()) == (3.0, expected)


@pytest.mark.parametrize("kind", [FrozenBatchNorm2d, nn.BatchNorm2d])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("keys", [{}, {"stride": 2, "padding": 1}, {"groups": 2, "dilation": 2}])
@torch.no_grad()
def test_folded_convolutions_are_what_they_were(
    kind: type[nn.Module], bias: bool, keys: dict
) -> None:
    torch.manual_seed(0)
    conv = Conv2d(4, 6, 3, bias=bias, norm=kind(6), activation=nn.ReLU(), **keys).eval()
    for name in ("running_mean", "weight", "bias"):
        nn.init.normal_(getattr(conv.norm, name))
    nn.init.uniform_(conv.norm.running_var, 0.5, 2.0)
    x = torch.randn(2, 4, 9, 8)
    expected = conv(x)
    model = nn.Sequential(nn.Sequential(conv))
    assert fold_norms(model) == 1
    assert (expected > 0).any() and (expected == 0).any()  # the activation stays
    torch.testing.assert_close(model(x), expected, atol=1e-5, rtol=1e-5)


def test_norms_that_look_at_the_image_stay() -> None:
    norms = [nn.GroupNorm(2, 4), nn.BatchNorm2d(4), nn.BatchNorm2d(4, track_running_stats=False)]
    model = nn.Sequential(*(Conv2d(4, 4, 1, norm=norm) for norm in norms)).eval()
    norms[1].train()
    weights = [conv.weight.clone() for conv in model]
    assert fold_norms(model) == 0
    assert [conv.norm for conv in model] == norms
    assert all(torch.equal(a, conv.weight) for a, conv in zip(weights, model, strict=True))


@torch.no_grad()
def test_every_norm_of_a_detector_is_folded() -> None:
    model = toy_model()
    images = torch.randn(1, 3, 64, 96)
    before = model.backbone.first(images)[0]
    norms = sum(isinstance(module, nn.BatchNorm2d) for module in model.modules())
    assert fold_norms(model) == norms > 0
    for name, level in model.backbone.first(images)[0].items():
        torch.testing.assert_close(level, before[name], atol=1e-4, rtol=1e-4)
    assert fold_norms(model) == 0


# Box heads


class Heads(nn.Module):
    """What ROI heads have of boxes."""

    def __init__(self, head: nn.Module, size: int) -> None:
        super().__init__()
        self.box_pooler = ROIPooler(size, [0.25], 0, "ROIAlignV2")
        self.box_head = head


def test_a_linear_layer_by_hand() -> None:
    head = FastRCNNConvFCHead(ShapeSpec(channels=1, height=2, width=2), conv_dims=[], fc_dims=[1])
    head.fc1.weight.data = torch.tensor([[1.0, 10.0, 100.0, 1000.0]])
    head.fc1.bias.data.fill_(0.5)
    assert replace_fully_connected(Heads(head, 2)) == 1
    x = torch.tensor([1.0, 2.0, 3.0, 4.0]).view(1, 1, 2, 2)
    assert head(x).tolist() == [[4321.5]]
    assert head(-x).tolist() == [[0.0]]


@pytest.mark.parametrize("conv_dims", [[], [6]])
@pytest.mark.parametrize("fc_dims", [[8], [8, 5]])
@torch.no_grad()
def test_convolutions_are_the_linear_layers(conv_dims: list[int], fc_dims: list[int]) -> None:
    torch.manual_seed(0)
    shape = ShapeSpec(channels=4, height=3, width=3)
    head = FastRCNNConvFCHead(shape, conv_dims=conv_dims, fc_dims=fc_dims).eval()
    for layer in head.fcs:
        nn.init.normal_(layer.bias)
    rois = [torch.randn(count, 4, 3, 3) for count in (5, 0)]
    rois.append(rois[0].contiguous(memory_format=torch.channels_last))
    expected = [head(x) for x in rois]
    assert replace_fully_connected(Heads(head, 3)) == len(fc_dims)
    assert not any(isinstance(layer, nn.Linear) for layer in head)
    for x, linear in zip(rois, expected, strict=True):
        assert head(x).shape == (len(x), fc_dims[-1])
        torch.testing.assert_close(head(x), linear, atol=1e-5, rtol=1e-5)


def test_every_stage_of_a_cascade_is_replaced() -> None:
    shape = ShapeSpec(channels=4, height=3, width=3)
    stages = [FastRCNNConvFCHead(shape, conv_dims=[], fc_dims=[8, 5]) for _ in range(3)]
    assert replace_fully_connected(Heads(nn.ModuleList(stages), 3)) == 6
    assert all(isinstance(stage.fc2, nn.Conv2d) for stage in stages)


class OtherHead(FastRCNNConvFCHead):
    """Whose forward nobody knows."""


def test_other_heads_stay() -> None:
    shape = ShapeSpec(channels=4, height=3, width=3)
    convolutions = FastRCNNConvFCHead(shape, conv_dims=[6], fc_dims=[])
    other = OtherHead(shape, conv_dims=[], fc_dims=[8])
    assert replace_fully_connected(Heads(convolutions, 3)) == 0
    assert replace_fully_connected(Heads(other, 3)) == 0
    assert isinstance(other.fc1, nn.Linear)
    assert replace_fully_connected(nn.Sequential(convolutions)) == 0  # no box_pooler


# Precision


BFLOAT16 = InferenceOptions(precision="bfloat16")


@pytest.fixture(scope="module")
def reduced() -> nn.Module:
    return optimize_for_inference(toy_model(), BFLOAT16)


@torch.no_grad()
def features_of(model: nn.Module) -> tuple[dict[str, Tensor], Tensor]:
    """The neck's, and the difficulties."""
    seen, _, difficulties = model.first(model.preprocess_image(toy_inputs(2)))
    return seen.pyramid, difficulties


def test_weights_are_held_in_bfloat16(reduced: nn.Module) -> None:
    held = {name: weight.dtype for name, weight in reduced.named_parameters()}
    predictors = {name for name, dtype in held.items() if dtype == torch.float32}
    assert {name.removesuffix(".weight").removesuffix(".bias") for name in predictors} == {
        "proposal_generator.rpn_head.objectness_logits",
        "proposal_generator.rpn_head.anchor_deltas",
        "roi_heads.box_predictor.cls_score",
        "roi_heads.box_predictor.bbox_pred",
        "router.hidden",
        "router.score",
    }
    assert set(held.values()) == {torch.float32, torch.bfloat16}


@torch.no_grad()
def test_what_no_part_describes_reads_features_in_float32() -> None:
    """Detectron2's PanopticFPN, whose semantic head runs as it is beside the neck's bfloat16."""
    keys = (
        *("MODEL.META_ARCHITECTURE", "PanopticFPN", "MODEL.SEM_SEG_HEAD.NORM", ""),
        *("MODEL.SEM_SEG_HEAD.IN_FEATURES", ["p2", "p3", "p4", "p5"], *MASK),
    )
    torch.manual_seed(0)
    model = build_model(toy_cfg(*STATIC, *keys)).eval()
    fast = optimize_for_inference(model, BFLOAT16)
    own, other = (x(toy_inputs(1))[0]["sem_seg"] for x in (model, fast))
    assert other.dtype == torch.float32
    assert 0 < (own - other).abs().max() < 0.05 * own.abs().max()


@PROPOSAL_GENERATOR_REGISTRY.register()
class OwnProposals(nn.Module):
    """An RPN below a module that no part describes."""

    def __init__(self, cfg: CfgNode, shape: dict[str, ShapeSpec]) -> None:
        super().__init__()
        self.rpn = RPN(cfg, shape)

    def forward(self, images: ImageList, features: dict, gt_instances: Any = None) -> Any:
        return self.rpn(images, features, gt_instances)


@torch.no_grad()
@pytest.mark.parametrize(
    ("share", "names"),
    [(True, ["proposal_generator"]), (False, ["proposal_generator", "tail2.proposal_generator"])],
)
def test_own_proposals_of_each_detector_read_features_in_float32(
    share: bool, names: list[str]
) -> None:
    own = ("MODEL.PROPOSAL_GENERATOR.NAME", "OwnProposals", "MODEL.COMPOSITE.SHARE_HEADS", share)
    model = toy_model(*own, OPTIMIZE, True, PRECISION, "bfloat16")
    assert undescribed(model) == names
    for threshold, route in ((1, "easy"), (0, "hard")):
        model.threshold = threshold
        assert model(toy_inputs(1))[0]["route"] == route


class SumOfProposals(RouterInput):
    reads, count = "proposals", 2

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(1, self.count)

    def forward(self, proposals: Sequence[Instances]) -> Tensor:
        sums = [own.objectness_logits.sigmoid().sum()[None] for own in proposals]
        return self.linear(torch.stack(sums))


def test_what_looks_at_proposals_is_run_in_float32() -> None:
    model, inputs = toy_model(), toy_inputs(2)
    model.router = AdaptiveRouter(inputs={"own": SumOfProposals()}, reduction=1).eval()
    fast = optimize_for_inference(model, BFLOAT16)
    assert fast.router.inputs["own"].linear.weight.dtype == torch.float32
    assert fast.difficulties(inputs) == pytest.approx(model.difficulties(inputs), abs=0.01)


@torch.no_grad()
def test_predictions_leave_the_heads_in_float32(reduced: nn.Module) -> None:
    features, difficulties = features_of(reduced)
    assert {level.dtype for level in features.values()} == {torch.bfloat16}
    assert difficulties.dtype == torch.float32
    logits, deltas = reduced.proposal_generator.rpn_head(list(features.values()))
    assert {x.dtype for x in (*logits, *deltas)} == {torch.float32}
    assert not torch.equal(logits[0], logits[0].bfloat16())  # nor were they rounded on the way
    assert reduced.roi_heads.box_head(torch.randn(2, 16, 7, 7)).dtype == torch.float32
    raw = reduced.inference(toy_inputs(1), do_postprocess=False)[0]
    assert raw.scores.dtype == raw.pred_boxes.tensor.dtype == torch.float32
    images = reduced.preprocess_image(toy_inputs(1))
    first = {name: level[:1] for name, level in features.items()}
    proposals = reduced.proposal_generator(images, first, None)[0][0]
    assert proposals.proposal_boxes.tensor.dtype == torch.float32
    assert proposals.objectness_logits.dtype == torch.float32


def test_reduced_features_are_the_models_but_for_rounding(reduced: nn.Module) -> None:
    """bfloat16 has 8 bits; a dozen layers round a few times that."""
    exact, _ = features_of(toy_model())
    for name, level in features_of(reduced)[0].items():
        assert not torch.equal(level.float(), exact[name])
        assert (level - exact[name]).abs().max() < 0.05 * exact[name].abs().max()


def test_float16_on_a_cpu_is_refused() -> None:
    message = "MODEL.INFERENCE.PRECISION is 'float16', which is for GPUs"
    with pytest.raises(ValueError, match=message):
        optimize_for_inference(toy_model(), InferenceOptions(precision="float16"))
    with pytest.raises(ValueError, match=message):
        toy_model(OPTIMIZE, True, PRECISION, "float16")(toy_inputs(1))


def test_norms_stay_float32() -> None:
    conv = Conv2d(4, 4, 1, norm=nn.GroupNorm(2, 4))
    hold_weights(conv, torch.bfloat16)
    assert conv.weight.dtype == torch.bfloat16
    assert conv.norm.weight.dtype == conv.norm.bias.dtype == torch.float32


def test_stock_poolers_see_float32() -> None:
    """On a GPU they stay; as do those of other kinds than ROIAlign everywhere."""
    model = nn.Sequential(ROIPooler(7, [0.25], 0, "ROIAlignV2"))
    features, boxes = [torch.rand(1, 2, 16, 16).bfloat16()], [Boxes([[3.0, 5.0, 60.0, 50.0]])]
    expected = model[0]([features[0].float()], boxes)
    pool_in_float32(model)
    found = model[0](features, boxes)
    assert found.dtype == torch.float32 and torch.equal(found, expected)


def test_as_float32_reaches_into_containers() -> None:
    value = [torch.ones(1).bfloat16(), (torch.ones(2).half(), "name")]
    found = as_float32(value)
    assert found[0].dtype == found[1][0].dtype == torch.float32
    assert isinstance(found[1], tuple) and found[1][1] == "name"
    assert as_float32([]) == []
