# SPDX-License-Identifier: Apache-2.0
"""Fixed statistics of a shortened backbone 1, measured anew."""

import re

import pytest
import torch
from detectron2.layers import FrozenBatchNorm2d

from dynamicdet_d2.engine.statistics import _Measure, measure_on
from tests.support.toy import toy_inputs, toy_model

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
    norm = FrozenBatchNorm2d(1, eps=1e-12)
    measure = _Measure(norm)
    assert norm(torch.tensor([[[[1.0, 3.0]]]])).flatten().tolist() == pytest.approx(
        [-1, 1]
    )  # mean 2, variance 1
    assert norm(torch.tensor([[[[5.0, 5.5]]]])).flatten().tolist() == pytest.approx([-1, 1])
    measure.settle()
    # 1, 3, 5, 5.5: mean 3.625, mean square 65.25 / 4 = 16.3125.
    assert norm.running_mean.item() == 3.625
    assert norm.running_var.item() == 16.3125 - 3.625**2
    norm(torch.zeros(1, 1, 2, 2))
    assert norm.running_mean.item() == 3.625


def test_own_stages_fit_their_inputs_afterwards_and_all_else_stays() -> None:
    model = toy_model(*LITE)
    before = {name: x.clone() for name, x in model.backbone.state_dict().items()}
    measure_on(model, [toy_inputs(2)])
    after = model.backbone.state_dict()
    changed = {name for name, x in after.items() if not torch.equal(x, before[name])}
    own = re.compile(r"bottom_up1\.stage[234]\..*running_(mean|var)")
    assert changed
    assert all(own.fullmatch(name) for name in changed)


def test_measuring_the_same_images_again_changes_nothing() -> None:
    model = toy_model(*LITE)
    batch = toy_inputs(2)
    measure_on(model, [batch])
    once = {name: x.clone() for name, x in model.state_dict().items()}
    measure_on(model, [batch])
    for name, x in model.state_dict().items():
        torch.testing.assert_close(x, once[name], equal_nan=True)


def test_norms_without_fixed_statistics_are_refused() -> None:
    model = toy_model(*LITE, "MODEL.EFFICIENTNET_LITE.NORM", "BN")
    with pytest.raises(ValueError, match=r"STATISTICS_IMAGES .* 'FrozenBN'"):
        measure_on(model, [toy_inputs(1)])
