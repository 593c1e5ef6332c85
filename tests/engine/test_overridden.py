# SPDX-License-Identifier: Apache-2.0
"""What a subclass of the trainer, or a program, gives it to train with, refused by name."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from detectron2.config import CfgNode
from detectron2.engine import HookBase, hooks
from torch import nn

from dynamicdet_d2.engine.hooks import PhaseSwitch
from dynamicdet_d2.engine.overridden import checked_evaluators
from dynamicdet_d2.engine.setup import load_config
from dynamicdet_d2.engine.trainer import DynamicTrainer
from tests.engine.test_extension import STEPS, Counted, Ids, given


@pytest.fixture
def cfg(config_file: str, tmp_path: Path) -> CfgNode:
    keys = ["OUTPUT_DIR", tmp_path, "SOLVER.MAX_ITER", STEPS, "SOLVER.ROUTER.EPOCHS", 1]
    return load_config(config_file, [str(word) for word in keys])


ELSEWHERE = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 0.1)
"""Of no model's parameters."""


@pytest.mark.parametrize(
    ("name", "returned", "says"),
    [
        ("build_hooks", None, "build_hooks of Own returns nothing."),
        ("build_hooks", [Counted], "build_hooks of Own gives <class .*; it must be an instance of"),
        ("build_train_loader", None, "build_train_loader of Own returns nothing; it must be"),
        ("build_optimizer", None, "build_optimizer of Own returns None; it must be a torch.optim"),
        (
            "build_optimizer",
            ELSEWHERE,
            "build_optimizer of Own gives one of other parameters than those of the model that",
        ),
        (
            "build_optimizer",
            torch.optim.LBFGS([torch.nn.Parameter(torch.zeros(1))]),
            "build_optimizer of Own returns LBFGS, which computes losses several times in a step.",
        ),
        ("build_lr_scheduler", 0.1, "build_lr_scheduler of Own returns 0.1; it must be a schedule"),
        (
            "build_lr_scheduler",
            torch.optim.lr_scheduler.ReduceLROnPlateau(ELSEWHERE),
            "that is stepped without a metric, or None.",
        ),
        (
            "build_lr_scheduler",
            torch.optim.lr_scheduler.StepLR(ELSEWHERE, 1),
            "build_lr_scheduler of Own gives one of another optimizer, whose rates nothing reads.",
        ),
        (
            "build_hooks",
            PhaseSwitch(),
            "build_hooks of Own gives <dynamicdet_d2.*; it must be a li",
        ),
        (
            "build_writers",
            None,
            "build_writers of Own gives None; it must be a list of Detectron2's",
        ),
        (
            "build_writers",
            ["metrics.json"],
            "build_writers of Own gives 'metrics.json'; it must be",
        ),
        ("build_train_loader", 3, "build_train_loader of Own returns 3; it must be an iterable of"),
        ("build_model", torch.nn.Linear(1, 1), "build_model of Own returns an object of type Lin"),
    ],
)
def test_what_a_trainer_cannot_train_with(
    cfg: CfgNode, name: str, returned: object, says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        own = given(name, returned)
        if name in ("build_train_loader", "build_optimizer", "build_lr_scheduler"):
            setattr(own, name, classmethod(getattr(own, name)))
        own(cfg)


def test_hooks_may_be_any_iterable(cfg: CfgNode) -> None:
    class Own(DynamicTrainer):
        def build_hooks(self) -> Iterator[HookBase]:
            yield from super().build_hooks()

    assert len(Own(cfg)._hooks) == len(DynamicTrainer(cfg)._hooks)


def test_what_no_class_can_be_asked(cfg: CfgNode) -> None:
    class Instance(DynamicTrainer):
        def build_optimizer(self, cfg: CfgNode, model: nn.Module) -> object:
            return None

    class Other(DynamicTrainer):
        @classmethod
        def build_evaluator(cls, cfg: CfgNode) -> object:
            return None

    says = r"^build_optimizer of Instance must be a classmethod: build_optimizer\(cfg, model\).$"
    with pytest.raises(ValueError, match=says):
        Instance(cfg)
    says = r"^build_evaluator of Other must be called so: build_evaluator\(cfg, dataset_name\).$"
    with pytest.raises(ValueError, match=says):
        Other(cfg)


def frozen(part: str) -> type[DynamicTrainer]:
    """A trainer whose model learns nothing in a part; "": nowhere."""

    class Own(DynamicTrainer):
        @classmethod
        def build_model(cls, cfg: CfgNode) -> nn.Module:
            model = super().build_model(cfg)
            model.get_submodule(part).requires_grad_(False)
            return model

    return Own


@pytest.mark.parametrize(("part", "phase"), [("", "detectors"), ("router", "router")])
def test_a_phase_of_which_all_is_frozen(cfg: CfgNode, part: str, phase: str) -> None:
    says = f"^Phase {phase} has nothing to train: build_model of Own gives a model in which all"
    with pytest.raises(ValueError, match=says):
        frozen(part)(cfg)


@pytest.mark.parametrize("kind", [torch.float16, torch.float64])
def test_weights_that_training_cannot_take(cfg: CfgNode, kind: torch.dtype) -> None:
    class Own(DynamicTrainer):
        @classmethod
        def build_model(cls, cfg: CfgNode) -> nn.Module:
            return super().build_model(cfg).to(kind)

    says = f"^build_model of Own returns weights of {kind}; they are trained in float32, and SOLV"
    with pytest.raises(ValueError, match=says):
        Own(cfg)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        (
            "build_optimiser",
            "build_optimiser of Own is asked by nothing. The nearest is build",
        ),
        ("build_my_parts", ""),
    ],
)
def test_a_builder_that_is_misspelt(
    cfg: CfgNode, caplog: pytest.LogCaptureFixture, name: str, says: str
) -> None:
    given(name, None)(cfg)
    said = [x for x in caplog.messages if "is asked by nothing" in x]
    assert len(said) == bool(says) and all(map(str.startswith, said, [says]))


