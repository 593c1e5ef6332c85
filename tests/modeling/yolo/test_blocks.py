# SPDX-License-Identifier: Apache-2.0
"""The blocks of YOLOv7: orders of concatenation by marked values, and folding by hand."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from detectron2.layers import Conv2d
from torch import Tensor, nn

from dynamicdet_d2.acceleration.foldable import affine_of_norm, fold_blocks
from dynamicdet_d2.acceleration.folding import fold_norms
from dynamicdet_d2.modeling.backbone.elan_blocks import (
    ELAN,
    PooledDown,
    block_norm,
    conv_block,
    space_to_depth,
)
from dynamicdet_d2.modeling.yolo.blocks import ImplicitConv, PyramidPooling, RepConv


class Plus(nn.Module):
    """Adds a number, so that a value tells which layers it has been through."""

    def __init__(self, number: float) -> None:
        super().__init__()
        self.number = number

    def forward(self, x: Tensor) -> Tensor:
        return x + self.number


def values(x: Tensor) -> list[float]:
    """The first position's value of each channel."""
    return x[0, :, 0, 0].tolist()


def randomised(module: nn.Module, seed: int = 0) -> nn.Module:
    """In evaluation mode and float64, with statistics and affines far from their start."""
    generator = torch.Generator().manual_seed(seed)
    module = module.double().eval()
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        if tensor.is_floating_point():
            low = 0.5 if name.endswith(("running_var", "norm.weight")) else -0.5
            tensor.data.uniform_(low, 1.5, generator=generator)
    return module


def test_space_to_depth_by_hand() -> None:
    """Top left, bottom left, top right, bottom right."""
    x = torch.tensor([[1.0, 2.0, 5.0, 6.0], [3.0, 4.0, 7.0, 8.0]])
    y = space_to_depth(torch.stack([x, x + 10])[None])
    assert y.shape == (1, 8, 1, 2)
    assert y[0, :, 0].tolist() == [
        *([1, 5], [11, 15], [3, 7], [13, 17]),
        *([2, 6], [12, 16], [4, 8], [14, 18]),
    ]


@pytest.mark.parametrize("name", ["BN", "SyncBN", "FrozenBN"])
def test_norms_have_the_constants_of_yolov7(name: str) -> None:
    norm = block_norm(name, 4)
    assert norm.eps == 1e-3
    assert name == "FrozenBN" or norm.momentum == 0.03
    assert norm.weight.shape == (4,)


def test_other_norms_are_refused() -> None:
    with pytest.raises(ValueError, match="MODEL.YOLO.NORM is 'GN'; it must be one of BN, SyncBN"):
        conv_block(1, 1, 1, norm="GN")


@torch.no_grad()
def test_conv_block_by_hand() -> None:
    """2 x = 6, (6 - 2) / sqrt(4 - 0.001 + 0.001) = 2, times 3 plus 1 = 7, 7 sigmoid(7)."""
    block = conv_block(1, 1, 1).eval()
    block.weight.fill_(2.0)
    block.norm.running_mean.fill_(2.0)
    block.norm.running_var.fill_(4 - 1e-3)
    block.norm.weight.fill_(3.0)
    block.norm.bias.fill_(1.0)
    expected = 7 * torch.tensor(7.0).sigmoid()
    torch.testing.assert_close(block(torch.full((1, 1, 1, 1), 3.0)).squeeze(), expected)
    assert conv_block(2, 4, 3, stride=2)(torch.zeros(2, 2, 8, 6)).shape == (2, 4, 4, 3)


@pytest.mark.parametrize(
    ("keep_all", "depth", "expected"),
    [
        (False, 4, [14, 12, 10, 20]),
        (False, 6, [16, 14, 12, 10, 20]),
        (True, 4, [14, 13, 12, 11, 10, 20]),
        (False, 1, [11, 10, 20]),
    ],
)
def test_elan_concatenates_the_last_first(keep_all: bool, depth: int, expected: list) -> None:
    block = ELAN(1, 1, width=1, depth=depth, keep_all=keep_all)
    block.side, block.entry, block.fuse = Plus(20), Plus(10), nn.Identity()
    block.chain = nn.ModuleList(Plus(1) for _ in range(depth))
    assert values(block(torch.zeros(1, 1, 1, 1))) == expected


