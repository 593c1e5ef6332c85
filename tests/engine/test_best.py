# SPDX-License-Identifier: Apache-2.0
"""Best weights and early ends of phases, over a resume too; scripted figures stand for AP."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from detectron2.config import CfgNode
from detectron2.engine import HookBase
from detectron2.engine.hooks import EvalHook
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from dynamicdet_d2.checkpoint.learnt import recorded_by, recorded_keys, recorded_phase
from dynamicdet_d2.engine.best import BestWeights
from dynamicdet_d2.engine.best_record import Judged, best_of, is_better_lower
from dynamicdet_d2.engine.setup import load_config
from dynamicdet_d2.engine.trainer import DynamicTrainer
from tests.support.runs import NUM_IMAGES, differing, weights

STEPS, PERIOD, ROUTER_STEPS = 10, 2, 3
KEYS = (
    *("SOLVER.MAX_ITER", STEPS, "TEST.EVAL_PERIOD", PERIOD),
    *("SOLVER.BEST.METRIC", "bbox/AP", "SOLVER.CHECKPOINT_PERIOD", 3),
)
Config = Callable[..., CfgNode]


@given(st.lists(st.one_of(st.none(), st.floats(-9, 9)), max_size=6), st.booleans())
def test_the_first_of_the_best(values: list[float | None], lower: bool) -> None:
    found = best_of(tuple(Judged(i, v) for i, v in enumerate(values)), lower)
    known = [v for v in values if v is not None]
    if not known:
        assert found is None
    else:
        assert found == values.index(min(known) if lower else max(known))


def test_losses_of_several_data_sets_are_better_lower() -> None:
    assert is_better_lower("losses/L2") and is_better_lower("own_val/losses/L1")
    assert is_better_lower("dynamic/latency_ms") and is_better_lower("own_val/dynamic/gflops")
    assert is_better_lower("losses/static/p95_ms") and not is_better_lower("losses/bbox/AP")
    assert not is_better_lower("bbox/AP-gflops") and not is_better_lower("dynamic/fps")
    assert not any(map(is_better_lower, ("bbox/AP", "own_val/bbox/AP", "bbox/AP-losses")))


@pytest.fixture
def config(config_file: str, tmp_path: Path) -> Config:
    def build(name: str, *keys: object) -> CfgNode:
        epochs = () if "SOLVER.PHASES" in keys else ("SOLVER.ROUTER.EPOCHS", 1)
        words = ["OUTPUT_DIR", tmp_path / name, *KEYS, *epochs, *keys]
        (tmp_path / name).mkdir(exist_ok=True)
        return load_config(config_file, [str(word) for word in words])

    return build


class Scripted(DynamicTrainer):
    """Evaluations give these figures one after the other, whatever the weights; counts them."""

    figures: list[float] = []
    seen: list[tuple[int, dict[str, Tensor]]] = []

    def _evaluate(self) -> dict:
        cls = type(self)
        state = {n: t.clone() for n, t in self.detector.state_dict().items()}
        cls.seen.append((self.iter, state))
        value = cls.figures[min(len(cls.seen), len(cls.figures)) - 1]
        self._last_eval_results = {"bbox": {"AP": value}}
        return self._last_eval_results


def scripted(cfg: CfgNode, *figures: float, resume: bool = False) -> Scripted:
    Scripted.figures, Scripted.seen = list(figures), []
    trainer = Scripted(cfg)
    trainer.resume_or_load(resume=resume)
    return trainer


def detectors_of(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {n: t for n, t in state.items() if not n.startswith(("router", "loss_offset"))}


def record(cfg: CfgNode) -> dict:
    return json.loads((Path(cfg.OUTPUT_DIR) / "best.json").read_text())["phases"]["detectors"]


def test_a_phase_hands_over_its_best_weights(config: Config) -> None:
    cfg = config("best")
    trainer = scripted(cfg, 1, 5, 3, 4, 2)
    trainer.train()
    assert trainer.storage.iter == STEPS + ROUTER_STEPS
    values = [one["value"] for one in record(cfg)["judged"]]
    assert values == [1, 5, 3, 4, 2]
    second = detectors_of(Scripted.seen[1][1])  # after four steps
    final = detectors_of(trainer.detector.state_dict())
    assert differing(second, final) == []
    for name in ("model_best", "model_detectors", "model_final"):
        assert differing(second, detectors_of(weights(Path(cfg.OUTPUT_DIR), name))) == []


def test_the_evaluation_at_the_end_is_written_too(config: Config) -> None:
    cfg = config("written", "SOLVER.MAX_ITER", 5)
    scripted(cfg, 2, 1, 3).train()
    lines = (Path(cfg.OUTPUT_DIR) / "metrics.json").read_text().splitlines()
    found = {
        line["iteration"]: line["bbox/AP"] for line in map(json.loads, lines) if "bbox/AP" in line
    }
    assert found[4] == 3


def test_a_phase_that_gains_no_more_ends(config: Config, caplog: pytest.LogCaptureFixture) -> None:
    cfg = config("ended", "SOLVER.BEST.PATIENCE", 2)
    trainer = scripted(cfg, 2, 1, float("nan"))
    with caplog.at_level("INFO"):
        trainer.train()
    # Of nine steps that were made, with Detectron2's count: one more, and three to warm up.
    assert "Overall training speed: 7 iterations in" in caplog.text
    assert record(cfg)["ended"] == 6 and len(record(cfg)["judged"]) == 3
    assert record(cfg)["judged"][2]["value"] is None
    first = detectors_of(Scripted.seen[0][1])
    assert differing(first, detectors_of(trainer.detector.state_dict())) == []
    # Six steps of the detectors, and then the router's, with the numbers that they ever have.
    at = [at for _, at in trainer.storage.history("total_loss").values()]
    assert at == [*range(6), *range(STEPS, STEPS + ROUTER_STEPS)]


class SavesAt(HookBase):
    """A checkpoint of a user's own, before a step."""

    def before_step(self) -> None:
        if self.trainer.iter == STEPS:
            self.trainer.checkpointer.save("begun")


