# SPDX-License-Identifier: Apache-2.0
"""Start a main function in one or several processes, with GPUs or on the CPU, and end it well."""

import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from detectron2.engine import launch as launch_on_gpus
from detectron2.utils import comm
from torch import distributed
from torch import multiprocessing as mp

logger = logging.getLogger(__name__)

USAGE_ERROR = 2


def launch(main: Callable, args: object) -> None:
    """Run ``main(args)`` in ``args.num_gpus`` processes on each of ``args.num_machines`` machines.

    Without a GPU, several processes talk over gloo; Detectron2's own ``launch`` insists on CUDA.

    Args:
        main: a function of a module, since it is sent to other processes.
        args: of Detectron2's ``default_argument_parser``.
    """
    processes = args.num_gpus
    if processes * args.num_machines <= 1:
        main(args)
    elif torch.cuda.is_available():
        launch_on_gpus(
            main,
            processes,
            num_machines=args.num_machines,
            machine_rank=args.machine_rank,
            dist_url=args.dist_url,
            args=(args,),
        )
    else:
        try:
            mp.spawn(_cpu_process, nprocs=processes, args=(main, args))
        except mp.ProcessExitedException as error:
            # The process has said what was wrong; its exit status is ours.
            sys.exit(error.exit_code)


def _cpu_process(local_rank: int, main: Callable, args: object) -> None:
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // args.num_gpus))
    distributed.init_process_group(
        backend="gloo",
        init_method=args.dist_url,
        world_size=args.num_gpus * args.num_machines,
        rank=args.machine_rank * args.num_gpus + local_rank,
    )
    if hasattr(comm, "create_local_process_group"):  # newer than Detectron2 0.6
        comm.create_local_process_group(args.num_gpus)
    comm.synchronize()
    try:
        main(args)
    finally:
        distributed.destroy_process_group()


@contextmanager
def one_sentence(program: str) -> Iterator[None]:
    """Meet what a user got wrong with one sentence and exit status 2; the log keeps the traceback.

    Errors of other kinds pass through.
    """
    try:
        yield
    except (ValueError, FileNotFoundError, FloatingPointError, KeyError) as error:
        logger.debug("%s", traceback.format_exc())
        said = error.args[0] if isinstance(error, KeyError) and error.args else error
        sys.stderr.write(f"{program}: error: {said}\n")
        sys.exit(USAGE_ERROR)
