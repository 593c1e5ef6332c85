# SPDX-License-Identifier: Apache-2.0
"""train_net.py as a command: what a run leaves, kills and resumption, several processes, misuse."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.support.runs import (
    DETECTORS_ITERS,
    NUM_IMAGES,
    ROUTER_ITERS,
    SECONDS,
    Run,
    differing,
    kill_at_image,
    kill_at_step,
    run,
    train,
    weights,
    write_toy,
)

pytestmark = pytest.mark.usefixtures("undrawn_file")

NO_TEST = ("DATASETS.TEST", "()")
ONLINE = ("SOLVER.ROUTER.MODE", "online")
LAST = DETECTORS_ITERS + ROUTER_ITERS - 1


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Data sets and config, and the folder for this module's runs."""
    folder = tmp_path_factory.mktemp("train_net")
    return SimpleNamespace(folder=folder, config=write_toy(folder))


@pytest.fixture(scope="module")
def complete(toy: SimpleNamespace) -> Path:
    """OUTPUT_DIR of a run through all phases, by the command as a user types it."""
    output = toy.folder / "complete"
    succeeded(typed("--config-file", toy.config, "OUTPUT_DIR", output))
    return output


@pytest.fixture(scope="module")
def two(toy: SimpleNamespace) -> Path:
    """OUTPUT_DIR of a run in two processes on the CPU."""
    output = toy.folder / "two"
    two = "--num-gpus 2 --dist-url auto"
    keys = ("SOLVER.MAX_ITER", 4, "SOLVER.CHECKPOINT_PERIOD", 3)
    succeeded(train(toy.config, output, *keys, options=two))
    return output


def typed(*arguments: object) -> Run:
    """The command with a fresh Python, as a user types it."""
    done = subprocess.run(
        [sys.executable, "train_net.py", *map(str, arguments)],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "OMP_NUM_THREADS": "1"},  # sums of several threads round otherwise
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    return Run(done.returncode, done.stdout, done.stderr)


def succeeded(run: Run) -> None:
    assert run.status == 0, run.out + run.err


def refused(run: Run, *says: str, status: int = 2) -> None:
    """One message on the screen, no traceback."""
    assert run.status == status, run.out + run.err
    assert run.err.count("error: ") == 1
    assert all(words in run.err for words in says), run.err
    assert "Traceback" not in run.out + run.err


def scalars(output: Path) -> dict[str, float]:
    """Last value of everything in metrics.json."""
    lines = (output / "metrics.json").read_text().splitlines()
    return {name: value for line in lines for name, value in json.loads(line).items()}


def figures(output: Path) -> dict:
    """The trade-off without what the clock gives."""
    content = json.loads((output / "inference" / "dynamic" / "tradeoff.json").read_text())
    names = ("hard_fraction", "threshold", "realised_hard_fraction", "gflops", "box", "oracle_AP")
    points = [{name: point[name] for name in names} for point in content["points"]]
    return {"points": points, "loss_offset": content["loss_offset"]}


def log(output: Path) -> str:
    return (output / "log.txt").read_text()


def checkpoint(output: Path, iteration: int) -> str:
    return str(output / f"model_{iteration:07}.pth")


# What a run leaves


def test_output_dir_holds_what_detectron2_users_look_for(complete: Path) -> None:
    names = {path.name for path in complete.iterdir()}
    assert any(name.startswith("events.out.tfevents") for name in names)
    assert {"log.txt", "config.yaml", "metrics.json", "model_final.pth"} <= names
    assert (complete / "last_checkpoint").read_text() == "model_final.pth"
    report = {path.name for path in (complete / "inference" / "dynamic").iterdir()}
    files = {"tradeoff.json", "tradeoff.csv", "tradeoff.md", "tradeoff.png", "routes.jsonl"}
    assert files <= report


def test_tensorboard_shows_both_exits(complete: Path) -> None:
    events = EventAccumulator(str(complete))
    events.Reload()
    assert "toy_test/both_exits" in events.Tags()["images"]


def test_metrics_carry_both_phases_and_the_offset(complete: Path) -> None:
    values = scalars(complete)
    assert values["loss_gap"] == pytest.approx(values["L1"] - values["L2"], abs=2.0)
    assert min(values["L1"], values["L2"]) > 0
    low, median, high = (
        values[f"loss_offset/{name}"] for name in ("quartile1", "median", "quartile3")
    )
    assert low <= median <= high
    assert values["loss_offset/num_images"] == NUM_IMAGES
    assert median == weights(complete)["loss_offset"].item()
    assert 0 < values["router/difficulty_mean"] < 1
    assert values["router/difficulty_std"] >= 0
    assert {"loss_router", "eta_seconds", "lr", "bbox/AP", "dynamic/AP_hard_end"} <= values.keys()