def test_elan_widths() -> None:
    """(256, 4) of YOLOv7's neck: six branches of 128 and two of 256 channels are joined."""
    with torch.device("meta"):
        block = ELAN(512, 256, width=256, depth=4, chain_width=128, keep_all=True)
    assert [conv.in_channels for conv in block.chain] == [256, 128, 128, 128]
    assert block.fuse.in_channels == 4 * 128 + 2 * 256


def test_pooled_down_puts_the_strided_branch_first() -> None:
    block = PooledDown(1, 1)
    block.strided, block.pooled = nn.Sequential(nn.AvgPool2d(2), Plus(100)), Plus(0)
    x = torch.tensor([[[[1.0, 2.0], [3.0, 6.0]]]])
    assert values(block(x)) == [103, 6]
    assert values(block(x, strided_from=x + 10)) == [113, 6]


@torch.no_grad()
def test_pyramid_pooling() -> None:
    """Four maps joined: as they are, and maxima over 5, 9 and 13 positions; then the side one."""
    block = PyramidPooling(1, 1)
    block.before = block.after = block.fuse = nn.Identity()
    block.side = Plus(100)
    x = torch.randn(1, 1, 20, 17, generator=torch.Generator().manual_seed(0))
    y = block(x)
    pooled = [F.max_pool2d(x, k, stride=1, padding=k // 2) for k in (5, 9, 13)]
    torch.testing.assert_close(y, torch.cat([x, *pooled, x + 100], dim=1), rtol=0, atol=0)


@torch.no_grad()
def test_pyramid_pooling_has_its_seven_convolutions() -> None:
    block = randomised(PyramidPooling(3, 4))
    x = torch.randn(2, 3, 6, 5, dtype=torch.float64)
    y = x
    for conv in block.before:
        y = conv(y)
    pooled = [F.max_pool2d(y, k, stride=1, padding=k // 2) for k in (5, 9, 13)]
    main = block.after[1](block.after[0](torch.cat([y, *pooled], dim=1)))
    torch.testing.assert_close(block(x), block.fuse(torch.cat([main, block.side(x)], dim=1)))
    assert [c.kernel_size[0] for c in (*block.before, *block.after)] == [1, 3, 1, 1, 3]


# Folding


def test_affine_of_norm_by_hand() -> None:
    """Weight 3, bias 1, mean 2 and variance 4: 1.5 x - 2."""
    norm = nn.BatchNorm2d(1, eps=0.0).eval()
    for tensor, value in zip((norm.weight, norm.bias), (3.0, 1.0), strict=True):
        tensor.data.fill_(value)
    norm.running_mean.fill_(2.0)
    norm.running_var.fill_(4.0)
    assert [x.item() for x in affine_of_norm(norm)] == [1.5, -2.0]
    plain = nn.BatchNorm2d(1, eps=0.0, affine=False)
    plain.running_mean.fill_(2.0)
    plain.running_var.fill_(4.0)
    assert [x.item() for x in affine_of_norm(plain)] == [0.5, -1.0]


@torch.no_grad()
def test_rep_conv_by_hand() -> None:
    """3x3 all ones (9 x 2 = 18), 1x1 of 3 (6), no identity from one channel to two: 24."""
    block = RepConv(1, 2).eval()
    block.dense.weight.fill_(1.0)
    block.pointwise.weight.fill_(3.0)
    for branch in (block.dense, block.pointwise):
        branch.norm.running_var.fill_(1 - 1e-3)
    x = torch.full((1, 1, 3, 3), 2.0)
    assert block(x)[0, :, 1, 1].tolist() == pytest.approx([24.0, 24.0])
    conv = block.folded()
    assert conv.weight[0, 0].flatten().tolist() == pytest.approx([1, 1, 1, 1, 4, 1, 1, 1, 1])
    assert conv.bias.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("outputs", [3, 4])
@pytest.mark.parametrize("norm", ["BN", "FrozenBN"])
@torch.no_grad()
def test_folded_rep_conv_is_what_it_was(outputs: int, norm: str) -> None:
    """With the identity branch, from three channels to three, and without it."""
    block = randomised(RepConv(3, outputs, norm))
    assert (block.identity is not None) == (outputs == 3)
    x = torch.randn(2, 3, 7, 6, dtype=torch.float64)
    expected, before = block(x), {k: v.clone() for k, v in block.state_dict().items()}
    torch.testing.assert_close(block.folded()(x), expected, rtol=1e-12, atol=1e-12)
    after = block.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    single = block.float()
    torch.testing.assert_close(single.folded()(x.float()), expected.float(), rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_implicit_conv_by_hand() -> None:
    """2 (3 (x + 0.5) + 1) = 6 x + 5."""
    block = ImplicitConv(1, 1)
    for tensor, value in (
        (block.add.implicit, 0.5),
        (block.conv.weight, 3.0),
        (block.conv.bias, 1.0),
        (block.multiply.implicit, 2.0),
    ):
        tensor.fill_(value)
    assert block(torch.ones(1, 1, 1, 1)).item() == 11.0
    conv = block.folded()
    assert type(conv) is Conv2d
    assert (conv.weight.item(), conv.bias.item()) == (6.0, 5.0)


@torch.no_grad()
def test_implicit_vectors_start_near_nothing() -> None:
    torch.manual_seed(0)
    block = ImplicitConv(2000, 3000)
    assert block.add.implicit.mean().abs() < 0.002 and 0.018 < block.add.implicit.std() < 0.022
    assert (block.multiply.implicit.mean() - 1).abs() < 0.002
    assert 0.018 < block.multiply.implicit.std() < 0.022
    assert block.add.implicit.shape == (1, 2000, 1, 1)


@torch.no_grad()
def test_every_block_of_a_model_is_folded() -> None:
    model = nn.Sequential(RepConv(3, 4), nn.Sequential(ImplicitConv(4, 5)))
    model = randomised(model)
    x = torch.randn(1, 3, 5, 5, dtype=torch.float64)
    expected = model(x)
    assert fold_blocks(model) == 2
    assert all(type(m) in (nn.Sequential, Conv2d, nn.SiLU) for m in model.modules())
    assert not any(weight.requires_grad for weight in model.parameters())
    torch.testing.assert_close(model(x), expected, rtol=1e-12, atol=1e-12)
    assert fold_blocks(model) == fold_norms(model) == 0


class Twice(Conv2d):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(x)


@pytest.mark.parametrize(
    "change",
    [
        lambda block: setattr(block.dense, "__class__", Twice),
        lambda block: setattr(block.dense, "activation", nn.Tanh()),
        lambda block: block.dense.__dict__.update(dilation=(2, 2), padding=(2, 2)),
    ],
)
@torch.no_grad()
def test_blocks_with_other_layers_inside_are_left(change: Callable[[Any], object]) -> None:
    model = nn.Sequential(randomised(RepConv(3, 4)))
    change(model[0])
    x = torch.randn(1, 3, 5, 5, dtype=torch.float64)
    expected = model(x)
    assert fold_blocks(model) == 0
    torch.testing.assert_close(model(x), expected, rtol=1e-12, atol=1e-12)


@torch.no_grad()
def test_norms_folded_first_change_nothing() -> None:
    model = nn.Sequential(randomised(RepConv(3, 4)))
    x = torch.randn(1, 3, 5, 5, dtype=torch.float64)
    expected = model(x)
    assert fold_norms(model) == 2
    assert fold_blocks(model) == 1
    torch.testing.assert_close(model(x), expected, rtol=1e-12, atol=1e-12)


def test_blocks_whose_norms_train_are_left() -> None:
    model = nn.Sequential(RepConv(3, 4))
    assert fold_blocks(model) == 0
    assert type(model[0]) is RepConv
