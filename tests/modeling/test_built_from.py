# SPDX-License-Identifier: Apache-2.0
"""What a program or a LazyConfig builds a detector from, refused by name."""

from typing import Any

import pytest
import torch
from detectron2.config import LazyConfig, instantiate
from detectron2.modeling import build_model
from detectron2.utils.events import EventStorage
from torch import nn

from dynamicdet_d2.modeling.architecture import building
from dynamicdet_d2.modeling.built_from import check_classes, check_parts, register_statistics
from tests.support.toy import toy_cfg, toy_inputs, toy_model


@pytest.mark.parametrize(
    ("name", "given", "kind"),
    [
        ("backbone", nn.Identity(), "CompositeBackbone"),
        ("router", None, "AdaptiveRouter"),
        ("operating_point", 0.5, "OperatingPoint"),
        ("exit_merging", 0.6, "ExitMerging"),
    ],
)
def test_parts_of_another_type(name: str, given: Any, kind: str) -> None:
    model = toy_model()
    parts = {"backbone": model.backbone, "router": model.router}
    parts |= {"operating_point": None, "exit_merging": None, "steps": ()}
    check_parts(**parts)
    with pytest.raises(ValueError) as refused:
        check_parts(**{**parts, name: given})
    said = str(refused.value)
    assert said.startswith(f"{name} of the detector is ")
    assert said.endswith(f"; it must be of type {kind}.")


def test_a_router_for_another_backbone() -> None:
    """As where a LazyConfig has its depth changed, and not the shapes."""
    model, other = toy_model(), toy_model("MODEL.RESNETS.RES2_OUT_CHANNELS", 32)
    # 32 (1 + 2 + 4 + 8) and 8 (1 + 2 + 4 + 8).
    says = r"^The router pools 480 channels of \['res2',.*\], of which the backbone gives 120;"
    with pytest.raises(ValueError, match=says):
        check_parts(model.backbone, other.router, None, None, ())


def test_a_router_that_reads_a_step_which_no_detector_has() -> None:
    model = toy_model()
    next(iter(model.router.inputs.values())).reads = "thoughts"
    with pytest.raises(ValueError, match="reads 'thoughts'; it must be one of features, proposals"):
        check_parts(model.backbone, model.router, None, None, ("proposals",))


@pytest.mark.parametrize(("mean", "std"), [([1.0, 2.0], [1.0, 1.0, 1.0]), ([1.0], [0.0]), ([], [])])
def test_statistics_of_pixels(mean: list[float], std: list[float]) -> None:
    says = r"they must have a number for each channel, and pixel_std numbers above 0\.$"
    with pytest.raises(ValueError, match=says):
        register_statistics(nn.Module(), mean, std)
    register_statistics(nn.Module(), [103.5], [1.0])


def test_statistics_as_shares_of_255_are_said(caplog: pytest.LogCaptureFixture) -> None:
    register_statistics(
        nn.Module(), [103.5, 0.0, -120.0], [1.0, 57.0, 0.5]
    )  # a deviation of 0.5 beside others
    assert not caplog.messages
    register_statistics(nn.Module(), [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    assert [said.split(",")[0] for said in caplog.messages] == [
        "pixel_mean of the detector is [0.485",
        "pixel_std of the detector is [0.229",
    ]


def test_statistics_that_are_whole_numbers_leave_pixels_their_fractions() -> None:
    """As YAML has them without a point; an image in float64 is turned into their type."""
    model = nn.Module()
    register_statistics(model, [104, 117, 124], [58, 57, 57])
    assert model.pixel_mean.dtype == model.pixel_std.dtype == torch.float32
    keys = [("MODEL.PIXEL_MEAN", [of(104), of(117), of(124)]) for of in (int, float)]
    image = toy_inputs(1)[0]["image"].double()
    whole, floats = (toy_model(*own).difficulties([{"image": image}]) for own in keys)
    assert whole == floats


def test_heads_and_their_predictor_have_the_same_classes() -> None:
    """As where a LazyConfig has the number changed in one of two places."""
    heads = LazyConfig.load("configs/lazy/dy_faster_rcnn_R_50_FPN.py").model.roi_heads
    check_classes(instantiate(heads))
    heads.num_classes = 3
    says = "^num_classes of roi_heads is 3, and its box_predictor has 80; they must be the same"
    with pytest.raises(ValueError, match=says):
        check_classes(instantiate(heads))


@pytest.mark.parametrize("share", [True, False])
def test_a_predictor_of_other_classes_is_not_trained(share: bool) -> None:
    """Of 3 classes and background; with 6 of them class 3 would be learnt as background."""
    model = toy_model("MODEL.COMPOSITE.SHARE_HEADS", share).train()
    width = model.roi_heads.box_predictor.cls_score.in_features
    model.roi_heads.box_predictor.cls_score = nn.Linear(width, 7)
    says = "^num_classes of roi_heads is 3, and its box_predictor has 6; they must be the same"
    with EventStorage(), pytest.raises(ValueError, match=says):
        model(toy_inputs(1))
    model.roi_heads.num_classes = 6
    if share:
        return check_classes(model.roi_heads, model.roi_heads)
    says = "^num_classes of detector1's roi_heads is 6, and of detector2's 3; they must be the same"
    with EventStorage(), pytest.raises(ValueError, match=says):
        model(toy_inputs(1))


def test_an_assertion_without_words_is_said_by_its_line() -> None:
    """Heads of one level, given several; Detectron2 asserts that and says no more."""
    says = r"do not go together: assert len\(.*\) == 1 \(in from_config of roi_heads.py\)\.$"
    static = ("MODEL.META_ARCHITECTURE", "GeneralizedRCNN", "MODEL.RESNETS.DEPTH", 50)
    backbone = ("MODEL.BACKBONE.NAME", "build_resnet_fpn_backbone")
    with pytest.raises(ValueError, match=says), building():
        build_model(toy_cfg(*static, *backbone, "MODEL.ROI_HEADS.NAME", "Res5ROIHeads"))