def test_tensorboard_carries_the_same_names(complete: Path) -> None:
    events = EventAccumulator(str(complete))
    events.Reload()
    names = set(events.Tags()["scalars"])
    assert {"L1", "L2", "loss_offset/median", "router/difficulty_mean", "bbox/AP"} <= names


def test_the_log_shows_remaining_time_in_both_phases(complete: Path) -> None:
    lines = [line for line in log(complete).splitlines() if "eta: " in line]
    shown = [line.partition("INFO: ")[2].split("  ")[:3] for line in lines]
    # With every checkpoint, and at the end of each phase.
    assert [(phase, step) for phase, step, _ in shown] == [
        *(("phase detectors", f"iter: {step}/20") for step in (8, 16, 20)),
        *(("phase router", f"iter: {step}/26") for step in (24, 26)),
    ]
    ends = [eta for _, step, eta in shown if step in ("iter: 20/20", "iter: 26/26")]
    assert ends == ["eta: 0:00:00"] * 2


def test_the_router_alone_changes_after_the_detectors_checkpoint(complete: Path) -> None:
    changed = differing(weights(complete), weights(complete, "model_detectors"))
    assert {name.partition(".")[0] for name in changed} == {"router", "loss_offset"}


# Kills and resumption


@pytest.mark.parametrize("more", [(), ONLINE, ("SOLVER.ROUTER.OBJECTIVE", "ap")])
def test_a_run_killed_in_every_stage_ends_with_the_same_weights(
    toy: SimpleNamespace, complete: Path, more: tuple[str, ...]
) -> None:
    whole, keys = complete, (*more, *NO_TEST)
    if more:
        whole = toy.folder / f"whole_{more[1]}"
        succeeded(train(toy.config, whole, *keys))
    output = toy.folder / "_".join(("killed", *more[1:]))
    kills = [
        kill_at_step(14),  # at iteration 13; the last checkpoint is of 7
        kill_at_image(3),  # in the pass, after going on from iteration 8
        kill_at_step(1),  # the pass is done, no checkpoint yet
        kill_at_step(6),  # at iteration 25; the last checkpoint is of 23
    ]
    for kill in kills:
        killed = train(toy.config, output, *keys, options="--resume", kill=kill)
        assert killed.status == -signal.SIGKILL, killed.err
    succeeded(train(toy.config, output, *keys, options="--resume"))
    starts = [line for line in log(output).splitlines() if "Starting training from" in line]
    assert [int(line.split()[-1]) for line in starts] == [0, 8, 20, 20, 24]
    # The pass that was killed and the one that was not; later ones find its table.
    assert log(output).count("Loss offset: one pass") == 2
    assert differing(weights(whole), weights(output)) == []


def test_a_run_of_three_phases_killed_in_each_ends_with_the_same_weights(
    toy: SimpleNamespace,
) -> None:
    """Three steps each of both detectors and of detector2, six of the router."""
    phases = ("SOLVER.PHASES", "('detectors', 'detector2', 'router')", "SOLVER.MAX_ITER", 3)
    keys = (*phases, "SOLVER.CHECKPOINT_PERIOD", 4, *NO_TEST)
    whole, output = toy.folder / "whole_three", toy.folder / "killed_three"
    succeeded(train(toy.config, whole, *keys))
    assert {"model_detectors.pth", "model_detector2.pth"} <= {p.name for p in whole.iterdir()}
    # At iterations 2, 5 and 9, of one phase each; the last checkpoints are none, of 3 and of 7.
    for kill in (kill_at_step(3), kill_at_step(6), kill_at_step(6)):
        killed = train(toy.config, output, *keys, options="--resume", kill=kill)
        assert killed.status == -signal.SIGKILL, killed.err
    succeeded(train(toy.config, output, *keys, options="--resume"))
    starts = [line for line in log(output).splitlines() if "Starting training from" in line]
    assert [int(line.split()[-1]) for line in starts] == [0, 0, 4, 8]
    assert differing(weights(whole), weights(output)) == []


