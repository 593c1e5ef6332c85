# SPDX-License-Identifier: Apache-2.0
"""The composite backbone: its equations by hand, a plain backbone at the start, a third family."""

import pytest
import torch
from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, Backbone
from detectron2.modeling.backbone.resnet import ResNet
from torch import Tensor, nn

from dynamicdet_d2.modeling.backbone import CompositeBackbone, StagedBackbone
from dynamicdet_d2.modeling.backbone.resnet import build_composite_resnet_backbone
from dynamicdet_d2.modeling.necks.fpn import build_fpn_neck
from tests.support.toy import toy_cfg, toy_inputs, toy_model

IMAGE = ShapeSpec(channels=3)


class Doubling(StagedBackbone):
    """A third family in a few lines: stage i halves the size and multiplies by two."""

    stage_names = ("s0", "s1", "s2")

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Identity()

    def output_shape(self) -> dict[str, ShapeSpec]:
        return {f"s{i}": ShapeSpec(channels=3, stride=2 ** (i + 1)) for i in range(3)}

    def stem_forward(self, images: Tensor) -> Tensor:
        return self.stem(images)

    def run(self, stage: int, x: Tensor) -> Tensor:
        return 2 * nn.functional.avg_pool2d(x, 2)

    def connection(self, source: int, target: int, in_channels: int) -> nn.Module:
        link = nn.Conv2d(3, 3, 1, bias=False)
        nn.init.zeros_(link.weight)
        return link

    def drop_shared(self) -> None:
        del self.stem


def test_composite_equations_by_hand() -> None:
    composite = CompositeBackbone(bottom_up1=Doubling(), bottom_up2=Doubling())
    for name, link in composite.connections.links.items():
        nn.init.zeros_(link.weight)
        factor = {"s0_from_s1": 0.1, "s1_from_s2": 0.01}.get(name, 0.0)
        link.weight.data[range(3), range(3)] = factor
    images = torch.ones(1, 3, 8, 8)
    features1, shared = composite.first(images)
    assert [f.mean().item() for f in features1.values()] == [2.0, 4.0, 8.0]
    features2 = composite.second(features1, shared)
    # Stage 0 enters with 1 + 0.1 * f1_1 = 1.4 -> 2.8; stage 1 with 2.8 + 0.01 * f1_2 = 2.88
    # -> 5.76; stage 2 with 5.76 -> 11.52.
    expected = [2.8, 5.76, 11.52]
    for feature, value in zip(features2.values(), expected, strict=True):
        torch.testing.assert_close(feature, torch.full_like(feature, value))


def test_connections_come_from_the_same_and_coarser_stages_only() -> None:
    links = CompositeBackbone(bottom_up1=Doubling(), bottom_up2=Doubling()).connections.links
    assert set(links) == {
        "s0_from_s0", "s0_from_s1", "s0_from_s2", "s1_from_s1", "s1_from_s2", "s2_from_s2",
    }  # fmt: skip


def test_upsampling_is_nearest_neighbour() -> None:
    composite = CompositeBackbone(bottom_up1=Doubling(), bottom_up2=Doubling())
    composite.connections.links["s0_from_s1"].weight.data[range(3), range(3)] = 1.0
    coarse = torch.arange(4.0).view(1, 1, 2, 2).expand(1, 3, 2, 2)
    fine = [torch.zeros(1, 3, 4, 4), coarse, torch.zeros(1, 3, 1, 1)]
    injected = composite.connections(0, fine, (8, 8))
    assert torch.equal(injected, coarse.repeat_interleave(4, 2).repeat_interleave(4, 3))


def test_resnet_injection_by_hand() -> None:
    backbone = toy_model().backbone
    features1, shared = backbone.first(torch.rand(2, 3, 64, 96))
    assert shared is features1["res2"]
    links = backbone.connections.links
    x = shared
    for number, name in enumerate(("res3", "res4", "res5"), start=3):
        total = torch.zeros_like(x)
        for source in range(number, 6):
            part = links[f"{name}_from_res{source}"](features1[f"res{source}"])
            total = total + part.repeat_interleave(2 ** (source - number + 1), 2).repeat_interleave(
                2 ** (source - number + 1), 3
            )
        x = getattr(backbone.bottom_up2, name)(x + total)
        torch.testing.assert_close(backbone.second(features1, shared)[name], x)


def test_at_the_start_detector2_is_a_plain_backbone() -> None:
    backbone = build_composite_resnet_backbone(toy_cfg(), IMAGE).eval()
    stages = [backbone.bottom_up1.res2]
    stages += [getattr(backbone.bottom_up2, f"res{i}") for i in (3, 4, 5)]
    plain = ResNet(backbone.bottom_up1.stem, [list(stage) for stage in stages], out_features=[
        "res2", "res3", "res4", "res5",
    ]).eval()  # fmt: skip
    images = torch.rand(2, 3, 64, 96)
    features2 = backbone.second(*backbone.first(images))
    for name, feature in plain(images).items():
        assert torch.equal(features2[name], feature), name


