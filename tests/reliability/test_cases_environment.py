# SPDX-License-Identifier: Apache-2.0
"""Environments that torchrun would not make, and pipes where a run writes."""

import os
from pathlib import Path

import pytest

from dynamicdet_d2.config.rules import output_is_a_folder
from dynamicdet_d2.engine.run_folder import folder_of_run
from dynamicdet_d2.engine.world import given_world, restarts
from dynamicdet_d2.utils import folder_lock

GIVEN = {
    "RANK": "1",
    "WORLD_SIZE": "2",
    "LOCAL_RANK": "1",
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "29500",
}
WRONG: list[tuple[dict[str, str | None], str]] = [
    ({"RANK": "x"}, "RANK is 'x'; torchrun sets it, to a whole number in 0 to 1 here."),
    ({"RANK": ""}, "RANK is ''"),
    ({"RANK": "2"}, "RANK is '2'"),
    ({"RANK": "-1"}, "RANK is '-1'"),
    ({"RANK": "١"}, "RANK is "),  # a digit, though not one of ours
    ({"WORLD_SIZE": "0"}, "WORLD_SIZE is '0'; torchrun sets it, to a whole number in 1 to"),
    ({"WORLD_SIZE": "1.0"}, "WORLD_SIZE is '1.0'"),
    ({"WORLD_SIZE": "9" * 5000}, "WORLD_SIZE is '99"),
    ({"LOCAL_RANK": "7"}, "LOCAL_RANK is '7'"),
    ({"LOCAL_WORLD_SIZE": "1"}, "LOCAL_RANK is '1'; torchrun sets it, to a whole number in 0 to 0"),
    ({"LOCAL_WORLD_SIZE": "3"}, "LOCAL_WORLD_SIZE is '3'"),
    ({"MASTER_PORT": "http"}, "MASTER_PORT is 'http'"),
    ({"MASTER_PORT": "99999"}, "MASTER_PORT is '99999'; torchrun sets it, to a whole number in 1"),
    ({"LOCAL_RANK": None}, "has RANK and a WORLD_SIZE of '2', but no LOCAL_RANK: start the"),
    ({"MASTER_ADDR": None, "MASTER_PORT": None}, "but no MASTER_ADDR"),
]


@pytest.mark.parametrize("number", range(len(WRONG)))
def test_an_environment(number: int) -> None:
    changes, says = WRONG[number]
    given = {name: text for name, text in (GIVEN | changes).items() if text is not None}
    with pytest.raises(ValueError) as refused:
        given_world(given, timeout=1, on_gpus=False)
    assert says in str(refused.value) and len(str(refused.value)) < 300


@pytest.mark.parametrize(
    "given",
    [{}, {"RANK": "0"}, {"WORLD_SIZE": "2"}, {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "x"}],
)
def test_an_environment_of_one_process(given: dict[str, str]) -> None:
    assert given_world(given, timeout=1, on_gpus=False) is None


def test_an_environment_of_torchrun() -> None:
    world = given_world(GIVEN, timeout=1, on_gpus=False)
    assert world is not None and (world.rank, world.size, world.local_size) == (1, 2, 2)


def test_restarts() -> None:
    assert restarts({}) == 0 and restarts({"TORCHELASTIC_RESTART_COUNT": "3"}) == 3
    with pytest.raises(ValueError, match="TORCHELASTIC_RESTART_COUNT is 'x'; torchrun sets it"):
        restarts({"TORCHELASTIC_RESTART_COUNT": "x"})


PIPES = ["metrics.json", "log.txt", "config.yaml", "last_checkpoint", folder_lock.NAME]


@pytest.mark.parametrize("name", PIPES)
def test_a_pipe_that_a_run_would_wait_for(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    for begins in (True, False):
        with pytest.raises(ValueError, match=f"{name} is a pipe or a device; it must be a file."):
            with folder_of_run(str(tmp_path), begins=begins):
                pass
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("begins", [True, False])
def test_a_file_where_evaluations_write(tmp_path: Path, begins: bool) -> None:
    (tmp_path / "inference").write_text("notes")
    with pytest.raises(ValueError, match="inference is no folder, which evaluations write to"):
        with folder_of_run(str(tmp_path), begins=begins):
            pass
    assert (tmp_path / "inference").read_text() == "notes"


RESULTS = "inference/toy/coco_instances_results.json"
WRITTEN = ["metrics.json", "log.txt", "config.yaml", RESULTS, folder_lock.NAME]


@pytest.mark.parametrize("name", WRITTEN)
@pytest.mark.parametrize("there", [True, False])
def test_a_link_whose_target_a_run_would_write_to(tmp_path: Path, name: str, there: bool) -> None:
    own, folder = tmp_path / "own.txt", tmp_path / "output"
    if there:
        own.write_text("notes")
    (folder / name).parent.mkdir(parents=True)
    (folder / name).symlink_to(own)
    with pytest.raises(ValueError, match=f"{name} is a link; it must be an ordinary file."):
        with folder_of_run(str(folder), begins=False):
            pass
    assert own.exists() == there
    assert not there or own.read_text() == "notes"


def test_an_output_that_is_a_link_to_nothing(tmp_path: Path) -> None:
    (tmp_path / "output").symlink_to(tmp_path / "gone")
    said = output_is_a_folder(str(tmp_path / "output"))
    assert said is not None
    assert f"/output', which is a link to '{tmp_path}/gone', which is not there; it must" in said
    (tmp_path / "gone").mkdir()
    assert output_is_a_folder(str(tmp_path / "output")) is None
