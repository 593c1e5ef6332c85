# SPDX-License-Identifier: Apache-2.0
"""Layers of a program's own in what is traced and written."""

from pathlib import Path
from typing import Any

import pytest
import torch
from detectron2.modeling.proposal_generator.rpn import StandardRPNHead
from torch import nn

from dynamicdet_d2.export import export
from dynamicdet_d2.export.write import Request
from tests.support.toy import toy_cfg, toy_model


class Dark(StandardRPNHead):
    """Decides by what it sees."""

    def forward(self, features: list[torch.Tensor]) -> Any:
        logits, deltas = super().forward(features)
        if features[0].std() < 0.3:
            logits = [level - 5 for level in logits]
        return logits, deltas


class Fourier(StandardRPNHead):
    """Does what ONNX has no operator for."""

    def forward(self, features: list[torch.Tensor]) -> Any:
        seen = [torch.fft.irfft2(torch.fft.rfft2(x), s=x.shape[-2:]) for x in features]
        return super().forward(seen)


def with_head(kind: type) -> nn.Module:
    model = toy_model()
    model.proposal_generator.rpn_head.__class__ = kind
    return model


@pytest.mark.parametrize("file_format", ["onnx", "torch"])
def test_a_layer_that_decides_by_what_it_sees_is_said(
    file_format: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    export(toy_model(), toy_cfg(), tmp_path / "stock", Request(file_format))
    assert "depends on values" not in caplog.text
    export(with_head(Dark), toy_cfg(), tmp_path / "own", Request(file_format))
    (said,) = {x.message for x in caplog.records if "depends on values" in x.message}
    assert said.startswith(f"{__file__}, line ") and "always what was done of the example" in said


def test_an_operator_that_a_format_lacks(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match="^The piece 'tail' of the model cannot be written: .*fft_rfft2"
    ):
        export(with_head(Fourier), toy_cfg(), tmp_path / "own", Request("onnx"))
    assert not (tmp_path / "own").exists()


def test_a_layer_in_torchscript(tmp_path: Path) -> None:
    model = toy_model()
    model.backbone.bottom_up1.stem = torch.jit.trace(
        model.backbone.bottom_up1.stem, torch.rand(1, 3, 64, 96)
    )
    says = "^backbone.bottom_up1.stem of the model is in TorchScript, and cannot be exported"
    with pytest.raises(ValueError, match=says):
        export(model, toy_cfg(), tmp_path / "own", Request("torch"))
