# SPDX-License-Identifier: Apache-2.0
"""A family that the package does not know: composed, trained, routed, counted as it is."""

import pytest
import torch
from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY
from detectron2.utils.events import EventStorage
from torch import Tensor, nn

from dynamicdet_d2.evaluation.cost import count_parts
from dynamicdet_d2.modeling import CompositeBackbone, StagedBackbone
from tests.support.toy import toy_inputs, toy_model


class Pair(StagedBackbone):
    """Two convolutions on patches of four pixels: levels of stride 4 and 8."""

    stage_names = ("fine", "coarse")

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 4, stride=4)
        self.stages = nn.ModuleList([nn.Conv2d(4, 8, 1), nn.Conv2d(8, 16, 2, stride=2)])

    def output_shape(self) -> dict[str, ShapeSpec]:
        return {"fine": ShapeSpec(channels=8, stride=4), "coarse": ShapeSpec(channels=16, stride=8)}

    def stem_forward(self, images: Tensor) -> Tensor:
        return self.stem(images)

    def run(self, stage: int, x: Tensor) -> Tensor:
        return self.stages[stage](x).relu()

    def connection(self, source: int, target: int, in_channels: int) -> nn.Module:
        return nn.Conv2d((8, 16)[source], (4, 8)[target], 1)

    def drop_shared(self) -> None:
        del self.stem


@pytest.fixture(scope="module")
def model() -> nn.Module:
    """A detector with masks, by the config alone."""

    @BACKBONE_REGISTRY.register()
    def build_pair_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> CompositeBackbone:
        return CompositeBackbone(bottom_up1=Pair(), bottom_up2=Pair())

    return toy_model(
        *("MODEL.BACKBONE.NAME", "build_pair_backbone"),
        *("MODEL.FPN.IN_FEATURES", ["fine", "coarse"]),
        *("MODEL.RPN.IN_FEATURES", ["p2", "p3", "p4"]),
        *("MODEL.ANCHOR_GENERATOR.SIZES", [[16], [32], [64]]),
        *("MODEL.ROI_HEADS.IN_FEATURES", ["p2", "p3"]),
    )


@torch.no_grad()
def test_it_is_routed(model: nn.Module) -> None:
    inputs = toy_inputs(4)
    model.threshold = sorted(model.difficulties(inputs))[1]
    exits = model.exits(inputs)
    for routed, both in zip(model(inputs), exits, strict=True):
        assert routed["route"] == ("hard" if routed["difficulty"] > model.threshold else "easy")
        taken = both["detector2" if routed["route"] == "hard" else "detector1"]
        torch.testing.assert_close(routed["instances"].scores, taken.scores)
        assert len(taken) > 0


def test_it_trains(model: nn.Module) -> None:
    model.train()
    with EventStorage():
        sum(model(toy_inputs(2)).values()).backward()
    model.eval()
    for weight in model.backbone.parameters():
        assert weight.grad.any()


def test_it_is_counted(model: nn.Module) -> None:
    parts = count_parts(model, 64, 96, num_proposals=5)
    area = 16 * 24
    stem, stages = area * 3 * 4 * 16, area * 4 * 8 + area // 4 * 8 * 16 * 4
    assert parts["bottom_up1"] == stem + stages
    assert parts["bottom_up2"] == stages
    assert parts["connections"] == area * 8 * 4 + area // 4 * (16 * 4 + 16 * 8)
    assert parts["router"] == 24 * 6 + 6


def test_a_builder_that_passes_the_shared_stem_over(model: nn.Module) -> None:
    with pytest.raises(ValueError) as error:
        toy_model("MODEL.BACKBONE.NAME", "build_pair_backbone", "MODEL.COMPOSITE.SHARE_STEM", False)
    assert str(error.value) == (
        "MODEL.COMPOSITE.SHARE_STEM is False, and MODEL.BACKBONE.NAME build_pair_backbone builds "
        "two that share the stem: its builder hands the key on, as CompositeBackbone's share_stem."
    )


def test_a_builder_that_passes_gradient_checkpointing_over(model: nn.Module) -> None:
    key = "MODEL.BACKBONE.GRADIENT_CHECKPOINTING"
    with pytest.raises(ValueError) as error:
        toy_model("MODEL.BACKBONE.NAME", "build_pair_backbone", key, True)
    assert str(error.value) == (
        f"{key} is True, and MODEL.BACKBONE.NAME build_pair_backbone builds two that keep "
        "everything: its builder calls their checkpoint_gradients(), and their run() hands its "
        "blocks to run_blocks()."
    )
