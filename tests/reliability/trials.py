# SPDX-License-Identifier: Apache-2.0
"""A trial: a run that something befalls, and what must be true of it then and after --resume."""

import json
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from dynamicdet_d2.utils.folder_lock import NAME as LOCK
from tests.reliability.kills import FULL, MEMORY, Blow, CountEvents
from tests.support.runs import Run, differing, train, weights
from tests.support.toy import STATIC_RETINANET

# A short run: 8 steps of a phase that trains detectors, 6 of phase router.
SHORT = ("SOLVER.MAX_ITER", 8, "SOLVER.CHECKPOINT_PERIOD", 3, "DATASETS.TEST", "()")
STEPS = 14


@dataclass(frozen=True)
class Mode:
    """A way to train."""

    keys: tuple = ()
    options: str = ""

    @property
    def processes(self) -> int:
        return 2 if "--num-gpus 2" in self.options else 1


_OBJECTIVE = "SOLVER.ROUTER.OBJECTIVE"
_EMA = ("SOLVER.EMA.ENABLED", True, "SOLVER.EMA.DECAY", 0.9, "SOLVER.EMA.TAU", 5.0)
_TWO = "--num-gpus 2 --dist-url auto"
MODES = {
    "loss": Mode(),
    "hardness": Mode((_OBJECTIVE, "hardness")),
    "hardness_regression": Mode((_OBJECTIVE, "hardness_regression")),
    "ap": Mode((_OBJECTIVE, "ap")),
    "gain": Mode((_OBJECTIVE, "gain")),
    "gain_rank": Mode((_OBJECTIVE, "gain_rank")),
    "auto": Mode((_OBJECTIVE, "auto")),
    "online": Mode(("SOLVER.ROUTER.MODE", "online")),
    "map": Mode(("MODEL.ROUTER.INPUTS", "('features', 'map')")),
    "adamw": Mode(("SOLVER.OPTIMIZER", "ADAMW", "SOLVER.BASE_LR", 1e-4)),
    "ema": Mode(_EMA),
    # Whose last period ends with the run: a checkpoint comes before the final one.
    "divided": Mode((*_EMA, "SOLVER.CHECKPOINT_PERIOD", STEPS // 2)),
    "recipe": Mode(
        (*_EMA, "INPUT.MOSAIC.ENABLED", True, "INPUT.MAX_SIZE_TRAIN", 64)
        + ("INPUT.MOSAIC.OFF_LAST_STEPS", 3, "DATALOADER.NUM_WORKERS", 1)
        + ("SOLVER.WARMUP_BIAS_LR", 0.02, "SOLVER.WARMUP_MOMENTUM", 0.8)
    ),
    "phases": Mode(("SOLVER.PHASES", "('detectors', 'detector2', 'router')", "SOLVER.MAX_ITER", 4)),
    "static": Mode(
        ("MODEL.META_ARCHITECTURE", "GeneralizedRCNN", "SOLVER.MAX_ITER", STEPS)
        + ("MODEL.BACKBONE.NAME", "build_resnet_fpn_backbone")
        + ("MODEL.RESNETS.RES2_OUT_CHANNELS", 64)
    ),
    # Whose focal loss torch would fuse after some steps of a process.
    "static dense": Mode(
        (*STATIC_RETINANET, "MODEL.RETINANET.NUM_CLASSES", 6, "SOLVER.MAX_ITER", STEPS)
    ),
    "evaluated": Mode(("DATASETS.TEST", "('toy_test',)", "TEST.EVAL_PERIOD", 4)),
    "two processes": Mode((), _TWO),
    "two processes online": Mode(("SOLVER.ROUTER.MODE", "online"), _TWO),
}


@dataclass(frozen=True)
class Reference:
    """The run that nothing befalls.

    Attributes:
        events: file events of it.
        seconds: that it took.
    """

    output: Path
    events: int
    seconds: float


def reference(config: str, folder: Path, name: str) -> Reference:
    """Run a mode from beginning to end."""
    output = folder / f"whole_{name.replace(' ', '_')}"
    count, begun = CountEvents(str(output)), time.monotonic()
    done = run(config, output, MODES[name], count)
    assert done.status == 0, done.out + done.err
    return Reference(output, count.count(), time.monotonic() - begun)


def run(config: str, output: Path, mode: Mode, kill: object = None) -> Run:
    options = f"--resume {mode.options}".strip()
    return train(config, output, *SHORT, *mode.keys, options=options, kill=kill)


def faults(config: str, output: Path, name: str, blow: Blow, whole: Reference) -> list[str]:
    """What is wrong after a blow and a resumption; nothing, where the run has survived."""
    mode = MODES[name]
    struck = run(config, output, mode, blow)
    wrong = [*_of_the_end(struck, blow, mode), *_of_the_folder(output)]
    resumed = _resumed(config, output, mode)
    if resumed.status:
        return [*wrong, f"the resumed run ended with {resumed.status}: {resumed.err[-600:]}"]
    changed = differing(weights(whole.output), weights(output))
    if changed:
        wrong.append(f"{len(changed)} tensors differ, the first {changed[0]}")
    lines = iterations(output)
    if len(lines) != len(set(lines)) or lines[-1] != iterations(whole.output)[-1]:
        wrong.append(f"metrics.json has iterations {lines}")
    left = [path.name for path in output.rglob("*") if path.suffix == ".tmp" or path.name == LOCK]
    if left:
        wrong.append(f"left behind: {', '.join(left)}")
    return wrong


def _resumed(config: str, output: Path, mode: Mode) -> Run:
    """Where a launcher was killed its processes are still ending, and say so by the lock."""
    for _ in range(20):
        resumed = run(config, output, mode)
        if "is in use by" not in resumed.err:
            break
        time.sleep(1)
    return resumed


def _of_the_end(struck: Run, blow: Blow, mode: Mode) -> list[str]:
    wrong = []
    allowed = {
        "SIGKILL": {-signal.SIGKILL, 1} if mode.processes > 1 else {-signal.SIGKILL},
        "SIGTERM": {143, -signal.SIGTERM},  # the latter before the run has begun
        "SIGINT": {130},
        "SIGHUP": {129, -signal.SIGHUP},
        FULL: {1},
        MEMORY: {1},
    }[blow.what] | {0}  # it was over before
    if struck.status not in allowed:
        wrong.append(f"it ended with {struck.status}: {struck.err[-600:]}")
    if "Traceback" in struck.err:
        wrong.append(f"a traceback on the screen: {struck.err[-1200:]}")
    if struck.status == 1 and "error: " not in struck.err:
        wrong.append("nothing was said")
    if blow.what == MEMORY and struck.status == 1 and "not enough memory" not in struck.err:
        wrong.append(f"no memory was said to be something else: {struck.err[-600:]}")
    return wrong


def _of_the_folder(output: Path) -> list[str]:
    last = output / "last_checkpoint"
    if not last.is_file():
        return []
    try:
        weights(output, Path(last.read_text()).stem)
    except Exception as error:
        return [f"the last checkpoint {last.read_text()!r} cannot be read: {error}"]
    return []


def iterations(output: Path) -> list[int]:
    """Of the lines of metrics.json, sorted."""
    lines = (output / "metrics.json").read_text().splitlines()
    return sorted(json.loads(line)["iteration"] for line in lines)