def test_a_checkpoint_behind_what_is_passed_over_is_gone_on_with(config: Config) -> None:
    """Four of ten steps are made, and the router begins with the eleventh."""
    cfg = config("begun", "SOLVER.BEST.PATIENCE", 1)
    trainer = scripted(cfg, 2, 1)
    trainer.register_hooks([SavesAt()])
    trainer.train()
    assert record(cfg)["ended"] == 2 * PERIOD
    Path(cfg.OUTPUT_DIR, "last_checkpoint").write_text("begun.pth")
    resumed = scripted(cfg, 1, resume=True)
    assert (resumed.start_iter, resumed.phase.name) == (STEPS, "router")
    resumed.train()
    assert differing(trainer.detector.state_dict(), resumed.detector.state_dict()) == []


@pytest.mark.parametrize("keys", [("SOLVER.PHASES", "('detectors',)"), ("SOLVER.ROUTER.EPOCHS", 0)])
@pytest.mark.parametrize("patience", [0, 1])
def test_a_run_of_detectors_alone_ends_with_its_best(
    config: Config, keys: tuple, patience: int
) -> None:
    cfg = config("alone", "SOLVER.BEST.PATIENCE", patience, *keys)
    trainer = scripted(cfg, 2, 1, 1)
    trainer.train()
    final = weights(Path(cfg.OUTPUT_DIR))
    assert differing(Scripted.seen[0][1], final) == []


def interrupted(cfg: CfgNode, *figures: float, at: int) -> None:
    """A run that Ctrl-C ends in the evaluation that follows so many steps."""
    trainer = scripted(cfg, *figures)
    evaluate = trainer._evaluate

    def stop() -> dict:
        if trainer.iter + 1 == at:
            raise KeyboardInterrupt
        return evaluate()

    trainer._evaluate = stop  # and the hook, which holds the bound method
    next(h for h in trainer._hooks if isinstance(h, EvalHook))._func = stop
    with pytest.raises(KeyboardInterrupt):
        trainer.train()


@pytest.mark.parametrize("died", ["at a checkpoint", "in an evaluation"])
def test_what_was_seen_is_kept_over_a_resume(config: Config, died: str) -> None:
    """Killed after the checkpoint of step 6, before or after the evaluation there."""
    keys = ("SOLVER.BEST.PATIENCE", 2, "SOLVER.ROUTER.EPOCHS", 1)
    whole = scripted(config("whole", *keys), 2, 1, 3, 1, 1)
    whole.train()
    cfg = config("killed", *keys)
    interrupted(cfg, 2, 1, 3, at=6 if died == "in an evaluation" else 8)
    assert (Path(cfg.OUTPUT_DIR) / "last_checkpoint").read_text() == "model_0000005.pth"
    figures = (3, 1, 1) if died == "in an evaluation" else (1, 1)
    resumed = scripted(cfg, *figures, resume=True)
    resumed.train()
    assert record(cfg) == record(config("whole"))
    assert differing(whole.detector.state_dict(), resumed.detector.state_dict()) == []


