# SPDX-License-Identifier: Apache-2.0
"""Runs that something befalls: a few of the campaign's trials, and what else ends a run."""

import json
import multiprocessing
import os
import shutil
import signal
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from detectron2.utils import comm

from dynamicdet_d2.engine.reliable import ReliableTrainer
from dynamicdet_d2.utils import folder_lock
from dynamicdet_d2.utils.files import is_alive
from tests.reliability.campaign import SMALL_DISK
from tests.reliability.kills import FULL, MEMORY, Blow
from tests.reliability.trials import SHORT, Reference, faults, iterations, reference
from tests.support.runs import SECONDS, Run, differing, run, train, weights, write_toy

TWO = "--num-gpus 2 --dist-url auto"


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    folder = tmp_path_factory.mktemp("reliability")
    return SimpleNamespace(folder=folder, config=write_toy(folder))


@pytest.fixture(scope="module")
def whole(toy: SimpleNamespace) -> Reference:
    return reference(toy.config, toy.folder, "loss")


@dataclass(frozen=True)
class AtStep:
    """Calls a function in the process of a rank, before a step of its, counted from 1."""

    number: int
    act: Callable[[], None]
    rank: int = 0

    def arm(self) -> None:
        original, steps = ReliableTrainer.run_step, []

        def counted(trainer: ReliableTrainer) -> None:
            steps.append(1)
            if len(steps) == self.number and comm.get_rank() == self.rank:
                self.act()
            original(trainer)

        ReliableTrainer.run_step = counted


def stop_this_process() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def kill_this_process() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def kill_a_worker() -> None:
    os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)


def said(run: Run, *words: str, status: int = 1) -> None:
    """The run ended so, with these words in an error, and without a traceback on the screen."""
    assert run.status == status, run.out + run.err
    assert all(word in run.err for word in words), run.err
    assert "error: " in run.err
    assert "Traceback" not in run.out + run.err


def log(output: Path) -> str:
    return (output / "log.txt").read_text()


# Trials


@pytest.mark.parametrize(
    ("what", "where", "number"),
    [
        # A share of the events: in a save, and later.
        ("SIGKILL", "event", 0.35),
        ("SIGTERM", "event", 0.5),
        ("SIGINT", "step", 11),  # in phase router
        (FULL, "event", 0.8),
        (FULL, "size", SMALL_DISK),
        (MEMORY, "step", 5),  # in a backward pass
        (MEMORY, "step", 12),  # in phase router
    ],
)
def test_a_run_survives(
    toy: SimpleNamespace, whole: Reference, what: str, where: str, number: float
) -> None:
    output = toy.folder / f"{what}_{where}_{number}".replace(" ", "_")
    count = round(number * whole.events) if where == "event" else int(number)
    blow = Blow(what, where, count, str(output))
    assert faults(toy.config, output, "loss", blow, whole) == []


