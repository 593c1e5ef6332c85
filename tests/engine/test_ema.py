# SPDX-License-Identifier: Apache-2.0
"""Averaged weights: by hand, and where they take the model's place in whole trainings."""

import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from detectron2.config import CfgNode
from torch import Tensor, nn

from dynamicdet_d2.engine.ema import WeightAverage
from dynamicdet_d2.engine.setup import load_config
from dynamicdet_d2.engine.static import StaticTrainer
from dynamicdet_d2.engine.trainer import DynamicTrainer
from tests.engine.test_static import STATIC
from tests.support.runs import differing, weights
from tests.support.trained import trained

pytestmark = pytest.mark.usefixtures("undrawn_file")

EMA = ("SOLVER.EMA.ENABLED", True, "SOLVER.EMA.DECAY", 0.9, "SOLVER.EMA.TAU", 2.0)
Config = Callable[..., CfgNode]


# By hand


class Small(nn.Module):
    """A weight, a statistic, a count and a buffer that is not a number."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0, 2.0]))
        self.register_buffer("mean", torch.tensor(4.0))
        self.register_buffer("count", torch.tensor(0))
        self.register_buffer("nothing", torch.tensor(math.nan))


def step(average: WeightAverage, model: Small, weight: list[float], mean: float) -> None:
    average.before_step()
    with torch.no_grad():
        model.weight.copy_(torch.tensor(weight))
        model.mean.fill_(mean)
        model.count += 1
    average.after_step()


def averaging(model: nn.Module) -> WeightAverage:
    average = WeightAverage(model, decay=0.9, tau=2.0)
    average.begin()
    return average


def test_two_steps_by_hand() -> None:
    """Weights of the average: 0.9 (1 - e^-0.5) = 0.3541 and 0.9 (1 - e^-1) = 0.5689."""
    model = Small()
    average = averaging(model)
    step(average, model, [2.0, 2.0], 8.0)
    step(average, model, [0.0, 2.0], 0.0)
    first, second = (0.9 * (1 - math.exp(-u / 2)) for u in (1, 2))
    with average.in_place():
        after_one = first * 1 + (1 - first) * 2
        assert model.weight[0].item() == pytest.approx(second * after_one, rel=1e-6)
        assert model.weight[1].item() == 2  # exactly, as all that does not change
        assert model.mean.item() == pytest.approx(second * (first * 4 + (1 - first) * 8), rel=1e-6)
        assert model.count.item() == 2
        assert model.nothing.isnan()
    assert model.weight.tolist() == [0.0, 2.0] and model.mean.item() == 0.0


def test_without_beginning_nothing_is_averaged() -> None:
    model = Small()
    average = WeightAverage(model, decay=0.9, tau=2.0)
    step(average, model, [5.0, 5.0], 1.0)
    with average.in_place():
        assert model.weight.tolist() == [5.0, 5.0]
    assert average.state_dict() == {}
    average.hand_over()
    assert model.weight.tolist() == [5.0, 5.0]


def test_the_average_begins_with_the_weights_of_the_first_step() -> None:
    """Weights are loaded after a model is built, and a phase entered."""
    model = Small()
    average = averaging(model)
    nn.init.constant_(model.weight, 7.0)
    step(average, model, [7.0, 7.0], 4.0)
    with average.in_place():
        assert model.weight.tolist() == [7.0, 7.0]


def test_what_is_handed_over_stays() -> None:
    model = Small()
    average = averaging(model)
    step(average, model, [2.0, 2.0], 8.0)
    with average.in_place():
        expected = model.weight.tolist()
    average.hand_over()
    assert model.weight.tolist() == expected
    step(average, model, [3.0, 3.0], 8.0)
    with average.in_place():
        assert model.weight.tolist() == [3.0, 3.0]


def test_an_error_inside_leaves_the_models_own_weights() -> None:
    model = Small()
    average = averaging(model)
    step(average, model, [2.0, 2.0], 8.0)
    with pytest.raises(KeyError), average.in_place():
        raise KeyError
    assert model.weight.tolist() == [2.0, 2.0]


def test_a_state_goes_on_as_if_nothing_had_happened() -> None:
    whole, model = Small(), Small()
    one, other = averaging(whole), averaging(model)
    for average, learner in ((one, whole), (other, model)):
        step(average, learner, [2.0, 2.0], 8.0)
    with other.in_place():
        saved = {name: value.clone() for name, value in model.state_dict().items()}
    state = other.state_dict()
    assert state["updates"] == 1
    resumed = Small()
    resumed.load_state_dict(saved)
    third = averaging(resumed)
    third.load_state_dict(state)
    assert resumed.weight.tolist() == [2.0, 2.0]
    for average, learner in ((one, whole), (third, resumed)):
        step(average, learner, [0.5, 1.0], 3.0)
    with one.in_place(), third.in_place():
        assert differing(whole.state_dict(), resumed.state_dict()) == []


def test_a_run_that_no_longer_averages_goes_on_from_the_trained_weights() -> None:
    model = Small()
    average = averaging(model)
    step(average, model, [2.0, 2.0], 8.0)
    state, resumed = average.state_dict(), Small()
    WeightAverage(resumed, decay=0.9, tau=2.0).load_state_dict(state)
    assert resumed.weight.tolist() == [2.0, 2.0]


@pytest.mark.parametrize(("iteration", "handed"), [(5, True), (3, False)])
def test_a_finished_training_leaves_the_average(iteration: int, handed: bool) -> None:
    model = Small()
    average = averaging(model)
    step(average, model, [2.0, 2.0], 8.0)
    average.trainer = SimpleNamespace(iter=iteration, max_iter=5)
    average.after_train()
    assert (model.weight[0].item() != 2.0) == handed


# Whole trainings


@pytest.fixture
def config(config_file: str, tmp_path: Path) -> Config:
    """Builds the toy config with overrides: three joint steps, an OUTPUT_DIR by name, no test."""

    def build(name: str, *overrides: object) -> CfgNode:
        keys = ["OUTPUT_DIR", tmp_path / name, "SOLVER.MAX_ITER", 3, "DATASETS.TEST", "()"]
        return load_config(config_file, [str(word) for word in (*keys, *overrides)])

    return build


def state(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def averages(trainer: DynamicTrainer) -> list[dict[str, Tensor]]:
    """What the weights are after each step, and before the first; filled while it trains."""
    found: list[dict[str, Tensor]] = []
    before, after = trainer.average.before_step, trainer.average.after_step

    def remember() -> None:
        before()
        if not found:
            found.append(state(trainer.detector))

    def remember_too() -> None:
        found.append(state(trainer.detector))
        after()

    trainer.average.before_step, trainer.average.after_step = remember, remember_too
    return found


def by_hand(steps: list[dict[str, Tensor]], name: str) -> Tensor:
    average = steps[0][name].double()
    for update, own in enumerate(steps[1:], start=1):
        weight = 0.9 * (1 - math.exp(-update / 2))
        average = weight * average + (1 - weight) * own[name].double()
    return average


def test_the_final_model_is_the_average_of_all_steps(config: Config) -> None:
    trainer = DynamicTrainer(config("run", *EMA, "SOLVER.ROUTER.EPOCHS", 0))
    steps = averages(trainer)
    trainer.train()
    final = weights(Path(trainer.cfg.OUTPUT_DIR))
    assert len(steps) == 4
    for name in ("backbone.bottom_up1.res3.0.conv1.weight", "roi_heads.box_head.fc1.bias"):
        torch.testing.assert_close(final[name].double(), by_hand(steps, name), rtol=1e-5, atol=1e-7)
    statistic = "backbone.bottom_up1.stem.conv1.norm.running_mean"
    torch.testing.assert_close(
        final[statistic].double(), by_hand(steps, statistic), rtol=1e-5, atol=1e-7
    )
    assert len(differing(steps[-1], final)) > len(final) / 2
    # And what a user of the trainer then holds.
    assert differing(state(trainer.detector), final) == []


def test_averaging_changes_nothing_about_the_training(config: Config) -> None:
    plain = trained(config("plain", "SOLVER.ROUTER.EPOCHS", 0))
    other = DynamicTrainer(config("averaged", *EMA, "SOLVER.ROUTER.EPOCHS", 0))
    steps = averages(other)
    other.train()
    assert differing(state(plain.detector), steps[-1]) == []


def test_the_average_is_evaluated_measured_and_kept_in_phase_router(config: Config) -> None:
    """The evaluation after step 2 sees what that step's checkpoint has, and training goes on."""
    evaluated = ("DATASETS.TEST", "('toy_test',)", "TEST.EVAL_PERIOD", 2)
    keys = (*EMA, "SOLVER.CHECKPOINT_PERIOD", 1)
    trainer = DynamicTrainer(config("run", *keys, *evaluated))
    steps, seen, measured = averages(trainer), [], []
    test, table = trainer.test, trainer._measured
    trainer.test = lambda cfg, model: seen.append(state(model)) or test(cfg, model)
    trainer._measured = lambda *a: measured.append(state(trainer.detector)) or table(*a)
    trainer.train()
    folder = Path(trainer.cfg.OUTPUT_DIR)
    assert differing(seen[0], weights(folder, "model_0000001")) == []
    assert differing(seen[0], steps[2]) != []
    quiet = DynamicTrainer(config("quiet", *keys, "SOLVER.ROUTER.EPOCHS", 0))
    unseen = averages(quiet)
    quiet.train()
    assert all(differing(a, b) == [] for a, b in zip(unseen, steps[:4], strict=True))
    # The pass and the router's phase have the average of all three steps.
    assert differing(measured[0], weights(folder, "model_detectors")) == []
    assert differing(state(quiet.detector), weights(folder, "model_detectors")) == []
    changed = differing(measured[0], weights(folder))
    assert {name.partition(".")[0] for name in changed} == {"loss_offset", "router"}
    assert differing(seen[-1], weights(folder)) == []


