# SPDX-License-Identifier: Apache-2.0
"""Parameters and multiply-adds of YOLOv7, -X and -W6 and of two of them composed, exactly.

The published tables (YOLOv7, table 2; DynamicDet, table 1) print twice the multiply-adds, and one
more operation for the folded bias of each output.
"""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from detectron2.layers import ShapeSpec
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from dynamicdet_d2.acceleration.foldable import fold_blocks
from dynamicdet_d2.modeling import AdaptiveRouter, CompositeBackbone
from dynamicdet_d2.modeling.backbone.elan import StagedELAN
from dynamicdet_d2.modeling.router_inputs.pooled_features import PooledFeatures
from dynamicdet_d2.modeling.yolo.head import YOLOHead
from dynamicdet_d2.modeling.yolo.neck import YOLONeck
from dynamicdet_d2.modeling.yolo.variants import VARIANTS, Variant, scaled, with_depths


@dataclass(frozen=True)
class Table:
    """What is known of a variant.

    Attributes:
        size: side of the image in pixels.
        parameters: of backbone, neck, head, connections and router.
        auxiliary: of the auxiliary head.
        macs: 10^9 multiply-adds of the same five parts, the head folded.
        unfolded: 10^9 more in the head as it trains.
        channels: of the backbone's levels.
        paper: 10^9 operations with 0, 10, 50, 90 and 100 % of the images on the hard route,
            twice the multiply-adds (DynamicDet, table 1).
    """

    size: int
    parameters: tuple[int, int, int, int, int]
    auxiliary: int
    macs: tuple[float, float, float, float, float]
    unfolded: float
    channels: tuple[int, ...]
    paper: tuple[float, float, float, float, float]


TABLES = {
    "yolov7": Table(
        size=640,
        parameters=(13_371_808, 16_902_144, 7_348_730, 3_300_928, 2_075_041),
        auxiliary=0,
        macs=(33.0695, 12.7926, 6.3934, 5.5312, 0.00207432),
        unfolded=0.6291,
        channels=(64, 256, 512, 1024, 1024),
        paper=(104.7, 112.4, 143.2, 174.0, 181.7),
    ),
    "yolov7x": Table(
        size=640,
        parameters=(20_275_272, 40_815_872, 10_256_250, 5_156_560, 3_241_801),
        auxiliary=0,
        macs=(50.3349, 34.7406, 9.7613, 8.6426, 0.0032409),
        unfolded=0.0,
        channels=(80, 320, 640, 1280, 1280),
        paper=(189.9, 201.7, 248.9, 296.1, 307.9),
    ),
    "yolov7_w6": Table(
        size=1280,
        parameters=(35_988_608, 24_931_328, 9_509_880, 4_609_664, 1_894_753),
        auxiliary=11_882_620,
        macs=(110.7296, 44.9708, 24.1582, 10.2760, 0.001894064),
        unfolded=0.0,
        channels=(64, 128, 256, 512, 768, 1024),
        paper=(360.0, 384.2, 480.8, 577.4, 601.6),
    ),
}
PARTS = ("backbone", "neck", "head", "connections", "router")


class Parts:
    """The parts of a variant, without memory for their weights."""

    def __init__(self, variant: Variant) -> None:
        with torch.device("meta"):
            first, second = StagedELAN(variant.backbone), StagedELAN(variant.backbone)
            self.composite = CompositeBackbone(bottom_up1=first, bottom_up2=second).eval()
            self.neck = YOLONeck(first.output_shape(), variant.neck).eval()
            self.head = head(self.neck.output_shape(), variant.head.channels, variant)
            self.auxiliary = head(self.neck.top_down_shape(), variant.head.auxiliary, None)
            self.router = AdaptiveRouter(inputs={"features": PooledFeatures(first.output_shape())})

    def modules(self) -> dict[str, nn.Module]:
        backbone, connections = self.composite.bottom_up1, self.composite.connections
        modules = (backbone, self.neck, self.head, connections, self.router)
        return dict(zip(PARTS, modules, strict=True))


def head(
    input_shape: dict[str, ShapeSpec], channels: tuple[int, ...], variant: Variant | None
) -> YOLOHead | None:
    """A head for 80 classes; without a variant an auxiliary one."""
    rep_conv = variant is not None and variant.head.rep_conv
    if not channels:
        return None
    implicit = variant is not None
    size = {"channels": channels, "num_classes": 80, "rep_conv": rep_conv, "implicit": implicit}
    return YOLOHead(input_shape, **size).eval()


