# SPDX-License-Identifier: Apache-2.0
"""ELAN backbones, alone and composed, and the neck over them."""

import pytest
import torch
import torch.nn.functional as F
from detectron2.layers import FrozenBatchNorm2d, ShapeSpec
from torch import Tensor, nn

from dynamicdet_d2.modeling import CompositeBackbone
from dynamicdet_d2.modeling.backbone.elan import Level, Levels, StagedELAN
from dynamicdet_d2.modeling.yolo.neck import NeckSize, YOLONeck
from dynamicdet_d2.modeling.yolo.variants import VARIANTS, scaled

TINY = {name: scaled(variant, 1 / 16) for name, variant in VARIANTS.items()}
TWO_LEVELS = Levels(
    stem=4,
    levels=(
        Level("conv", channels=4, width=0, depth=1, out_channels=4),
        Level("pool", channels=8, width=4, depth=2, out_channels=12),
    ),
)


def composite(levels: Levels, **keys: object) -> CompositeBackbone:
    torch.manual_seed(0)
    first, second = StagedELAN(levels, **keys), StagedELAN(levels, **keys)
    return CompositeBackbone(bottom_up1=first, bottom_up2=second).double().eval()


def image(height: int = 64, width: int = 128) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(2, 3, height, width, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("name", TINY)
@torch.no_grad()
def test_shapes_are_as_said(name: str) -> None:
    backbone = StagedELAN(TINY[name].backbone).double().eval()
    features, shapes = backbone(image()), backbone.output_shape()
    assert tuple(features) == tuple(shapes) == backbone.stage_names
    for level, shape in shapes.items():
        height, width = 64 // shape.stride, 128 // shape.stride
        assert features[level].shape == (2, shape.channels, height, width)
    assert backbone.size_divisibility == max(shape.stride for shape in shapes.values())


@pytest.mark.parametrize("name", TINY)
@torch.no_grad()
def test_zero_connections_and_equal_weights_give_equal_features(name: str) -> None:
    """Bit for bit: detector2 starts as the plain detector that both were copied from."""
    backbone = composite(TINY[name].backbone, connection_init="zero")
    backbone.bottom_up2.load_state_dict(backbone.bottom_up1.state_dict())
    features1, start = backbone.first(image())
    features2 = backbone.second(features1, start)
    assert start.shape == image().shape  # backbone 2 begins with the images
    for level, feature in features1.items():
        assert torch.equal(feature, features2[level])


@pytest.mark.parametrize("name", TINY)
@torch.no_grad()
def test_connections_by_the_formula(name: str) -> None:
    """t_i + sum over j >= i of up(g_ij(f_j)), each upsampled at once; W6 begins at p2."""
    backbone = composite(TINY[name].backbone)
    features1, start = backbone.first(image())
    second, links = backbone.bottom_up2, backbone.connections.links
    names = second.stage_names
    x, expected = second.stem_forward(start), {}
    for stage, target in enumerate(names):
        x = second.enter(stage, x)
        if stage >= (1 if name == "yolov7_w6" else 0):
            for source in names[stage:]:
                link = links[f"{target}_from_{source}"](features1[source])
                x = x + F.interpolate(link, size=x.shape[-2:], mode="nearest")
        expected[target] = x = second.run(stage, x)
    features2 = backbone.second(features1, start)
    for level in names:
        torch.testing.assert_close(features2[level], expected[level], rtol=1e-12, atol=1e-12)
        assert not torch.equal(features2[level], features1[level])
    assert len(links) == 15


def test_connections_have_a_bias_and_no_norm() -> None:
    link = composite(TWO_LEVELS).connections.links["p1_from_p2"]
    assert type(link) is nn.Conv2d and link.kernel_size == (1, 1)
    assert (link.in_channels, link.out_channels) == (12, 4)
    assert link.bias is not None and link.weight.std() > 0.1
    zero = composite(TWO_LEVELS, connection_init="zero").connections
    assert not any(weight.any() for weight in zero.parameters())
    with pytest.raises(ValueError, match="CONNECTION_INIT is 'small'; it must be one of default"):
        StagedELAN(TWO_LEVELS, connection_init="small")


@torch.no_grad()
def test_strided_branch_may_read_backbone1() -> None:
    """Half of p2's input comes from backbone 1's p1 then, the other half from backbone 2's."""
    plain = composite(TWO_LEVELS)
    odd = composite(TWO_LEVELS, strided_from_first=["p2"])
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), odd.parameters(), strict=True))
    seen = {}
    for name, backbone in (("plain", plain), ("odd", odd)):
        strided = backbone.bottom_up2.p2.entry.strided
        strided.register_forward_pre_hook(lambda _, x, name=name: seen.update({name: x[0]}))
        features1, start = backbone.first(image())
        features2 = backbone.second(features1, start)
    assert torch.equal(seen["odd"], features1["p1"])
    assert torch.equal(seen["plain"], features2["p1"])
    # As a plain backbone, and as backbone 1, it has no other to read.
    assert torch.equal(odd.bottom_up1(image())["p2"], plain.bottom_up1(image())["p2"])


