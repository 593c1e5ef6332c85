# SPDX-License-Identifier: Apache-2.0
"""Which processes a command line means, and what is refused of it."""

import argparse
import atexit
import os
import re
import sys

import pytest
from detectron2.utils import comm
from torch import distributed

from dynamicdet_d2.engine.launch import launch
from dynamicdet_d2.engine.world import World, given_world, restarts

GIVEN = {
    "RANK": "5",
    "WORLD_SIZE": "8",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "4",
    "MASTER_ADDR": "a",
    "MASTER_PORT": "1",
}


def options(**changes: object) -> argparse.Namespace:
    plain = {"num_gpus": 1, "num_machines": 1, "machine_rank": 0, "dist_url": "auto"}
    more = {"resume": False, "eval_only": False, "program": "tool"}
    return argparse.Namespace(**{**plain, **more, **changes})


def start(called: list, **changes: object) -> None:
    launch(called.append, options(**changes), timeout=3.0, on_gpus=False)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"machine_rank": 5}, "--machine-rank is 5; of 1 machines it must be in 0 to 0."),
        ({"num_machines": 2, "machine_rank": -1}, "--machine-rank is -1; of 2 machines"),
        ({"num_gpus": 0}, "--num-gpus is 0; it must be at least 1."),
        ({"num_machines": 0}, "--num-machines is 0"),
        ({"num_machines": 2}, "--dist-url auto is for one machine"),
        *(
            (
                {"num_gpus": 2, "dist_url": url},
                f"--dist-url is '{re.escape(url)}'; it must be auto or",
            )
            for url in ("localhost:1234", "tcp://127.0.0.1:0", "tcp://a", "tcp://a:70000", "x", "")
            + ("http://a:1", "env://", "file:///tmp/meet", "tcp://a:1/", "tcp://:1")
            + ("tcp://a:1?rank=0&world_size=2",)
        ),
    ],
)
def test_options_that_contradict_each_other_are_refused(changes: dict, says: str) -> None:
    called: list = []
    with pytest.raises(ValueError, match=says):
        start(called, **changes)
    assert called == []


@pytest.mark.parametrize(
    ("reason", "says"),
    [
        (
            "address already in use",
            r"^--dist-url tcp://a:1 cannot be used, by another run perhaps: ",
        ),
        ("no such host", "^--dist-url tcp://a:1 cannot be used: no such host$"),
        (
            "[enforce fail at x] . Unable to find address for: eth9",
            "^GLOO_SOCKET_IFNAME names eth9, which is no network interface of this machine.$",
        ),
    ],
)
def test_why_processes_cannot_meet_is_no_guess(
    monkeypatch: pytest.MonkeyPatch, reason: str, says: str
) -> None:
    def refused(**_: object) -> None:
        raise RuntimeError(reason)

    monkeypatch.setattr(distributed, "init_process_group", refused)
    with pytest.raises(ValueError, match=says):
        World(0, 2, 0, 2, "tcp://a:1", 3.0, on_gpus=False).join()


def refused_in_a_process_that_aborts_at_its_end(args: argparse.Namespace) -> None:
    """As a group of gloo does at times, whose threads still wait for the others."""
    atexit.register(os.abort)
    sys.stdout.write(f"rank {comm.get_rank()}\n")  # buffered, since stdout is a file
    raise SystemExit(2)


def test_a_bad_end_keeps_its_status_and_what_was_said(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        launch(
            refused_in_a_process_that_aborts_at_its_end,
            options(num_gpus=2),
            timeout=60.0,
            on_gpus=False,
        )
    assert ended.value.code == 2
    said = capfd.readouterr()
    assert sorted(said.out.split("\n")) == ["", "rank 0", "rank 1"]
    assert "was killed" not in said.err


def test_one_process_is_this_one() -> None:
    called: list = []
    start(called)
    assert len(called) == 1


def test_the_place_that_torchrun_gives() -> None:
    world = given_world(GIVEN, timeout=3.0, on_gpus=True)
    assert world == World(5, 8, 1, 4, "env://", 3.0, on_gpus=True)
    agent = {**GIVEN, "TORCHELASTIC_USE_AGENT_STORE": "True"}
    assert given_world(agent, timeout=3.0, on_gpus=True).url == "agent://a:1"
    without = {key: value for key, value in GIVEN.items() if key != "RANK"}
    assert given_world(without, timeout=3.0, on_gpus=True) is None
    assert restarts(GIVEN) == 0


@pytest.mark.parametrize(
    ("restarted", "changes", "says"),
    [
        ("0", {"num_gpus": 2}, "--num-gpus and --num-machines must be left out"),
        ("1", {}, "--resume goes on from the last one"),
    ],
)
def test_what_does_not_go_with_torchrun_is_refused(
    monkeypatch: pytest.MonkeyPatch, restarted: str, changes: dict, says: str
) -> None:
    environment = {**os.environ, **GIVEN, "TORCHELASTIC_RESTART_COUNT": restarted}
    monkeypatch.setattr(os, "environ", environment)
    with pytest.raises(ValueError, match=says):
        start([], **changes)
