# SPDX-License-Identifier: Apache-2.0
"""Whole small trainings of routers that see and learn other things than the paper's."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from detectron2.config import CfgNode

from dynamicdet_d2.calibration.run import calibrate
from dynamicdet_d2.calibration.targets import HardFraction
from dynamicdet_d2.commands.train import evaluate
from dynamicdet_d2.config import Use
from dynamicdet_d2.engine.passing import PassingTrainer
from dynamicdet_d2.engine.setup import load_config
from dynamicdet_d2.engine.trainer import DynamicTrainer
from dynamicdet_d2.modeling.router import LARGEST_LOGIT, AdaptiveRouter
from tests.support import runs
from tests.support.runs import NUM_IMAGES, differing
from tests.support.trained import trained

pytestmark = pytest.mark.usefixtures("undrawn_file")

Config = Callable[..., CfgNode]

DETECTORS = 2
# Two epochs of six images, two at a time.
ROUTER = 6


@pytest.fixture
def config(config_file: str, tmp_path: Path) -> Config:
    """Two joint steps and the router's phase, into a folder by name, without an evaluation."""

    def build(name: str, inputs: str, *overrides: object, use: Use = Use.TRAIN) -> CfgNode:
        keys = ["OUTPUT_DIR", tmp_path / name, "SOLVER.MAX_ITER", DETECTORS, "DATASETS.TEST", "()"]
        words = (*keys, "MODEL.ROUTER.INPUTS", inputs, *overrides)
        return load_config(config_file, [str(word) for word in words], use)

    return build


def weights(trainer: DynamicTrainer) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in trainer.detector.state_dict().items()}


def test_from_training_to_a_calibrated_evaluation(config: Config, tmp_path: Path) -> None:
    """A router that sees proposals."""
    cfg = config("run", "['rpn']")
    router = trained(cfg).detector.router
    assert router.hidden.in_features == 14
    assert bool((router.spread != 1).any())
    keys = ("MODEL.WEIGHTS", f"{cfg.OUTPUT_DIR}/model_final.pth", "DATASETS.TEST", "('toy_test',)")
    record = tmp_path / "calibration.json"
    calibrate(config("calibrated", "['rpn']", *keys), str(record), HardFraction(0.5))
    point = ("MODEL.DYNAMIC.CALIBRATION", record, "MODEL.DYNAMIC.HARD_FRACTION", 0.5)
    evaluated = config("evaluated", "['rpn']", *keys, *point, use=Use.EVALUATE)
    results = evaluate(evaluated, resume=False)["dynamic"]
    assert results["realised_hard_fraction"] == pytest.approx(0.5, abs=1 / NUM_IMAGES)


def test_a_regression_learns_online(config: Config) -> None:
    """Ranks among the losses of the offset's pass, of images that are augmented anew."""
    objective = ("SOLVER.ROUTER.OBJECTIVE", "hardness_regression", "SOLVER.ROUTER.MODE", "online")
    trainer = trained(config("run", "['detections']", *objective))
    losses = [loss for loss, _ in trainer.storage.history("loss_router").values()]
    assert len(losses) == ROUTER
    # Squares of differences in [0, 1]; eq. 12 has the size of the detectors' losses.
    assert all(0 < loss < 1 for loss in losses)
    start = config("start", "['detections']", *objective, "SOLVER.ROUTER.EPOCHS", 0)
    before, after = (x.detector.router.score.weight for x in (trained(start), trainer))
    assert not torch.equal(before, after)


def test_auto_is_chosen_logged_and_kept(config: Config) -> None:
    keys = ("SOLVER.ROUTER.OBJECTIVE", "auto")
    cfg = config("run", "['detections', 'features']", *keys)
    trainer = trained(cfg)
    content = json.loads((Path(cfg.OUTPUT_DIR) / "router_objective.json").read_text())
    chosen = content["chosen"]
    histories = trainer.storage.histories()
    assert histories[f"router_auto/objective_{chosen['objective']}"].latest() == 1
    assert histories["lr"].latest() == chosen["learning_rate"]
    assert len(histories["loss_router"].values()) == ROUTER
    assert content["judged_on"] == "3 folds of 6 training images"


def test_auto_judges_on_another_data_set_as_well(config: Config) -> None:
    keys = ("SOLVER.ROUTER.OBJECTIVE", "auto", "SOLVER.ROUTER.VALIDATION", "toy_test")
    cfg = config("run", "['detections']", *keys)
    trained(cfg)
    content = json.loads((Path(cfg.OUTPUT_DIR) / "router_objective.json").read_text())
    assert content["judged_on"] == "3 folds of 6 training images and 6 images of toy_test"


