# SPDX-License-Identifier: Apache-2.0
"""What a converted model computes on given images is what the file's own layers compute."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dynamicdet_d2.checkpoint.names.yolo import Layout
from dynamicdet_d2.commands import main as commands
from dynamicdet_d2.modeling.yolo.build import dynamic_parts, static_parts
from dynamicdet_d2.modeling.yolo.variants import VARIANTS, scaled
from tests.support import dump_yolo
from tests.support.published_yolo import (
    PublishedYOLO,
    published_weights,
    save_module,
    save_state_dict,
)
from tests.support.toy_yolo import DYNAMIC, unsettled, yolo_cfg


@pytest.fixture(autouse=True)
def _narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, variant in list(VARIANTS.items()):
        monkeypatch.setitem(VARIANTS, name, scaled(variant, 1 / 16))


def published(layout: Layout, path: Path) -> dict[str, Tensor]:
    """Write a published file of random weights; returns what it holds."""
    torch.manual_seed(0)
    keys = ("MODEL.YOLO.VARIANT", layout.variant, "MODEL.YOLO.WIDTH", 1.0)
    cfg = yolo_cfg(*(DYNAMIC if layout.dynamic else ()), *keys)
    parts = dynamic_parts(cfg) if layout.dynamic else static_parts(cfg)
    own = nn.ModuleDict({name: part for name, part in parts.items() if part is not None})
    weights = unsettled(own).state_dict()
    content = published_weights(weights, layout.sources(), VARIANTS[layout.variant].anchors)
    (save_state_dict if layout.dynamic else save_module)(content, str(path))
    return content


def dumped(folder: Path, images: np.ndarray) -> dict[str, np.ndarray]:
    """Convert, and dump by the command line."""
    converted = str(folder / "ours.pth")
    arguments = ["--weights", str(folder / "published.pt"), "--output", converted]
    assert commands.main(["convert", *arguments]) == 0
    np.savez(folder / "images.npz", images=images)
    paths = [str(folder / "images.npz"), str(folder / "out.npz")]
    dump_yolo.main(["--weights", converted, "--inputs", paths[0], "--output", paths[1]])
    with np.load(folder / "out.npz") as file:
        return dict(file)


def images() -> np.ndarray:
    return np.random.default_rng(1).random((2, 3, 64, 128))


def assert_close(found: np.ndarray, expected: Tensor) -> None:
    assert found.dtype == np.float64 and found.shape == tuple(expected.shape)
    scale = max(1.0, float(expected.abs().max()))
    assert np.abs(found - expected.numpy()).max() <= 1e-9 * scale


@torch.no_grad()
def test_static(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = published(Layout("yolov7"), tmp_path / "published.pt")
    found = dumped(tmp_path, images())
    assert "Found yolov7 with one detector, 3 classes." in capsys.readouterr().out
    assert list(found) == ["raw_p3", "raw_p4", "raw_p5", "decoded"]
    expected = PublishedYOLO(content, "yolov7").static(torch.from_numpy(images()), False)[0]
    for level, logits in zip((3, 4, 5), expected, strict=True):
        assert_close(found[f"raw_p{level}"], logits)
    # The first row is of the first anchor, 12 x 16, and the first cell, 8 pixels wide.
    t = expected[0][0, 0, 0, 0].sigmoid()
    centre, sides = (2 * t[:2] - 0.5) * 8, (2 * t[2:4]) ** 2 * torch.tensor([12.0, 16.0])
    assert_close(found["decoded"][0, 0], torch.cat([centre, sides, t[4:]]))
    assert found["decoded"].shape == (2, 3 * (8 * 16 + 4 * 8 + 2 * 4), 8)


@pytest.mark.parametrize("variant", VARIANTS)
@torch.no_grad()
def test_dynamic(variant: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = published(Layout(variant, dynamic=True), tmp_path / "published.pt")
    found = dumped(tmp_path, images())
    assert "A published threshold t is" in capsys.readouterr().out
    score, *exits = PublishedYOLO(content, variant).dynamic(torch.from_numpy(images()))
    assert np.abs(found["difficulty"] - (1 - score).numpy()).max() < 1e-12
    for detector, logits in zip((1, 2), exits, strict=True):
        for level, expected in enumerate(logits, start=3):
            assert_close(found[f"detector{detector}_raw_p{level}"], expected)
        assert found[f"detector{detector}_decoded"].shape[::2] == (2, 8)


def test_wrong_images_are_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    published(Layout("yolov7"), tmp_path / "published.pt")
    with pytest.raises(SystemExit):
        dumped(tmp_path, images()[..., :100])
    message = "shape (2, 3, 64, 100); it must be (N, 3, H, W) with H and W multiples of 32"
    assert message in capsys.readouterr().err
    with pytest.raises(SystemExit):
        dump_yolo.main(["--weights", "no.pth", "--inputs", "no.npz", "--output", "no.npz"])
    assert "no.yaml does not exist" in capsys.readouterr().err