def test_phase_detector2_begins_with_the_average_and_keeps_detector1(config: Config) -> None:
    phases = ("SOLVER.PHASES", "('detectors', 'detector2')", "SOLVER.ROUTER.EPOCHS", 0)
    trainer = trained(config("run", *EMA, *phases))
    folder = Path(trainer.cfg.OUTPUT_DIR)
    changed = differing(weights(folder, "model_detectors"), weights(folder))
    assert changed and all(
        name.startswith(("backbone.connections.", "backbone.bottom_up2.")) for name in changed
    )


def test_the_optimised_copy_follows_the_average(config: Config) -> None:
    """Evaluations run a copy of the model; it must be of the weights that are in place."""
    evaluated = ("DATASETS.TEST", "('toy_test',)", "MODEL.INFERENCE.OPTIMIZE", True)
    keys = ("SOLVER.ROUTER.EPOCHS", 0, *EMA, *evaluated)
    trainer = DynamicTrainer(config("run", *keys, "TEST.EVAL_PERIOD", 2))
    trainer.train()
    found = trainer._last_eval_results
    again = DynamicTrainer(config("again", *keys))
    again.checkpointer.load(str(Path(trainer.cfg.OUTPUT_DIR) / "model_final.pth"), [])
    expected = again.test(again.cfg, again.detector)
    assert found["bbox"] == expected["bbox"]


