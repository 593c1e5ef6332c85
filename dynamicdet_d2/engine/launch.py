# SPDX-License-Identifier: Apache-2.0
"""Start a main function in one or several processes, with GPUs or on the CPU, and end it well."""

import argparse
import socket
import sys
from collections.abc import Callable

import torch
from detectron2.engine import launch as launch_on_gpus
from detectron2.utils import comm
from torch import distributed
from torch import multiprocessing as mp

from dynamicdet_d2.utils.errors import one_sentence


def launch(main: Callable, args: argparse.Namespace) -> None:
    """Run ``main(args)`` in ``args.num_gpus`` processes on each of ``args.num_machines`` machines.

    Without a GPU, several processes talk over gloo; Detectron2's own ``launch`` insists on CUDA.

    Args:
        main: a function of a module, since it is sent to other processes.
        args: of Detectron2's ``default_argument_parser``, and ``program``, for errors.
    """
    start = _launch_on_cpu
    if args.num_gpus * args.num_machines <= 1 or torch.cuda.is_available():
        start = launch_on_gpus
    try:
        start(
            main,
            args.num_gpus,
            num_machines=args.num_machines,
            machine_rank=args.machine_rank,
            dist_url=args.dist_url,
            args=(args,),
        )
    except mp.ProcessExitedException as error:
        # The process has said what was wrong; its exit status is ours.
        sys.exit(error.exit_code)


def _launch_on_cpu(
    main: Callable, processes: int, num_machines: int, machine_rank: int, dist_url: str, args: tuple
) -> None:
    if dist_url == "auto":
        if num_machines > 1:
            raise ValueError("--dist-url auto is for one machine; several must be told an address.")
        dist_url = f"tcp://127.0.0.1:{_free_port()}"
    world = (processes, processes * num_machines, machine_rank * processes, dist_url)
    mp.spawn(_cpu_process, nprocs=processes, args=(world, main, args))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _cpu_process(local_rank: int, world: tuple, main: Callable, args: tuple) -> None:
    processes, world_size, first_rank, dist_url = world
    torch.set_num_threads(max(1, torch.get_num_threads() // processes))
    with one_sentence(args[0].program):
        _join(processes, world_size, first_rank + local_rank, dist_url)
    comm.synchronize()
    main(*args)
    # Only at a good end: the others would meet a lost connection, and bury the reason of a bad one.
    distributed.destroy_process_group()


def _join(processes: int, world_size: int, rank: int, dist_url: str) -> None:
    try:
        distributed.init_process_group(
            backend="gloo", init_method=dist_url, world_size=world_size, rank=rank
        )
    except (ValueError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(
            f"--dist-url {dist_url} cannot be used, by another run perhaps: {reason}"
        ) from None
    if hasattr(comm, "create_local_process_group"):  # newer than Detectron2 0.6
        comm.create_local_process_group(processes)
