# SPDX-License-Identifier: Apache-2.0
"""The processes of a run: who this one is, and how they find each other."""

import gc
import logging
import os
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NoReturn

import torch
from detectron2.utils import comm
from torch import distributed

from dynamicdet_d2.engine.meeting import meet
from dynamicdet_d2.utils.errors import RunError
from dynamicdet_d2.utils.words import shown

_GIVEN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
_RESTARTS = "TORCHELASTIC_RESTART_COUNT"
_OF_AGENT = "agent://"
_NO_INTERFACE = "Unable to find address for: "  # in the words of gloo
# Processes, and restarts.
_MOST = 1 << 20


@dataclass(frozen=True)
class World:
    """One process among those of a run.

    Attributes:
        rank, size: of this process in [0, size), and processes in all.
        local_rank, local_size: the same on this machine.
        url: where they meet: an address of torch's, or "agent://host:port", the store of
            ``torchrun``'s own process.
        timeout: seconds that one waits for another (``RUN.TIMEOUT``).
        on_gpus: whether each has a GPU, and they talk over NCCL; else over gloo.
    """

    rank: int
    size: int
    local_rank: int
    local_size: int
    url: str
    timeout: float
    on_gpus: bool

    def join(self) -> None:
        """Meet the others.

        Raises:
            ValueError: they cannot meet at the address.
            RunError: not all came in time.
        """
        if self.on_gpus:
            torch.cuda.set_device(self.local_rank)
        try:
            distributed.init_process_group(
                backend="nccl" if self.on_gpus else "gloo",
                world_size=self.size,
                rank=self.rank,
                timeout=timedelta(seconds=self.timeout),
                **self._place(),
            )
        except (ValueError, RuntimeError) as error:
            reason = str(error).partition("\n")[0]
            if any(words in reason.lower() for words in ("timed out", "timeout")):
                raise RunError(self._not_all_came(reason)) from None
            if _NO_INTERFACE in reason:
                raise ValueError(
                    f"GLOO_SOCKET_IFNAME names {reason.partition(_NO_INTERFACE)[2]}, which is no "
                    "network interface of this machine."
                ) from None
            taken = ", by another run perhaps" if "in use" in reason else ""
            raise ValueError(f"--dist-url {self.url} cannot be used{taken}: {reason}") from None
        self._know_this_machine()

    def _place(self) -> dict[str, Any]:
        if not self.url.startswith(_OF_AGENT):
            return {"init_method": self.url}
        host, _, port = self.url.removeprefix(_OF_AGENT).rpartition(":")
        seconds = timedelta(seconds=self.timeout)
        store = distributed.TCPStore(host, int(port), is_master=False, timeout=seconds)
        return {"store": meet(store, self.rank, self.size, self.timeout)}

    def _not_all_came(self, reason: str) -> str:
        return (
            f"Rank {self.rank} waited {self.timeout:g} seconds (RUN.TIMEOUT) at {self.url} for the "
            f"{self.size} processes of the run, and not all came; each machine needs a "
            f"train_net.py with its own --machine-rank ({reason})."
        )

    def _know_this_machine(self) -> None:
        """Tell Detectron2 which processes share a machine."""
        if hasattr(comm, "create_local_process_group"):  # newer than Detectron2 0.6
            comm.create_local_process_group(self.local_size)
            return
        if not self.on_gpus:  # nothing asks
            return
        for first in range(0, self.size, self.local_size):
            group = distributed.new_group(list(range(first, first + self.local_size)))
            if first == self.rank - self.local_rank:
                comm._LOCAL_PROCESS_GROUP = group


def given_world(environment: Mapping[str, str], *, timeout: float, on_gpus: bool) -> World | None:
    """The place that ``torchrun`` gave this process; None where nobody did.

    Args:
        environment: of the process.

    Raises:
        ValueError: naming the variable that is missing or is none of torchrun's.
    """
    missing = [name for name in _GIVEN if name not in environment]
    if missing:
        said = environment.get("WORLD_SIZE", "1")
        if "RANK" in environment and said != "1":  # each process would train by itself
            raise ValueError(
                f"The environment has RANK and a WORLD_SIZE of {shown(said)}, but no {missing[0]}: "
                "start the processes with torchrun, or unset RANK."
            )
        return None
    size = _given(environment, "WORLD_SIZE", range(1, _MOST))
    local_size = size
    if "LOCAL_WORLD_SIZE" in environment:
        local_size = _given(environment, "LOCAL_WORLD_SIZE", range(1, size + 1))
    rank = _given(environment, "RANK", range(size))
    local_rank = _given(environment, "LOCAL_RANK", range(local_size))
    _given(environment, "MASTER_PORT", range(1, 1 << 16))
    url = "env://"
    if environment.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        url = f"{_OF_AGENT}{environment['MASTER_ADDR']}:{environment['MASTER_PORT']}"
    return World(rank, size, local_rank, local_size, url, timeout, on_gpus)


def _given(environment: Mapping[str, str], name: str, allowed: range) -> int:
    """A whole number of the environment.

    Raises:
        ValueError: it is none, or none of those.
    """
    text = environment[name]
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else -1
    if number not in allowed:
        raise ValueError(
            f"The environment's {name} is {shown(text)}; torchrun sets it, to a whole number in "
            f"{allowed.start} to {allowed.stop - 1} here."
        )
    return number


def leave() -> None:
    """Part from the others at a good end.

    Whatever still knows their group goes first, the wrapped model in a trainer's circles too: a
    group that the interpreter takes down at its own end can abort the process.
    """
    comm._LOCAL_PROCESS_GROUP = None
    gc.collect()
    distributed.destroy_process_group()


def abandon(status: int) -> NoReturn:
    """End this process at once, after a bad end.

    The group is left as it is: the others would meet a lost connection, and bury the reason. The
    interpreter's own end would take down the threads of a group that still waits, which can abort
    the process and replace its status.
    """
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    logging.shutdown()
    os._exit(status)


def restarts(environment: Mapping[str, str]) -> int:
    """How often ``torchrun`` has started the run's processes again."""
    return _given(environment, _RESTARTS, range(_MOST)) if _RESTARTS in environment else 0


def free_address() -> str:
    """For the processes of this machine alone."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{probe.getsockname()[1]}"
