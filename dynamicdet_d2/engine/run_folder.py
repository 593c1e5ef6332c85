# SPDX-License-Identifier: Apache-2.0
"""What lies in OUTPUT_DIR when a run begins there: of another run, an earlier one, this one."""

import json
import logging
import math
import os
import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from detectron2.utils import comm

from dynamicdet_d2.utils import folder_lock
from dynamicdet_d2.utils.errors import FAILED
from dynamicdet_d2.utils.files import refuse_links, refuse_pipes, remove_temporaries
from dynamicdet_d2.utils.own_files import kept_by_number
from dynamicdet_d2.utils.paths import unreplaced_variable
from dynamicdet_d2.utils.run_files import CONFIG, LAST, LOG, METRICS

logger = logging.getLogger(__name__)

# Written to where they are; all others are replaced whole.
_IN_PLACE = (METRICS, CONFIG, LOG)
# Checkpoints that a run writes, and the record of the best one.
_OF_A_RUN = re.compile(r"model_(final|best|detectors|detector2|router|\d{7})\.pth|best\.json")
# A whole config, as Detectron2 writes it: sorted, so that these are its first and its last key.
_WHOLE_CONFIG = re.compile(rb"CUDNN_BENCHMARK: .*^VIS_PERIOD: ", re.DOTALL | re.MULTILINE)
# Steps between two lines of metrics, and what a kill may have cut off.
_BETWEEN_LINES = 40
_RESULTS_IN_PLACE = ("coco_instances_results.json", "instances_predictions.pth")


@contextmanager
def folder_of_run(folder: str, *, begins: bool, resumes: bool = False) -> Iterator[list[str]]:
    """Hold ``OUTPUT_DIR`` for this run, and keep what an earlier run wrote that this one replaces.

    Args:
        folder: ``OUTPUT_DIR``; empty: nothing is written.
        begins: whether the run trains from its beginning, and does not resume or only evaluate.
        resumes: whether it trains on from the last checkpoint.

    Yields:
        What there is to say, for the log, a sentence each.

    Raises:
        OSError: it is held by another run or cannot be written to; one sentence.
        ValueError: a file in it is a pipe, on which the run would wait for ever, or a link, whose
            target the run would write to; a run that begins would replace weights, or a record of
            them, that are of no run.
        SystemExit: in the other processes of a run whose main process says so.
    """
    with ExitStack() as stack:
        said: list[str] = []
        fault: OSError | ValueError | None = None
        if folder and comm.is_main_process():
            try:
                said.append(stack.enter_context(folder_lock.held(folder)))
                _refuse_what_waits_or_leads_away(folder)
                for place in (folder, *_below(os.path.join(folder, "inference"))):
                    remove_temporaries(place)
                if begins:
                    refuse_files_of_no_run(Path(folder))
                said.append(keep_earlier_run(Path(folder)) if begins else "")
                said.append(keep_lost_run(Path(folder)) if resumes else "")
                said.append("" if any(said[1:]) else keep_own_config(Path(folder)))
                said.append(begins_after_all(Path(folder)) if resumes else "")
                said.append(unreplaced_variable(folder, "OUTPUT_DIR"))
            except (OSError, ValueError) as error:
                fault = error
        everywhere = comm.all_gather(fault is None)
        if fault is not None:
            raise fault
        if not all(everywhere):
            sys.exit(FAILED)
        yield [sentence for sentence in said if sentence]


def _refuse_what_waits_or_leads_away(folder: str) -> None:
    """Pipes, links to files that would be written to, and a file where evaluations write."""
    last = os.path.join(folder, LAST)
    refuse_pipes(last, last)
    results = os.path.join(folder, "inference")
    if os.path.lexists(results) and not os.path.isdir(results):
        raise ValueError(f"{results} is no folder, which evaluations write to; move it.")
    written = [os.path.join(folder, name) for name in _IN_PLACE]
    for place in _below(os.path.join(folder, "inference")):
        written += [os.path.join(place, name) for name in _RESULTS_IN_PLACE]
    for path in written:
        refuse_pipes(path, path)
        refuse_links(path, path)


def refuse_files_of_no_run(folder: Path) -> None:
    """Of an earlier run they are replaced, which is said.

    Raises:
        ValueError: weights, or a record of them, that are of no run.
    """
    there = sorted(path.name for path in folder.iterdir() if _OF_A_RUN.fullmatch(path.name))
    if there and not holds_a_training(folder):
        raise ValueError(
            f"OUTPUT_DIR {folder} has {there[-1]}, but neither {LAST} nor {METRICS} of the run "
            "that it is of; this run would replace it: choose another folder, or move the file."
        )


def _below(folder: str) -> Iterator[str]:
    return (place for place, _, _ in os.walk(folder))


