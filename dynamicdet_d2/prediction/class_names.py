# SPDX-License-Identifier: Apache-2.0
"""Where the names of a model's classes are known from."""

import logging

from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog

from dynamicdet_d2.data.register import register_coco_json
from dynamicdet_d2.data.shapes.dataset import SPLITS
from dynamicdet_d2.data.shapes.drawing import CLASSES

logger = logging.getLogger(__name__)


def class_names_of(cfg: CfgNode) -> list[str]:
    """Names of the classes, of the first data set of ``DATASETS.TEST``; empty: not known here."""
    for name in SPLITS:
        MetadataCatalog.get(name).set(thing_classes=list(CLASSES))
    try:
        register_coco_json(cfg.DATASETS.COCO_JSON)
    except ValueError as error:
        logger.warning("Classes have numbers in the place of names: %s", error)
    known = [MetadataCatalog.get(name) for name in cfg.DATASETS.TEST[:1]]
    return list(known[0].get("thing_classes", [])) if known else []