RECIPE = (
    *("INPUT.MOSAIC.ENABLED", True, "INPUT.MAX_SIZE_TRAIN", 64, "INPUT.MOSAIC.OFF_LAST_STEPS", 4),
    *("SOLVER.EMA.ENABLED", True, "SOLVER.EMA.DECAY", 0.9, "SOLVER.EMA.TAU", 5.0),
    *("SOLVER.WARMUP_BIAS_LR", 0.02, "SOLVER.WARMUP_MOMENTUM", 0.8, "SOLVER.WARMUP_ITERS", 10),
    *("SOLVER.LR_SCHEDULER_NAME", "WarmupCosineLR", "SOLVER.BASE_LR_END", 1e-4),
    *("DATALOADER.NUM_WORKERS", 1, *NO_TEST),
)


def test_a_run_by_the_whole_recipe_killed_in_every_stage_ends_with_the_same_weights(
    toy: SimpleNamespace, complete: Path
) -> None:
    """Mosaics, averaged weights and all warm-ups; killed in the warm-up, too."""
    whole, output = toy.folder / "whole_recipe", toy.folder / "killed_recipe"
    succeeded(train(toy.config, whole, *RECIPE))
    for kill in (kill_at_step(10), kill_at_step(9), kill_at_image(2), kill_at_step(6)):
        killed = train(toy.config, output, *RECIPE, options="--resume", kill=kill)
        assert killed.status == -signal.SIGKILL, killed.err
    succeeded(train(toy.config, output, *RECIPE, options="--resume"))
    starts = [line for line in log(output).splitlines() if "Starting training from" in line]
    assert [int(line.split()[-1]) for line in starts] == [0, 8, 16, 20, 24]
    assert differing(weights(whole), weights(output)) == []
    assert len(differing(weights(whole), weights(complete))) > len(weights(whole)) / 2


def test_resuming_a_finished_run_evaluates_it_again(toy: SimpleNamespace, complete: Path) -> None:
    output = toy.folder / "finished"
    shutil.copytree(complete, output)
    shutil.rmtree(output / "inference")
    succeeded(train(toy.config, output, options="--resume"))
    assert figures(output) == figures(complete)
    assert differing(weights(output), weights(complete)) == []
    assert (output / "last_checkpoint").read_text() == "model_final.pth"


@pytest.mark.parametrize("plan", [("SOLVER.MAX_ITER", 0), ("SOLVER.PHASES", "('router',)")])
def test_resuming_in_an_empty_folder_begins_with_the_weights_of_the_config(
    toy: SimpleNamespace, complete: Path, plan: tuple[str, object]
) -> None:
    """Without steps before it the loss offset and the router follow at once."""
    output = toy.folder / f"router_alone_{plan[0]}"
    begin = ("MODEL.WEIGHTS", complete / "model_detectors.pth", *plan)
    succeeded(train(toy.config, output, *begin, *NO_TEST, options="--resume"))
    assert differing(weights(output), weights(complete)) == []


def test_a_checkpoint_without_a_trainer_begins_at_the_first_iteration(
    toy: SimpleNamespace, complete: Path
) -> None:
    output = toy.folder / "stripped"
    output.mkdir()
    torch.save({"model": weights(complete)}, output / "stripped.pth")
    (output / "last_checkpoint").write_text("stripped.pth")
    keys = ("SOLVER.MAX_ITER", 1, "SOLVER.ROUTER.EPOCHS", 0, *NO_TEST)
    succeeded(train(toy.config, output, *keys, options="--resume"))
    assert "Starting training from iteration 0" in log(output)


def test_a_run_without_router_epochs_ends_with_the_detectors(toy: SimpleNamespace) -> None:
    output = toy.folder / "joint"
    keys = ("SOLVER.MAX_ITER", 2, "SOLVER.ROUTER.EPOCHS", 0)
    succeeded(train(toy.config, output, *keys))
    assert (output / "last_checkpoint").read_text() == "model_final.pth"
    assert weights(output)["loss_offset"].isnan()
    assert "Loss offset: one pass" not in log(output)
    assert figures(output)["loss_offset"] is None


def test_a_drawn_seed_is_kept_by_resumption(toy: SimpleNamespace) -> None:
    keys = ("SEED", -1, "SOLVER.MAX_ITER", 2, "SOLVER.CHECKPOINT_PERIOD", 1, *NO_TEST)
    output = toy.folder / "drawn"
    train(toy.config, output, *keys, kill=kill_at_step(2))
    first = torch.load(checkpoint(output, 0), weights_only=True)["trainer"]["seed"]
    succeeded(train(toy.config, output, *keys, options="--resume"))
    last = torch.load(output / "model_final.pth", weights_only=True)["trainer"]["seed"]
    assert first == last
    other = toy.folder / "drawn_again"
    succeeded(train(toy.config, other, *keys))
    assert torch.load(checkpoint(other, 0), weights_only=True)["trainer"]["seed"] != first