def parameters(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


def macs(function: Callable, *args: object) -> tuple[int, object]:
    """Multiply-adds of a call, and what it returns."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        result = function(*args)
    return counter.get_total_flops() // 2, result


def image(size: int) -> Tensor:
    return torch.empty(1, 3, size, size, device="meta")


@pytest.mark.parametrize("name", VARIANTS)
def test_parameters(name: str) -> None:
    table, parts = TABLES[name], Parts(VARIANTS[name])
    found = {part: parameters(module) for part, module in parts.modules().items()}
    assert found == dict(zip(PARTS, table.parameters, strict=True))
    assert parameters(parts.composite.bottom_up2) == table.parameters[0]
    auxiliary = parameters(parts.auxiliary) if parts.auxiliary else 0
    assert auxiliary == table.auxiliary


def test_parameters_of_whole_detectors() -> None:
    """The totals of the published tables."""
    static = {name: sum(t.parameters[:3]) + t.auxiliary for name, t in TABLES.items()}
    assert static == {"yolov7": 37_622_682, "yolov7x": 71_347_394, "yolov7_w6": 82_312_436}
    twice = {name: 2 * sum(t.parameters[:3]) + sum(t.parameters[3:]) for name, t in TABLES.items()}
    assert twice == {"yolov7": 80_621_333, "yolov7x": 151_093_149, "yolov7_w6": 147_364_049}


FOLDED = {
    "yolov7": (36_905_341, 79_186_651),
    "yolov7x": (71_311_741, 151_021_843),
    "yolov7_w6": (70_394_300, 147_293_017),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_folded_parameters(name: str) -> None:
    """A norm leaves a bias where it had weight and bias; implicit vectors leave nothing."""
    parts = Parts(VARIANTS[name])
    fold_blocks(parts.head)
    static = sum(folded(module) for module in list(parts.modules().values())[:3])
    connections, router = (parameters(m) for m in list(parts.modules().values())[3:])
    assert (static, 2 * static + connections + router) == FOLDED[name]


def folded(module: nn.Module) -> int:
    norms = [m for m in module.modules() if isinstance(m, nn.BatchNorm2d)]
    return parameters(module) - sum(norm.num_features for norm in norms)


@pytest.mark.parametrize("name", VARIANTS)
def test_multiply_adds(name: str) -> None:
    table, parts = TABLES[name], Parts(VARIANTS[name])
    first, (features1, start) = macs(parts.composite.first, image(table.size))
    both, features2 = macs(parts.composite.second, features1, start)
    neck, maps = macs(parts.neck, features2)
    unfolded, _ = macs(parts.head, maps)
    fold_blocks(parts.head)
    plain, _ = macs(parts.head, maps)
    layers = nn.Sequential(parts.router.hidden, parts.router.score)
    router, _ = macs(layers, torch.empty(1, sum(table.channels), device="meta"))
    found = dict(zip(PARTS, (first, neck, plain, both - first, router), strict=True))
    for part, expected in zip(PARTS, table.macs, strict=True):
        digits = 9 if part == "router" else 4
        assert round(found[part] / 1e9, digits) == round(expected, digits), part
    assert round((unfolded - plain) / 1e9, 4) == table.unfolded
    easy = first + neck + plain
    for hard_fraction, expected in zip((0, 0.1, 0.5, 0.9, 1), table.paper, strict=True):
        assert 2e-9 * (easy + hard_fraction * both) == pytest.approx(expected, rel=0.003)


@pytest.mark.parametrize(("name", "size"), [(n, s) for n in VARIANTS for s in (640, 1280)])
def test_shapes(name: str, size: int) -> None:
    """25,200 predictions at 640 pixels with strides 8, 16 and 32, 25,500 with 64 too."""
    parts = Parts(VARIANTS[name])
    features = parts.composite.bottom_up1(image(size))
    for number, (level, channels) in enumerate(
        zip(features.values(), TABLES[name].channels, strict=True), start=1
    ):
        assert level.shape == (1, channels, size // 2**number, size // 2**number)
    logits = parts.head(parts.neck(features))
    sides = [size // stride for stride in (8, 16, 32, 64)][: len(logits)]
    assert [x.shape for x in logits] == [(1, 3, side, side, 85) for side in sides]
    rows = {3: 25_200, 4: 25_500}[len(logits)] * (size // 640) ** 2
    assert sum(x[..., 0].numel() for x in logits) == rows


def test_scaling_by_hand() -> None:
    """A quarter of YOLOv7's channels; 1/64 would be 0.5, and 4 are the fewest."""
    variant = scaled(VARIANTS["yolov7"], 0.25)
    assert variant.backbone.stem == 8
    assert [level.out_channels for level in variant.backbone.levels] == [16, 64, 128, 256, 256]
    assert [level.width for level in variant.backbone.levels] == [0, 16, 32, 64, 64]
    assert variant.neck.channels == variant.neck.widths == (32, 64, 128)
    assert variant.head.channels == (64, 128, 256)
    assert variant.anchors == VARIANTS["yolov7"].anchors
    assert scaled(VARIANTS["yolov7"], 1 / 64).backbone.stem == 4
    assert scaled(VARIANTS["yolov7_w6"], 0.5).backbone.levels[0].channels == 12
    assert scaled(VARIANTS["yolov7x"]) is VARIANTS["yolov7x"]


def test_depths_by_hand() -> None:
    variant = with_depths(VARIANTS["yolov7"], [2, 2, 4, 6, 1], neck_depth=2)
    assert [level.depth for level in variant.backbone.levels] == [2, 2, 4, 6, 1]
    assert variant.neck.depth == 2
    assert with_depths(VARIANTS["yolov7"], []) == VARIANTS["yolov7"]
    parts = Parts(scaled(variant, 0.125))
    assert len(parts.composite.bottom_up1.p4.blocks[0].chain) == 6
    assert len(parts.composite.bottom_up1.p1.blocks) == 2
    assert len(parts.neck.bottom_up["n5"].chain) == 2
    assert parts.neck(parts.composite.bottom_up1(image(64)))["n5"].shape == (1, 64, 2, 2)
