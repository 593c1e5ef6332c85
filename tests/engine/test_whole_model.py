# SPDX-License-Identifier: Apache-2.0
"""What a trainer calls its model and its step, in every phase and after the last one."""

from pathlib import Path

import pytest
import torch
from detectron2.config import CfgNode
from detectron2.engine import HookBase
from detectron2.utils.events import EventStorage
from torch import nn

from dynamicdet_d2.engine.phases.detector2 import SecondLosses
from dynamicdet_d2.engine.setup import load_config
from dynamicdet_d2.engine.trainer import DynamicTrainer
from dynamicdet_d2.modeling.modes import freeze
from tests.support.runs import NUM_IMAGES
from tests.support.toy import toy_inputs, toy_model

STEPS = 2


@pytest.fixture
def cfg(config_file: str, tmp_path: Path) -> CfgNode:
    keys = ["OUTPUT_DIR", tmp_path, "SOLVER.MAX_ITER", STEPS, "SOLVER.ROUTER.EPOCHS", 1]
    cfg = load_config(config_file, [str(word) for word in keys])
    cfg.defrost()
    cfg.DATASETS.TEST = ()
    return cfg


class Looks(HookBase):
    """Detects by the trainer's model after every step, as those do that draw pictures."""

    def __init__(self) -> None:
        self.found: list[int] = []

    def after_step(self) -> None:
        self.trainer.model.eval()
        with torch.no_grad():
            self.found.append(len(self.trainer.model(toy_inputs(2))))
        self.trainer.model.train()


@pytest.mark.parametrize("mode", ["cached", "online"])
def test_the_model_is_the_detector_in_every_phase_and_afterwards(cfg: CfgNode, mode: str) -> None:
    cfg.SOLVER.ROUTER.MODE = mode
    trainer, looks = DynamicTrainer(cfg), Looks()
    trainer.register_hooks([looks])
    trainer.train()
    assert looks.found == [2] * trainer.max_iter
    assert trainer.model is trainer.detector
    saved = torch.load(Path(cfg.OUTPUT_DIR) / "model_final.pth", weights_only=True)["model"]
    state = trainer.model.state_dict()
    assert set(state) == set(saved)
    assert all(torch.equal(state[name], saved[name]) for name in saved)


class OwnStep(DynamicTrainer):
    """A step as Detectron2's documentation writes one, which logs nothing."""

    steps = 0

    def run_step(self) -> None:
        losses = self.model(next(self._trainer._data_loader_iter))
        self.optimizer.zero_grad()
        sum(losses.values()).backward()
        self.optimizer.step()
        self.steps += 1


def test_an_own_step_is_that_of_the_detectors(cfg: CfgNode) -> None:
    trainer = OwnStep(cfg)
    before = {name: x.clone() for name, x in trainer.model.state_dict().items()}
    trainer.train()
    assert trainer.steps == STEPS
    assert trainer.iter == trainer.max_iter == STEPS + NUM_IMAGES // 2
    after = trainer.model.state_dict()
    for name in ("router.score.weight", "roi_heads.box_predictor.cls_score.weight"):
        assert not torch.equal(before[name], after[name])


@pytest.mark.parametrize("owner", ["the class", "the trainer"])
def test_an_own_step_does_not_go_on_where_the_phase_has_ended(cfg: CfgNode, owner: str) -> None:
    """As ``SOLVER.BEST.PATIENCE`` ends one, whose weights the next phase is handed over."""
    trainer = (OwnStep if owner == "the class" else DynamicTrainer)(cfg)
    made: list[int] = []
    if owner == "the trainer":
        trainer.run_step = lambda: made.append(trainer.iter)
    trainer.plan.ended["detectors"] = 1
    trainer.train()
    assert (trainer.steps if isinstance(trainer, OwnStep) else len(made)) == 1


def test_a_step_that_is_set_on_a_trainer_is_asked_behind_a_resume(cfg: CfgNode) -> None:
    cfg.SOLVER.CHECKPOINT_PERIOD = 1
    first = DynamicTrainer(cfg)
    first.train()
    Path(cfg.OUTPUT_DIR, "last_checkpoint").write_text("model_0000000.pth")
    resumed, made = DynamicTrainer(cfg), list[int]()
    resumed.run_step = lambda: made.append(resumed.iter)
    resumed.resume_or_load(resume=True)
    resumed.train()
    assert made == [1]  # of phase detectors; the router has its own


class Wrapper(nn.Module):
    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module


def test_another_model_is_refused_and_a_wrapper_is_not(cfg: CfgNode) -> None:
    trainer = DynamicTrainer(cfg)
    with pytest.raises(
        ValueError, match=r"^The model of a DynamicTrainer cannot be replaced by another one, whi"
    ):
        trainer.model = toy_model()
    wrapper = Wrapper(trainer.detector)
    trainer.model = wrapper
    assert trainer.model is wrapper


def test_no_model_takes_the_place_of_the_part_that_a_phase_trains(cfg: CfgNode) -> None:
    cfg.SOLVER.PHASES = ["detector2", "router"]
    trainer = DynamicTrainer(cfg)
    stepped = trainer._trainer.model
    trainer.model = trainer.model
    assert trainer._trainer.model is stepped
    with pytest.raises(
        ValueError, match=r"cannot be wrapped in phase detector2, which trains a pa"
    ):
        trainer.model = Wrapper(trainer.detector)


def test_frozen_statistics_stay_where_a_hook_has_left_all_in_training() -> None:
    model = toy_model("MODEL.RESNETS.NORM", "BN", "MODEL.BACKBONE.FREEZE_AT", 0)
    freeze(model)
    losses = SecondLosses(model, model.second_parts())
    losses.train()
    model.train()
    means = {n: x.clone() for n, x in model.named_buffers() if "running_mean" in n}
    with EventStorage(0):
        losses(toy_inputs(2))
    moved = {n for n, x in model.named_buffers() if n in means and not torch.equal(means[n], x)}
    assert moved and not any(name.startswith("backbone.bottom_up1") for name in moved)
