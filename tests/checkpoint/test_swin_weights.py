# SPDX-License-Identifier: Apache-2.0
"""Swin weights of torchvision, of its authors and of timm in both backbones."""

import logging
import re
from pathlib import Path

import pytest
import torch
from detectron2.modeling.backbone import FPN
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torchvision.models import swin_t
from torchvision.models.swin_transformer import SwinTransformer

from dynamicdet_d2.checkpoint import DynamicCheckpointer, LoadReport, load_weights, names
from dynamicdet_d2.checkpoint.names.swin import fitted_table
from dynamicdet_d2.modeling.backbone import CompositeBackbone, StagedSwin

BLOCKS, HEADS = (1, 2, 3, 1), (1, 2, 2, 4)
STAGES = ("stage1", "stage2", "stage3", "stage4")
State = dict[str, Tensor]


class Detector(nn.Module):
    """All of a dynamic detector that these files have weights for."""

    def __init__(self, blocks2: tuple[int, ...] = BLOCKS, **keys: object) -> None:
        super().__init__()
        keys = {"channels": 16, "num_heads": HEADS, **keys}
        self.backbone = CompositeBackbone(
            bottom_up1=StagedSwin(num_blocks=BLOCKS, **keys),
            bottom_up2=StagedSwin(num_blocks=blocks2, **keys),
        )


def torchvision_swin(window: int = 7, seed: int = 0) -> SwinTransformer:
    torch.manual_seed(seed)
    source = SwinTransformer([4, 4], 16, list(BLOCKS), list(HEADS), [window] * 2, num_classes=5)
    with torch.no_grad():
        for parameter in source.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return source.eval()


def authors_names(source: SwinTransformer, merging: str = "behind") -> State:
    """The weights as the Swin authors' repository or timm would save them.

    Written from the modules, not by renaming, so that it shares nothing with what is tested.
    """
    state = {}

    def put(name: str, module: nn.Module) -> None:
        state.update({f"{name}.{key}": t.clone() for key, t in module.state_dict().items()})

    put("patch_embed.proj", source.features[0][0])
    put("patch_embed.norm", source.features[0][2])
    for stage in range(4):
        for number, block in enumerate(source.features[2 * stage + 1]):
            name = f"layers.{stage}.blocks.{number}"
            put(f"{name}.norm1", block.norm1)
            put(f"{name}.attn.qkv", block.attn.qkv)
            put(f"{name}.attn.proj", block.attn.proj)
            put(f"{name}.norm2", block.norm2)
            put(f"{name}.mlp.fc1", block.mlp[0])
            put(f"{name}.mlp.fc2", block.mlp[3])
            table = block.attn.relative_position_bias_table
            state[f"{name}.attn.relative_position_bias_table"] = table.detach().clone()
            positions = block.attn.window_size[0] ** 2
            index = block.attn.relative_position_index.view(positions, positions)
            state[f"{name}.attn.relative_position_index"] = index.clone()
            if number % 2:
                state[f"{name}.attn_mask"] = torch.zeros(4, positions, positions)
        if stage < 3:
            owner = stage if merging == "behind" else stage + 1
            put(f"layers.{owner}.downsample.reduction", source.features[2 * stage + 2].reduction)
            put(f"layers.{owner}.downsample.norm", source.features[2 * stage + 2].norm)
    put("norm", source.norm)
    put("head", source.head)
    return state


def stage_outputs(source: SwinTransformer, images: Tensor) -> list[Tensor]:
    outputs, x = [], images
    for number, part in enumerate(source.features):
        x = part(x)
        if number % 2:
            outputs.append(x.permute(0, 3, 1, 2))
    return outputs


