# SPDX-License-Identifier: Apache-2.0
"""What is kept of a run: one JSON file, whose every figure comes from one command.

F: the hard fractions ``INNER``, 0.1 to 0.9. AP is in percent. None stands for what is undefined.
"""

import json
import platform
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from dynamicdet_d2.evaluation.tradeoff.score_quality import INNER
from dynamicdet_d2.utils.files import read_json, whole_file
from dynamicdet_d2.utils.plain import from_plain, to_plain
from dynamicdet_d2.utils.versions import versions

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"
FRACTIONS = INNER
DIGITS = 4

Record = TypeVar("Record")


@dataclass(frozen=True)
class Origin:
    """Where the figures of a file come from.

    Attributes:
        command: that measured them; folders by their names alone.
        commit: of the project; "+" where files differed from it.
        date: UTC.
        device: that measured.
        versions: name -> version.
    """

    command: str
    commit: str
    date: str
    device: str
    versions: Mapping[str, str]


@dataclass(frozen=True)
class Routing:
    """A way to score images, and the curve that it leads to; means over the router's seeds.

    Attributes:
        inputs: what the router sees; none for a reference that looks at the ground truth.
        learns: objective, "auto", or the name of a reference.
        chosen: objective and learning rate -> how many of the router's seeds it was chosen for.
        ap, ap_std: (F,), mean and standard deviation over the router's seeds.
        lead: (F,) over random routing of as many hard images.
        share: (F,) of the oracle's lead over random routing.
        gflops: (F,) 10^9 multiply-adds per image; none for references.
        area, area_std: mean lead over F; standard deviation over the router's seeds.
        auroc, kendall_tau: for "detector2 is better in this image".
    """

    inputs: tuple[str, ...]
    learns: str
    chosen: Mapping[str, int]
    ap: tuple[float | None, ...]
    ap_std: tuple[float | None, ...]
    lead: tuple[float | None, ...]
    share: tuple[float | None, ...]
    gflops: tuple[float, ...]
    area: float | None
    area_std: float | None
    auroc: float | None
    kendall_tau: float | None


@dataclass(frozen=True)
class Route:
    """Cost per image of the two routes, with certain inputs of the router."""

    easy: float
    hard: float


@dataclass(frozen=True)
class DynamicSplit:
    """A dynamic detector on some images.

    Attributes:
        images: number of them.
        easy_ap, hard_ap: of the ends.
        random_ap, oracle_ap: (F,) of random routing and of the first-order oracle.
        better: share of the images in which detector2 is better.
        random_area_std: standard deviation of the area of a single random routing.
        cost: inputs, joined by "+" -> 10^9 multiply-adds, averaged over the images.
        routings: routers and references.
    """

    images: int
    easy_ap: float | None
    hard_ap: float | None
    random_ap: tuple[float | None, ...]
    oracle_ap: tuple[float | None, ...]
    better: float
    random_area_std: float | None
    cost: Mapping[str, Route]
    routings: tuple[Routing, ...]


@dataclass(frozen=True)
class StaticSplit:
    """A static detector on some images: AP, AP50, 10^9 multiply-adds per image."""

    images: int
    ap: float | None
    ap50: float | None
    gflops: float


@dataclass(frozen=True)
class Result:
    """A run.

    Attributes:
        setup, data, seed: of the detectors' training.
        steps, images_per_step: of it.
        router_seeds: of the routers' trainings; none for static detectors.
        origin: of the figures.
        dynamic, static: by split, "val" and, where it was asked for, "test"; one is empty.
    """

    setup: str
    data: str
    seed: int
    steps: int
    images_per_step: int
    router_seeds: tuple[int, ...]
    origin: Origin
    dynamic: Mapping[str, DynamicSplit] = field(default_factory=dict)
    static: Mapping[str, StaticSplit] = field(default_factory=dict)

    @property
    def file_name(self) -> str:
        return f"{self.data}_{self.setup}_seed{self.seed}.json"


def origin(command: str, device: str) -> Origin:
    """Of figures that are measured now."""
    own = {**versions(), "numpy": np.__version__, "python": platform.python_version()}
    date = datetime.now(UTC).isoformat(timespec="seconds")
    return Origin(command, commit(), date, device, own)


def commit() -> str:
    """Of the clone; "+" behind it where tracked files differ; "unknown" outside of git."""
    try:
        head, changes = (
            subprocess.run(
                ["git", *command], cwd=ROOT, capture_output=True, text=True, check=True
            ).stdout.strip()
            for command in (
                ["rev-parse", "HEAD"],
                [
                    "status",
                    "--porcelain",
                    "--untracked-files=no",
                    "--",
                    "dynamicdet_d2",
                    "evidence/*.py",
                ],
            )
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head + ("+" if changes else "")


def write(result: Result, folder: Path) -> Path:
    """The file, whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / result.file_name
    text = json.dumps(_rounded(to_plain(result)), indent=1, allow_nan=False)
    # Lists of numbers on a line each: a file is read by people too.
    text = re.sub(r"\[[^\[\]{}]+\]", lambda x: " ".join(x.group().split()), text)
    with whole_file(path) as file:
        file.write(f"{text}\n".encode())
    return path


def read_all(folder: Path) -> list[Result]:
    """All results of a folder, by file name.

    Raises:
        ValueError: naming the file that is none.
    """
    return read_folder(folder, Result, "is no result")


def read_folder(folder: Path, kind: type[Record], fault: str) -> list[Record]:
    """Every JSON file of a folder, by name.

    Raises:
        ValueError: naming the file that is none of the kind, with the fault.
    """
    found = []
    for path in sorted(folder.glob("*.json")):
        try:
            found.append(from_plain(kind, read_json(path, str(path)), ""))
        except ValueError as error:
            raise ValueError(f"{path} {fault}: {error}.") from None
    return found


def _rounded(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _rounded(value) for key, value in content.items()}
    if isinstance(content, list):
        return [_rounded(value) for value in content]
    return round(content, DIGITS) if isinstance(content, float) else content
