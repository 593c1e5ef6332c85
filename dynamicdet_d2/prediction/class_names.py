# SPDX-License-Identifier: Apache-2.0
"""Where the names of a model's classes are known from."""

import contextlib
import logging
from collections.abc import Sequence

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog

from dynamicdet_d2.checkpoint.conventions import say_other_classes
from dynamicdet_d2.checkpoint.learnt import recorded_by, recorded_classes
from dynamicdet_d2.config.checking import value_of
from dynamicdet_d2.config.ranges import nearest
from dynamicdet_d2.data.register import LONGEST_NAME, is_class_name, register_coco_json
from dynamicdet_d2.data.shapes.dataset import SPLITS
from dynamicdet_d2.data.shapes.drawing import CLASSES
from dynamicdet_d2.modeling.architecture import num_classes_key
from dynamicdet_d2.utils.words import shown

logger = logging.getLogger(__name__)


def check_class_names(names: Sequence[object], cfg: CfgNode, where: str = "") -> None:
    """Refuse names that would be written beside another class, or could not be drawn.

    Args:
        names: by class as the model counts it; none is right as well.
        cfg: that the model was built from.
        where: the names are from, for the message.

    Raises:
        ValueError: there are more or fewer than classes, or one is no name.
    """
    if not isinstance(names, list | tuple):  # text, a set, an array, ...
        raise ValueError(
            f"The names of classes are of type {type(names).__name__}; they must be a list."
        )
    for name in names:
        if not is_class_name(name):
            found = f"{where} has" if where else "There is"
            raise ValueError(
                f"{found} {shown(name)} among the names of classes; each must be text of 1 to "
                f"{LONGEST_NAME} characters, and no blanks alone."
            )
    key = num_classes_key(cfg)
    wanted = value_of(cfg, key)
    if names and len(names) != wanted:
        found = f"{where} has" if where else "There are"
        raise ValueError(
            f"{found} {len(names)} names of classes, but {key} is {wanted}: each class needs one."
        )


def say_other_places(names: Sequence[str], cfg: CfgNode, where: str) -> None:
    """Say where two classes have one name, one is the background, or a class has the name of
    another class that the weights have learnt by their own record, or else of the first data set
    of ``DATASETS.TEST``.

    Other words for its classes are right; its own words in another order hardly are.

    Args:
        names, cfg, where: as ``check_class_names`` takes them.
    """
    with contextlib.suppress(ValueError):  # the data set may be elsewhere
        _register(cfg)
    known, whose = recorded_classes(recorded_by(cfg.MODEL.WEIGHTS)), f"{cfg.MODEL.WEIGHTS} has it"
    if not known and cfg.DATASETS.TEST:
        known, whose = _registered_names(cfg), f"data set {cfg.DATASETS.TEST[0]} has it"
    backgrounds = [name for name in names if name.strip("_").lower() == "background"]
    if backgrounds:
        logger.warning(
            "%s has %s among the names: Detectron2's models have no class of the background, so "
            "that detections may get the names of others.",
            *(where, shown(backgrounds[0])),
        )
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        logger.warning("%s has %s twice: two classes have one name.", where, shown(twice[0]))
    for place, (name, its_own) in enumerate(zip(names, known, strict=False), 1):
        if name != its_own and name in known:
            logger.warning(
                "%s has %s in place %d, and %s in place %d: if that is what the weights have "
                "learnt, detections get the names of others.",
                *(where, shown(name), place, whose, known.index(name) + 1),
            )
            return


def say_nameless(names: Sequence[str], datasets: Sequence[str] = ()) -> None:
    """Say that what is written has no names of its classes, where it has none.

    Args:
        datasets: ``DATASETS.TEST`` where the names are from there; the first is said where there
            is none of its name.
    """
    if names:
        return
    reason = ""
    if datasets and datasets[0] not in DatasetCatalog:
        near = nearest(datasets[0], DatasetCatalog.list())
        reason = f" DATASETS.TEST is {shown(datasets[0])}, which is not registered.{near}"
    logger.warning(
        "No class names are known: detections will have numbers in their place.%s", reason
    )


def class_names_of(cfg: CfgNode) -> list[str]:
    """Names of the classes, of the first data set of ``DATASETS.TEST``, or where that is not here,
    those that ``MODEL.WEIGHTS`` record; empty: not known here.

    It is said where the weights have learnt others than the data set has.
    """
    try:
        _register(cfg)
    except ValueError as error:
        logger.warning("Classes have no names of a data set: %s", error)
    names = _registered_names(cfg)
    try:
        check_class_names(names, cfg, f"Data set {cfg.DATASETS.TEST[0]}" if names else "")
    except ValueError as error:
        logger.warning("Classes have no names of a data set: %s", error)
        names = []
    if names:
        say_other_classes(cfg.MODEL.WEIGHTS, cfg.DATASETS.TEST[:1])
        return names
    learnt = recorded_classes(recorded_by(cfg.MODEL.WEIGHTS))
    with contextlib.suppress(ValueError):  # a record may be of anybody's
        check_class_names(learnt, cfg)
        return learnt
    return []


def _register(cfg: CfgNode) -> None:
    """The drawn data sets' classes, and the data sets of a config.

    Raises:
        ValueError: a file of theirs is not here, or not usable.
    """
    for name in SPLITS:
        if name not in DatasetCatalog and not MetadataCatalog.get(name).get("thing_classes"):
            MetadataCatalog.get(name).set(thing_classes=list(CLASSES))
    register_coco_json(cfg.DATASETS.COCO_JSON)


def _registered_names(cfg: CfgNode) -> list[str]:
    """Of the first data set of ``DATASETS.TEST``; empty: there is none, or it is not known."""
    known = [MetadataCatalog.get(name) for name in cfg.DATASETS.TEST[:1]]
    return list(known[0].get("thing_classes", [])) if known else []