def test_hooks_that_are_kept_from_running(cfg: CfgNode) -> None:
    class Own(DynamicTrainer):
        def before_step(self) -> None:
            pass

    says = r"^before_step of Own does not call super\(\).before_step\(\), without which no hook"
    with pytest.raises(ValueError, match=says):
        Own(cfg).train()


def test_what_is_registered_beside_the_trainers_own_hooks(cfg: CfgNode) -> None:
    trainer = DynamicTrainer(cfg)
    for given_hooks, says in (
        ([Counted], "^register_hooks gives <class .*Counted.*; it must be an instance of Detectro"),
        (Counted(), "^register_hooks gives <.*Counted.*; it must be a list of hooks."),
    ):
        with pytest.raises(ValueError, match=says):
            trainer.register_hooks(given_hooks)
    trainer.register_hooks([hooks.LRScheduler()])
    with pytest.raises(
        ValueError, match="^The hooks LearningRate and LRScheduler each step the sch"
    ):
        trainer.train()


def test_iterations_that_no_phase_has(cfg: CfgNode) -> None:
    trainer = DynamicTrainer(cfg)
    trainer.max_iter = 9
    says = (
        f"^max_iter of the trainer is 9, and its phases have {STEPS + 3} iterations: SOLVER.MAX_I"
    )
    with pytest.raises(ValueError, match=says):
        trainer.train()


def test_what_is_not_there_yet(cfg: CfgNode) -> None:
    """A plain AttributeError would name what Detectron2 keeps it in."""
    cfg = cfg.clone()
    cfg.defrost()
    cfg.SOLVER.PHASES = ["router"]
    with pytest.raises(
        AttributeError, match="^There is no optimizer yet: the first phase measures"
    ):
        _ = DynamicTrainer(cfg).optimizer

    class Forgot(DynamicTrainer):
        def __init__(self, cfg: CfgNode) -> None:
            self.cfg = cfg

    with pytest.raises(AttributeError, match=r"^Forgot has no _hooks yet: super\(\).__init__"):
        Forgot(cfg).train()
    with pytest.raises(AttributeError, match="^'DynamicTrainer' object has no attribute 'gone'$"):
        _ = DynamicTrainer(cfg).gone


def test_resume_is_yes_or_no(cfg: CfgNode) -> None:
    with pytest.raises(
        ValueError, match="^resume_or_load is given 'model.pth'; it must be True or"
    ):
        DynamicTrainer(cfg).resume_or_load("model.pth")


