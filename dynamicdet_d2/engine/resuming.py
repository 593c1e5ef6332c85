# SPDX-License-Identifier: Apache-2.0
"""A run that resumes under other keys than it began with: which of them hold, and it is said."""

import logging
from collections.abc import Mapping, Sequence

from detectron2.config import CfgNode

from dynamicdet_d2.checkpoint.complete import unfilled, unused
from dynamicdet_d2.checkpoint.learnt import recorded_classes
from dynamicdet_d2.checkpoint.report import LoadReport
from dynamicdet_d2.config.leaves import as_lists, leaves
from dynamicdet_d2.config.ranges import shown
from dynamicdet_d2.data.check.run import listed

logger = logging.getLogger(__name__)

# Of no consequence for what is trained.
_APART = (
    *("OUTPUT_DIR", "VERSION", "VIS_PERIOD", "CUDNN_BENCHMARK", "MODEL.DEVICE", "MODEL.WEIGHTS"),
    *("DATALOADER.NUM_WORKERS", "SOLVER.CHECKPOINT_PERIOD", "DATASETS.TEST", "DATASETS.CHECK"),
    *("DATASETS.COCO_JSON", "MODEL.COMPOSITE.WEIGHTS2"),
)
_APART_SECTIONS = ("TEST.", "RUN.", "GLOBAL.", "MODEL.INFERENCE.")


def recorded(cfg: CfgNode) -> dict[str, object]:
    """What a checkpoint keeps of the config: full name of each key -> its value, plain."""
    return {
        name: as_lists(value)
        for name, value in leaves(cfg)
        if name not in _APART and not name.startswith(_APART_SECTIONS)
    }


def say_other_images(record: object, now: Mapping[str, object]) -> None:
    """Say that a run resumes on other images than it began with, or under other classes.

    Args:
        record: ``recorded_images`` as the checkpoint has them; None where it has none.
        now: of the run that resumes.
    """
    if not isinstance(record, Mapping):
        return
    if any(record.get(name) != now[name] for name in ("count", "hash")):
        logger.warning(
            "The images of DATASETS.TRAIN, their objects or their folder are not those that the "
            "run began with (%s then, %s now): the new ones hold from here on.",
            record.get("count"),
            now["count"],
        )
    before, classes = recorded_classes(record), recorded_classes(now)
    if before and classes and before != classes:
        logger.warning(
            "The classes of DATASETS.TRAIN are %s, and the run began with %s: where these were "
            "learnt, classes are mixed up.",
            *(listed(classes), listed(before)),
        )


def check_model(report: LoadReport | None, record: Mapping[str, object], cfg: CfgNode) -> None:
    """Refuse to resume with a model that the checkpoint does not fill, or has no place for.

    Args:
        report: of loading the checkpoint's weights.
        record: ``recorded`` of the run as the checkpoint has it; {} where it has none.
        cfg: of the run that resumes.

    Raises:
        ValueError: naming the keys of the model that differ, or the first weight.
    """
    missing, left = ([], []) if report is None else (unfilled(report), unused(report))
    if report is None or not (missing or left):
        return
    now = recorded(cfg)
    keys = [
        f"{name} is {shown(now[name])} and was {shown(record[name])}"
        for name in _differing(record, now)
        if name.startswith("MODEL.")
    ]
    first = f"it has no {missing[0]}" if missing else f"the model has no {left[0]}"
    if report.mismatched:
        first = str(report.mismatched[0])
    why = "; ".join(keys) or "the model is another one"
    raise ValueError(
        f"{report.path} cannot be resumed: {why} ({first}). --resume needs the model that the run "
        "began with; another OUTPUT_DIR with this file as MODEL.WEIGHTS takes what fits of it."
    )


def settle(
    cfg: CfgNode,
    record: Mapping[str, object],
    *,
    held: Sequence[str],
    fixed: Sequence[str],
) -> list[str]:
    """Put the run's own values where they hold, in place, and say what differs.

    Args:
        cfg: of the run that resumes.
        record: as for ``check_model``.
        held: keys whose values the checkpoint's state carries.
        fixed: keys that cannot change.

    Returns:
        names of the keys of ``cfg`` that were put back.

    Raises:
        ValueError: naming a key that cannot change.
    """
    now = recorded(cfg)
    put_back = []
    for name in _differing(record, now):
        said = f"{name} is {shown(now[name])}, and the run began with {shown(record[name])}"
        if name in fixed:
            raise ValueError(f"{said}: it must stay, as the state of the run is of its kind.")
        if name in held:
            logger.warning("%s, which holds: it is part of the state that is resumed.", said)
            put_back.append(name)
        else:
            logger.warning("%s: the new value holds from here on.", said)
    _put(cfg, {name: record[name] for name in put_back})
    return put_back


def _differing(record: Mapping[str, object], now: Mapping[str, object]) -> list[str]:
    """Keys that both know and that have other values; the project may have got some since."""
    return [name for name, value in record.items() if name in now and now[name] != value]


def _put(cfg: CfgNode, values: Mapping[str, object]) -> None:
    was_frozen = cfg.is_frozen()
    cfg.defrost()
    for name, value in values.items():
        *sections, last = name.split(".")
        node = cfg
        for section in sections:
            node = node[section]
        node[last] = value
    if was_frozen:
        cfg.freeze()