def test_the_best_of_another_run_is_not_handed_over(
    config: Config, caplog: pytest.LogCaptureFixture
) -> None:
    """One that began anew in the folder, and died before a checkpoint of its own."""
    cfg = config("anew", "SOLVER.ROUTER.EPOCHS", 1, "SOLVER.CHECKPOINT_PERIOD", 5)
    interrupted(cfg, 2, 1, 3, at=8)
    interrupted(cfg, 9, at=4)
    assert record(cfg)["judged"] == [{"done": 2, "value": 9}]
    assert (Path(cfg.OUTPUT_DIR) / "last_checkpoint").read_text() == "model_0000004.pth"
    resumed = scripted(cfg, 5, 4, 4, resume=True)
    resumed.train()
    assert "best.json is of a run that began anew here and has saved no checkpoint" in caplog.text
    judged = [(one["done"], one["value"]) for one in record(cfg)["judged"]]
    assert judged == [(6, 5), (8, 4), (10, 4)]
    best = detectors_of(Scripted.seen[0][1])
    assert differing(best, detectors_of(resumed.detector.state_dict())) == []


ALONE = ("SOLVER.PHASES", "('detectors',)", "SOLVER.CHECKPOINT_PERIOD", PERIOD)


def test_an_earlier_run_in_the_folder_is_not_gone_on_with(config: Config) -> None:
    cfg = config("over", *ALONE)
    scripted(cfg, 9).train()
    interrupted(cfg, at=PERIOD)
    scripted(cfg, 1, 2, 3, 4, 5, resume=True).train()
    assert [one["value"] for one in record(cfg)["judged"]] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(("patience", "at"), [(0, STEPS), (1, 2 * PERIOD)])
def test_the_best_is_saved_where_the_last_evaluation_was_made_again(
    config: Config, patience: int, at: int
) -> None:
    cfg = config("again", *ALONE, *(("SOLVER.BEST.PATIENCE", patience) if patience else ()))
    interrupted(cfg, 2, 1, 1, 1, at=at)
    best = Scripted.seen[0][1]
    scripted(cfg, 1, resume=True).train()
    folder = Path(cfg.OUTPUT_DIR)
    assert (folder / "last_checkpoint").read_text() == "model_final.pth"
    assert differing(best, weights(folder)) == []