def test_a_loss_that_is_not_finite_leaves_the_checkpoint_before_it(toy: SimpleNamespace) -> None:
    output = toy.folder / "diverged"
    keys = ("SOLVER.BASE_LR", 1e20, "SOLVER.CHECKPOINT_PERIOD", 1)
    diverged = train(toy.config, output, *keys)
    refused(diverged, "Training diverged at iteration 1, in phase detectors: ", status=1)
    assert diverged.err.splitlines()[-1].startswith("train_net.py: error: Training diverged")
    assert "Traceback" in log(output)
    assert (output / "last_checkpoint").read_text() == "model_0000000.pth"
    assert all(t.isfinite().all() for k, t in weights(output, "model_0000000").items() if "." in k)


# Evaluation alone


def test_eval_only_repeats_the_evaluation_of_the_run(toy: SimpleNamespace, complete: Path) -> None:
    output = toy.folder / "evaluated"
    final = ("MODEL.WEIGHTS", complete / "model_final.pth")
    succeeded(train(toy.config, output, *final, options="--eval-only"))
    assert figures(output) == figures(complete)
    assert not (output / "model_final.pth").exists()


def test_eval_only_without_weights_warns(toy: SimpleNamespace) -> None:
    output = toy.folder / "nothing"
    succeeded(train(toy.config, output, options="--eval-only"))
    assert "MODEL.WEIGHTS is empty: random weights are evaluated." in log(output)


def test_expected_results_are_verified(toy: SimpleNamespace, complete: Path) -> None:
    output = toy.folder / "expected"
    wrong = ("TEST.EXPECTED_RESULTS", "[['bbox', 'AP', 99.0, 0.5]]")
    final = ("MODEL.WEIGHTS", complete / "model_final.pth")
    assert train(toy.config, output, *final, *wrong, options="--eval-only").status == 1
    assert "Result verification failed" in log(output)


# Several processes on the CPU


def test_two_processes_measure_and_train_as_one_does(toy: SimpleNamespace, two: Path) -> None:
    """From the same detectors on: the same offset, router and evaluation, bit for bit.

    The statistics of both processes' norms differ by then; the main one's count.
    """
    output = toy.folder / "one"
    begin = ("MODEL.WEIGHTS", two / "model_detectors.pth", "SOLVER.MAX_ITER", 0)
    succeeded(train(toy.config, output, *begin))
    assert scalars(two)["loss_offset/num_images"] == NUM_IMAGES
    assert differing(weights(output), weights(two)) == []
    assert figures(output) == figures(two)


@pytest.mark.parametrize("iteration", [2, 5])
def test_two_processes_resume_in_both_phases(
    toy: SimpleNamespace, two: Path, iteration: int
) -> None:
    output = toy.folder / f"two_from_{iteration}"
    shutil.copytree(two, output)
    (output / "last_checkpoint").write_text(Path(checkpoint(two, iteration)).name)
    options = "--num-gpus 2 --dist-url auto --resume"
    succeeded(train(toy.config, output, "SOLVER.MAX_ITER", 4, *NO_TEST, options=options))
    assert f"Starting training from iteration {iteration + 1}" in log(output)
    assert differing(weights(output), weights(two)) == []


def test_two_processes_train_the_router_online(toy: SimpleNamespace, two: Path) -> None:
    """To rounding: one image a process, and the mean of two gradients, instead of a batch of two.

    All images have one size, since a batch is padded to its largest image.
    """
    begin = ("MODEL.WEIGHTS", two / "model_detectors.pth", "SOLVER.MAX_ITER", 0)
    keys = (*begin, *ONLINE, *NO_TEST, "INPUT.MIN_SIZE_TRAIN", "(64,)")
    outputs = toy.folder / "online_one", toy.folder / "online_two"
    for output, options in zip(outputs, ("", "--num-gpus 2 --dist-url auto"), strict=True):
        succeeded(train(toy.config, output, *keys, options=options))
    one, other = map(weights, outputs)
    assert one["loss_offset"] == other["loss_offset"]
    assert all(name.startswith("router.") for name in differing(one, other))
    torch.testing.assert_close(other, one, rtol=1e-5, atol=1e-6)
    begun = weights(two, "model_detectors")
    assert len([name for name in differing(begun, other) if name.startswith("router.")]) == 4


