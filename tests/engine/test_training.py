# SPDX-License-Identifier: Apache-2.0
"""The parts of a training: phases, loss table, hooks; and whole small trainings in this process."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from detectron2.config import CfgNode
from detectron2.utils.events import EventStorage
from torch import Tensor

from dynamicdet_d2.engine.cached import CachedBatches
from dynamicdet_d2.engine.history import begin_phase
from dynamicdet_d2.engine.hooks import PhaseProgress
from dynamicdet_d2.engine.loss_table import LossTable, measure_losses
from dynamicdet_d2.engine.phases import Phase
from dynamicdet_d2.engine.phases.router import (
    CachedRouterObjective,
    OnlineRouterObjective,
    RouterPhase,
    loss_by_offset,
)
from dynamicdet_d2.engine.setup import load_config
from dynamicdet_d2.engine.trainer import DynamicTrainer
from dynamicdet_d2.modeling.modes import modes_kept
from dynamicdet_d2.utils import progress
from tests.support.runs import NUM_IMAGES, differing
from tests.support.toy import toy_cfg, toy_inputs, toy_model
from tests.support.trained import trained

pytestmark = pytest.mark.usefixtures("undrawn_file")

Config = Callable[..., CfgNode]

GAPS = (0.1, -0.2, 0.5, 0.0)


def table(gaps: tuple[float, ...] = GAPS) -> LossTable:
    """L2 is 1 everywhere; image i's only feature is i."""
    losses = torch.tensor([[1 + gap, 1.0] for gap in gaps])
    return LossTable({"features": torch.arange(float(len(gaps)))[:, None], "losses": losses})


@pytest.mark.parametrize(("processes", "steps", "off"), [(1, 16, 8), (2, 8, 4), (8, 2, 1)])
def test_other_processes_than_the_config_is_for_scale_the_steps_without_mosaics(
    processes: int, steps: int, off: int
) -> None:
    keys = ("SOLVER.REFERENCE_WORLD_SIZE", 2, "SOLVER.MAX_ITER", 8)
    cfg = toy_cfg(*keys, "SOLVER.IMS_PER_BATCH", 4, "INPUT.MOSAIC.OFF_LAST_STEPS", 4)
    cfg.freeze()
    scaled = DynamicTrainer.auto_scale_workers(cfg, processes)
    assert (scaled.SOLVER.MAX_ITER, scaled.INPUT.MOSAIC.OFF_LAST_STEPS) == (steps, off)
    assert scaled.INPUT.MOSAIC.is_frozen() and cfg.INPUT.MOSAIC.OFF_LAST_STEPS == 4


@pytest.mark.parametrize(("given", "expected"), [(0, 0), (1, 1), (3, 1), (12, 3)])
def test_other_processes_do_not_turn_a_period_into_never(given: int, expected: int) -> None:
    """A quarter of 1 is rounded to 0, by which nothing would be evaluated."""
    keys = ("SOLVER.REFERENCE_WORLD_SIZE", 1, "SOLVER.CHECKPOINT_PERIOD", 1)
    scaled = DynamicTrainer.auto_scale_workers(toy_cfg(*keys, "TEST.EVAL_PERIOD", given), 4)
    assert (scaled.TEST.EVAL_PERIOD, scaled.SOLVER.CHECKPOINT_PERIOD) == (expected, 1)


# The loss table


def test_loss_table_by_hand() -> None:
    # Sorted gaps -0.2, 0, 0.1, 0.5: ranks 0.75, 1.5 and 2.25.
    summary = table().summary()
    assert summary == pytest.approx(
        {
            "loss_offset/quartile1": -0.2 + 0.75 * 0.2,
            "loss_offset/median": 0.05,
            "loss_offset/quartile3": 0.1 + 0.25 * 0.4,
            "loss_offset/L1": 1.1,
            "loss_offset/L2": 1.0,
            "loss_offset/num_images": 4,
        }
    )
    assert table().offset == summary["loss_offset/median"]