def test_the_best_is_saved_where_a_run_died_before_it_was(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record says that the phase is over; the checkpoint is of before."""
    cfg = config("unsaved", *ALONE, "SOLVER.BEST.PATIENCE", 1)
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(BestWeights, "_hand_over", interrupt)
        scripted(cfg, 2, 1).train()
    best = Scripted.seen[0][1]
    assert record(cfg)["ended"] == 2 * PERIOD
    scripted(cfg, 1, resume=True).train()
    assert differing(best, weights(Path(cfg.OUTPUT_DIR))) == []


def interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_a_metric_without_a_value_ends_no_phase(
    config: Config, caplog: pytest.LogCaptureFixture
) -> None:
    cfg = config("undefined", *ALONE, "SOLVER.BEST.PATIENCE", 1)
    trainer = scripted(cfg, float("nan"))
    trainer.train()
    assert record(cfg)["ended"] is None and len(record(cfg)["judged"]) == STEPS / PERIOD
    assert differing(trainer.detector.state_dict(), weights(Path(cfg.OUTPUT_DIR))) == []
    assert "bbox/AP has no value after 2 iterations" in caplog.text


def test_kept_weights_of_an_evaluation_that_comes_again_are_not_the_best_before(
    config: Config, caplog: pytest.LogCaptureFixture
) -> None:
    """The checkpoint is of step 3; on a GPU, or on other test images, step 4 gives another AP."""
    cfg = config("lost", *ALONE, "SOLVER.CHECKPOINT_PERIOD", 3, "SOLVER.MAX_ITER", 6)
    interrupted(cfg, 1, 5, at=6)
    (Path(cfg.OUTPUT_DIR) / "last_checkpoint").write_text("model_0000002.pth")
    resumed = scripted(cfg, 0, 0.5, 0.5, resume=True)
    resumed.train()
    assert "model_best.pth has the weights after 4 iterations" in caplog.text
    assert [one["value"] for one in record(cfg)["judged"]] == [None, 0, 0.5]
    assert differing(Scripted.seen[1][1], weights(Path(cfg.OUTPUT_DIR))) == []


@pytest.mark.parametrize(
    ("key", "before", "after"),
    [
        ("TEST.DETECTIONS_PER_IMAGE", "100", "5"),
        ("MODEL.RPN.NMS_THRESH", "0.7", "0.3"),
        ("DATASETS.TEST", "('toy_test',)", "('toy_train',)"),
    ],
)
def test_figures_that_are_measured_otherwise_are_not_compared(
    config: Config, caplog: pytest.LogCaptureFixture, key: str, before: str, after: str
) -> None:
    cfg = config("otherwise", *ALONE, key, before)
    interrupted(cfg, 2, 9, at=6)
    resumed = scripted(config("otherwise", *ALONE, key, after), 3, 5, 4, resume=True)
    resumed.train()
    said = [x for x in caplog.messages if "is not what it was at the evaluations that" in x]
    assert len(said) == 1 and key in said[0]
    assert "their bbox/AP cannot be compared with those that come" in said[0]
    assert [one["value"] for one in record(cfg)["judged"]] == [None, None, 3, 5, 4]
    assert differing(Scripted.seen[1][1], weights(Path(cfg.OUTPUT_DIR))) == []


@pytest.mark.parametrize(("at", "lost"), [(6, True), (6, False), (2, False)])
def test_a_run_whose_evaluations_are_lost_says_so(
    config: Config, caplog: pytest.LogCaptureFixture, at: int, lost: bool
) -> None:
    """As where weights alone were copied; a run that had none yet has lost none."""
    cfg = config("unknown", *ALONE, "SOLVER.CHECKPOINT_PERIOD", 1)
    interrupted(cfg, 2, 9, at=at)
    if lost:
        (Path(cfg.OUTPUT_DIR) / "best.json").unlink()
    scripted(cfg, 3, 5, 4, 6, 7, resume=True).train()
    assert ("best.json is gone, which has this run's evaluations" in caplog.text) == lost
    seen = [one["value"] for one in record(cfg)["judged"]]
    assert seen[:2] == ([3, 5] if lost or at == 2 else [2, 9])


def test_a_resume_by_mistake_loses_nothing(config: Config) -> None:
    """It warns, and is ended before it evaluates."""
    keys = (*ALONE, "SOLVER.CHECKPOINT_PERIOD", 3)
    cfg = config("mistake", *keys)
    interrupted(cfg, 2, at=4)
    before = record(cfg)
    other = scripted(config("mistake", *keys, "TEST.DETECTIONS_PER_IMAGE", 5), resume=True)
    other.register_hooks([Ended()])
    with pytest.raises(KeyboardInterrupt):
        other.train()
    assert record(cfg) == before


class Ended(HookBase):
    def before_step(self) -> None:
        raise KeyboardInterrupt


def test_more_patience_comes_too_late_for_a_phase_that_was_ended(
    config: Config, caplog: pytest.LogCaptureFixture
) -> None:
    scripted(config("late", *ALONE, "SOLVER.BEST.PATIENCE", 1), 2, 1).train()
    scripted(config("late", *ALONE, "SOLVER.BEST.PATIENCE", 9), 1, resume=True).train()
    assert "Phase detectors was ended after 4 of 10 iterations" in caplog.text


def test_the_best_weights_say_what_they_have_learnt(config: Config) -> None:
    cfg = config("learnt", *ALONE)
    scripted(cfg, 1).train()
    paths = [Path(cfg.OUTPUT_DIR) / f"model_{name}.pth" for name in ("best", "final")]
    best, final = map(recorded_by, paths)
    assert best["classes"] == final["classes"] and best["classes"]
    assert torch.equal(best["files"], final["files"])
    assert len(best["files"]) == 2 * NUM_IMAGES  # paths, and what is in them
    assert recorded_keys(paths[0]) == recorded_keys(paths[1]) != {}
    assert [*map(recorded_phase, paths)] == ["detectors"] * 2  # and no router yet


def test_a_metric_that_no_evaluation_gives_is_named(config: Config) -> None:
    trainer = scripted(config("wrong", "SOLVER.BEST.METRIC", "bbox/ap"), 1)
    with pytest.raises(ValueError, match=r"'bbox/ap'; .* gives bbox/AP\. The nearest is 'bbox"):
        trainer.train()


def test_losses_of_both_detectors_are_results(config: Config) -> None:
    """Of a real evaluation: the means of L1 and L2 over the test images."""
    losses = ("TEST.EVAL_LOSS", True, "SOLVER.BEST.METRIC", "losses/L2", "SOLVER.MAX_ITER", 2)
    cfg = config("losses", *losses, "SOLVER.PHASES", "('detectors',)")
    trainer = DynamicTrainer(cfg)
    trainer.train()
    (found,) = [one["value"] for one in record(cfg)["judged"]]
    loader = trainer.build_test_loader(cfg, "toy_test")
    trainer.detector.eval()
    pairs = [trainer.detector.detector_losses_per_image(batch)[0] for batch in loader]
    expected = torch.stack(pairs).double().mean(dim=0)[1]
    assert math.isfinite(found) and found == pytest.approx(float(expected), rel=1e-5)
    assert trainer._last_eval_results["losses"]["L2"] == found
