# SPDX-License-Identifier: Apache-2.0
"""Where the names of a model's classes are known from."""

import logging
from collections.abc import Sequence

from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog

from dynamicdet_d2.checkpoint.conventions import say_other_classes
from dynamicdet_d2.config.checking import value_of
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
                f"{LONGEST_NAME} characters."
            )
    key = num_classes_key(cfg)
    wanted = value_of(cfg, key)
    if names and len(names) != wanted:
        found = f"{where} has" if where else "There are"
        raise ValueError(
            f"{found} {len(names)} names of classes, but {key} is {wanted}: each class needs one."
        )


def class_names_of(cfg: CfgNode) -> list[str]:
    """Names of the classes, of the first data set of ``DATASETS.TEST``; empty: not known here.

    It is said where ``MODEL.WEIGHTS`` have learnt others.
    """
    for name in SPLITS:
        MetadataCatalog.get(name).set(thing_classes=list(CLASSES))
    try:
        register_coco_json(cfg.DATASETS.COCO_JSON)
    except ValueError as error:
        logger.warning("Classes have numbers in the place of names: %s", error)
    known = [MetadataCatalog.get(name) for name in cfg.DATASETS.TEST[:1]]
    names = list(known[0].get("thing_classes", [])) if known else []
    try:
        check_class_names(names, cfg, f"Data set {cfg.DATASETS.TEST[0]}" if known else "")
    except ValueError as error:
        logger.warning("Classes have numbers in the place of names: %s", error)
        return []
    say_other_classes(cfg.MODEL.WEIGHTS, cfg.DATASETS.TEST[:1])
    return names