def test_evaluators_are_as_many_as_data_sets(cfg: CfgNode) -> None:
    ids = Ids()
    names = cfg.DATASETS.TEST
    assert checked_evaluators(ids, names) == checked_evaluators((ids,), names) == [ids]
    for wrong, found in (([ids, ids], "2"), ({"toy_test": ids}, "{'toy_test': .*}")):
        with pytest.raises(ValueError, match=f"^test is given {found} for its evaluators; it must"):
            checked_evaluators(wrong, names)


def test_what_neither_weights_nor_a_phase_give(
    cfg: CfgNode, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A file of one detector has no connections, and phase router alone trains none."""
    weights = DynamicTrainer.build_model(cfg).state_dict()
    single = {name: value for name, value in weights.items() if "connections" not in name}
    torch.save({"model": single}, tmp_path / "single.pth")
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.WEIGHTS = str(tmp_path / "single.pth")
    for phases, says in (
        (["detector2", "router"], ""),
        (
            ["router"],
            f"{tmp_path}/single.pth leaves parts of the detectors at initial values, "
            "which SOLVER.PHASES ['router'] with SOLVER.MAX_ITER 2 does not train: "
            "backbone.connections (",
        ),
    ):
        cfg.SOLVER.PHASES = phases
        DynamicTrainer(cfg).resume_or_load(False)
        said = [x.getMessage() for x in caplog.records if "leaves parts of" in x.getMessage()]
        assert [line[: len(says)] for line in said] == ([says] if says else [])


def test_weights_of_the_folder_are_none_by_chance(
    cfg: CfgNode, caplog: pytest.LogCaptureFixture
) -> None:
    """A run that resumes from weights alone, with MODEL.WEIGHTS empty."""
    cfg = cfg.clone()
    cfg.defrost()
    cfg.SOLVER.PHASES = ["router"]
    weights = DynamicTrainer.build_model(cfg).state_dict()
    torch.save({"model": weights}, f"{cfg.OUTPUT_DIR}/weights.pth")
    for there in (False, True):
        if there:
            Path(cfg.OUTPUT_DIR, "last_checkpoint").write_text("weights.pth")
        caplog.clear()
        DynamicTrainer(cfg).resume_or_load(True)
        assert ("trains no detector1" in caplog.text) is not there


def test_what_weights_of_backbone_2_do_not_give(
    cfg: CfgNode, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kept, backbone1, place = {}, "backbone.bottom_up1.", "backbone.bottom_up."
    for name, value in DynamicTrainer.build_model(cfg).state_dict().items():
        if not name.startswith(("backbone.bottom_up2.", "router.", "loss_")):
            kept[name.replace(backbone1, place).replace("neck.", "backbone.")] = value
    torch.save({"model": kept}, tmp_path / "one.pth")
    part = {name: value for name, value in kept.items() if ".res5." not in name}
    torch.save({"model": part}, tmp_path / "two.pth")
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.WEIGHTS, cfg.MODEL.COMPOSITE.WEIGHTS2 = (
        str(tmp_path / name) for name in ("one.pth", "two.pth")
    )
    cfg.SOLVER.PHASES = ["router"]
    DynamicTrainer(cfg).resume_or_load(False)
    (said,) = (x.getMessage() for x in caplog.records if "leaves parts of" in x.getMessage())
    assert said.startswith(
        f"{tmp_path}/two.pth leaves parts of the detectors at initial "
        "values, which SOLVER.PHASES ['router'] with SOLVER.MAX_ITER 2 does not train: "
        "backbone.bottom_up2.res5 ("
    )


def test_a_loader_alone_refuses_keys_that_contradict_mosaics(cfg: CfgNode) -> None:
    cfg.defrost()
    cfg.INPUT.MOSAIC.ENABLED, cfg.INPUT.FORMAT = True, "L"
    says = r"^INPUT\.FORMAT is 'L'; with INPUT\.MOSAIC\.ENABLED it must be 'RGB' or 'BGR'\.$"
    with pytest.raises(ValueError, match=says):
        DynamicTrainer.build_train_loader(cfg)
