# SPDX-License-Identifier: Apache-2.0
"""What evaluations of a run were seen, and by what they can be compared."""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog

from dynamicdet_d2.checkpoint.learnt import contents
from dynamicdet_d2.config.leaves import as_lists, leaves
from dynamicdet_d2.data.loading.images import images_hash, without_folders
from dynamicdet_d2.utils.files import read_json
from dynamicdet_d2.utils.plain import from_plain

# Of the keys of MODEL, what a run may be resumed with elsewhere; of all others, what counts.
_NOT_OF_MODEL = (
    *("MODEL.DEVICE", "MODEL.WEIGHTS", "MODEL.COMPOSITE.WEIGHTS2"),
    *("MODEL.INFERENCE.OPTIMIZE", "MODEL.INFERENCE.COMPILE"),
)
_OF_FIGURES = (
    *("INPUT.FORMAT", "TEST.DETECTIONS_PER_IMAGE", "TEST.KEYPOINT_OKS_SIGMAS"),
    "SOLVER.ROUTER.LOSS_PROPOSALS",
)

# Groups of results that have costs, and what is cheaper where it is less.
_COSTED, _COSTS = ("dynamic", "static"), ("gflops", "latency_ms", "p95_ms")


@dataclass(frozen=True)
class Judged:
    """An evaluation: steps of the run that were done, and the metric."""

    done: int
    value: float | None


@dataclass
class History:
    """The evaluations of a phase in order, and the steps after which it was ended early."""

    judged: tuple[Judged, ...] = ()
    ended: int | None = None


@dataclass(frozen=True)
class Record:
    """What ``best.json`` holds: the metric, the trainer's ``run_id``, the evaluations by phase, and
    what they measure on (``measured_by``)."""

    metric: str
    run: str = ""
    phases: Mapping[str, History] = field(default_factory=dict)
    measured: Mapping[str, Any] = field(default_factory=dict)

    def up_to(self, done: int) -> "Record":
        """What was seen in the first steps of the run, so many."""
        kept = {
            name: History(
                tuple(one for one in history.judged if one.done <= done),
                history.ended if history.ended and history.ended <= done else None,
            )
            for name, history in self.phases.items()
        }
        return replace(self, phases=kept)

    def differs_in(self, measured: Mapping[str, Any]) -> str:
        """The first thing that is measured on otherwise; "" where nothing is, as in files of before
        that do not say it."""
        both = (name for name in self.measured if name in measured)
        return next((name for name in both if self.measured[name] != measured[name]), "")

    def without_values(self) -> "Record":
        """Nothing is the best of a phase that goes on."""
        phases = {
            name: history if history.ended else History(without_values(history.judged))
            for name, history in self.phases.items()
        }
        return replace(self, phases=phases)


def is_better_lower(metric: str) -> bool:
    """Whether a result is a loss, also of one of several data sets, or a cost, and none like AP."""
    group, name = ["", *metric.split("/")][-2:]
    return group == "losses" or (group in _COSTED and name in _COSTS)


def best_of(judged: tuple[Judged, ...], lower: bool) -> int | None:
    """Index of the first best evaluation; None where none has a value."""
    best = None
    for i, one in enumerate(judged):
        if one.value is None:
            continue
        other = None if best is None else judged[best].value
        if other is None or (one.value < other if lower else one.value > other):
            best = i
    return best


def without_values(judged: tuple[Judged, ...]) -> tuple[Judged, ...]:
    """The same evaluations, of which none is the best."""
    return tuple(Judged(one.done, None) for one in judged)


def measured_by(cfg: CfgNode) -> dict[str, Any]:
    """What figures of an evaluation depend on beside weights: the images, wherever they lie, and
    keys of inference, by their names."""
    keys = {name: as_lists(value) for name, value in leaves(cfg) if _counts(name)}
    names = cfg.DATASETS.TEST
    return {"what DATASETS.TEST names": images_hash([*map(_content_of, names)]), **keys}


def _content_of(name: str) -> dict[str, Any]:
    """Of a data set: images wherever they lie, pixels, and areas, which only its file has."""
    images = list(DatasetCatalog.get(name))
    files = [image["file_name"] for image in images if image.get("file_name")]
    file = MetadataCatalog.get(name).get("json_file")
    areas = Path(file).read_bytes() if file and os.path.isfile(file) else b""
    return {
        "images": without_folders(images),
        "pixels": contents(files),
        "file": hashlib.sha256(areas).hexdigest(),
    }


def _counts(name: str) -> bool:
    """Whether figures, of detections or of losses, may depend on a key.

    Which of MODEL are read at inference is not listed: nearly all.
    """
    if name.startswith(("MODEL.", "TEST.AUG.")):
        return name not in _NOT_OF_MODEL
    return name in _OF_FIGURES or (name.startswith("INPUT.") and name.endswith("_TEST"))


def record_in(path: str) -> Record:
    """
    Raises:
        ValueError: the file is not what a training has left.
    """
    content = read_json(path, path)
    try:
        found: Record = from_plain(Record, content, "")
        return found
    except ValueError as error:
        raise ValueError(f"{path} is not what a training has left: {error}") from None