@pytest.mark.parametrize(("name", "status"), [("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_checkpoint_of_the_step_is_saved(toy: SimpleNamespace, name: str, status: int) -> None:
    output = toy.folder / name
    stopped = train(toy.config, output, *SHORT, kill=Blow(name, "step", 5, str(output)))
    assert stopped.status == status
    assert (output / "last_checkpoint").read_text() == "model_0000004.pth"
    assert f"Stopped by {name} in iteration 4" in log(output)


# Several processes


def test_a_killed_rank_is_named(toy: SimpleNamespace) -> None:
    blow = AtStep(5, kill_this_process, rank=1)
    ended = train(toy.config, toy.folder / "killed_rank", *SHORT, options=TWO, kill=blow)
    said(ended, "rank 1 (process ", "was killed by SIGKILL")


def test_a_stopped_rank_ends_the_run(toy: SimpleNamespace) -> None:
    blow = AtStep(5, stop_this_process, rank=1)
    keys = (*SHORT, "RUN.TIMEOUT", 3)
    ended = train(toy.config, toy.folder / "stopped_rank", *keys, options=TWO, kill=blow)
    said(ended, "Rank 0 waited 3 seconds (RUN.TIMEOUT)", "was stopped; it was killed")


def test_a_lone_machine_does_not_wait_for_ever(toy: SimpleNamespace) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
    options = f"--num-machines 2 --machine-rank 0 --dist-url {url}"
    ended = train(toy.config, toy.folder / "lone", "RUN.TIMEOUT", 3, options=options)
    said(ended, "Rank 0 waited 3 seconds (RUN.TIMEOUT)", "--machine-rank")


def test_sigterm_of_one_rank_stops_both_after_the_same_step(toy: SimpleNamespace) -> None:
    output = toy.folder / "terminated_rank"
    blow = Blow("SIGTERM", "step", 5, str(output), rank=1)
    ended = train(toy.config, output, *SHORT, options=TWO, kill=blow)
    assert ended.status == 143, ended.err
    assert (output / "last_checkpoint").read_text() == "model_0000004.pth"


@dataclass(frozen=True)
class AsTorchrun:
    """The environment that torchrun gives to one of two processes."""

    rank: int
    port: int

    def arm(self) -> None:
        os.environ.update(
            RANK=str(self.rank),
            LOCAL_RANK=str(self.rank),
            WORLD_SIZE="2",
            LOCAL_WORLD_SIZE="2",
            MASTER_ADDR="127.0.0.1",
            MASTER_PORT=str(self.port),
        )


def test_processes_of_torchrun_are_one_run(toy: SimpleNamespace) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    output, same = toy.folder / "torchrun", ("OUTPUT_DIR", toy.folder / "torchrun")
    with ThreadPoolExecutor(2) as pool:
        ended = pool.map(
            lambda rank: train(
                *(toy.config, toy.folder / f"torchrun_{rank}", *SHORT, *same),
                kill=AsTorchrun(rank, port),
            ),
            (0, 1),
        )
        assert [run.status for run in ended] == [0, 0]
    assert "Process 0 of 2" in log(output)
    assert (output / "last_checkpoint").read_text() == "model_final.pth"


# What else ends a run


def test_a_folder_in_use_is_refused(toy: SimpleNamespace) -> None:
    output = toy.folder / "in_use"
    with folder_lock.held(output):
        second = train(toy.config, output, *SHORT)
    said(second, f"OUTPUT_DIR {output} is in use by process {os.getpid()} on ", ", started ")
    assert not (output / "log.txt").exists()


def test_a_killed_process_that_loads_images_is_named(toy: SimpleNamespace) -> None:
    keys = (*SHORT, "DATALOADER.NUM_WORKERS", 1)
    ended = train(toy.config, toy.folder / "worker", *keys, kill=AtStep(4, kill_a_worker))
    said(ended, "A process that loads images", "DATALOADER.NUM_WORKERS is 1")


@dataclass(frozen=True)
class NoteWorkersAndDie:
    """Writes the numbers of the processes that load images into a file, and is killed."""

    file: str

    def arm(self) -> None:
        def act() -> None:
            workers = [process.pid for process in multiprocessing.active_children()]
            Path(self.file).write_text(json.dumps(workers))
            kill_this_process()

        AtStep(4, act).arm()


def test_no_process_that_loads_images_outlives_a_killed_run(toy: SimpleNamespace) -> None:
    note = toy.folder / "workers.json"
    keys = (*SHORT, "DATALOADER.NUM_WORKERS", 2)
    killed = train(toy.config, toy.folder / "orphans", *keys, kill=NoteWorkersAndDie(str(note)))
    assert killed.status == -signal.SIGKILL
    workers = json.loads(note.read_text())
    assert len(workers) == 2
    deadline = time.monotonic() + SECONDS
    while any(is_alive(pid) for pid in workers):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_step_that_is_not_finite_can_be_repeated(toy: SimpleNamespace) -> None:
    output = toy.folder / "diverged"
    keys = ("SOLVER.ROUTER.BASE_LR", 1e30, *SHORT)
    ended = train(toy.config, output, *keys)
    said(ended, "Training diverged at iteration ", "in phase router", "learning rate 1e+30; images")
    (dump,) = output.glob("diverged_*.pth")
    assert f"replay {dump}" in ended.err
    again = run("dynamicdet_d2/__main__.py", ["replay", dump], toy.folder / "again")
    assert again.status == 0, again.err
    assert "phase router" in again.out


# Reruns and resumption under other keys


def copied(toy: SimpleNamespace, whole: Reference, name: str) -> Path:
    output = toy.folder / name
    shutil.copytree(whole.output, output)
    (output / "last_checkpoint").write_text("model_0000005.pth")
    return output


def test_a_rerun_says_so_and_keeps_metrics_and_config(
    toy: SimpleNamespace, whole: Reference
) -> None:
    output = copied(toy, whole, "rerun")
    assert train(toy.config, output, *SHORT, "SEED", 2).status == 0
    assert "holds an earlier run (model_0000005.pth). This one begins anew" in log(output)
    for name in ("metrics", "config"):
        (kept,) = output.glob(f"{name}_1.*")
        assert kept.read_text() == (whole.output / kept.name.replace("_1", "")).read_text()
    assert iterations(output) == iterations(whole.output)


def test_a_resumed_run_says_which_keys_hold(toy: SimpleNamespace, whole: Reference) -> None:
    output = copied(toy, whole, "other_keys")
    keys = ("SOLVER.BASE_LR", 0.5, "SEED", 7, "SOLVER.ROUTER.WEIGHT_DECAY", 5e-3)
    assert train(toy.config, output, *SHORT, *keys, options="--resume").status == 0
    assert "SOLVER.BASE_LR is 0.5, and the run began with 0.02, which holds" in log(output)
    assert "SEED is 7, and the run began with 1, which holds" in log(output)
    assert differing(weights(output), weights(whole.output)) == []
    used = yaml.safe_load((output / "config.yaml").read_text())
    assert (used["SEED"], used["SOLVER"]["BASE_LR"]) == (1, 0.02)


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        (("SOLVER.OPTIMIZER", "ADAMW"), "SOLVER.OPTIMIZER is 'ADAMW', and the run began with 'S"),
        (("MODEL.FPN.OUT_CHANNELS", 24), "MODEL.FPN.OUT_CHANNELS is 24 and was 16"),
    ],
)
def test_another_model_or_optimizer_is_refused(
    toy: SimpleNamespace, whole: Reference, keys: tuple, says: str
) -> None:
    output = copied(toy, whole, f"other_{keys[0]}")
    said(train(toy.config, output, *SHORT, *keys, options="--resume"), says, status=2)
    assert (output / "config.yaml").read_text() == (whole.output / "config.yaml").read_text()


def test_metrics_of_steps_that_are_done_again_are_forgotten(
    toy: SimpleNamespace, whole: Reference
) -> None:
    output = copied(toy, whole, "again")
    with open(output / "metrics.json", "a") as file:
        file.write(json.dumps({"iteration": 99}) + '\n{"iter')
    assert train(toy.config, output, *SHORT, options="--resume").status == 0
    assert iterations(output) == iterations(whole.output)
