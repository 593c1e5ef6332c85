# SPDX-License-Identifier: Apache-2.0
"""Whole small trainings of detectors with parts of a program's own."""

from pathlib import Path
from typing import Any

import pytest
import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY
from torch import Tensor, nn

from dynamicdet_d2.engine.setup import load_config
from dynamicdet_d2.engine.trainer import DynamicTrainer
from dynamicdet_d2.modeling import DynamicRCNN
from dynamicdet_d2.modeling.batch import Batch
from dynamicdet_d2.modeling.routing import Features

Config = Any


@pytest.fixture
def config(config_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    """Two steps of the first phase and one epoch of the router, of a kind of detector."""

    def build(kind: type[nn.Module], *overrides: object) -> CfgNode:
        monkeypatch.setitem(META_ARCH_REGISTRY._obj_map, kind.__name__, kind)
        keys = ["OUTPUT_DIR", tmp_path, "SOLVER.MAX_ITER", 2, "SOLVER.ROUTER.EPOCHS", 1]
        words = [*keys, "DATASETS.TEST", "()", "MODEL.META_ARCHITECTURE", kind.__name__]
        return load_config(config_file, [str(word) for word in (*words, *overrides)])

    return build


def trained(cfg: CfgNode) -> Any:
    trainer = DynamicTrainer(cfg)
    trainer.resume_or_load(resume=False)
    trainer.train()
    return trainer.detector


class Uncertain(DynamicRCNN):
    """Losses that are weighted by a learnt uncertainty of each detector."""

    @configurable
    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.log_variance = nn.Parameter(torch.zeros(2))

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        return super().from_config(cfg)

    def losses(self, detector: int, batch: Batch, pyramid: Features) -> dict[str, Tensor]:
        own = self.log_variance[detector - 1]
        found = super().losses(detector, batch, pyramid)
        return {**{k: x * (-own).exp() for k, x in found.items()}, "loss_variance": own}


def test_weights_that_a_detector_keeps_itself_are_trained(config: Config) -> None:
    model = trained(config(Uncertain, "SOLVER.BASE_LR", 0.1))
    assert (model.log_variance != 0).all()
