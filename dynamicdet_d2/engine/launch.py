# SPDX-License-Identifier: Apache-2.0
"""Start a main function in one or several processes, with GPUs or on the CPU, and end it well.

The processes are started here, by the options of Detectron2's command line, or come from
``torchrun``. Detectron2's own ``launch`` insists on CUDA, waits for ever for a process that is
stopped, and says nothing of one that was killed.
"""

import argparse
import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import replace
from urllib.parse import urlsplit

import torch
from detectron2.utils import comm
from torch import multiprocessing as mp

from dynamicdet_d2.engine.supervise import Supervisor
from dynamicdet_d2.engine.world import World, abandon, free_address, given_world, leave, restarts
from dynamicdet_d2.utils.errors import FAILED, INTERRUPTED, one_sentence
from dynamicdet_d2.utils.words import shown

# Processes, of which each has a model; without more cores than that.
_MOST_ON_A_CPU = 16


def launch(main: Callable, args: argparse.Namespace, *, timeout: float, on_gpus: bool) -> None:
    """Run ``main(args)`` in ``args.num_gpus`` processes on each of ``args.num_machines`` machines.

    Where ``torchrun`` started this process, it is one of those that ``torchrun`` counted.

    Args:
        main: a function of a module, since it is sent to other processes.
        args: of Detectron2's ``default_argument_parser``, and ``program``, for errors.
        timeout: seconds that a process waits for another one.
        on_gpus: give each process a GPU.

    Raises:
        ValueError: options that contradict each other.
        SystemExit: where a process did not end well; its status is ours.
    """
    world = given_world(os.environ, timeout=timeout, on_gpus=on_gpus)
    if world is not None:
        _check_given(args)
        _one_of_many(0, world, main, args)
        return
    _check_asked(args, on_gpus)
    size = args.num_gpus * args.num_machines
    if size == 1:
        main(args)
        return
    url = free_address() if args.dist_url == "auto" else args.dist_url
    first = args.machine_rank * args.num_gpus
    world = World(first, size, 0, args.num_gpus, url, timeout, on_gpus)
    context = mp.spawn(_one_of_many, args=(world, main, args), nprocs=args.num_gpus, join=False)
    status = Supervisor(
        context.processes, first, args.program, timeout, eval_only=args.eval_only
    ).wait()
    if status:
        sys.exit(status)


def _check_given(args: argparse.Namespace) -> None:
    if args.num_gpus * args.num_machines != 1:
        raise ValueError(
            "torchrun says how many processes there are (--nproc-per-node, --nnodes); --num-gpus "
            "and --num-machines must be left out."
        )
    if restarts(os.environ) and not (args.resume or args.eval_only):
        raise ValueError(
            "torchrun starts the run again, which without --resume would begin anew and replace "
            "its own checkpoints: --resume goes on from the last one, and begins where there is "
            "none."
        )


def _check_asked(args: argparse.Namespace, on_gpus: bool) -> None:
    for name in ("num_gpus", "num_machines"):
        if getattr(args, name) < 1:
            option = f"--{name.replace('_', '-')}"
            raise ValueError(f"{option} is {getattr(args, name)}; it must be at least 1.")
    if not 0 <= args.machine_rank < args.num_machines:
        raise ValueError(
            f"--machine-rank is {args.machine_rank}; of {args.num_machines} machines it must be in "
            f"0 to {args.num_machines - 1}."
        )
    if on_gpus and args.num_gpus > torch.cuda.device_count():
        raise ValueError(
            f"--num-gpus is {args.num_gpus}; this machine has {torch.cuda.device_count()}."
        )
    most = max(_MOST_ON_A_CPU, os.cpu_count() or 1)
    if not on_gpus and args.num_gpus > most:
        raise ValueError(f"--num-gpus is {args.num_gpus}; on this CPU it must be at most {most}.")
    if args.dist_url == "auto" and args.num_machines > 1:
        raise ValueError("--dist-url auto is for one machine; several must be told an address.")
    if args.dist_url != "auto" and not _is_address(args.dist_url):
        raise ValueError(
            f"--dist-url is {shown(args.dist_url)}; it must be auto or an address in the form "
            "tcp://HOST:PORT, such as tcp://127.0.0.1:29500."
        )


def _is_address(url: str) -> bool:
    """Whether it is tcp://HOST:PORT. At port 0 each process would take another one and wait, as at
    a file that an earlier run has left; of ranks behind the port torch makes a traceback."""
    try:
        parts = urlsplit(url)
        named = bool(parts.hostname and parts.port)
    except ValueError:  # a port that is no number, or too large
        return False
    return named and url == f"tcp://{parts.netloc}"


def _one_of_many(index: int, world: World, main: Callable, args: argparse.Namespace) -> None:
    """Be one process of the run; ``index`` counts those that were started together."""
    own = replace(world, rank=world.rank + index, local_rank=world.local_rank + index)
    if not own.on_gpus:
        torch.set_num_threads(max(1, torch.get_num_threads() // own.local_size))
    try:
        with one_sentence(args.program):
            own.join()
            comm.synchronize()
        main(args)
    except SystemExit as ended:
        abandon(ended.code if isinstance(ended.code, int) else FAILED)
    except KeyboardInterrupt:
        abandon(INTERRUPTED)
    except Exception:
        # Of the program's own errors; whoever started this process would pass none of them on.
        traceback.print_exc()
        abandon(FAILED)
    leave()