class Losses:
    """Stands in for a model: both losses and the feature of an image are its index."""

    router = SimpleNamespace(counts={"features": 1})

    def router_inputs_and_losses(self, batch: list[dict]) -> tuple[Tensor, Tensor]:
        indices = torch.tensor([[float(x["dataset_index"])] for x in batch])
        return indices, indices.repeat(1, 2)


def batches(*indices: list[int]) -> list[list[dict]]:
    return [[{"dataset_index": i} for i in batch] for batch in indices]


def test_losses_are_measured_into_the_order_of_the_data_set() -> None:
    measured = measure_losses(Losses(), batches([2], [0, 3], [1]))
    assert measured["features"].tolist() == [[0.0], [1.0], [2.0], [3.0]]
    assert measured["losses"].tolist() == [[0.0, 0.0], [1.0, 1.0], [2.0, 2.0], [3.0, 3.0]]
    with pytest.raises(ValueError, match="No training image is left"):
        measure_losses(Losses(), [])
    with pytest.raises(ValueError) as refused:
        measure_losses(Losses(), batches([0]), ("losses", "detections"))
    assert str(refused.value) == (
        "The loss table has no column 'detections', which is to be learnt from: it has losses, ap, "
        "gain, matched and the router's inputs (MODEL.ROUTER.INPUTS), features."
    )