# Static detectors


def static(cfg: CfgNode, resume: bool) -> StaticTrainer:
    Path(cfg.OUTPUT_DIR).mkdir(exist_ok=True)
    trainer = StaticTrainer(cfg)
    trainer.resume_or_load(resume=resume)
    trainer.train()
    return trainer


def test_a_static_detector_is_averaged_and_resumes_bit_for_bit(config: Config) -> None:
    mosaic = ("INPUT.MOSAIC.ENABLED", True, "INPUT.MAX_SIZE_TRAIN", 64)
    keys = (*STATIC, *EMA, *mosaic, "SOLVER.MAX_ITER", 4, "SOLVER.CHECKPOINT_PERIOD", 2)
    torch.manual_seed(0)
    whole = static(config("whole", *keys), resume=False)
    folder = Path(whole.cfg.OUTPUT_DIR)
    (folder / "last_checkpoint").write_text("model_0000001.pth")
    torch.manual_seed(1)
    resumed = static(config("whole", *keys), resume=True)
    assert resumed.start_iter == 2
    assert differing(whole.model.state_dict(), resumed.model.state_dict()) == []
    assert differing(whole.model.state_dict(), weights(folder)) == []
    saved = torch.load(folder / "model_final.pth", weights_only=True)["trainer"]["hooks"]
    assert differing(saved["WeightAverage"]["trained"], weights(folder)) != []