def keep_earlier_run(folder: Path) -> str:
    """Keep metrics and config of an earlier run under numbered names; the metrics begin anew.

    Its checkpoints stay until the new run comes to those of the same names.

    Returns:
        A sentence; empty where there is no earlier run.
    """
    last = folder / LAST
    if not holds_a_training(folder):
        return ""
    name = last.read_text(errors="replace").strip() if last.is_file() else "no checkpoint"
    return (
        f"OUTPUT_DIR {folder} holds an earlier run ({name}). This one begins anew and replaces its "
        "checkpoints as it comes to their names; --resume would have gone on with it, and does so "
        "until this run has a checkpoint."
        f"{begun_anew(folder)}{_results_of(folder)}"
    )


def _results_of(folder: Path) -> str:
    """The end of a sentence where figures of an earlier run lie, which are not the new one's."""
    results = folder / "inference"
    if not results.is_dir() or not any(results.iterdir()):
        return ""
    return f" Until this run is evaluated, {results} is of the earlier one."


def holds_a_training(folder: Path) -> bool:
    """Whether a training has begun in a folder."""
    metrics = folder / METRICS
    return (folder / LAST).is_file() or (metrics.is_file() and metrics.stat().st_size > 0)


def keep_lost_run(folder: Path) -> str:
    """As ``keep_earlier_run``, of a run that is to be gone on with and has no ``last_checkpoint``.

    A run that was killed before it had one is not told from one whose file was lost.
    """
    there = sorted(path.name for path in folder.glob("model_*.pth"))
    if (folder / LAST).exists() or not there:
        return ""
    return (
        f"OUTPUT_DIR {folder} has {there[-1]}, but no {LAST}, the file that names the checkpoint "
        "to go on from. The run begins anew and replaces checkpoints as it comes to their names."
        f"{begun_anew(folder)}"
    )


def begins_after_all(folder: Path) -> str:
    """A sentence where there is no run to go on with, as in a folder whose name was mistyped."""
    if (folder / LAST).exists() or any(folder.glob("model_*.pth")):  # ``keep_lost_run`` says those
        return ""
    return f"OUTPUT_DIR {folder} has no {LAST} for --resume to go on from: the run begins anew."


def keep_own_config(folder: Path) -> str:
    """Keep a config of somebody's own, in the place of which a run writes that of the run.

    Returns:
        A sentence; empty where there is none, or a run has written it.
    """
    config = folder / CONFIG
    if holds_a_training(folder) or not config.is_file():
        return ""
    if _WHOLE_CONFIG.match(config.read_bytes()):
        return ""
    said = f"OUTPUT_DIR {folder} has a {CONFIG} that no run has written; this one writes its own."
    return said + kept(folder)


def kept(folder: Path) -> str:
    """Keep metrics and config of a run under numbered names.

    Returns:
        The end of a sentence that says so; empty where there are none.
    """
    files = [folder / name for name in (METRICS, CONFIG)]
    # A trainer has made metrics that are empty when it says so.
    names = kept_by_number([x for x in files if x.is_file() and x.stat().st_size])
    return f" Kept of it: {names}." if names else ""


def begun_anew(folder: Path) -> str:
    """As ``kept``; the metrics begin anew."""
    said = kept(folder)
    if (folder / METRICS).is_file():
        os.truncate(folder / METRICS, 0)  # and not replaced: a writer may have it open
    return said


def forget_metrics_from(folder: str, iteration: int) -> None:
    """Leave out of ``metrics.json`` the iterations that a resumed run will do again.

    A line that a kill cut short goes, too. Where they are of a run that has not come as far as the
    checkpoint, this is said. Lines are not in the order of iterations. The file is
    the same one afterwards, since a writer may have it open.
    """
    path = os.path.join(folder, METRICS)
    if not os.path.isfile(path):
        return
    with open(path, "r+b") as file:
        lines = file.read().splitlines(keepends=True)
        known = [_iteration(line) for line in lines]
        # A kill may have cut the last line; any other that is none is somebody's own doing.
        cut = bool(lines) and not lines[-1].endswith(b"\n")
        foreign = known[: -1 if cut else None].count(math.inf)
        if foreign:
            logger.warning(
                "%s has %d lines that are no run's, which are left out.%s",
                *(path, foreign, kept(Path(folder))),
            )
        kept_before = _last_kept(Path(folder))
        reached = max((of for of in known if of < math.inf), default=-1)
        if kept_before and reached < iteration - _BETWEEN_LINES:
            logger.warning(
                "%s names a checkpoint of an earlier run, whose metrics are %s: the run that began "
                "anew after it has saved none. The earlier one is gone on with.",
                *(os.path.join(folder, LAST), kept_before),
            )
        file.seek(0)
        file.write(b"".join(line for line, of in zip(lines, known, strict=True) if of < iteration))
        file.truncate()


def _last_kept(folder: Path) -> str:
    """Name of the metrics that were kept last; empty where none were."""
    numbers = [int(path.stem[len("metrics_") :]) for path in folder.glob("metrics_[0-9]*.json")]
    return f"metrics_{max(numbers)}.json" if numbers else ""


def _iteration(line: bytes) -> float:
    """Of a line of metrics; infinite where it is none."""
    try:
        return int(json.loads(line)["iteration"]) if line.endswith(b"\n") else math.inf
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return math.inf
