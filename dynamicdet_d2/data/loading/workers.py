# SPDX-License-Identifier: Apache-2.0
"""How a process begins and ends that loads images for a run."""

import multiprocessing
import os
import threading
from multiprocessing import queues

import cv2


def begin(worker: int) -> None:
    """A worker has one core: threads of OpenCV's would only contend, and do not survive a fork.

    Signals to the run's group of processes, as Ctrl-C is, are for the process that trains: it has
    a step to end, and needs its workers until then. They end with it: torch looks at the process
    that they were forked from, which may be a server that lives on.

    A batch that cannot be handed over, as where /dev/shm is full, ends the worker: Python would
    only print the error, and the run wait for that batch.
    """
    cv2.setNumThreads(0)
    os.setpgid(0, 0)
    queues.Queue._on_queue_feeder_error = staticmethod(_end_unheard)  # type: ignore[attr-defined]
    threading.Thread(target=_end_with_the_run, daemon=True).start()


def _end_with_the_run() -> None:
    run = multiprocessing.parent_process()
    if run is not None:
        run.join()
        os._exit(1)


def _end_unheard(error: Exception, batch: object) -> None:
    """Of the thread that hands batches over, which may be locked out of the worker's streams."""
    said = f"A process that loads images ({os.getpid()}) cannot hand a batch over: {error}\n"
    os.write(2, said.encode(errors="replace"))
    os._exit(1)
