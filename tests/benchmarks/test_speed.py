# SPDX-License-Identifier: Apache-2.0
"""The arithmetic of the speed benchmark, on made-up seconds."""

import pytest
import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from torch import nn

from benchmarks.speed import exports, peers, yolo
from benchmarks.speed import setting as setting_module
from benchmarks.speed.report import Goal, export_goals, yolo_goals
from benchmarks.speed.setting import PROPOSALS, Setting, drawn_proposals
from benchmarks.speed.timing import Rounds, interleave
from dynamicdet_d2.config import read_config
from tests.support.optimized import STATIC
from tests.support.toy import toy_cfg, toy_model


@pytest.fixture
def rounds() -> Rounds:
    """The second round is twice as slow for all; "b" works on two images a call."""
    seconds = {"a": [1.0, 2.0, 1.0], "b": [3.0, 6.0, 3.2], "c": [4.0, 8.0, 4.0]}
    return Rounds(seconds, {"a": 1, "b": 2, "c": 1})


def test_milliseconds_are_an_image(rounds: Rounds) -> None:
    assert rounds.milliseconds("a") == 1000.0
    assert rounds.milliseconds("b") == 1600.0


def test_ratios_are_paired_by_round(rounds: Rounds) -> None:
    # Unpaired medians would give 3.2 / 2 / 1 = 1.6.
    assert rounds.ratio("b", "a") == pytest.approx(1.5)
    assert rounds.ratio("c", "a") == pytest.approx(4.0)
    assert rounds.ratio("a", "c") == pytest.approx(0.25)


def test_ratio_to_a_weighted_sum(rounds: Rounds) -> None:
    # 0.5 * 1 + 0.5 * 4 = 2.5 in the first and third round, 5 in the second.
    assert rounds.ratio_to_sum("c", {"a": 0.5, "c": 0.5}) == pytest.approx(1.6)
    assert rounds.ratio_to_sum("b", {"a": 1.0}) == pytest.approx(1.5)


def test_calls_take_turns() -> None:
    order: list[str] = []
    calls = {name: (1, lambda name=name: order.append(name)) for name in "abc"}
    timed = interleave("Turns", calls, rounds=3)
    assert "".join(order) == "aabbcc" + "abc" + "bca" + "cab"
    assert all(len(seconds) == 3 for seconds in timed.seconds.values())


@pytest.mark.parametrize(
    ("figure", "sense", "limit", "met"),
    [(1.45, ">=", 1.45, True), (1.44, ">=", 1.45, False), (1.024, "<=", 1.02, True)]
    + [(1.03, "<=", 1.02, False)],
)
def test_a_goal_is_judged_as_it_is_printed(
    figure: float, sense: str, limit: float, met: bool
) -> None:
    assert Goal("what", figure, sense, limit).met is met


def test_drawn_proposals_lie_in_the_image_and_are_as_large_as_on_coco() -> None:
    instances = drawn_proposals((512, 672), "cpu")
    boxes = instances.proposal_boxes.tensor
    assert len(boxes) == PROPOSALS
    assert (boxes >= 0).all()
    assert (boxes[:, 2] <= 672).all()
    assert (boxes[:, 3] <= 512).all()
    side = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1).sqrt().median()
    assert 80 < side < 100


def test_goals_of_yolos() -> None:
    """By hand: easy as static, hard 1.8 times as long at 1.5 times the work, mixes as their sum."""
    seconds = {"static": 1.0, "0% hard": 1.0, "10% hard": 1.08, "50% hard": 1.4, "90% hard": 1.89}
    seconds["100% hard"] = 1.8
    rounds = Rounds({name: [s] for name, s in seconds.items()}, dict.fromkeys(seconds, 10))
    goals = yolo_goals(rounds, 1.5)
    assert [round(goal.figure, 4) for goal in goals] == [1.0, 1.2, 1.0, 1.0, 1.0988]
    assert [goal.met for goal in goals] == [True, False, True, True, False]


