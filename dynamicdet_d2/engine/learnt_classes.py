# SPDX-License-Identifier: Apache-2.0
"""The classes of the training images beside those of the model."""

import logging
from collections.abc import Iterable, Sequence
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog

from dynamicdet_d2.checkpoint.conventions import say_other_classes
from dynamicdet_d2.checkpoint.report import LoadReport
from dynamicdet_d2.config.checking import value_of
from dynamicdet_d2.data.check.records import refuse_other_classes
from dynamicdet_d2.data.check.run import is_of_coco_files
from dynamicdet_d2.data.loading.images import validation_dicts
from dynamicdet_d2.modeling.architecture import num_classes_key

logger = logging.getLogger(__name__)

# Of weights that tell no classes apart.
_ROUTER = "router."


def check_classes(cfg: CfgNode, images: Sequence[dict]) -> None:
    """Say where data sets, as those registered by code, have another number of classes. What code
    registers as ``SOLVER.ROUTER.VALIDATION`` is read here, too: it is needed behind the phases that
    train the detectors, and the check of data sets reads those of files alone.

    Args:
        images: ``training_dicts(cfg)``.

    Raises:
        ValueError: naming an image with an object of a class that the model does not have, or as
            ``validation_dicts``; ``DATASETS.CHECK`` False leaves it to the step that comes to it.
    """
    key = num_classes_key(cfg)
    number: Any = value_of(cfg, key)
    for name in cfg.DATASETS.TRAIN:
        classes = MetadataCatalog.get(name).get("thing_classes") or []
        if classes and len(classes) != number:
            logger.warning(
                "Data set '%s' has %d classes by its metadata, and %s is %s.",
                *(name, len(classes), key, number),
            )
    if cfg.DATASETS.CHECK:
        refuse_other_classes(images, number, key)
        validation = cfg.SOLVER.ROUTER.VALIDATION
        if validation and not is_of_coco_files(validation):
            refuse_other_classes(validation_dicts(cfg), number, key)


def say_begun_with(cfg: CfgNode, loaded: Iterable[LoadReport]) -> None:
    """Say where classes have other places than in the weights that a training begins with: phases
    that leave the heads as they are would keep them mixed up.

    Heads of another number of classes are not taken over, and begin at random values.

    Args:
        loaded: what came of loading weights; those of a backbone alone say nothing of classes.
    """
    for report in loaded:
        fits = all(mismatch.name.startswith(_ROUTER) for mismatch in report.mismatched)
        if report.has_heads and fits:
            say_other_classes(report.path, cfg.DATASETS.TRAIN[:1])