@torch.no_grad()
def assert_both_backbones_are(model: nn.Module, source: SwinTransformer) -> None:
    """Backbone 1 by its features, backbone 2 by its weights being the same tensors."""
    images = torch.randn(1, 3, 96, 160)
    first = model.backbone.bottom_up1
    found = [carried for carried, _ in first.stages_from(0, first.stem_forward(images))]
    for output, expected in zip(found, stage_outputs(source, images), strict=True):
        torch.testing.assert_close(output, expected, atol=1e-5, rtol=1e-5)
    state = first.state_dict()
    for name, tensor in model.backbone.bottom_up2.state_dict().items():
        assert torch.equal(tensor, state[name]), name


def load(model: nn.Module, path: Path) -> LoadReport:
    checkpointer = DynamicCheckpointer(model)
    checkpointer.load(path)
    return checkpointer.report


@torch.no_grad()
def test_torchvisions_swin_t_gives_its_features(tmp_path: Path) -> None:
    torch.manual_seed(0)
    source = swin_t().eval()
    for parameter in source.parameters():
        parameter.add_(0.02 * torch.randn_like(parameter))
    torch.save(source.state_dict(), tmp_path / "swin_t.pth")
    plain = nn.Module()
    size = {"channels": 96, "num_blocks": (2, 2, 6, 2), "num_heads": (3, 6, 12, 24)}
    plain.backbone = FPN(StagedSwin(**size).eval(), STAGES, 8)
    report = load(plain, tmp_path / "swin_t.pth")
    assert report.file_format == "torchvision Swin"
    assert set(report.unmatched) == {"norm.weight", "norm.bias", "head.weight", "head.bias"}
    assert report.mismatched == ()
    swin = plain.backbone.bottom_up
    for side in (224, 160):
        images = torch.randn(1, 3, side, side)
        found = swin.stages_from(0, swin.stem_forward(images))
        for (output, _), expected in zip(found, stage_outputs(source, images), strict=True):
            torch.testing.assert_close(output, expected, atol=1e-5, rtol=1e-5)


def test_torchvisions_names(tmp_path: Path) -> None:
    source = torchvision_swin()
    torch.save(source.state_dict(), tmp_path / "swin.pth")
    model = Detector().eval()
    report = load(model, tmp_path / "swin.pth")
    assert_report(report, model, "torchvision Swin", "")
    assert_both_backbones_are(model, source)


@pytest.mark.parametrize("merging", ["behind", "in front"])
@pytest.mark.parametrize("prefix", ["", "backbone.", "backbone.bottom_up."])
@pytest.mark.parametrize("wrapper", ["", "model", "state_dict"])
def test_authors_and_timms_names(merging: str, prefix: str, wrapper: str, tmp_path: Path) -> None:
    source = torchvision_swin()
    state = {prefix + name: tensor for name, tensor in authors_names(source, merging).items()}
    torch.save({wrapper: state, "epoch": 299} if wrapper else state, tmp_path / "swin.pth")
    model = Detector().eval()
    report = load(model, tmp_path / "swin.pth")
    assert_report(report, model, "Swin", prefix)
    assert_both_backbones_are(model, source)


def assert_report(report: LoadReport, model: nn.Module, file_format: str, prefix: str) -> None:
    """Only the classifier is left over, and only what no classifier has is left initial."""
    assert report.file_format == file_format
    classifier = ("norm.weight", "norm.bias", "head.weight", "head.bias")
    assert set(report.unmatched) == {prefix + name for name in classifier}
    assert (report.mismatched, report.interpolated) == ((), ())
    # Connections, and the norms of the stages' outputs.
    own = re.compile(r"backbone\.(connections|bottom_up[12]\.stage[1-4]\.norm)\.")
    parameters = dict(model.named_parameters())
    assert set(report.initial) == set(filter(own.match, parameters))
    # Everything else went into both backbones, but for the patch embedding.
    twice = [n for n in parameters if ".bottom_up2." in n and not own.match(n)]
    assert len(list(filter(names.is_weight, report.duplicated))) == len(twice)


