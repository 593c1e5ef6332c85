# SPDX-License-Identifier: Apache-2.0
"""Trainings of the set-ups: those that are missing, each in a process and a thread of its own."""

import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from detectron2.config import CfgNode
from torch import nn

from dynamicdet_d2.commands.train import parser, trainer_of
from dynamicdet_d2.config import read_config
from dynamicdet_d2.config.unread import unread
from dynamicdet_d2.engine.setup import setup
from dynamicdet_d2.utils.errors import one_sentence
from evidence.setups import CONFIGS, Data, Run


def train_missing(runs: Sequence[Run], data: Data, overrides: Sequence[str], jobs: int) -> None:
    """Begin, or go on with, every training that has no ``model_final.pth``.

    Those that begin with the weights of another one come last.

    Args:
        overrides: config keys and values.
        jobs: trainings side by side.

    Raises:
        ValueError: naming the trainings that failed, after all of them.
    """
    missing = [run for run in runs if not run.weights.is_file()]
    failed: list[str] = []
    for later in (False, True):
        some = [run for run in missing if (run.start is not None) is later]
        with ThreadPoolExecutor(jobs) as pool:
            statuses = list(pool.map(lambda run: _train_in_process(run, data, overrides), some))
        failed += [str(run.folder) for run, status in zip(some, statuses, strict=True) if status]
    if failed:
        raise ValueError(f"Trainings failed: {', '.join(failed)} (stdout.txt in them says why).")


def _train_in_process(run: Run, data: Data, overrides: Sequence[str]) -> int:
    """The exit status of a training."""
    run.folder.mkdir(parents=True, exist_ok=True)
    sys.stdout.write(f"Training {run.folder}\n")
    config = str(CONFIGS / f"{run.setup}.yaml")
    keys = ["OUTPUT_DIR", str(run.folder), "SEED", str(run.seed), *data.keys()]
    keys += read_by(read_config(config), overrides)
    keys += [] if run.start is None else ["MODEL.WEIGHTS", str(run.start.resolve())]
    command = [sys.executable, "-m", "evidence.training", "--config-file", config, "--resume"]
    with open(run.folder / "stdout.txt", "ab") as said:
        return subprocess.run(
            [*command, *keys],
            cwd=Path(__file__).parents[1],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=said,
            stderr=subprocess.STDOUT,
        ).returncode


def read_by(cfg: CfgNode, overrides: Sequence[str]) -> list[str]:
    """Of keys and values for all set-ups those that one reads; a static one has no router."""
    pairs = zip(overrides[::2], overrides[1::2], strict=True)
    return [word for pair in pairs if not unread(cfg, pair[:1]) for word in pair]


def train(arguments: Sequence[str]) -> None:
    """One training, or what is left of it, by Detectron2's own command line."""
    torch.set_num_threads(1)
    with setup(parser().parse_args(arguments)) as cfg:

        class Trainer(trainer_of(cfg)):  # type: ignore[misc]
            @classmethod
            def build_model(cls, cfg: CfgNode) -> nn.Module:
                """In channels-last order, which a CPU's convolutions are faster in."""
                return super().build_model(cfg).to(memory_format=torch.channels_last)

        trainer = Trainer(cfg)
        trainer.resume_or_load(resume=True)
        trainer.train()


if __name__ == "__main__":
    with one_sentence("python -m evidence.training"):
        train(sys.argv[1:])
