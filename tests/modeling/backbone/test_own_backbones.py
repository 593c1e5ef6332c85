# SPDX-License-Identifier: Apache-2.0
"""Backbones of a user's own that are not what they say, each with its sentence."""

from typing import Any

import pytest
import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling import Backbone
from torch import Tensor, nn

from dynamicdet_d2.modeling import CompositeBackbone, StagedBackbone
from dynamicdet_d2.modeling.backbone.checked import check_runs


class Patches(StagedBackbone):
    """Levels of stride 4 and 8, of 2 and 3 channels."""

    stage_names = ("fine", "coarse")

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 2, 4, stride=4)
        self.stages = nn.ModuleList([nn.Conv2d(2, 2, 1), nn.Conv2d(2, 3, 2, stride=2)])
        self.norm = nn.BatchNorm2d(2)

    def output_shape(self) -> Any:
        return {"fine": ShapeSpec(channels=2, stride=4), "coarse": ShapeSpec(channels=3, stride=8)}

    def stem_forward(self, images: Tensor) -> Tensor:
        return self.norm(self.stem(images))

    def run(self, stage: int, x: Tensor) -> Any:
        return nn.functional.dropout(self.stages[stage](x), 0.5, self.training)

    def connection(self, source: int, target: int, in_channels: int) -> Any:
        return nn.Conv2d(in_channels, 2, 1)

    def drop_shared(self) -> None:
        del self.stem


class Windows(Patches):
    """Looks at windows of 3 positions at stride 8."""

    size_divisibility = 24

    def run(self, stage: int, x: Tensor) -> Any:
        if stage and any(side % 6 for side in x.shape[2:]):
            raise RuntimeError("windows are not whole")
        return super().run(stage, x)


class OtherChannels(Patches):
    def output_shape(self) -> Any:
        return {**super().output_shape(), "fine": ShapeSpec(channels=9, stride=4)}

    def connection(self, source: int, target: int, in_channels: int) -> Any:
        return nn.Conv2d(2, 2, 1)


class OtherStride(Patches):
    def output_shape(self) -> Any:
        return {**super().output_shape(), "coarse": ShapeSpec(channels=3, stride=16)}


class NoFeature(Patches):
    def feature(self, stage: int, x: Tensor) -> Any:
        return None


class NoConnection(Patches):
    def connection(self, source: int, target: int, in_channels: int) -> Any:
        return None


class TooManyShared(Patches):
    num_shared_stages = 2


class InjectedBehind(Patches):
    first_injected_stage = 2


class InjectedByName(Patches):
    first_injected_stage = "coarse"


class OneName(Patches):
    stage_names = "fine"


class NoShapes(Patches):
    output_shape = Backbone.output_shape


class Dotted(Patches):
    stage_names = ("s.1", "coarse")

    def output_shape(self) -> Any:
        return {"s.1": ShapeSpec(channels=2, stride=4), "coarse": ShapeSpec(channels=3, stride=8)}


class SameName(Patches):
    stage_names = ("fine", "fine")


class NoShape(Patches):
    def output_shape(self) -> Any:
        return None


class Function(Patches):
    def connection(self, source: int, target: int, in_channels: int) -> Any:
        return torch.relu


class NoStages(Patches):
    stage_names = ()


class NoStride(Patches):
    def output_shape(self) -> Any:
        return {name: ShapeSpec(channels=3) for name in self.stage_names}


class Numbers(Patches):
    def output_shape(self) -> Any:
        return {"fine": 2, "coarse": 3}


WRONG = [
    (
        OtherChannels,
        "OtherChannels gives (1, 2, 4, 4) at 'fine' of an image of 16x16 pixels, where its "
        "output_shape() says (1, 9, 4, 4).",
    ),
    (OtherStride, "(1, 3, 4, 4) at 'coarse' of an image of 32x32 pixels, where its output_shape()"),
    (NoFeature, "NoFeature gives NoneType at 'fine' of an image of 16x16 pixels, where its out"),
    (NoConnection, "connection() of NoConnection gives None; it must be a module."),
    (Function, "connection() of Function gives <built-in method relu of type object at"),
    (SameName, "SameName has ('fine', 'fine') as stage_names, of which one is there twice."),
    (NoShape, "output_shape() of NoShape gives None; it must be a dict of a ShapeSpec for each st"),
    (
        TooManyShared,
        "TooManyShared has 2 as num_shared_stages, of 2 stages; backbone 2 needs one of its own at "
        "least.",
    ),
    (
        InjectedBehind,
        "InjectedBehind has 2 as first_injected_stage, of 2 stages; connections lead to one of "
        "them at least.",
    ),
    (InjectedByName, "InjectedByName has 'coarse' as first_injected_stage, of 2 stages; connec"),
    (OneName, "OneName has 'fine' as stage_names; it must be names in a tuple."),
    (NoShapes, "NoShapes has no output_shape(), which gives a ShapeSpec for each stage."),
    (Dotted, "Dotted has the stage 's.1', in whose name no dot can be."),
    (NoStages, "NoStages names no stage in stage_names."),
    (NoStride, "for 'fine' in its output_shape(); it must be a ShapeSpec of channels and stride."),
    (Numbers, "Numbers has 2 for 'fine' in its output_shape(); it must be a ShapeSpec of ch"),
]


@pytest.mark.parametrize("number", range(len(WRONG)))
def test_what_is_not_what_it_says(number: int) -> None:
    family, says = WRONG[number]
    with pytest.raises(ValueError) as refused:
        check_runs(CompositeBackbone(bottom_up1=family(), bottom_up2=family()), channels=3)
    assert says in str(refused.value)


def test_a_stem_is_shared_or_not() -> None:
    with pytest.raises(ValueError, match=r"^share_stem is 'no'; it must be True or False\.$"):
        CompositeBackbone(bottom_up1=Patches(), bottom_up2=Patches(), share_stem="no")


def test_looking_changes_nothing() -> None:
    composite = CompositeBackbone(bottom_up1=Patches(), bottom_up2=Patches())
    before = {name: value.clone() for name, value in composite.state_dict().items()}
    state = torch.get_rng_state()
    check_runs(composite, channels=3)
    assert composite.training and torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[name], value) for name, value in composite.state_dict().items())


def test_a_family_may_ask_for_other_sizes_than_strides() -> None:
    one, both = Patches(), CompositeBackbone(bottom_up1=Windows(), bottom_up2=Windows())
    assert CompositeBackbone(bottom_up1=one, bottom_up2=Patches()).size_divisibility == 8
    assert both.size_divisibility == 24
    check_runs(both, 3)