def test_an_image_without_finite_losses_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a last step that was too large, whose weights are finite."""
    lost = torch.tensor([[1.0, 2.0], [1.0, torch.inf]])
    said = "the detectors' losses are not finite, so that no loss offset can be measured. "
    monkeypatch.setattr(Losses, "router_inputs_and_losses", lambda _, batch: (lost[:, :1], lost))
    images = [{"dataset_index": i, "file_name": f"{i}.jpg", "image_id": i} for i in range(2)]
    with pytest.raises(FloatingPointError, match=rf"^Image 1.jpg \(id 1\): {said}"):
        measure_losses(Losses(), [images])

    def of_boxes(*_: object) -> None:
        raise FloatingPointError("Predicted boxes or scores contain Inf/NaN.")

    monkeypatch.setattr(Losses, "router_inputs_and_losses", of_boxes)
    with pytest.raises(
        FloatingPointError, match=rf"^Image 0.jpg \(id 0\) or one beside it: {said}"
    ):
        measure_losses(Losses(), [images])


def test_the_pass_shows_its_remaining_time(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(progress, "INTERVAL", 0.0)
    with caplog.at_level(logging.INFO, logger="dynamicdet_d2"):
        measure_losses(Losses(), batches([0], [1]))
    assert [record.getMessage() for record in caplog.records] == [
        "Loss offset: 1/2, remaining time 0:00:00",
        "Loss offset: 2/2, remaining time 0:00:00",
    ]


# Phase router


@pytest.mark.parametrize(
    ("epochs", "batch_size", "steps"), [(2, 1, 14), (2, 4, 4), (1, 7, 1), (0, 1, 0)]
)
def test_router_steps(epochs: int, batch_size: int, steps: int) -> None:
    keys = ("SOLVER.ROUTER.EPOCHS", epochs, "SOLVER.ROUTER.IMS_PER_BATCH", batch_size)
    assert RouterPhase(toy_cfg(*keys)).steps(num_images=7) == steps


def cached_entries(step: int, count: int, seed: int = 3) -> list[list[float]]:
    loader = iter(CachedBatches(table()["features"], table()["losses"], 2, seed, step))
    return [next(loader)[0].flatten().tolist() for _ in range(count)]


def test_cached_batches_show_every_entry_once_an_epoch_and_resume() -> None:
    steps = cached_entries(step=0, count=8)
    for epoch in range(4):
        assert sorted(steps[2 * epoch] + steps[2 * epoch + 1]) == [0, 1, 2, 3]
    assert cached_entries(step=3, count=5) == steps[3:]
    assert len({str(steps[2 * epoch : 2 * epoch + 2]) for epoch in range(4)}) > 1
    assert cached_entries(step=0, count=8, seed=4) != steps


def test_cached_and_online_have_the_same_objective_and_gradient() -> None:
    model, inputs = toy_model("SOLVER.ROUTER.LOSS_PROPOSALS", 32), toy_inputs(3)
    model.loss_offset.fill_(0.05)
    loss = loss_by_offset(model)
    seen = []
    for objective, batch in (
        (CachedRouterObjective(model, loss), model.router_inputs_and_losses(inputs)),
        (OnlineRouterObjective(model, loss), inputs),
    ):
        model.zero_grad()
        total = objective(batch)["loss_router"]
        total.backward()
        seen.append([total, *(p.grad.clone() for p in model.router.parameters())])
        assert len(objective.recent) == 3
    for cached, online in zip(*seen, strict=True):
        torch.testing.assert_close(online, cached, rtol=1e-5, atol=1e-7)
    # By hand: the mean of L1 - phi (L1 - L2 - Delta) - Delta / 2.
    pooled, losses = model.router_inputs_and_losses(inputs)
    gap = losses[:, 0] - losses[:, 1] - 0.05
    expected = (losses[:, 0] - model.router.difficulty(pooled) * gap - 0.025).mean()
    torch.testing.assert_close(seen[0][0], expected)


def test_training_mode_ends_at_the_online_objective() -> None:
    model = toy_model()
    objective = OnlineRouterObjective(model, loss_by_offset(model)).train()
    assert objective.training
    assert not any(module.training for module in model.modules())


# What is logged


def test_progress_by_hand(caplog: pytest.LogCaptureFixture) -> None:
    """A step of phase detectors takes 10 s, one of phase router 2 s."""
    writer = PhaseProgress({"detectors": 4, "router": 8})
    with EventStorage(0) as storage, caplog.at_level(logging.INFO, logger="dynamicdet_d2"):
        writer.write()
        for iteration in range(8):
            storage.iter = iteration
            if iteration == 4:
                begin_phase(storage)
            storage.put_scalar("time", 10.0 if iteration < 4 else 2.0)
            if iteration in (1, 5):
                writer.write()
        remaining = [value for value, _ in storage.history("eta_seconds").values()]
        storage.iter = 8
        writer.write()
    assert remaining == [20.0, 4.0]
    lines = [record.getMessage() for record in caplog.records]
    assert [line.split("  ")[:3] for line in lines] == [
        ["phase detectors", "iter: 1/4", "lr: nan"],
        ["phase detectors", "iter: 2/4", "eta: 0:00:20"],
        ["phase router", "iter: 6/8", "eta: 0:00:04"],
    ]


# Whole trainings


def metrics(folder: Path) -> dict[int, dict[str, float]]:
    lines = map(json.loads, (folder / "metrics.json").read_text().splitlines())
    return {line["iteration"]: line for line in lines}


def test_scalars_of_a_phase_are_its_own_and_written_at_its_end(
    config: Config, tmp_path: Path
) -> None:
    keys = ("SOLVER.ROUTER.EPOCHS", 1, "SOLVER.CHECKPOINT_PERIOD", 3)
    DynamicTrainer(config("own", *keys)).train()
    written = metrics(tmp_path / "own")
    # What the loss offset is of was measured before the first step behind it.
    assert sorted(written) == [1, 2, 4]
    assert "lr" in written[1] and "loss_router" not in written[1]
    assert "total_loss" in written[1] and "loss_offset/median" in written[2]
    routers = [line for line in written.values() if "loss_router" in line]
    assert routers and all(line["total_loss"] == line["loss_router"] for line in routers)


@pytest.fixture
def config(config_file: str, tmp_path: Path) -> Config:
    """Builds the toy config with overrides: two joint steps, an OUTPUT_DIR by name, no test."""

    def build(name: str, *overrides: object) -> CfgNode:
        keys = ["OUTPUT_DIR", tmp_path / name, "SOLVER.MAX_ITER", 2, "DATASETS.TEST", "()"]
        return load_config(config_file, [str(word) for word in (*keys, *overrides)])

    return build


def state(trainer: DynamicTrainer) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in trainer.detector.state_dict().items()}


def test_a_second_trainer_in_one_folder_says_so_and_keeps_the_metrics(
    config: Config, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As a program's own does, that nothing but the trainer itself can tell."""
    cfg = config("run")
    trained(cfg)
    assert not any("holds an earlier run" in message for message in caplog.messages)
    before = (tmp_path / "run" / "metrics.json").read_text()
    trained(cfg)
    (said,) = [message for message in caplog.messages if "holds an earlier run" in message]
    assert said.endswith("Kept of it: metrics_1.json.")
    assert (tmp_path / "run" / "metrics_1.json").read_text() == before
    assert len((tmp_path / "run" / "metrics.json").read_text()) < 2 * len(before)