def test_yolos_are_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    def tiny(self: Setting, file: str, *overrides: object) -> CfgNode:
        return read_config(file, ["MODEL.DEVICE", "cpu", "MODEL.YOLO.WIDTH", "0.0625"])

    monkeypatch.setattr(Setting, "config", tiny)
    timed, work = yolo.time_yolos(Setting("cpu", 64, 96), rounds=1)
    assert list(timed.seconds) == ["static", *(f"{k}% hard" for k in (0, 10, 50, 90, 100))]
    assert set(timed.images.values()) == {10} and 1.5 < work < 2


def test_goals_of_exports() -> None:
    """By hand: a runtime that is 1.25 times as fast as ours, its int8 5 times as fast as stock."""
    seconds = {"stock": 2.0, "static float32": 1.0, "easy float32": 1.0, "hard float32": 1.5}
    seconds |= {"easy float32, 300 proposals": 0.8, "easy bfloat16, 300 proposals": 0.5}
    seconds |= {f"{route}, openvino float32": 0.8 for route in ("static", "easy")}
    seconds |= {"hard, openvino float32": 1.2, "easy, openvino int8": 0.4}
    seconds |= {"hard, openvino int8": 0.8, "easy, openvino int8, 300 proposals": 0.3}
    goals = export_goals(Rounds({k: [s] for k, s in seconds.items()}, dict.fromkeys(seconds, 1)))
    assert [(goal.what, round(goal.figure, 3)) for goal in goals] == [
        ("easy, 300 proposals / static, float32", 0.8),
        ("hard float32 / easy bfloat16, 300 proposals", 3.0),
        ("static float32 / static, openvino float32", 1.25),
        ("easy float32 / easy, openvino float32", 1.25),
        ("hard float32 / hard, openvino float32", 1.25),
        ("stock / easy, openvino int8", 5.0),
        ("stock / hard, openvino int8", 2.5),
        ("hard, openvino float32 / easy, openvino int8, 300 proposals", 4.0),
    ]
    assert [goal.met for goal in goals] == [True] * 6 + [False, True]


@pytest.fixture
def tiny_pair(monkeypatch: pytest.MonkeyPatch) -> tuple[nn.Module, nn.Module, Setting]:
    """Toys in the place of what is compared."""

    def tiny(self: Setting, file: str, *overrides: object) -> CfgNode:
        return toy_cfg(*(STATIC if file == setting_module.STATIC else ()), *overrides)

    monkeypatch.setattr(Setting, "config", tiny)
    setting = Setting("cpu", 64, 96)
    torch.manual_seed(0)
    return build_model(setting.config(setting_module.STATIC)).eval(), toy_model(), setting


def test_peers_are_timed(tiny_pair: tuple, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "_compiled", lambda stock: stock)  # compiling takes minutes
    timed = peers.time_peers(*tiny_pair, rounds=1)
    assert {"stock", "torchvision Faster R-CNN R50", "hard float32"} <= set(timed.seconds)


def test_exports_are_timed(tiny_pair: tuple, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnx", reason="the package onnx is not installed")
    pytest.importorskip("onnxruntime", reason="the package onnxruntime is not installed")
    monkeypatch.setattr(exports, "RUNTIMES", {"onnx": "onnxruntime"})
    timed = exports.time_exports(*tiny_pair, rounds=1)
    assert len(export_goals(timed)) == 8


def test_assignment_is_timed_beside_its_step(monkeypatch: pytest.MonkeyPatch) -> None:
    def tiny(self: Setting, file: str, *overrides: object) -> CfgNode:
        return read_config(file, ["MODEL.DEVICE", "cpu", "MODEL.YOLO.WIDTH", "0.0625"])

    monkeypatch.setattr(Setting, "config", tiny)
    timed = yolo.time_assignment(Setting("cpu", 64, 96), rounds=1)
    assert timed.images == {"step": yolo.BATCH, "assignment": yolo.BATCH}
