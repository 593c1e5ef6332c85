# SPDX-License-Identifier: Apache-2.0
"""Runs of train_net.py on a toy data set, each in a process of its own.

Importing torch and Detectron2 takes seconds. A server that has imported them forks the processes,
so that they start at once, and dying in one of them is real.
"""

import functools
import multiprocessing
import os
import runpy
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pytest
import torch

from dynamicdet_d2.data.shapes.dataset import Recipe, draw_dataset
from dynamicdet_d2.engine.passing import PassingTrainer
from dynamicdet_d2.modeling import DynamicRCNN
from tests.support.threads import on_one_thread
from tests.support.toy import toy_cfg
from tests.support.undrawn import leave_undrawn, nothing_is_drawn

# For a machine that is busy with other work; a run takes one or two.
SECONDS = 1800

_server = multiprocessing.get_context("forkserver")
_server.set_forkserver_preload(
    ["dynamicdet_d2.commands.train", "dynamicdet_d2.commands.calibrate"]
    + ["torch.utils.tensorboard", "matplotlib.pyplot"]
)

# Steps of a run by the toy config: 20 of phase detectors, 6 of phase router (2 epochs of 6 images).
DETECTORS_ITERS, ROUTER_ITERS, NUM_IMAGES = 20, 6, 6
TOY = (
    *("DATASETS.TRAIN", ("toy_train",), "DATASETS.TEST", ("toy_test",)),
    *("DATALOADER.NUM_WORKERS", 0, "DATALOADER.FILTER_EMPTY_ANNOTATIONS", False),
    *("INPUT.MIN_SIZE_TRAIN", (64, 72), "INPUT.MIN_SIZE_TEST", 64),
    *("MODEL.ROI_HEADS.NUM_CLASSES", 6, "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", 32),
    *("MODEL.RPN.PRE_NMS_TOPK_TRAIN", 100, "MODEL.RPN.POST_NMS_TOPK_TRAIN", 50),
    *("MODEL.RPN.PRE_NMS_TOPK_TEST", 100),
    *("SOLVER.IMS_PER_BATCH", 2, "SOLVER.MAX_ITER", DETECTORS_ITERS, "SOLVER.STEPS", ()),
    *("SOLVER.CHECKPOINT_PERIOD", 8, "SOLVER.WARMUP_ITERS", 10),
    *("SOLVER.ROUTER.IMS_PER_BATCH", 2, "SOLVER.ROUTER.BASE_LR", 1e-3),
    *("SOLVER.ROUTER.LOSS_PROPOSALS", 32),
    *("TEST.DYNAMIC.LATENCY_IMAGES", 2, "TEST.DYNAMIC.LATENCY_WARMUP", 0),
    *("SEED", 1),
)


def write_toy(folder: Path) -> str:
    """Draws the toy data sets and writes a config over them; returns its path."""
    entries = []
    for seed, name in enumerate(("toy_train", "toy_test"), start=1):
        draw_dataset(folder / name, Recipe(NUM_IMAGES, seed, width=96, height=64))
        files = folder / name / "instances.json", folder / name / "images"
        entries.append([name, *map(str, files)])
    cfg = toy_cfg("DATASETS.COCO_JSON", entries, *TOY)
    config_file = folder / "toy.yaml"
    config_file.write_text(cfg.dump())
    return str(config_file)


class Armed(Protocol):
    """What can befall a run."""

    def arm(self) -> None:
        """Let it befall this process, or those that it forks."""


@dataclass(frozen=True)
class Kill:
    """SIGKILL when a method is called for the ``number``-th time, counted from 1."""

    owner: type
    method: str
    number: int

    def arm(self) -> None:
        original, calls = getattr(self.owner, self.method), []

        @functools.wraps(original)
        def counted(*args: object, **options: object) -> object:
            calls.append(1)
            if len(calls) == self.number:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*args, **options)

        setattr(self.owner, self.method, counted)


def kill_at_step(number: int) -> Kill:
    """Before the run's ``number``-th step of this process."""
    return Kill(PassingTrainer, "run_step", number)


def kill_at_image(number: int) -> Kill:
    """At an image of the loss offset's pass (in mode "online" of any step afterwards as well)."""
    return Kill(DynamicRCNN, "router_inputs_and_losses", number)


@dataclass(frozen=True)
class Run:
    """What a process left: exit status (negative: the signal), and what it wrote."""

    status: int
    out: str
    err: str


def train(
    config_file: str, output: Path, *more: object, options: str = "", kill: Armed | None = None
) -> Run:
    """``train_net.py --config-file config_file options OUTPUT_DIR output more``."""
    return run(
        "train_net.py",
        ["--config-file", config_file, *options.split(), "OUTPUT_DIR", output, *more],
        output,
        kill,
    )


def run(script: str, arguments: Sequence[object], output: Path, kill: Armed | None = None) -> Run:
    """``python script arguments``; files beside ``output`` take what it writes to the terminal."""
    streams = [output.with_name(f"{output.name}.{name}") for name in ("out", "err")]
    words = [script, *map(str, arguments)]
    process = _server.Process(target=_command, args=(words, streams, kill, not nothing_is_drawn()))
    process.start()
    process.join(SECONDS)
    assert process.exitcode is not None, f"{words} did not end"
    return Run(process.exitcode, *(stream.read_text() for stream in streams))


def _command(words: list[str], streams: list[Path], kill: Armed | None, drawn: bool) -> None:
    for descriptor, stream in enumerate(streams, start=1):
        file = os.open(stream, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, descriptor)
    on_one_thread()
    # As in a process that a user starts; a child of a server would begin one of its own.
    multiprocessing.set_start_method("fork", force=True)
    if not drawn:
        leave_undrawn(pytest.MonkeyPatch())
    if kill is not None:
        kill.arm()
    # This process is as good as new, so its own processes need no imports anew either.
    torch.multiprocessing.spawn = _forked(torch.multiprocessing.start_processes)
    sys.argv = words
    runpy.run_path(words[0], run_name="__main__")


def _forked(start: Callable) -> Callable:
    return functools.partial(start, start_method="fork")


def weights(output: Path, name: str = "model_final") -> dict[str, torch.Tensor]:
    return torch.load(output / f"{name}.pth", map_location="cpu", weights_only=True)["model"]


def differing(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> list[str]:
    """Names of tensors that are not equal bit for bit."""
    assert one.keys() == other.keys()
    exactly = {"rtol": 0, "atol": 0, "equal_nan": True}
    return [name for name in one if not torch.allclose(one[name], other[name], **exactly)]