def test_a_batch_that_processes_cannot_share_is_refused_by_all(toy: SimpleNamespace) -> None:
    """In processes started as for users, not forked as for the other tests."""
    keys = ("OUTPUT_DIR", toy.folder / "unshared", "SOLVER.IMS_PER_BATCH", 3)
    options = ("--config-file", toy.config, "--num-gpus", 2, "--dist-url", "auto")
    stopped = typed(*options, *keys)
    assert stopped.status == 2, stopped.out + stopped.err
    assert 1 <= stopped.err.count("train_net.py: error: ") <= 2
    assert "SOLVER.IMS_PER_BATCH" in stopped.err
    assert "Traceback" not in stopped.out + stopped.err


def test_a_corrupt_image_of_one_process_ends_all(toy: SimpleNamespace) -> None:
    output = toy.folder / "corrupt_two"
    entries = with_corrupt_image(toy, 4)
    stopped = train(toy.config, output, *entries, options="--num-gpus 2 --dist-url auto")
    assert stopped.status == 2, stopped.err
    assert "000004.jpg" in stopped.err
    assert "Traceback" not in stopped.out + stopped.err


def test_an_address_that_is_taken_is_named(toy: SimpleNamespace) -> None:
    with socket.socket() as other_run:
        other_run.bind(("127.0.0.1", 0))
        other_run.listen()
        url = f"tcp://127.0.0.1:{other_run.getsockname()[1]}"
        stopped = train(
            toy.config, toy.folder / "address", options=f"--num-gpus 2 --dist-url {url}"
        )
    assert stopped.status == 2, stopped.err
    assert f"--dist-url {url} cannot be used" in stopped.err
    assert "Traceback" not in stopped.out + stopped.err


# Misuse


def with_corrupt_image(toy: SimpleNamespace, number: int) -> tuple[str, str]:
    """The training set once more, with one image cut short, as overrides."""
    folder = toy.folder / f"corrupt_{number}"
    if not folder.exists():
        shutil.copytree(toy.folder / "toy_train", folder)
        os.truncate(folder / "images" / f"{number:06}.jpg", 700)
    entries = [
        [name, str(path / "instances.json"), str(path / "images")]
        for name, path in (("toy_train", folder), ("toy_test", toy.folder / "toy_test"))
    ]
    return "DATASETS.COCO_JSON", repr(entries)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["GONE.KEY", "1"], "GONE.KEY is no key."),
        (["SOLVER.MAX_ITER"], "'SOLVER.MAX_ITER' has no value"),
        (["SOLVER.MAX_ITER", "many"], "SOLVER.MAX_ITER"),
        (["SOLVER.MAX_ITER", "-1"], "SOLVER.MAX_ITER is -1; it must be a whole number in"),
        (["MODEL.DYNAMIC.THRESHOLD", "1.5"], "is 1.5; it must lie in [0, 1]."),
        (["MODEL.ROI_HEADS.NUM_CLASSES", "3"], "MODEL.ROI_HEADS.NUM_CLASSES is 3."),
        (["MODEL.WEIGHTS", "gone.pth"], "gone.pth does not exist"),
        (["MODEL.META_ARCHITECTURE", "Gone"], "'Gone'"),
        (["DATASETS.COCO_JSON", "[['a','gone.json','gone']]"], "gone.json"),
        (["DATASETS.TRAIN", "('gone',)"], "DATASETS.TRAIN names 'gone'"),
        (["DATASETS.TEST", "('gone',)"], "DATASETS.TEST names 'gone'"),
        (["TEST.DYNAMIC.HARD_FRACTIONS", "[2.0]"], "TEST.DYNAMIC.HARD_FRACTIONS has 2.0"),
        (["SOLVER.CHECKPOINT_PERIOD", "0"], "SOLVER.CHECKPOINT_PERIOD is 0"),
        (["SOLVER.OPTIMIZER", "ADAM"], "SOLVER.OPTIMIZER is 'ADAM'"),
        (["SOLVER.ROUTER.MODE", "x"], "SOLVER.ROUTER.MODE is 'x'"),
        (["SOLVER.ROUTER.IMS_PER_BATCH", "0"], "SOLVER.ROUTER.IMS_PER_BATCH is 0"),
        (["SOLVER.ROUTER.EPOCHS", "-1"], "SOLVER.ROUTER.EPOCHS is -1"),
        (["SOLVER.ROUTER.BASE_LR", "-1.0"], "SOLVER.ROUTER.BASE_LR is -1.0"),
        (["SOLVER.AMP.ENABLED", "True"], "SOLVER.AMP.ENABLED is True"),
        (["TEST.PRECISE_BN.ENABLED", "True"], "TEST.PRECISE_BN.ENABLED is True"),
        (["MODEL.DYNAMIC.HARD_FRACTION", "0.5"], "needs MODEL.DYNAMIC.CALIBRATION"),
    ],
)
def test_a_wrong_key_is_met_with_one_sentence(
    toy: SimpleNamespace, more: list[str], says: str
) -> None:
    refused(train(toy.config, toy.folder / "wrong", *more), "train_net.py: error: ", says)