@pytest.mark.parametrize("mode", ["cached", "online"])
def test_the_last_step_leaves_no_image_beyond_what_numbers_tell_apart(
    config: Config, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At such a rate logits are in the thousands; what is saved has them scaled."""
    seen = []
    tell_apart = AdaptiveRouter.tell_apart

    def noted(router: AdaptiveRouter, numbers: torch.Tensor) -> None:
        seen.append((numbers, router.logit(numbers).abs().max()))
        tell_apart(router, numbers)

    monkeypatch.setattr(AdaptiveRouter, "tell_apart", noted)
    keys = ("SOLVER.ROUTER.BASE_LR", 10, "SOLVER.ROUTER.MODE", mode)
    trainer = trained(config(mode, "['detections']", *keys))
    ((numbers, largest),) = seen
    assert len(numbers) == NUM_IMAGES and largest > LARGEST_LOGIT
    logits = trainer.detector.router.logit(numbers)
    assert float(logits.abs().max()) == pytest.approx(LARGEST_LOGIT)
    saved = torch.load(Path(trainer.cfg.OUTPUT_DIR) / "model_final.pth", weights_only=True)["model"]
    assert torch.equal(saved["router.score.weight"], trainer.detector.router.score.weight)


@pytest.mark.parametrize("mode", ["cached", "online"])
def test_the_map_has_learnt_before_the_router_learns(config: Config, mode: str) -> None:
    trainer = trained(config(mode, "['map']", "SOLVER.ROUTER.MODE", mode))
    own = trainer.detector.router.inputs["map"]
    assert all(float(weight.abs().sum()) > 0 for weight in own.buffers())
    assert bool((trainer.detector.router.spread != 1).any())


def test_a_resumed_run_is_the_run_that_was_not_interrupted(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in the middle of the router's steps: map, standard, table and choice come back."""
    keys = ("SOLVER.ROUTER.OBJECTIVE", "auto", "SOLVER.CHECKPOINT_PERIOD", 2)
    expected = weights(trained(config("whole", "['map', 'rpn']", *keys)))
    cfg = config("killed", "['map', 'rpn']", *keys)
    step = PassingTrainer.run_step

    def dying(self: Any) -> None:
        if self.iter == DETECTORS + 3:
            raise KeyboardInterrupt
        step(self)

    monkeypatch.setattr(PassingTrainer, "run_step", dying)
    with pytest.raises(KeyboardInterrupt):
        trained(cfg)
    monkeypatch.undo()
    resumed = trained(cfg, resume=True)
    assert resumed.start_iter == DETECTORS + 2
    assert differing(weights(resumed), expected) == []


def stopped(cfg: CfgNode, step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that dies before a step of the router."""
    run_step = PassingTrainer.run_step

    def dying(self: Any) -> None:
        if self.iter == DETECTORS + step:
            raise KeyboardInterrupt
        run_step(self)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(PassingTrainer, "run_step", dying)
        trained(cfg)


def test_another_objective_brings_its_learning_rate_along(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = ("SOLVER.CHECKPOINT_PERIOD", 2)
    stopped(config("run", "['rpn']", *keys, "SOLVER.ROUTER.BASE_LR", 1e-5), 3, monkeypatch)
    resumed = trained(config("run", "['rpn']", *keys, "SOLVER.ROUTER.OBJECTIVE", "auto"), True)
    histories = resumed.storage.histories()
    chosen = histories["router_auto/learning_rate"].latest()
    assert histories["lr"].latest() == chosen > 1e-5


@pytest.mark.parametrize(
    ("key", "other", "says"),
    [
        (
            *("MODEL.ROUTER.STANDARDIZE", "False"),
            "^MODEL.ROUTER.STANDARDIZE is False, and the run began with True: it must stay",
        ),
        (
            *("MODEL.COMPOSITE.SHARE_HEADS", "True"),
            r"SHARE_HEADS is True and was False \(the model has no tail2\.",
        ),
    ],
)
def test_what_the_router_sees_stays_over_a_resume(
    config: Config, monkeypatch: pytest.MonkeyPatch, key: str, other: str, says: str
) -> None:
    """Without these parts, of which there are fewer weights than the checkpoint has."""
    keys = ("SOLVER.CHECKPOINT_PERIOD", 2, "MODEL.ROUTER.STANDARDIZE", "True")
    keys += ("MODEL.COMPOSITE.SHARE_HEADS", "False")
    stopped(config("run", "['features']", *keys), 3, monkeypatch)
    with pytest.raises(ValueError, match=says):
        trained(config("run", "['features']", *keys, key, other), resume=True)


def test_weights_that_are_not_finite_are_named_before_a_step_is_tried(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = config("run", "['features']", "SOLVER.CHECKPOINT_PERIOD", 2)
    stopped(cfg, 3, monkeypatch)
    path = Path(cfg.OUTPUT_DIR, Path(cfg.OUTPUT_DIR, "last_checkpoint").read_text())
    content = torch.load(path, weights_only=True)
    name = "backbone.bottom_up1.stem.conv1.weight"
    content["model"][name][0] = torch.nan
    torch.save(content, path)
    with pytest.raises(ValueError, match=rf"^{path} has values in {name} that are not finite\.$"):
        trained(cfg, resume=True)


def test_images_of_a_step_are_not_guessed_where_some_were_left_out(config: Config) -> None:
    trainer = trained(config("run", "['rpn']"))
    trainer.iter = DETECTORS
    ids = trainer.image_ids(None)
    assert len(ids) == 2 and set(ids) <= {image["image_id"] for image in trainer.images}
    trainer.training.loader.numbers = trainer.training.loader.numbers[1:]
    assert trainer.image_ids(None) == ()


def test_two_processes_teach_and_choose_as_one_does(config_file: str, tmp_path: Path) -> None:
    """From the same detectors on: the same map and choice, and routers that are the same."""
    keys = ("MODEL.ROUTER.INPUTS", "['map', 'detections']", "SOLVER.ROUTER.OBJECTIVE", "auto")
    keys = (*keys, "SOLVER.MAX_ITER", 0, "DATASETS.TEST", "()")
    found = []
    for number in (1, 2):
        output = tmp_path / str(number)
        run = runs.train(config_file, output, *keys, options=f"--num-gpus {number}")
        assert run.status == 0, run.err
        found.append(runs.weights(output))
    one, two = (json.loads((tmp_path / x / "router_objective.json").read_text()) for x in "12")
    assert one["chosen"] == two["chosen"]
    for name in found[0]:
        if name.startswith("router."):
            torch.testing.assert_close(found[1][name], found[0][name], rtol=1e-3, atol=1e-4)