def test_freezing() -> None:
    backbone = StagedELAN(TWO_LEVELS)
    backbone.freeze(2)
    for name, frozen in (("stem", True), ("p1", True), ("p2", False)):
        part = getattr(backbone, name)
        assert all(w.requires_grad != frozen for w in part.parameters())
        norms = [m for m in part.modules() if isinstance(m, nn.BatchNorm2d | FrozenBatchNorm2d)]
        assert norms and all(isinstance(m, FrozenBatchNorm2d) == frozen for m in norms)
        assert all(m.eps == 1e-3 for m in norms)
    StagedELAN(TINY["yolov7_w6"].backbone).freeze(1)  # its stem has no weights


SHAPES = {
    "p1": ShapeSpec(channels=4, stride=2),
    "p2": ShapeSpec(channels=6, stride=4),
    "p3": ShapeSpec(channels=8, stride=8),
}


def neck(down: str) -> YOLONeck:
    torch.manual_seed(0)
    size = NeckSize(channels=(8, 12), widths=(8, 12), depth=2, keep_all=True, down=down)
    return YOLONeck(SHAPES, size).double().eval()


@pytest.mark.parametrize("down", ["pool", "conv"])
@torch.no_grad()
def test_neck_joins_in_the_published_orders(down: str) -> None:
    """Top-down [lateral, upsampled], bottom-up [downsampled, top-down]."""
    model = neck(down)
    features = {
        name: torch.randn(1, s.channels, 32 // s.stride, 64 // s.stride, dtype=torch.float64)
        for name, s in SHAPES.items()
    }
    t3 = model.pooling(features["p3"])
    up = model.reduce["t2"](t3).repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    t2 = model.top_down["t2"](torch.cat([model.lateral["t2"](features["p2"]), up], dim=1))
    n3 = model.bottom_up["n3"](torch.cat([model.down["n3"](t2), t3], dim=1))
    maps = model(features)
    for name, expected in (("t3", t3), ("t2", t2), ("n2", t2), ("n3", n3)):
        torch.testing.assert_close(maps[name], expected, rtol=0, atol=0)


def test_neck_says_its_shapes() -> None:
    model = neck("pool")
    assert model.in_features == ("p2", "p3")
    assert model.output_shape() == {
        "n2": ShapeSpec(channels=8, stride=4),
        "n3": ShapeSpec(channels=12, stride=8),
    }
    assert list(model.top_down_shape()) == ["t2", "t3"]
    features = {"p2": torch.zeros(0, 6, 8, 8).double(), "p3": torch.zeros(0, 8, 4, 4).double()}
    assert model(features)["n3"].shape == (0, 12, 4, 4)  # an empty batch
