# SPDX-License-Identifier: Apache-2.0
"""Names of weights and the groups they are reported in, by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynamicdet_d2.checkpoint import names
from dynamicdet_d2.checkpoint.report import summarise, whole_modules


@pytest.mark.parametrize(
    ("sign", "name", "expected"),
    [
        ("res2_0_branch2a_w", "conv1_w", "stem.conv1.weight"),
        ("res2_0_branch2a_w", "res_conv1_bn_s", "stem.conv1.norm.weight"),
        ("res2_0_branch2a_w", "res_conv1_bn_running_mean", "stem.conv1.norm.running_mean"),
        ("res2_0_branch2a_w", "res4_5_branch2c_bn_beta", "res4.5.conv3.norm.bias"),
        ("res2_0_branch2a_w", "res3_0_branch1_w", "res3.0.shortcut.weight"),
        ("layer1.0.conv1.weight", "bn1.running_var", "stem.conv1.norm.running_var"),
        ("layer1.0.conv1.weight", "layer3.11.conv2.weight", "res4.11.conv2.weight"),
        ("layer1.0.conv1.weight", "layer4.0.bn3.bias", "res5.0.conv3.norm.bias"),
        ("layer1.0.conv1.weight", "layer2.0.downsample.0.weight", "res3.0.shortcut.weight"),
        ("layer1.0.conv1.weight", "layer2.0.downsample.1.bias", "res3.0.shortcut.norm.bias"),
        ("res2.0.conv1.weight", "stem.conv1.norm.weight", "stem.conv1.norm.weight"),
        ("res2.0.conv1.weight", "backbone.bottom_up.res5.2.conv3.weight", "res5.2.conv3.weight"),
    ],
)
def test_a_backbones_weight_goes_into_both_backbones(sign: str, name: str, expected: str) -> None:
    both = [f"backbone.bottom_up1.{expected}", f"backbone.bottom_up2.{expected}"]
    match = names.match(both, [sign, name])
    assert match.sources == {both[0]: name, both[1]: name}
    assert match.unmatched == (sign,)


def test_a_detectors_neck_and_heads_by_hand() -> None:
    model_names = ["neck.fpn_lateral2.bias", "roi_heads.box_head.fc1.weight", "router.fc1.weight"]
    file_names = ["backbone.fpn_lateral2.bias", "roi_heads.box_head.fc1.weight", "pixel_mean"]
    match = names.match(model_names, file_names)
    assert match.sources == dict(zip(model_names[:2], file_names[:2], strict=True))
    assert match.file_format == "Detectron2"
    assert match.unmatched == ()  # the mean of the pixels is no weight


def test_formats_are_told_apart() -> None:
    assert names.recognise(["conv1_w", "res5_2_branch2c_bn_gamma"]) == "Caffe2"
    assert names.recognise(["fc.bias", "layer1.0.bn1.weight"]) == "torchvision"
    assert names.recognise(["router.fc1.weight", "backbone.bottom_up1.res2"]) == "DynamicDet"
    assert names.recognise(["roi_heads.mask_head.layer1.0.weight"]) == "Detectron2"
    assert names.recognise([]) == "Detectron2"


def test_groups_by_hand() -> None:
    universe = ["b.res4.0.w", "b.res4.1.w", "b.res4.1.v", "b.res4.2.w", "r.w", "r.v", "x"]
    left = ["b.res4.1.w", "b.res4.1.v", "b.res4.2.w", "r.v", "x"]
    # b.res4.1 and b.res4.2 are whole, r is not.
    assert summarise(left, universe) == "b.res4.{1, 2} (3), r.v, x"
    assert summarise([], universe) == ""


NAMES = st.lists(st.sampled_from("abc"), min_size=3, max_size=3).map(".".join)


@given(st.sets(NAMES, min_size=1), st.data())
def test_groups_cover_the_names_and_nothing_else(universe: set[str], data: st.DataObject) -> None:
    chosen = data.draw(st.sets(st.sampled_from(sorted(universe))))
    groups = whole_modules(sorted(chosen), universe)
    covered = {n for n in universe for g in groups if n == g or n.startswith(f"{g}.")}
    assert covered == chosen
    assert sum(groups.values()) == len(chosen)


def test_a_plain_detector_begins_with_a_backbone() -> None:
    """Without an FPN, as Detectron2's C4 and DC5; the heads of C4 run the last stage."""
    model_names = [
        *("backbone.stem.conv1.weight", "backbone.res4.5.conv1.weight"),
        *("roi_heads.res5.0.conv1.weight", "roi_heads.box_predictor.cls_score.weight"),
    ]
    file_names = ["conv1.weight", "layer1.0.conv1.weight", "layer3.5.conv1.weight"]
    file_names += ["layer4.0.conv1.weight", "fc.weight"]
    match = names.match(model_names, file_names)
    assert match.sources == {
        "backbone.stem.conv1.weight": "conv1.weight",
        "backbone.res4.5.conv1.weight": "layer3.5.conv1.weight",
        "roi_heads.res5.0.conv1.weight": "layer4.0.conv1.weight",
    }
    assert names.match(model_names, model_names).sources == {name: name for name in model_names}