def test_a_trainer_of_a_program_replaces_no_weights_of_no_run(
    config: Config, tmp_path: Path
) -> None:
    """As weights that somebody has put there to begin with."""
    cfg = config("run")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "model_final.pth").write_text("own")
    says = "has model_final.pth, but neither last_checkpoint nor metrics.json of the run that it is"
    with pytest.raises(ValueError, match=says):
        trained(cfg)
    assert (tmp_path / "run" / "model_final.pth").read_text() == "own"


def test_a_trainer_of_a_program_keeps_the_metrics_of_a_run_that_lost_its_mark(
    config: Config, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is not gone on with, as what names its checkpoint is not there."""
    trainer, folder = DynamicTrainer(config("run")), tmp_path / "run"
    (folder / "metrics.json").write_text('{"iteration": 19}\n')
    (folder / "model_0000019.pth").touch()
    trainer.resume_or_load(resume=True)
    trainer.run_step = lambda: None
    trainer.train()
    assert (folder / "metrics_1.json").read_text() == '{"iteration": 19}\n'
    assert "has model_0000019.pth, but no last_checkpoint, the file that names" in caplog.text


def test_the_same_seed_gives_the_same_weights(config: Config) -> None:
    one, same, other = (state(trained(config("run", "SEED", seed))) for seed in (1, 1, 2))
    assert differing(one, same) == []
    assert len(differing(one, other)) > len(one) / 2


def test_other_detectors_are_refused(config: Config) -> None:
    plain = ("MODEL.META_ARCHITECTURE", "RetinaNet", "MODEL.RETINANET.NUM_CLASSES", 6)
    backbone = ("MODEL.BACKBONE.NAME", "build_resnet_backbone", "MODEL.RESNETS.DEPTH", 50)
    levels = ("MODEL.RETINANET.IN_FEATURES", "('res4',)", "MODEL.ANCHOR_GENERATOR.SIZES", "[[32]]")
    with pytest.raises(ValueError, match="DynamicTrainer is for DynamicRCNN and other dynamic"):
        DynamicTrainer(config("run", *plain, *backbone, *levels))


def test_joint_training_leaves_the_router_alone(config: Config) -> None:
    trainer = DynamicTrainer(config("run", "SOLVER.ROUTER.EPOCHS", 0))
    before = state(trainer)
    trainer.train()
    changed = differing(before, state(trainer))
    assert {name.partition(".")[0] for name in changed} == {
        "backbone",
        "neck",
        "proposal_generator",
        "roi_heads",
    }


@pytest.mark.parametrize("mode", ["cached", "online"])
def test_detectors_stay_bit_equal_in_phase_router(config: Config, mode: str) -> None:
    """Parameters and statistics, through an evaluation in the middle of the phase as well."""
    evaluated = ("DATASETS.TEST", "('toy_test',)", "TEST.EVAL_PERIOD", 4)
    trainer = DynamicTrainer(config("run", "SOLVER.ROUTER.MODE", mode, *evaluated))
    enter, before = trainer.enter, {}

    def remember(phase: Phase, step: int) -> None:
        before.update(state(trainer))
        enter(phase, step)

    trainer.enter = remember
    trainer.train()
    after = state(trainer)
    parameters = {f"router.{name}" for name, _ in trainer.detector.router.named_parameters()}
    assert set(differing(before, after)) == {"loss_offset", *parameters}
    # After iteration 3, the second of phase router, and after the last.
    assert [at for _, at in trainer.storage.history("bbox/AP").values()] == [3, 8]


RETINANET = (
    *("MODEL.META_ARCHITECTURE", "DynamicDenseDetector", "MODEL.RETINANET.NUM_CLASSES", 6),
    *("MODEL.FPN.IN_FEATURES", "('res3', 'res4', 'res5')", "MODEL.RETINANET.NUM_CONVS", 1),
    *("MODEL.FPN.TOP_BLOCK", "p6p7", "MODEL.FPN.TOP_BLOCK_INPUT", "res5"),
)


@pytest.mark.parametrize("kind", [(), RETINANET])
def test_phase_detector2_leaves_detector1_as_it_is(config: Config, kind: tuple) -> None:
    """Parameters, buffers and the easy route's detections, through an evaluation in between."""
    evaluated = ("DATASETS.TEST", "('toy_test',)", "TEST.EVAL_PERIOD", 2)
    upgrade = ("SOLVER.PHASES", "('detector2', 'router')", "SOLVER.MAX_ITER", 4)
    keys = (*kind, *upgrade, "SOLVER.ROUTER.EPOCHS", 1)
    trainer = DynamicTrainer(config("run", *keys, *evaluated))
    before, easy = state(trainer), detections(trainer)
    trainer.train()
    changed = {name for name in differing(before, state(trainer)) if "num_batches" not in name}
    second = {
        f"backbone.{part}.{name}"
        for part in ("connections", "bottom_up2")
        for name in getattr(trainer.detector.backbone, part).state_dict()
        if "num_batches" not in name
    }
    router = {f"router.{name}" for name in trainer.detector.router.state_dict()}
    if kind:  # each detector of a RetinaNet has a running mean of positives
        changed.remove("loss_normalizers")
        (one, _), (same, _) = before["loss_normalizers"], state(trainer)["loss_normalizers"]
        assert one == same
    assert changed == {"loss_offset", *second, *router}
    assert all(torch.equal(a, b) for a, b in zip(easy, detections(trainer), strict=True))
    histories = trainer.storage.histories()
    assert "L2" in histories
    assert "L1" not in histories
    assert len(histories["L2"].values()) == 4


def detections(trainer: DynamicTrainer) -> list[Tensor]:
    """Boxes and scores of the easy route."""
    with modes_kept(trainer.detector):
        trainer.detector.eval()
        found = [output["detector1"] for output in trainer.detector.exits(toy_inputs(2))]
    return [field for x in found for field in (x.pred_boxes.tensor, x.scores)]


def test_an_evaluation_changes_nothing_in_phase_detector2(config: Config) -> None:
    keys = ("SOLVER.PHASES", "('detector2',)", "SOLVER.MAX_ITER", 3)
    evaluated = ("DATASETS.TEST", "('toy_test',)", "TEST.EVAL_PERIOD", 2)
    plain = trained(config("plain", *keys))
    other = trained(config("evaluated", *keys, *evaluated))
    assert len(other.storage.history("bbox/AP").values()) == 2
    assert differing(state(plain), state(other)) == []


def test_an_evaluation_changes_nothing_in_phase_detectors(config: Config) -> None:
    keys = ("SOLVER.MAX_ITER", 3, "SOLVER.ROUTER.EPOCHS", 0)
    evaluated = ("DATASETS.TEST", "('toy_test',)", "TEST.EVAL_PERIOD", 2)
    plain = trained(config("plain", *keys))
    other = trained(config("evaluated", *keys, *evaluated))
    assert len(other.storage.history("bbox/AP").values()) == 2
    assert differing(state(plain), state(other)) == []


def test_cached_and_online_training_agree_without_augmentation(config: Config) -> None:
    """Of images of one size, so that batches are not padded; to the rounding of a batch."""
    keys = ("INPUT.MIN_SIZE_TRAIN", "(64,)", "INPUT.RANDOM_FLIP", "none")
    losses, routers = [], []
    for mode in ("cached", "online"):
        trainer = trained(config(mode, *keys, "SOLVER.ROUTER.MODE", mode))
        losses.append([loss for loss, _ in trainer.storage.history("loss_router").values()])
        routers.append(trainer.detector.router.state_dict())
    assert len(losses[0]) == 2 * NUM_IMAGES / 2
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    torch.testing.assert_close(routers[1], routers[0], rtol=1e-3, atol=1e-5)


def test_a_fresh_run_trusts_no_table_that_it_finds(config: Config) -> None:
    """Two runs of router steps alone from the same weights, with losses over other proposals."""
    keys = ("SOLVER.MAX_ITER", 0, "SOLVER.ROUTER.EPOCHS", 1, "SOLVER.ROUTER.LOSS_PROPOSALS")
    offsets = [trained(config("run", *keys, n)).detector.loss_offset.item() for n in (32, 8)]
    assert offsets[0] != offsets[1]


def test_a_finished_run_that_resumes_ends_where_it_ended(
    config: Config, caplog: pytest.LogCaptureFixture
) -> None:
    """What it evaluates again is logged under the iteration that it was logged under before."""
    cfg = config("finished")
    first = trained(cfg)
    assert "nothing is left to train" not in caplog.text
    measured = config("finished", "DATASETS.TEST", "('toy_test',)")
    DynamicTrainer(measured).resume_or_load(resume=True)
    said = "nothing is left to train, also by keys that differ"
    assert f"{said}, and it is evaluated.\n" in caplog.text
    again = DynamicTrainer(cfg)
    again.resume_or_load(resume=True)
    assert f"{said}.\n" in caplog.text
    again.train()
    ends = [(trainer.iter, trainer.storage.iter) for trainer in (first, again)]
    assert ends[0] == ends[1] == (first.max_iter, first.max_iter)


@pytest.mark.parametrize("stale", [False, True])
def test_a_run_that_died_behind_its_last_step_has_its_final_weights(
    config: Config, stale: bool
) -> None:
    """Where a period ends with the run, its last checkpoint comes before them."""
    cfg = config("died", "SOLVER.CHECKPOINT_PERIOD", 1)
    final = Path(cfg.OUTPUT_DIR, "model_final.pth")
    first = trained(cfg)
    if stale:  # of an earlier run in the folder
        content = torch.load(final, weights_only=True)
        content["model"]["router.score.bias"] += 1
        torch.save(content, final)
    else:
        final.unlink()
    last = final.with_name(f"model_{first.max_iter - 1:07d}.pth")
    final.with_name("last_checkpoint").write_text(last.name)
    again = DynamicTrainer(cfg)
    again.resume_or_load(resume=True)
    again.train()
    assert differing(state(first), torch.load(final, weights_only=True)["model"]) == []
    assert final.with_name("last_checkpoint").read_text() == final.name


def test_a_training_that_begins_with_weights_of_other_places_of_classes_says_so(
    config: Config, caplog: pytest.LogCaptureFixture
) -> None:
    """One that goes on compares its own record."""
    weights = f"{trained(config('first')).cfg.OUTPUT_DIR}/model_final.pth"
    content = torch.load(weights, weights_only=True)
    content["trainer"]["images"]["classes"].reverse()
    torch.save(content, weights)
    for resume, count in ((False, 1), (True, 0)):
        caplog.clear()
        name = "first" if resume else "second"
        DynamicTrainer(config(name, "MODEL.WEIGHTS", weights)).resume_or_load(resume=resume)
        assert caplog.text.count(f"but those of {weights}, by its own record, are") == count
        assert caplog.text.count("classes are mixed up") == 1
