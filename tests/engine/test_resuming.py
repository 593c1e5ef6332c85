# SPDX-License-Identifier: Apache-2.0
"""Which keys hold in a run that resumes under others."""

import logging

import pytest
import torch

from dynamicdet_d2.checkpoint.learnt import recorded_images
from dynamicdet_d2.checkpoint.report import LoadReport, ShapeMismatch
from dynamicdet_d2.engine.phases.solver import FIXED_KEYS
from dynamicdet_d2.engine.resuming import (
    check_model,
    recorded,
    say_other_images,
    settle,
)
from tests.support.toy import toy_cfg

HELD, FIXED = ("SOLVER.BASE_LR", "SEED"), ("SOLVER.OPTIMIZER",)


def test_a_record_can_be_kept_and_is_equal_to_itself(tmp_path) -> None:  # noqa: ANN001
    record = recorded(toy_cfg())
    torch.save(record, tmp_path / "record.pth")
    assert torch.load(tmp_path / "record.pth", weights_only=True) == record
    assert settle(toy_cfg("OUTPUT_DIR", "elsewhere"), record, held=HELD, fixed=FIXED) == []


def test_what_differs_is_said_and_what_holds_is_put_back(caplog: pytest.LogCaptureFixture) -> None:
    record = recorded(toy_cfg("SEED", 1, "SOLVER.BASE_LR", 0.1))
    cfg = toy_cfg("SEED", 2, "SOLVER.BASE_LR", 0.2, "SOLVER.GAMMA", 0.5, "INPUT.MIN_SIZE_TEST", 9)
    cfg.freeze()
    with caplog.at_level(logging.INFO):
        assert sorted(settle(cfg, record, held=HELD, fixed=FIXED)) == ["SEED", "SOLVER.BASE_LR"]
    assert (cfg.SEED, cfg.SOLVER.BASE_LR, cfg.SOLVER.GAMMA) == (1, 0.1, 0.5)
    assert cfg.is_frozen()
    said = sorted(record.getMessage() for record in caplog.records)
    assert said == [
        "INPUT.MIN_SIZE_TEST is 9, and the run began with 800: the new value holds from here on.",
        "SEED is 2, and the run began with 1, which holds: it is part of the state that is "
        "resumed.",
        "SOLVER.BASE_LR is 0.2, and the run began with 0.1, which holds: it is part of the state "
        "that is resumed.",
        "SOLVER.GAMMA is 0.5, and the run began with 0.1: the new value holds from here on.",
    ]


def test_weights_that_a_resumed_run_does_not_read_are_none_of_it() -> None:
    """The run's own config.yaml has their absolute paths."""
    relative, absolute = (toy_cfg("MODEL.COMPOSITE.WEIGHTS2", x) for x in ("a.pth", "/b/a.pth"))
    assert recorded(relative) == recorded(absolute)


def test_what_must_stay_is_refused() -> None:
    with pytest.raises(ValueError, match="SOLVER.OPTIMIZER is 'ADAMW', and the run began with"):
        record = recorded(toy_cfg())
        settle(toy_cfg("SOLVER.OPTIMIZER", "ADAMW"), record, held=HELD, fixed=FIXED)
    for key, value, before in (
        ("MODEL.COMPOSITE.SHARE_HEADS", False, True),
        ("MODEL.BACKBONE.FREEZE_AT", 2, 0),
    ):
        says = f"^{key} is {value}, and the run began with {before}: it must stay"
        with pytest.raises(ValueError, match=says):
            settle(toy_cfg(key, value), record, held=HELD, fixed=FIXED_KEYS)


def test_a_checkpoint_from_before_there_was_a_record_says_nothing() -> None:
    cfg = toy_cfg("SEED", 2)
    assert settle(cfg, {}, held=HELD, fixed=FIXED) == []
    assert cfg.SEED == 2


def report(mismatched: tuple = (), initial: tuple = (), unmatched: tuple = ()) -> LoadReport:
    return LoadReport("a.pth", "dynamicdet", ("x",), (), (), initial, unmatched, mismatched, (), ())


def test_another_model_is_refused() -> None:
    record = recorded(toy_cfg("MODEL.FPN.OUT_CHANNELS", 16))
    other = toy_cfg("MODEL.FPN.OUT_CHANNELS", 24)
    mismatch = ShapeMismatch("neck.a", (16,), (24,))
    says = r"a.pth cannot be resumed: MODEL.FPN.OUT_CHANNELS is 24 and was 16 \(neck.a \(16,\) in"
    with pytest.raises(ValueError, match=says):
        check_model(report(mismatched=(mismatch,)), record, other)
    with pytest.raises(ValueError, match=r"the model is another one \(it has no neck.b\)"):
        check_model(report(initial=("neck.b",)), {}, other)
    says = r"MODEL.FPN.OUT_CHANNELS is 24 and was 16 \(the model has no res4.5.a\)\. --resume needs"
    with pytest.raises(ValueError, match=says):
        check_model(report(unmatched=("router.mean", "res4.5.a")), record, other)


def test_a_model_that_is_filled_is_taken() -> None:
    apart = ("loss_offset", "router.mean")
    for fine in (None, report(), report(initial=apart), report(unmatched=apart)):
        check_model(fine, {}, toy_cfg())


def test_other_images_are_said(caplog: pytest.LogCaptureFixture) -> None:
    objects = [{"bbox": [1, 2, 3, 4], "category_id": 0}]
    images = [{"file_name": "a.jpg", "annotations": objects}, {"file_name": "b.jpg"}]
    now = recorded_images(images)
    say_other_images(None, now)  # of a checkpoint from before they were kept
    say_other_images(recorded_images(list(images)), now)
    assert caplog.text == "" and now["count"] == 2
    moved = [{**images[0], "annotations": [{**objects[0], "bbox": [1, 2, 3, 5]}]}, images[1]]
    for other in (images[:1], images[::-1], moved):
        caplog.clear()
        say_other_images(recorded_images(other), now)
        assert f"({len(other)} then, 2 now): the new ones hold from here on." in caplog.text
    caplog.clear()
    say_other_images(recorded_images(images, ["a", "b"]), recorded_images(images, ["b", "a"]))
    assert [record.getMessage() for record in caplog.records] == [
        "The classes of DATASETS.TRAIN are b, a, and the run began with a, b: where these were "
        "learnt, classes are mixed up."
    ]
