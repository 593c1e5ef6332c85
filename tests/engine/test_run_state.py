# SPDX-License-Identifier: Apache-2.0
"""What a checkpoint has of a run beside its weights, with parts of a user's own in it."""

import random
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from detectron2.config import CfgNode
from detectron2.engine import DefaultTrainer, HookBase
from detectron2.utils import comm
from torch.optim import lr_scheduler as schedules

from dynamicdet_d2.engine import trainer as trainers
from dynamicdet_d2.engine.run_state import check_hook_states, named_hooks
from dynamicdet_d2.engine.setup import load_config
from dynamicdet_d2.engine.static import StaticTrainer
from dynamicdet_d2.engine.trainer import DynamicTrainer
from tests.engine.test_static import STATIC
from tests.support.runs import differing

STEPS, SAVED = 4, 2
DYNAMIC = ["SOLVER.PHASES", "('detectors',)", "SOLVER.WARMUP_ITERS", "2"]


@pytest.fixture
def cfg(config_file: str, tmp_path: Path) -> CfgNode:
    return config(config_file, tmp_path, DYNAMIC)


def config(config_file: str, folder: Path, keys: Sequence[str]) -> CfgNode:
    own = ["DATASETS.TEST", "()", "OUTPUT_DIR", str(folder), "SOLVER.CHECKPOINT_PERIOD", str(SAVED)]
    return load_config(config_file, [*keys, *own, "SOLVER.MAX_ITER", str(STEPS)])


def of_two(cfg: CfgNode, optimizer: Any) -> Any:
    parts = [schedules.LinearLR(optimizer, 0.5, total_iters=2), schedules.StepLR(optimizer, 1)]
    return schedules.SequentialLR(optimizer, parts, milestones=[2])


def at_once(cfg: CfgNode, optimizer: Any) -> Any:
    parts = [schedules.ConstantLR(optimizer, 0.5, 2), schedules.ExponentialLR(optimizer, 0.5)]
    return schedules.ChainedScheduler(parts, optimizer=optimizer)


OWN = {
    "a schedule of two": ("build_lr_scheduler", of_two, [0.5, 0.75, 1, 0.1]),
    "two schedules at once": ("build_lr_scheduler", at_once, [0.5, 0.25, 0.25, 0.125]),
    "torch's schedule": (
        "build_lr_scheduler",
        lambda cfg, optimizer: schedules.MultiStepLR(optimizer, [3], 0.5),
        [1, 1, 1, 0.5],
    ),
    "no schedule": ("build_lr_scheduler", lambda cfg, optimizer: None, [1, 1, 1, 1]),
    "an optimizer of other states": (
        "build_optimizer",
        lambda cfg, model: torch.optim.Adafactor(model.parameters(), lr=cfg.SOLVER.BASE_LR),
        None,
    ),
    "an optimizer of other keys": (
        "build_optimizer",
        lambda cfg, model: torch.optim.Rprop(model.parameters(), lr=1e-4),
        None,
    ),
}


