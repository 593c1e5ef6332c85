# SPDX-License-Identifier: Apache-2.0
"""Objective "auto": what it tries, how it judges, what it chooses and keeps."""

import json
import logging
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.config import CfgNode

from dynamicdet_d2.engine import auto
from dynamicdet_d2.engine.auto import choose
from dynamicdet_d2.engine.auto.candidates import CANDIDATES, LEARNING_RATES, Course
from dynamicdet_d2.engine.auto.judge import HeldOut, held_out_in_folds, held_out_set, judged
from dynamicdet_d2.engine.auto.record import Choice, Judged, load_choice, save_choice
from dynamicdet_d2.engine.loss_table import LossTable
from dynamicdet_d2.engine.objectives import OBJECTIVES
from dynamicdet_d2.engine.phases.phase import Start, Stream
from dynamicdet_d2.engine.phases.router import RouterPhase
from dynamicdet_d2.engine.trainer import DynamicTrainer
from dynamicdet_d2.modeling.dynamic_detector import DynamicDetector
from tests.support.made_up import made_up_table
from tests.support.toy import toy_cfg, toy_model

INPUTS = ("MODEL.ROUTER.INPUTS", ["detections"])
SHORT = ("SOLVER.ROUTER.IMS_PER_BATCH", 16, "SOLVER.ROUTER.EPOCHS", 8)
COUNT = 120


def config(*overrides: object) -> CfgNode:
    return toy_cfg(*INPUTS, *SHORT, *overrides)


@pytest.fixture(scope="module")
def model() -> DynamicDetector:
    model = toy_model(*INPUTS)
    model.requires_grad_(False).router.requires_grad_(True)
    return model


@pytest.fixture(scope="module")
def course(model: DynamicDetector) -> Course:
    return Course(config(), model.router, seed=1)


@pytest.fixture(scope="module")
def gain_is_right(course: Course) -> Choice:
    return on_folds(course, made_up_table(COUNT, helps=True))


def on_folds(course: Course, table: LossTable) -> Choice:
    return judged([held_out_in_folds(course, table)], course.seed)


def candidate(objective: str, area: float | None, rate: float = 0.1) -> Judged:
    return Judged(objective, rate, area, area, None, None)


# Training


@pytest.mark.parametrize("place", [0, 5, 9, 13])
def test_candidates_learn_by_the_phases_own_steps(
    model: DynamicDetector, course: Course, place: int
) -> None:
    """Side by side, and one at a time as the phase trains the one that is chosen."""
    table, candidate = made_up_table(40, helps=True), CANDIDATES[place]
    keys = ("SOLVER.ROUTER.OBJECTIVE", candidate.objective)
    cfg = config(*keys, "SOLVER.ROUTER.BASE_LR", candidate.learning_rate)
    stack = course.trained(table, range(len(table)))
    # The phase's router starts where the candidates have started.
    model.router.load_state_dict(stack.router.state_dict())
    phase = RouterPhase(cfg)
    training = phase.build(Start(model, Stream([], 1, 0), DynamicTrainer, table))
    for batch in islice(training.loader, phase.steps(len(table))):
        training.optimizer.zero_grad()
        training.module(batch)["loss_router"].backward()
        training.optimizer.step()
    with torch.no_grad():
        alone = model.router.logit(table["detections"])
    together = course.difficulties(stack, table, range(len(table)))[place]
    assert together == pytest.approx(alone.numpy(), abs=1e-4)
    assert np.ptp(together) > 1e-3


def test_a_course_leaves_the_model_as_it_is(model: DynamicDetector, course: Course) -> None:
    before = {name: x.clone() for name, x in model.router.state_dict().items()}
    state = torch.get_rng_state()
    course.trained(made_up_table(20, helps=True), range(20))
    assert all(torch.equal(before[name], x) for name, x in model.router.state_dict().items())
    assert torch.equal(state, torch.get_rng_state())


# Judging