def test_norms_of_a_detectors_stages_are_loaded() -> None:
    """A trained detector of the authors, or of Detectron2's own Swin, has them; and an FPN."""
    state = authors_names(torchvision_swin())
    for number in range(4):
        for kind in ("weight", "bias"):
            state[f"norm{number}.{kind}"] = torch.randn(16 * 2**number)
    state = {f"backbone.bottom_up.{name}": tensor for name, tensor in state.items()}
    state["backbone.fpn_lateral2.bias"] = torch.randn(8)
    model = Detector()
    model.neck = FPN(StagedSwin(channels=16, num_blocks=BLOCKS, num_heads=HEADS), STAGES, 8)
    report = load_weights(model, state, "detector.pth")
    for number, name in enumerate(STAGES):
        for bottom_up in (model.backbone.bottom_up1, model.backbone.bottom_up2):
            found = getattr(bottom_up, name).norm.weight
            assert torch.equal(found, state[f"backbone.bottom_up.norm{number}.weight"])
    assert torch.equal(model.neck.fpn_lateral2.bias, state["backbone.fpn_lateral2.bias"])
    assert len(report.unmatched) == 4


def test_own_names_load_bare_and_in_place() -> None:
    plain = StagedSwin(channels=16, num_blocks=BLOCKS, num_heads=HEADS)
    for prefix in ("", "backbone.bottom_up."):
        model = Detector()
        state = {prefix + name: tensor for name, tensor in plain.state_dict().items()}
        report = load_weights(model, state, "plain.pth")
        assert (report.unmatched, report.mismatched) == ((), ())
        for name, tensor in model.backbone.bottom_up2.state_dict().items():
            assert torch.equal(tensor, plain.state_dict()[name])


def test_a_dynamic_detector_loads_as_it_is() -> None:
    torch.manual_seed(1)
    trained, fresh = Detector(), Detector()
    report = load_weights(fresh, trained.state_dict(), "model_final.pth")
    assert report.file_format == names.DYNAMICDET
    assert (report.initial, report.unmatched, report.duplicated) == ((), (), ())