class Rates(HookBase):
    """The learning rates of the steps."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def before_step(self) -> None:
        self.seen.append(self.trainer.optimizer.param_groups[0]["lr"])


def run(
    kind: type[DefaultTrainer], cfg: CfgNode, *hooks: HookBase, resume: bool = False
) -> DefaultTrainer:
    trainer = kind(cfg)
    trainer.register_hooks(list(hooks))
    trainer.resume_or_load(resume=resume)
    trainer.train()
    return trainer


def go_on_from(folder: Path, checkpoint: str) -> None:
    (folder / "last_checkpoint").write_text(checkpoint)


@pytest.mark.parametrize(
    ("own", "base"),
    [
        *((own, StaticTrainer) for own in OWN),
        ("a schedule of two", DynamicTrainer),
        ("an optimizer of other states", DynamicTrainer),
    ],
)
def test_a_run_resumes_with_a_users_own(
    own: str, base: type[DefaultTrainer], config_file: str, tmp_path: Path
) -> None:
    name, build, expected = OWN[own]
    kind = type("Own", (base,), {name: classmethod(lambda cls, *given: build(*given))})
    cfg = config(config_file, tmp_path, STATIC if base is StaticTrainer else DYNAMIC)
    whole, resumed = Rates(), Rates()
    one = run(kind, cfg, whole)
    go_on_from(tmp_path, f"model_{SAVED - 1:07d}.pth")
    other = run(kind, cfg, resumed, resume=True)
    assert resumed.seen == whole.seen[SAVED:]
    if expected is not None:
        rate = cfg.SOLVER.BASE_LR
        assert whole.seen == pytest.approx([rate * share for share in expected])
    assert differing(one.plain_model.state_dict(), other.plain_model.state_dict()) == []


def of_two_batches(trainer: Any) -> None:
    """Their gradients are added up; what is looked at beside them is not taken."""
    next(iter(trainer.data_loader))
    trainer.optimizer.zero_grad()
    for _ in range(2):
        losses = trainer.model(next(trainer._trainer._data_loader_iter))
        sum(losses.values()).backward()
    trainer.optimizer.step()


def by_chance(trainer: Any) -> None:
    """Numpy's and Python's, which nobody but the step itself seeds."""
    losses = trainer.model(next(trainer._trainer._data_loader_iter))
    trainer.optimizer.zero_grad()
    (np.random.uniform() * random.random() * sum(losses.values())).backward()
    trainer.optimizer.step()


@pytest.mark.parametrize("base", [StaticTrainer, DynamicTrainer])
@pytest.mark.parametrize("step", [of_two_batches, by_chance])
def test_a_run_resumes_with_a_step_of_a_users_own(
    step: Callable[[Any], None], base: type[DefaultTrainer], config_file: str, tmp_path: Path
) -> None:
    kind = type("Own", (base,), {"run_step": step})
    cfg = config(config_file, tmp_path, STATIC if base is StaticTrainer else DYNAMIC)
    one = run(kind, cfg)
    go_on_from(tmp_path, f"model_{SAVED - 1:07d}.pth")
    other = run(kind, cfg, resume=True)
    assert differing(one.plain_model.state_dict(), other.plain_model.state_dict()) == []


class Sum(HookBase):
    """Adds a number at every step, and keeps the sum."""

    def __init__(self, number: int) -> None:
        self.number, self.sum = number, 0

    def before_step(self) -> None:
        self.sum += self.number

    def state_dict(self) -> dict:
        return {"sum": self.sum}

    def load_state_dict(self, state_dict: dict) -> None:
        self.sum = state_dict["sum"]


def test_two_hooks_of_a_class_keep_their_own_states(
    cfg: CfgNode, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run(DynamicTrainer, cfg, Sum(1), Sum(10))
    assert "Hook Sum 2 keeps a state and comes behind the one that saves checkpoints" in caplog.text
    go_on_from(tmp_path, f"model_{SAVED - 1:07d}.pth")
    one, other = Sum(1), Sum(10)
    run(DynamicTrainer, cfg, one, other, resume=True)
    assert (one.sum, other.sum) == (STEPS, 10 * STEPS)


def test_a_hook_that_is_gone_is_said(
    cfg: CfgNode, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run(DynamicTrainer, cfg, Sum(1), Sum(10))
    DynamicTrainer(cfg).resume_or_load(resume=True)
    assert "There is no hook Sum 2 any more, whose state is passed over." in caplog.text


class Saves(HookBase):
    """Saves when the training begins, before a step, and when it has ended."""

    def before_train(self) -> None:
        self.trainer.checkpointer.save("begun")

    def before_step(self) -> None:
        if self.trainer.iter == SAVED:
            self.trainer.checkpointer.save("between")

    def after_train(self) -> None:
        self.trainer.checkpointer.save("ended")


@pytest.mark.parametrize(("name", "done"), [("begun", 0), ("between", SAVED), ("ended", STEPS)])
def test_a_checkpoint_of_a_users_own_is_of_the_last_step_made(
    name: str, done: int, cfg: CfgNode, tmp_path: Path
) -> None:
    one = run(DynamicTrainer, cfg, Saves())
    go_on_from(tmp_path, f"{name}.pth")
    other = run(DynamicTrainer, cfg, resume=True)
    assert other.start_iter == done
    assert differing(one.plain_model.state_dict(), other.plain_model.state_dict()) == []


@pytest.mark.parametrize(
    ("theirs", "said"),
    [
        (("", ""), "no checkpoint"),
        (("old.pth", "a hash"), "old.pth"),
        (("model_0000001.pth", "another hash"), "model_0000001.pth of other content"),
    ],
)
def test_machines_that_share_no_folder_do_not_resume(
    theirs: tuple[str, str],
    said: str,
    cfg: CfgNode,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trainer = DynamicTrainer(cfg)
    tmp_path.joinpath("model_0000001.pth").touch()
    go_on_from(tmp_path, "model_0000001.pth")

    def gathered(value: Any) -> list:
        own = isinstance(value, tuple) and value[0] == "model_0000001.pth"
        return [value, theirs if own else value]

    monkeypatch.setattr(comm, "get_world_size", lambda: 2)
    monkeypatch.setattr(comm, "all_gather", gathered)
    says = f"has model_0000001.pth for rank 0 to go on from, and {said} for rank 1: --resume needs"
    with pytest.raises(ValueError, match=says):
        trainer.resume_or_load(resume=True)


@pytest.mark.parametrize(("rank", "ends"), [(0, ValueError), (1, SystemExit)])
def test_what_all_processes_find_is_said_by_the_first(
    rank: int, ends: type[BaseException], cfg: CfgNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = DynamicTrainer(cfg)
    monkeypatch.setattr(comm, "all_gather", lambda value: [value, value])
    monkeypatch.setattr(comm, "get_rank", lambda: rank)
    state = {"config": {"SOLVER.OPTIMIZER": "ADAMW"}}
    with pytest.raises(ends):
        trainer.settle_keys(state, (), ("SOLVER.OPTIMIZER",))


class Last(HookBase):
    """Keeps what no checkpoint can."""

    def state_dict(self) -> dict:
        return {"losses": deque([1.0])}


def test_a_state_that_cannot_be_kept_is_refused_before_the_first_step(cfg: CfgNode) -> None:
    says = r"^The state of hook Last\['losses'\] is of type deque; a checkpoint may hold tensors"
    with pytest.raises(ValueError, match=says):
        check_hook_states([Last()])
    seen = Rates()
    with pytest.raises(ValueError, match=says):
        run(DynamicTrainer, cfg, seen, Last())
    assert seen.seen == []


class Forgets(HookBase):
    """Has no load_state_dict, as HookBase has none."""

    def state_dict(self) -> dict:
        return {"steps": 3}


def test_a_state_that_is_not_taken_up_again_is_refused_before_the_first_step() -> None:
    says = r"^Hook Forgets gives a state_dict\(\) and has no load_state_dict\(\), without which"
    with pytest.raises(ValueError, match=says):
        check_hook_states([Forgets()])


class Later(HookBase):
    """Keeps what it has from its first step on."""

    def after_step(self) -> None:
        self.seen = self.trainer.iter

    def state_dict(self) -> dict:
        return {"seen": self.seen}


def test_a_state_may_come_with_the_first_step(cfg: CfgNode, tmp_path: Path) -> None:
    run(DynamicTrainer, cfg, Later())
    saved = torch.load(tmp_path / "model_final.pth", weights_only=True)["trainer"]
    # It stands behind the hook that saves.
    assert saved["hooks"]["Later"] == {"seen": STEPS - 2}


def test_names_of_hooks() -> None:
    assert list(named_hooks([Sum(1), Last(), Sum(2)])) == ["Sum", "Last", "Sum 2"]


def test_a_run_that_begins_with_weights_alone_measures_their_statistics(
    cfg: CfgNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that begins with them by ``MODEL.WEIGHTS``."""
    trainer, folder, measured = DynamicTrainer(cfg), Path(cfg.OUTPUT_DIR), []
    torch.save({"model": trainer.detector.state_dict()}, folder / "weights.pth")
    (folder / "last_checkpoint").write_text("weights.pth")
    monkeypatch.setattr(trainers, "measure_statistics", lambda *given: measured.append(given))
    trainer.resume_or_load(resume=True)
    assert measured == [(cfg, trainer.detector, trainer.images, trainer._names_trained())]