def test_a_wrong_config_file_is_named(toy: SimpleNamespace) -> None:
    gone = str(toy.folder / "gone.yaml")
    refused(train(gone, toy.folder / "wrong"), f"--config-file {gone} does not exist.")
    no_yaml = toy.folder / "no.yaml"
    no_yaml.write_text("SOLVER: [1")
    refused(train(str(no_yaml), toy.folder / "wrong"), f"--config-file {no_yaml} is not YAML: ")


def test_an_output_that_is_a_file_is_named(toy: SimpleNamespace) -> None:
    refused(train(toy.config, Path(toy.config)), toy.config)


def test_a_corrupt_image_is_named_and_the_log_keeps_the_traceback(toy: SimpleNamespace) -> None:
    output = toy.folder / "corrupt"
    stopped = train(toy.config, output, *with_corrupt_image(toy, 2), *NO_TEST)
    refused(stopped, "000002.jpg", "DATALOADER.SKIP_CORRUPT_IMAGES True")
    assert "Traceback" in log(output)


def test_a_corrupt_image_is_left_out_and_counted(toy: SimpleNamespace) -> None:
    output = toy.folder / "skipped"
    keys = ("DATALOADER.SKIP_CORRUPT_IMAGES", True, *NO_TEST)
    succeeded(train(toy.config, output, *with_corrupt_image(toy, 2), *keys))
    assert "Left out; corrupt images so far: 1." in log(output)
    assert scalars(output)["loss_offset/num_images"] == NUM_IMAGES - 1


def test_a_calibration_of_other_weights_is_refused(toy: SimpleNamespace, complete: Path) -> None:
    calibration = toy.folder / "calibration.json"
    final = complete / "model_final.pth"
    arguments = ["--config-file", toy.config, "--weights", final, "--output", calibration]
    succeeded(run("calibrate.py", arguments, toy.folder / "calibrated"))
    point = ("MODEL.DYNAMIC.CALIBRATION", calibration, "MODEL.DYNAMIC.HARD_FRACTION", 0.5)
    output = toy.folder / "calibrated"
    succeeded(train(toy.config, output, *point, "MODEL.WEIGHTS", final, options="--eval-only"))
    other = ("MODEL.WEIGHTS", checkpoint(complete, 7))
    refused(train(toy.config, output, *point, *other, options="--eval-only"), "calibration")
    refused(train(toy.config, output, *point), "MODEL.DYNAMIC.CALIBRATION", "must be empty")


@pytest.mark.parametrize(
    ("name", "iterations", "says"),
    [
        ("model_final", 18, "in phase router, after 20 iterations of phase detectors"),
        ("model_final", 22, "it must stay 20"),
        ("model_detectors", 18, "so that at least 20 must be asked for"),
    ],
)
def test_a_checkpoint_of_other_phases_is_refused(
    toy: SimpleNamespace, complete: Path, name: str, iterations: int, says: str
) -> None:
    output = toy.folder / "other_phases"
    output.mkdir(exist_ok=True)
    shutil.copy(complete / f"{name}.pth", output)
    (output / "last_checkpoint").write_text(f"{name}.pth")
    keys = ("SOLVER.MAX_ITER", iterations)
    refused(train(toy.config, output, *keys, options="--resume"), "SOLVER.MAX_ITER is", says)


def test_a_checkpoint_of_another_trainer_is_refused(toy: SimpleNamespace, complete: Path) -> None:
    output = toy.folder / "foreign"
    output.mkdir()
    content = torch.load(complete / "model_final.pth", weights_only=True)
    content["trainer"] = {"iteration": 5, "_trainer": {}}
    torch.save(content, output / "model_0000005.pth")
    (output / "last_checkpoint").write_text("model_0000005.pth")
    refused(train(toy.config, output, options="--resume"), "is of another trainer")
