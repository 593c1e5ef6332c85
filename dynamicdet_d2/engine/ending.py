# SPDX-License-Identifier: Apache-2.0
"""What a machine can do to a run, in a sentence: lost processes, no memory, a full disk."""

import errno
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from detectron2.config import CfgNode
from detectron2.utils import comm
from torch import distributed

from dynamicdet_d2.utils import stopping
from dynamicdet_d2.utils.errors import RunError, is_out_of_memory
from dynamicdet_d2.utils.files import UnwrittenFileError

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# Of gloo, whose errors have no type of their own.
_GLOO = re.compile(r"gloo|Connection (closed|reset) by peer|Broken pipe")
_LATE = re.compile(r"timed? ?out", re.IGNORECASE)
_WORKER = re.compile(r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\)(?:.*signal: (\w+))?")


def what_goes_on(eval_only: bool) -> str:
    """The end of a sentence: what is left of a run that failed."""
    if eval_only:
        return "an evaluation begins anew"
    return "--resume goes on from the last checkpoint"


@contextmanager
def failures_in_a_sentence(cfg: CfgNode, *, eval_only: bool = False) -> Iterator[None]:
    """Meet what the machine does to the run inside; errors of other kinds pass through.

    Args:
        cfg: of the run.
        eval_only: whether it is an evaluation, which has no checkpoint to go on from.

    Raises:
        RunError: one sentence, with the library's error as its cause.
        SystemExit: where a signal had asked the run to stop, and the rest follows from that, as
            what a library makes of an end in its middle; a checkpoint that could not be saved does
            not.
    """
    try:
        yield
    except Exception as error:
        if stopping.obeyed() and not _is_full(error):
            sys.exit(128 + stopping.obeyed())
        if not isinstance(error, (RuntimeError, MemoryError, OSError, EOFError)):
            raise
        sentence = _sentence(error, cfg, eval_only)
        if sentence is None:
            raise
        if stopping.requested() and not _is_full(error):
            sys.exit(128 + stopping.requested())
        raise RunError(sentence) from error


@contextmanager
def lost_workers_in_a_sentence(cfg: CfgNode) -> Iterator[None]:
    """For what loads images beside a run: a calibration begins anew.

    Args:
        cfg: of what is inside.

    Raises:
        RunError: one sentence, with the library's error as its cause.
    """
    try:
        yield
    except (RuntimeError, ConnectionError, EOFError) as error:
        sentence = _of_a_worker(error, cfg)
        if sentence is None:
            raise
        raise RunError(f"{sentence}.") from error


def _sentence(error: Exception, cfg: CfgNode, eval_only: bool) -> str | None:
    """None of what is no machine's doing."""
    rest = what_goes_on(eval_only)
    lost = _of_a_worker(error, cfg)
    if lost is not None:
        return f"{lost}; {rest}."
    if isinstance(error, OSError):
        disk = _of_the_disk(error, cfg.OUTPUT_DIR)
        return disk and f"{disk}, and {rest}."
    text = str(error)
    if is_out_of_memory(error):
        reason = text.partition("\n")[0].rstrip(".") or "MemoryError"
        return f"{_of_memory(cfg, eval_only)}; {rest} ({reason})."
    process = _of_another_process(error, text, cfg)
    return process and f"{process}; {rest}."


def _is_full(error: Exception) -> bool:
    return isinstance(error, OSError) and error.errno in _NO_ROOM


def _of_the_disk(error: OSError, folder: str) -> str | None:
    """Without its end."""
    if not _is_full(error):
        return None
    what = str(error).rstrip(".")
    if not isinstance(error, UnwrittenFileError):
        what = f"OUTPUT_DIR {error.filename or folder} cannot be written to: {error.strerror}"
    return f"{what}; what was there before is as it was"


def _of_a_worker(error: Exception, cfg: CfgNode) -> str | None:
    """Without its end; None of another error. Python's own pipes are to workers alone."""
    workers, text = cfg.DATALOADER.NUM_WORKERS, str(error)
    found = _WORKER.search(text)
    if text.startswith("DataLoader timed out") or (found and _LATE.search(text)):
        return (
            f"No batch of images came within {cfg.RUN.TIMEOUT:g} seconds (RUN.TIMEOUT): one of the "
            f"{workers} processes that load them is stuck, at a file that does not answer perhaps"
        )
    if not found and not (workers and isinstance(error, (ConnectionError, EOFError))):
        return None
    who = f"A process that loads images{f' ({found[1]})' if found else ''}"
    how = f"was killed by signal {found[2]}" if found and found[2] else "ended unexpectedly"
    return (
        f"{who} {how}, for want of memory, of room in /dev/shm or of open files perhaps: "
        f"DATALOADER.NUM_WORKERS is {workers}, and fewer need less"
    )


def _of_memory(cfg: CfgNode, eval_only: bool) -> str:
    """Without its end."""
    if eval_only:
        return (
            f"There is not enough memory for an evaluation on {cfg.MODEL.DEVICE}; a smaller "
            "INPUT.MAX_SIZE_TEST or TEST.DETECTIONS_PER_IMAGE needs less"
        )
    return (
        f"There is not enough memory for a step on {cfg.MODEL.DEVICE}; a smaller "
        "SOLVER.IMS_PER_BATCH or INPUT.MAX_SIZE_TRAIN needs less"
    )


def _of_another_process(error: Exception, text: str, cfg: CfgNode) -> str | None:
    """Without its end."""
    known = getattr(distributed, "DistError", ())
    if comm.get_world_size() == 1 or not (isinstance(error, known) or _GLOO.search(text)):
        return None
    rank = comm.get_rank()
    if _LATE.search(text):
        return (
            f"Rank {rank} waited {cfg.RUN.TIMEOUT:g} seconds (RUN.TIMEOUT) for another process of "
            "the run, which is stopped, stuck or cannot be reached"
        )
    return (
        f"Rank {rank} lost another process of the run, which has ended or cannot be reached: what "
        "is said there, or by its machine, is the reason"
    )
