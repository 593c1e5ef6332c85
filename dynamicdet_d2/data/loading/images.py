# SPDX-License-Identifier: Apache-2.0
"""The images of a config's data sets, in Detectron2's format."""

import difflib
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog, get_detection_dataset_dicts

from dynamicdet_d2.data.check.by_code import (
    refuse_parts_of_classes,
    warn_of_boxes,
    warn_of_shared_files,
)
from dynamicdet_d2.data.loading.corrupt import Sample
from dynamicdet_d2.utils.words import in_words

# Of those who read a data set, where nobody has checked it before.
_COMPLAINTS = (
    AssertionError,
    AttributeError,
    LookupError,
    OSError,
    OverflowError,
    RecursionError,
    TypeError,
    ValueError,
)


def training_dicts(cfg: CfgNode) -> list[Sample]:
    """The images of ``DATASETS.TRAIN`` in Detectron2's format.

    Without objects or with crowds only, images stay in only if
    ``DATALOADER.FILTER_EMPTY_ANNOTATIONS`` is False.

    Raises:
        ValueError: no data set is named, one is not registered, or none has a usable image.
    """
    keypoints = cfg.MODEL.ROI_KEYPOINT_HEAD.MIN_KEYPOINTS_PER_IMAGE if cfg.MODEL.KEYPOINT_ON else 0
    proposals = cfg.DATASETS.PROPOSAL_FILES_TRAIN if cfg.MODEL.LOAD_PROPOSALS else None
    images = images_of(
        "DATASETS.TRAIN",
        cfg.DATASETS.TRAIN,
        filter_empty=cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS,
        min_keypoints=keypoints,
        proposal_files=proposals,
    )
    # Those of files are looked at by the check of data sets.
    if not all(hasattr(MetadataCatalog.get(name), "json_file") for name in cfg.DATASETS.TRAIN):
        refuse_parts_of_classes(cfg.DATASETS.TRAIN, images)
        warn_of_boxes(cfg.DATASETS.TRAIN, images)
        warn_of_shared_files(cfg.DATASETS.TRAIN, images)
    return images


def validation_dicts(cfg: CfgNode) -> list[Sample]:
    """The images of ``SOLVER.ROUTER.VALIDATION`` in Detectron2's format, all of them.

    Raises:
        ValueError: the data set is not registered or is empty.
    """
    names = [cfg.SOLVER.ROUTER.VALIDATION]
    return images_of("SOLVER.ROUTER.VALIDATION", names, filter_empty=False)


def images_of(key: str, names: Sequence[str], **options: object) -> list[Sample]:
    """Detectron2's dicts of the data sets that a key names, with its complaints as ValueErrors."""
    if not names:
        raise ValueError(f"{key} names no data set.")
    check_registered(key, names)
    try:
        return get_detection_dataset_dicts(list(names), **options)
    except _COMPLAINTS as error:
        raise ValueError(f"{key} {list(names)} cannot be loaded: {in_words(error)}.") from error


def check_registered(key: str, names: Sequence[str]) -> None:
    """Refuse the names of data sets that Detectron2's catalog does not have.

    Raises:
        ValueError: with the config's key and names that are close.
    """
    for name in names:
        if name not in DatasetCatalog:
            close = difflib.get_close_matches(name, DatasetCatalog.list(), n=3)
            hint = f" Close to it: {', '.join(close)}." if close else ""
            raise ValueError(
                f"{key} names '{name}', which is not registered: DATASETS.COCO_JSON registers "
                f"[name, json file, image folder].{hint}"
            )


def images_hash(images: Sequence[Mapping[str, Any]]) -> str:
    """Of ids, files, sizes and annotations, in their order: 16 hexadecimal digits."""
    digest = hashlib.sha256()
    for image in images:
        digest.update(json.dumps(image, sort_keys=True, default=_plain).encode())
    return digest.hexdigest()[:16]


def _plain(value: object) -> object:
    """What JSON does not know: arrays by their numbers, all else (compressed masks) as text."""
    return value.tolist() if hasattr(value, "tolist") else repr(value)
