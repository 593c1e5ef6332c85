# SPDX-License-Identifier: Apache-2.0
"""Figures that a config expects, by names that the evaluation does not have."""

from contextlib import nullcontext
from types import SimpleNamespace

import pytest
from torch import nn

from dynamicdet_d2.config import get_cfg
from dynamicdet_d2.engine.expected import check_expected
from dynamicdet_d2.engine.static import StaticTrainer
from dynamicdet_d2.engine.trainer import DynamicTrainer

FOUND = {"bbox": {"AP": 40.0, "AP50": 60.0}, "dynamic": {"gflops": 1.0}}


@pytest.mark.parametrize(
    ("expected", "said"),
    [
        (["segm", "AP", 35.0, 1.0], "names 'segm'; the evaluation gives bbox, dynamic."),
        (["bbox", "AP51", 35.0, 1.0], "names 'AP51' of 'bbox', which the evaluation does not give"),
        (["bbox", "AP51", 35.0, 1.0], "does not give. The nearest is 'AP50'."),
    ],
)
def test_a_figure_that_nobody_measures_is_named(expected: list, said: str) -> None:
    with pytest.raises(ValueError, match="TEST.EXPECTED_RESULTS") as caught:
        check_expected([["bbox", "AP", 99.0, 0.1], expected], FOUND)
    assert said in str(caught.value)


@pytest.mark.parametrize("trainer", [DynamicTrainer, StaticTrainer])
def test_trainers_look_at_the_names_at_each_evaluation(trainer: type) -> None:
    """Detectron2 looks for them at the end of the training alone, by a key that is not there."""
    cfg = get_cfg()
    cfg.TEST.EXPECTED_RESULTS = [["segm", "AP", 35.0, 1.0]]
    run = SimpleNamespace(
        cfg=cfg,
        average=SimpleNamespace(in_place=nullcontext),
        detector=nn.Identity(),
        model=nn.Identity(),
        plain_model=nn.Identity(),
        test=lambda cfg, model: FOUND,
    )
    with pytest.raises(ValueError, match="names 'segm'; the evaluation gives bbox, dynamic"):
        trainer._evaluate(run)
