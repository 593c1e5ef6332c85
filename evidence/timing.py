# SPDX-License-Identifier: Apache-2.0
"""Milliseconds of all set-ups, measured in turns in one process, so that they can be compared.

Of every model, static or dynamic, the optimised copy is run, one image at a time, from memory: what
``optimize_for_inference`` gives, without a look at whether the weights have changed. What a
detector has learnt hardly counts, so one run of each set-up is enough. Where a model's memory
happens to lie counts for more, so each round builds the models anew, in an order of its own; and a
single call that the machine was slow in counts for nothing, since each image's time is its median
over the rounds.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
from numpy.typing import NDArray
from torch import nn

from dynamicdet_d2.checkpoint import DynamicCheckpointer
from dynamicdet_d2.config import read_config
from dynamicdet_d2.data.loading.loaders import build_test_loader
from dynamicdet_d2.engine.static import AsRun, StaticTrainer
from dynamicdet_d2.evaluation.latency import measure_thresholds
from dynamicdet_d2.modeling.architecture import is_dynamic
from dynamicdet_d2.utils.device import device_name
from dynamicdet_d2.utils.files import write_json
from dynamicdet_d2.utils.memory import keep_memory
from dynamicdet_d2.utils.plain import to_plain
from evidence.passes import INPUTS, detector, run_config, with_inputs
from evidence.records import Origin, Route, origin, read_folder
from evidence.setups import Data, Run

logger = logging.getLogger(__name__)

FOLDER = Path(__file__).parent / "times"
ROUNDS, IMAGES, WARMUP = 15, 20, 2


@dataclass(frozen=True)
class Times:
    """Of one data set's images, in one run: figures of two runs are not compared.

    Attributes:
        data: its name.
        images, rounds: images per round, and rounds; figures are means over the images of each
            image's median over the rounds.
        origin: of the figures.
        setups: set-up -> inputs of the router, joined by "+" ("" of a static detector) ->
            milliseconds per image on either route.
    """

    data: str
    images: int
    rounds: int
    origin: Origin
    setups: Mapping[str, Mapping[str, Route]]


@dataclass(frozen=True)
class _Timed:
    """A model and what it is run on; thresholds of the two routes, or None alone."""

    setup: str
    inputs: str
    model: nn.Module
    images: Sequence[list[dict]]
    thresholds: Sequence[float | None]


def measure_times(runs: Sequence[Run], data: Data, rounds: int = ROUNDS) -> Times:
    """Milliseconds of each run's detector, with all inputs of the router.

    Args:
        runs: finished, one of each set-up.
    """
    keep_memory()
    samples: dict[tuple[str, str], list[NDArray[np.float64]]] = {}
    for number in range(rounds):
        models = [timed for run in runs for timed in _models(run, data)]
        logger.info("Round %d of %d: %d models", number + 1, rounds, len(models))
        samples = samples or {(timed.setup, timed.inputs): [] for timed in models}
        Random(number).shuffle(models)
        for timed in models:
            samples[timed.setup, timed.inputs].append(_samples(timed))
    setups: dict[str, dict[str, Route]] = {run.setup: {} for run in runs}
    for (setup, inputs), rows in samples.items():
        easy, *hard = np.median(rows, axis=0).mean(axis=1).round(3).tolist()
        setups[setup][inputs] = Route(easy, *(hard or [easy]))
    names = " ".join(f"{run.setup}_s{run.seed}" for run in runs)
    command = f"python -m evidence times {names} --data {data.name}"
    device = device_name(next(models[0].model.parameters()).device)
    return Times(data.name, IMAGES, rounds, origin(command, device), setups)


def write_times(times: Times, folder: Path) -> Path:
    """The file, whole or not at all; it is named by the data and the first set-up."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{times.data}_{next(iter(times.setups))}.json"
    write_json(path, to_plain(times))
    return path


def read_times(folder: Path) -> list[Times]:
    """Every run there is, in the order of the files.

    Raises:
        ValueError: naming the file that is not such a file.
    """
    return read_folder(folder, Times, "holds no times")


def _models(run: Run, data: Data) -> list[_Timed]:
    cfg = run_config(run, data, "val")
    every = list(build_test_loader(cfg, data.split("val")))
    images = every[:: max(len(every) // IMAGES, 1)][:IMAGES]
    if is_dynamic(read_config(str(run.config))):
        models = {inputs: detector(with_inputs(cfg, inputs), run) for inputs in INPUTS}
        return [
            _Timed(run.setup, "+".join(inputs), model.optimized_copy.of(model), images, (1.0, 0.0))
            for inputs, model in models.items()
        ]
    model = StaticTrainer.build_model(cfg).eval()
    DynamicCheckpointer(model).load(run.weights)
    return [_Timed(run.setup, "", AsRun(cfg, model).fast, images, (None,))]


def _samples(timed: _Timed) -> NDArray[np.float64]:
    """(thresholds, images) milliseconds."""
    found = measure_thresholds(timed.model, timed.images, timed.thresholds, WARMUP)
    return np.array([latency.samples for latency in found])
