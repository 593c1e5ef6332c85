# SPDX-License-Identifier: Apache-2.0
"""What a trace takes for a constant is seen before an export ends."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling import (
    BACKBONE_REGISTRY,
    ROI_BOX_HEAD_REGISTRY,
    Backbone,
    build_model,
)
from detectron2.modeling.roi_heads import FastRCNNConvFCHead
from torch import Tensor, nn

from dynamicdet_d2.export import export
from dynamicdet_d2.export.check import sides_of
from dynamicdet_d2.export.write import Request
from tests.support.toy import toy_cfg, toy_model


class Patches(Backbone):
    """Without a multiple of its own that images are padded to, as Detectron2's are by default."""

    def __init__(self, scaled: bool) -> None:
        super().__init__()
        self.patches, self.scaled = nn.Conv2d(3, 16, 8, stride=8), scaled

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        level = self.patches(image).relu()
        if self.scaled:  # by the root of the number of positions, as attention does
            level = level / math.sqrt(level.shape[2] * level.shape[3])
        return {"own": level}

    def output_shape(self) -> dict[str, ShapeSpec]:
        return {"own": ShapeSpec(channels=16, stride=8)}


@BACKBONE_REGISTRY.register()
def build_patches(cfg: Any, shape: Any) -> Backbone:
    return Patches(scaled=False)


@BACKBONE_REGISTRY.register()
def build_scaled_patches(cfg: Any, shape: Any) -> Backbone:
    return Patches(scaled=True)


@ROI_BOX_HEAD_REGISTRY.register()
class ScaledRegions(FastRCNNConvFCHead):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) / math.sqrt(len(x))


@ROI_BOX_HEAD_REGISTRY.register()
class HalvesInPlace(FastRCNNConvFCHead):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.mul_(0.5))


def export_own(builder: str, folder: Path) -> None:
    cfg = toy_cfg(
        *("MODEL.META_ARCHITECTURE", "GeneralizedRCNN", "MODEL.BACKBONE.NAME", builder),
        *("MODEL.RPN.IN_FEATURES", ["own"], "MODEL.ROI_HEADS.IN_FEATURES", ["own"]),
        *("MODEL.ANCHOR_GENERATOR.SIZES", [[16]]),
    )
    torch.manual_seed(0)
    export(build_model(cfg).eval(), cfg, folder, Request("torch"))


def test_sides() -> None:
    assert sides_of(32) == ((96, 128), (160, 96))
    assert sides_of(64) == ((192, 256), (320, 192))
    assert sides_of(1) == sides_of(8) == sides_of(32)
    assert sides_of(24) == ((144, 192), (240, 144))


def test_a_backbone_without_a_multiple_of_its_own(tmp_path: Path) -> None:
    export_own("build_patches", tmp_path / "exported")
    assert (tmp_path / "exported" / "whole.pt").is_file()


def test_the_number_of_positions_as_a_constant(tmp_path: Path) -> None:
    with pytest.raises(ValueError) as said:
        export_own("build_scaled_patches", tmp_path / "exported")
    assert str(said.value).startswith(
        "The exported piece 'whole' gives 'own', which differs from P"
    )
    assert str(said.value).endswith(
        "for an input of 1x3x160x96; a backbone that cannot be exported for all sizes may be for "
        "given ones (--sizes)."
    )


def test_a_part_that_computes_in_place(tmp_path: Path) -> None:
    keys = ("MODEL.ROI_BOX_HEAD.NAME", "HalvesInPlace")
    model = toy_model(*keys)
    nn.init.normal_(model.roi_heads.box_predictor.cls_score.weight)
    export(model, toy_cfg(*keys), tmp_path / "exported", Request("torch"))
    assert (tmp_path / "exported" / "boxes.pt").is_file()


def test_the_number_of_regions_as_a_constant(tmp_path: Path) -> None:
    keys = ("MODEL.ROI_BOX_HEAD.NAME", "ScaledRegions")
    model = toy_model(*keys)
    nn.init.normal_(model.roi_heads.box_predictor.cls_score.weight)
    with pytest.raises(ValueError) as said:
        export(model, toy_cfg(*keys), tmp_path / "exported", Request("torch"))
    assert str(said.value).startswith("The exported piece 'boxes' gives 'scores', which differs ")
    assert str(said.value).endswith("for an input of 12x7x7x16.")