def test_gradient_reaches_the_connections_and_backbone_1_from_detector2() -> None:
    cfg = toy_cfg("MODEL.RESNETS.NORM", "FrozenBN")
    backbone = build_composite_resnet_backbone(cfg, IMAGE)
    features1, shared = backbone.first(torch.rand(2, 3, 64, 96))
    backbone.second(features1, shared)["res5"].sum().backward()
    affine = backbone.connections.links["res4_from_res5"].norm.weight
    assert affine.grad.abs().sum() > 0
    torch.nn.init.ones_(affine)
    features1, shared = backbone.first(torch.rand(2, 3, 64, 96))
    backbone.second(features1, shared)["res5"].sum().backward()
    assert backbone.bottom_up1.res5[0].conv1.weight.grad.abs().sum() > 0


def test_stem_and_res2_exist_once() -> None:
    names = [n for n, _ in build_composite_resnet_backbone(toy_cfg(), IMAGE).named_parameters()]
    assert not [n for n in names if n.startswith(("bottom_up2.stem", "bottom_up2.res2"))]
    assert [n for n in names if n.startswith("bottom_up2.res3")]


@pytest.mark.parametrize("norm", ["BN", "SyncBN", "FrozenBN", "GN"])
@pytest.mark.parametrize("depth", [18, 50])
def test_norms_and_depths_build_and_run(norm: str, depth: int) -> None:
    overrides = ["MODEL.RESNETS.DEPTH", depth, "MODEL.RESNETS.NORM", norm]
    overrides += ["MODEL.RESNETS.STEM_OUT_CHANNELS", 32, "MODEL.RESNETS.RES2_OUT_CHANNELS", 32]
    overrides += ["MODEL.RESNETS.WIDTH_PER_GROUP", 32, "MODEL.COMPOSITE.NORM", "GN"]
    backbone = build_composite_resnet_backbone(toy_cfg(*overrides), IMAGE)
    features2 = backbone.second(*backbone.first(torch.rand(1, 3, 32, 64)))
    shapes = {name: tuple(f.shape[1:]) for name, f in features2.items()}
    assert shapes == {
        "res2": (32, 8, 16), "res3": (64, 4, 8), "res4": (128, 2, 4), "res5": (256, 1, 2),
    }  # fmt: skip


def test_backbone_2_can_be_deeper() -> None:
    backbone = build_composite_resnet_backbone(
        toy_cfg("MODEL.COMPOSITE.NUM_BLOCKS2", [1, 2, 3, 1]), IMAGE
    )
    assert [len(getattr(backbone.bottom_up2, f"res{i}")) for i in (3, 4, 5)] == [2, 3, 1]


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["MODEL.COMPOSITE.NORM", "FrozenBN"], "MODEL.COMPOSITE.NORM is 'FrozenBN'"),
        (["MODEL.COMPOSITE.NUM_BLOCKS2", [2, 2, 2, 2]], "res2 is shared"),
        (["MODEL.COMPOSITE.NUM_BLOCKS1", [1, 1]], "NUM_BLOCKS1 is \\[1, 1\\]"),
        (["MODEL.RESNETS.DEPTH", 20], "MODEL.RESNETS.DEPTH is 20"),
        (["MODEL.RESNETS.DEFORM_ON_PER_STAGE", [True] * 4], "DEFORM_ON_PER_STAGE"),
    ],
)
def test_wrong_keys_are_named(overrides: list, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        build_composite_resnet_backbone(toy_cfg(*overrides), IMAGE)


def test_backbones_that_disagree_are_refused() -> None:
    wider = Doubling()
    shapes = wider.output_shape()
    wider.output_shape = lambda: {**shapes, "s0": ShapeSpec(channels=4, stride=2)}
    with pytest.raises(ValueError, match="must agree in their output shapes"):
        CompositeBackbone(bottom_up1=Doubling(), bottom_up2=wider)


class OfOneLevel(Doubling):
    def output_shape(self) -> dict[str, ShapeSpec]:
        return {"s0": ShapeSpec(channels=3, stride=2)}


@pytest.mark.parametrize(
    ("first", "second", "says"),
    [
        (Doubling(), nn.Identity(), "^Identity is no StagedBackbone, of which a CompositeBackbone"),
        (
            OfOneLevel(),
            Doubling(),
            "^OfOneLevel has the stage 's1' in stage_names, of which its ou",
        ),
        (*[Doubling()] * 2, "^Both backbones are one Doubling; each has to be built for itself"),
    ],
)
def test_what_cannot_be_composed(first: nn.Module, second: nn.Module, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        CompositeBackbone(bottom_up1=first, bottom_up2=second)


@BACKBONE_REGISTRY.register()
def build_composite_of_one_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> Backbone:
    return Doubling()


def test_a_builder_that_forgets_to_compose() -> None:
    with pytest.raises(ValueError, match=r"_of_one_backbone builds a Doubling; a dynamic detector"):
        toy_model("MODEL.BACKBONE.NAME", "build_composite_of_one_backbone")


def test_neck_refuses_unknown_levels() -> None:
    with pytest.raises(ValueError, match="MODEL.FPN.IN_FEATURES is \\['res9'\\]"):
        build_fpn_neck(toy_cfg("MODEL.FPN.IN_FEATURES", ["res9"]), {"res2": IMAGE})


def test_hooks_on_stages_are_called() -> None:
    """As of Detectron2's own ResNet; on both backbones, each once."""
    model, seen = toy_model(), []
    model.threshold = 0.0
    for backbone in (model.backbone.bottom_up1, model.backbone.bottom_up2):
        backbone.res5.register_forward_hook(lambda *given: seen.append(given[2].shape[1]))
    model.eval()(toy_inputs(1))
    assert seen == [model.backbone.output_shape()["res5"].channels] * 2
