# SPDX-License-Identifier: Apache-2.0
"""Fixed statistics of a shortened backbone 1, measured anew."""

import re
from pathlib import Path

import pytest
import torch
from detectron2.layers import Conv2d, FrozenBatchNorm2d

from dynamicdet_d2.engine import statistics
from dynamicdet_d2.engine.setup import load_config
from dynamicdet_d2.engine.statistics import _measured, measure_on, measure_statistics
from dynamicdet_d2.engine.trainer import DynamicTrainer
from tests.support.toy import toy_cfg, toy_inputs, toy_model

LITE = (
    "MODEL.BACKBONE.NAME",
    "build_composite_efficientnet_lite_backbone",
    "MODEL.FPN.IN_FEATURES",
    ["stage1", "stage2", "stage3", "stage4"],
    "MODEL.COMPOSITE.NUM_BLOCKS1",
    [1, 1, 1, 1, 1, 1, 1],
    "MODEL.COMPOSITE.NUM_BLOCKS2",
    [1, 1, 2, 1, 1, 1, 1],
)


def test_mean_and_variance_of_two_batches_by_hand() -> None:
    conv = Conv2d(1, 1, kernel_size=1, bias=False, norm=FrozenBatchNorm2d(1, eps=1e-12))
    conv.weight.data.fill_(2.0)
    norm = conv.norm
    with torch.no_grad(), _measured([conv]):
        first = conv(torch.tensor([[[[0.5, 1.5]]]]))  # doubled: mean 2, variance 1
        second = conv(torch.tensor([[[[2.5, 2.75]]]]))
    assert first.flatten().tolist() == pytest.approx([-1, 1])
    assert second.flatten().tolist() == pytest.approx([-1, 1])
    # 1, 3, 5, 5.5: mean 3.625, mean square 65.25 / 4 = 16.3125.
    assert conv.norm is norm
    assert norm.running_mean.item() == 3.625
    assert norm.running_var.item() == 16.3125 - 3.625**2


def test_own_stages_fit_their_inputs_afterwards_and_all_else_stays() -> None:
    model = toy_model(*LITE)
    before = {name: x.clone() for name, x in model.backbone.state_dict().items()}
    measure_on(model, [toy_inputs(2)])
    after = model.backbone.state_dict()
    changed = {name for name, x in after.items() if not torch.equal(x, before[name])}
    own = re.compile(r"bottom_up1\.stage[234]\..*running_(mean|var)")
    assert changed
    assert all(own.fullmatch(name) for name in changed)
    assert all(torch.isfinite(x).all() for x in after.values())


def test_a_stage_gives_what_its_affine_says() -> None:
    model = toy_model(*LITE)
    batch = toy_inputs(2)
    measure_on(model, [batch])
    stage = model.backbone.bottom_up1.stage4
    stage[-1].project.norm.weight.fill_(3.0)
    stage[-1].project.norm.bias.fill_(0.5)
    with torch.no_grad():
        images = model.preprocess_image(batch).tensor
        outputs = model.backbone.first(images)[0]["stage4"]
    variance, mean = torch.var_mean(outputs, dim=(0, 2, 3), correction=0)
    torch.testing.assert_close(mean, torch.full_like(mean, 0.5), atol=1e-4, rtol=0)
    assert (variance <= 9.01).all()  # less than 9 by the norm's eps


def test_measuring_the_same_images_again_changes_nothing() -> None:
    model = toy_model(*LITE)
    batch = toy_inputs(2)
    measure_on(model, [batch])
    once = {name: x.clone() for name, x in model.backbone.state_dict().items()}
    measure_on(model, [batch])
    for name, x in model.backbone.state_dict().items():
        torch.testing.assert_close(x, once[name])


def test_norms_without_fixed_statistics_are_refused() -> None:
    model = toy_model(*LITE, "MODEL.EFFICIENTNET_LITE.NORM", "BN")
    with pytest.raises(ValueError, match=r"STATISTICS_IMAGES .* 'FrozenBN'"):
        measure_on(model, [toy_inputs(1)])


@pytest.mark.parametrize(
    ("keys", "moves"),
    [
        (("SOLVER.PHASES", "['detectors', 'router']"), True),
        (("SOLVER.PHASES", "['detectors', 'router']", "SOLVER.MAX_ITER", 0), False),
        (("SOLVER.PHASES", "['detector2', 'router']"), False),
        (("SOLVER.PHASES", "['router']"), False),
    ],
)
def test_a_backbone_that_no_step_trains_keeps_its_statistics(
    config_file: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    keys: tuple,
    moves: bool,
) -> None:
    words = ("OUTPUT_DIR", tmp_path, "MODEL.COMPOSITE.STATISTICS_IMAGES", 2, *keys)
    trainer = DynamicTrainer(load_config(config_file, [str(word) for word in words]))
    measured: list[object] = []
    monkeypatch.setattr(statistics, "measure_on", lambda *given: measured.append(given))
    with caplog.at_level("INFO"):
        trainer.resume_or_load(resume=False)
    assert len(measured) == moves
    assert ("no step of this run trains backbone 1" in caplog.text) == (not moves)


def test_a_backbone_whose_weights_are_frozen_keeps_its_statistics(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As by MODEL.BACKBONE.FREEZE_AT 5: of its phase it is all the same."""
    cfg, model = toy_cfg("MODEL.COMPOSITE.STATISTICS_IMAGES", 1), toy_model()
    trained = model.state_dict().keys()
    measured: list[object] = []
    monkeypatch.setattr(statistics, "measure_on", lambda *given: measured.append(given))
    monkeypatch.setattr(statistics, "build_finite_loader", lambda *_, **__: [])
    measure_statistics(cfg, model, [{}], trained)
    assert len(measured) == 1
    model.backbone.bottom_up1.requires_grad_(False)
    measure_statistics(cfg, model, [{}], trained)
    assert len(measured) == 1