def test_the_objective_that_is_right_by_construction(gain_is_right: Choice) -> None:
    areas = {
        name: [x.area for x in gain_is_right.candidates if x.objective == name]
        for name in OBJECTIVES
    }
    assert gain_is_right.beats_random
    assert gain_is_right.chosen.objective in ("gain", "gain_rank")
    # Losses say the opposite: what they make of these images is worse than chance.
    assert min(areas["gain"][1:]) > 5 > -5 > max(areas["loss"][1:] + areas["hardness"][1:])
    assert gain_is_right.chosen.auroc > 0.95
    assert gain_is_right.judged_on == f"3 folds of {COUNT} training images"
    rates = {(x.objective, x.learning_rate) for x in gain_is_right.candidates}
    assert len(rates) == len(OBJECTIVES) * len(LEARNING_RATES)


def test_nothing_beats_random_where_both_exits_are_alike(
    model: DynamicDetector, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    table = made_up_table(30, helps=False)
    cfg = config("OUTPUT_DIR", str(tmp_path))
    with caplog.at_level(logging.INFO):
        lesson = auto.chosen_lesson(cfg, model, table, seed=1, resumed=False)
    assert lesson.objective == "loss"
    assert lesson.scalars["router_auto/beats_random"] == 0
    assert lesson.scalars["router_auto/area"] == 0
    (said,) = [x.getMessage() for x in caplog.records if x.levelno == logging.WARNING]
    assert said.startswith("NO objective beats random routing (the best: +0.000 AP, where")
    margin = 2 * lesson.scalars["router_auto/random_std"]
    assert f"where chance alone may give {margin:.3f})" in said
    assert "The router learns 'loss'" in said


def test_a_router_that_knows_nothing_is_within_chance(course: Course) -> None:
    table = made_up_table(COUNT, helps=True, informed=False)
    choice = on_folds(course, table)
    assert abs(choice.best.area) < 5 * choice.random_std


def test_images_without_objects_have_no_ap(course: Course) -> None:
    table = made_up_table(6, helps=True)
    rows = table["matched"]
    nothing = LossTable({**table.columns, "matched": rows[rows[:, 1] != 2]})
    choice = on_folds(course, nothing)
    assert all(x.area is None for x in choice.candidates)
    assert choice.random_std is None
    assert not choice.beats_random and choice.chosen.objective == "loss"
    assert "the best: nothing" in choice.verdict()
    assert "loss" in choice.table()


def test_too_few_images_are_refused(course: Course) -> None:
    with pytest.raises(ValueError, match="'auto' needs at least 3 training images; there are 2"):
        on_folds(course, made_up_table(2, helps=True))


def test_candidates_that_diverge_are_left_out(
    model: DynamicDetector, caplog: pytest.LogCaptureFixture
) -> None:
    """A decay of 18 a step at the largest rate; at the next one of 1.8."""
    course = Course(config("SOLVER.ROUTER.WEIGHT_DECAY", 1.8e3), model.router, seed=1)
    choice = on_folds(course, made_up_table(COUNT, helps=True))
    assert {x.learning_rate for x in choice.candidates} == set(LEARNING_RATES[:2])
    assert "6 of 18 ways to train the router diverged, and are left out" in caplog.text


def test_a_choice_among_none_is_refused(model: DynamicDetector) -> None:
    course = Course(config("SOLVER.ROUTER.WEIGHT_DECAY", 1e9), model.router, seed=1)
    with pytest.raises(FloatingPointError, match=r"18 of 18 .* SOLVER\.ROUTER\.WEIGHT_DECAY may"):
        on_folds(course, made_up_table(COUNT, helps=True))


def test_a_validation_set_judges_what_all_training_images_teach(course: Course) -> None:
    table, validation = (made_up_table(60, helps=True, seed=seed) for seed in (0, 1))
    choice = judged([held_out_set(course, table, validation, "kept_aside")], course.seed)
    assert choice.judged_on == "60 images of kept_aside"
    assert choice.beats_random and choice.chosen.objective in ("gain", "gain_rank")


def test_each_image_counts_once() -> None:
    """Candidate 0 knows the larger set's gains, candidate 1 the smaller one's."""
    parts = []
    for knows, count in ((0, 60), (1, 20)):
        table = made_up_table(count, helps=True, seed=knows)
        scores = np.random.default_rng(0).random((len(CANDIDATES), count))
        scores[knows] = table["gain"].numpy() + scores[knows] / 1e3
        parts.append(HeldOut.of(f"{count} images", table, 1e6 * scores))
    larger, smaller = (judged([part], 1) for part in parts)
    assert (larger.chosen, smaller.chosen) == (larger.candidates[0], smaller.candidates[1])
    both = judged(parts, 1)
    assert both.chosen == both.candidates[0]
    assert both.judged_on == "60 images and 20 images"
    one = HeldOut(
        "", [*parts[0].matched, *parts[1].matched], np.hstack([part.scores for part in parts])
    )
    assert judged([one], 1).candidates == both.candidates


# The choice


def test_the_choice_by_hand() -> None:
    candidates = (candidate("loss", -0.5), candidate("loss", 0.1, 0.2), candidate("gain", 0.45))
    choice = Choice("images", candidates, random_std=0.2)
    assert choice.beats_random and choice.chosen == candidates[2]
    lesson = choice.lesson()
    assert (lesson.objective, lesson.learning_rate, lesson.column) == ("gain", 0.1, "gain")
    assert lesson.scalars == {
        "router_auto/objective_gain": 1.0,
        "router_auto/learning_rate": 0.1,
        "router_auto/area": 0.45,
        "router_auto/random_std": 0.2,
        "router_auto/beats_random": 1.0,
    }
    assert "learns 'gain' at learning rate 0.1: +0.450 AP" in choice.verdict()
    # Less than two standard deviations: the better of the two that learn the loss gap.
    chance = Choice("images", candidates, random_std=0.23)
    assert not chance.beats_random and chance.chosen == candidates[1]


def test_the_table_has_the_best_first() -> None:
    candidates = (candidate("loss", None), candidate("ap", -1.0), candidate("gain", 0.25, 1e-3))
    lines = Choice("images", candidates, 0.1).table().splitlines()[2:]
    assert [line.split() for line in lines] == [
        ["gain", "0.001", "+0.250", "+0.250", "-", "-"],
        ["ap", "0.1", "-1.000", "-1.000", "-", "-"],
        ["loss", "0.1", "-", "-", "-", "-"],
    ]


def test_the_file_keeps_the_choice(tmp_path: Path, gain_is_right: Choice) -> None:
    save_choice(gain_is_right, str(tmp_path), "a")
    assert load_choice(str(tmp_path), "a") == gain_is_right
    assert load_choice(str(tmp_path), "b") is None
    content = json.loads((tmp_path / "router_objective.json").read_text())
    assert content["chosen"]["objective"] == gain_is_right.chosen.objective
    for damaged in ("[]", "{", '{"of": "a"}'):
        (tmp_path / "router_objective.json").write_text(damaged)
        assert load_choice(str(tmp_path), "a") is None


def test_a_resumed_run_takes_the_choice_that_was_made(
    model: DynamicDetector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg, table = config("OUTPUT_DIR", str(tmp_path)), made_up_table(30, helps=True)
    lesson = auto.chosen_lesson(cfg, model, table, seed=1, resumed=False)
    calls = []
    made = choose.judged
    monkeypatch.setattr(choose, "judged", lambda *x: calls.append(1) or made(*x))
    # What a router has learnt since does not matter.
    torch.nn.init.zeros_(model.router.score.weight)
    assert auto.chosen_lesson(cfg, model, table, seed=1, resumed=True) == lesson
    assert not calls
    other = made_up_table(30, helps=True, seed=2)
    auto.chosen_lesson(cfg, model, other, seed=1, resumed=True)
    assert calls == [1]


def test_the_phase_asks_for_all_that_is_tried() -> None:
    columns = RouterPhase(config("SOLVER.ROUTER.OBJECTIVE", "auto")).columns
    # Beside the router's inputs, which the trainer asks for.
    assert set(columns) == {"losses", "ap", "gain", "matched"}