def test_what_does_not_match_is_reported(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    """A deeper backbone 2, a shallower file, another number of heads, an absolute embedding."""
    state = authors_names(torchvision_swin())
    state["absolute_pos_embed"] = torch.zeros(1, 9, 16)
    state["layers.2.blocks.9.norm1.weight"] = torch.zeros(64)
    table = "layers.0.blocks.0.attn.relative_position_bias_table"
    state[table] = torch.zeros(169, 4)
    torch.save({"model": state}, tmp_path / "swin.pth")
    model = Detector(blocks2=(1, 2, 4, 1))
    with caplog.at_level(logging.INFO, logger="dynamicdet_d2"):
        report = load(model, tmp_path / "swin.pth")
    assert {"absolute_pos_embed", "layers.2.blocks.9.norm1.weight"} < set(report.unmatched)
    assert [(m.file_shape, m.model_shape) for m in report.mismatched] == [((169, 4), (169, 1))] * 2
    new = [n for n in report.initial if n.startswith("backbone.bottom_up2.stage3.blocks")]
    assert new and all(n.startswith("backbone.bottom_up2.stage3.blocks.3.") for n in new)
    assert "relative_position_index" not in caplog.text and "attn_mask" not in caplog.text
    assert "absolute_pos_embed" in caplog.text


# Tables of other windows


def test_tables_of_other_windows_are_fitted_in_both_backbones(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    source = torchvision_swin(window=7)
    torch.save({"model": authors_names(source)}, tmp_path / "swin.pth")
    model = Detector(window_size=5).eval()
    with caplog.at_level(logging.INFO, logger="dynamicdet_d2"):
        report = load(model, tmp_path / "swin.pth")
    assert report.mismatched == ()
    assert len(report.interpolated) == 2 * sum(BLOCKS)
    assert "Interpolated 14 tables of relative positions" in caplog.text
    assert "relative_position_index" not in caplog.text
    for bottom_up in (model.backbone.bottom_up1, model.backbone.bottom_up2):
        attention = bottom_up.stage3.blocks[1].attn
        table = source.features[5][1].attn.relative_position_bias_table
        assert torch.equal(attention.relative_position_bias_table, fitted_table(table, 81))
        assert attention.relative_position_index.max() == 80
    assert torch.isfinite(model.backbone(torch.randn(1, 3, 64, 64))["stage4"]).all()


def test_fitted_tables_by_hand() -> None:
    # Windows of side 1 know one offset: every offset of larger windows gets its value.
    table = torch.tensor([[2.0, -1.0]])
    torch.testing.assert_close(fitted_table(table, 9), table.expand(9, 2))
    # Side 2: offsets -1, 0, 1 in each direction. A value that is the horizontal offset stays
    # odd in it, 0 at offset 0, and the same for every vertical offset.
    across = torch.tensor([-1.0, 0.0, 1.0]).repeat(3).view(9, 1)
    grid = fitted_table(across, 25).view(5, 5)
    torch.testing.assert_close(grid[0].expand(5, 5), grid)
    assert grid[0, 2] == pytest.approx(0, abs=1e-6)
    torch.testing.assert_close(grid, -grid.flip(1))
    assert (grid[0].diff() > 0).all()
    # And the vertical offset stays vertical.
    down = across.view(3, 3).T.reshape(9, 1)
    torch.testing.assert_close(fitted_table(down, 25).view(5, 5), grid.T)


@given(
    window=st.integers(1, 8),
    new=st.integers(1, 8),
    values=st.lists(st.floats(-3, 3, width=32), min_size=1, max_size=4),
)
@settings(max_examples=40, deadline=None)
def test_fitted_tables_keep_heads_apart(window: int, new: int, values: list[float]) -> None:
    rows = (2 * new - 1) ** 2
    table = torch.tensor(values).repeat((2 * window - 1) ** 2, 1)
    fitted = fitted_table(table, rows)
    assert fitted.shape == (rows, len(values))
    torch.testing.assert_close(fitted, torch.tensor(values).expand_as(fitted))


@pytest.mark.parametrize(
    ("shape", "rows"), [((10, 2), 9), ((9, 2), 10), ((16, 2), 9), ((9, 2), 16), ((9,), 25)]
)
def test_what_is_no_table_of_square_windows_is_not_fitted(shape: tuple, rows: int) -> None:
    assert fitted_table(torch.zeros(shape), rows) is None


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("layers.0.blocks.1.mlp.fc1.weight", "stage1.blocks.1.mlp.0.weight"),
        ("layers.2.blocks.17.mlp.fc2.bias", "stage3.blocks.17.mlp.3.bias"),
        ("layers.0.downsample.norm.bias", "stage2.merge.norm.bias"),
        ("norm2.weight", "stage3.norm.weight"),
        ("patch_embed.proj.bias", "patch_embed.proj.bias"),
    ],
)
def test_names_by_hand(name: str, expected: str) -> None:
    both = [f"backbone.bottom_up{i}.{expected}" for i in (1, 2)]
    sign = "layers.0.blocks.0.norm1.weight"
    match = names.match(both, [sign, name])
    assert match.file_format == "Swin"
    assert match.sources == dict.fromkeys(both, name)


def test_formats_are_told_apart() -> None:
    assert names.recognise(["backbone.layers.0.blocks.0.norm1.weight"]) == "Swin"
    assert names.recognise(["features.0.0.bias", "features.1.0.attn.qkv.bias"]) == (
        "torchvision Swin"
    )
    assert names.recognise(["features.0.0.weight"]) == "Detectron2"  # another of torchvision's
    assert names.recognise(["backbone.bottom_up.stage1.norm.bias"]) == "Detectron2"


def test_a_table_of_one_expanded_number_is_none() -> None:
    """Few bytes of a file would become as much as they say."""
    table = torch.zeros(1, 1).expand(9, 2)
    assert fitted_table(table, 25) is None
    assert fitted_table(table.contiguous(), 25) is not None
