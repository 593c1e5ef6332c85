# SPDX-License-Identifier: Apache-2.0
"""The images of a config's data sets, in Detectron2's format."""

import difflib
import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog, get_detection_dataset_dicts

from dynamicdet_d2.data.check.by_code import warn_of_boxes, warn_of_shared_files
from dynamicdet_d2.data.check.keypoint_names import refuse_unknown_pairs
from dynamicdet_d2.data.check.keypoints import num_keypoints
from dynamicdet_d2.data.check.records import Needs, refuse_malformed
from dynamicdet_d2.data.check.run import is_of_coco_files
from dynamicdet_d2.data.loading.corrupt import Sample
from dynamicdet_d2.utils.arguments import refuse_no_config
from dynamicdet_d2.utils.words import in_words, shown

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

# What a data set is evaluated by.
FIGURES = Needs(figures=True)


def training_dicts(cfg: CfgNode) -> list[Sample]:
    """The images of ``DATASETS.TRAIN`` in Detectron2's format.

    Without objects or with crowds only, images stay in only if
    ``DATALOADER.FILTER_EMPTY_ANNOTATIONS`` is False.

    Raises:
        ValueError: no data set is named, one is not registered, or none has a usable image, or an
            object.
    """
    refuse_no_config(cfg)
    keypoints = cfg.MODEL.ROI_KEYPOINT_HEAD.MIN_KEYPOINTS_PER_IMAGE if cfg.MODEL.KEYPOINT_ON else 0
    proposals = cfg.DATASETS.PROPOSAL_FILES_TRAIN if cfg.MODEL.LOAD_PROPOSALS else None
    images = images_of(
        "DATASETS.TRAIN",
        cfg.DATASETS.TRAIN,
        learnt(cfg),
        filter_empty=cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS,
        min_keypoints=keypoints,
        proposal_files=proposals,
    )
    if cfg.MODEL.KEYPOINT_ON:
        _refuse_unnamed_keypoints(cfg.DATASETS.TRAIN, num_keypoints(cfg))
    # Those of files are looked at by the check of data sets.
    if not _are_of_files(cfg.DATASETS.TRAIN):
        if cfg.DATASETS.CHECK and not any(map(_has_object, images)):
            raise ValueError(
                f"DATASETS.TRAIN {list(cfg.DATASETS.TRAIN)}: no image has an object to train on."
            )
        learns_outlines = cfg.MODEL.MASK_ON or cfg.INPUT.MOSAIC.ENABLED
        warn_of_boxes(cfg.DATASETS.TRAIN, images, outlines=learns_outlines)
        warn_of_shared_files(cfg.DATASETS.TRAIN, images)
    return images


def _refuse_unnamed_keypoints(names: Sequence[str], count: int) -> None:
    """
    Raises:
        ValueError: which keypoints a flip exchanges is not known of a data set, or of others than
            the model's ``count``.
    """
    for name in names:
        for key in ("keypoint_names", "keypoint_flip_map"):
            if MetadataCatalog.get(name).get(key) is None:
                raise ValueError(
                    f"MODEL.KEYPOINT_ON is True, but data set '{name}' has no {key} in its "
                    f"metadata, which is read from no JSON: a program sets it by "
                    f"MetadataCatalog.get('{name}').set({key}=...)."
                )
        refuse_unknown_pairs(name)
        found = len(MetadataCatalog.get(name).keypoint_names)
        if found != count:
            raise ValueError(
                f"Data set '{name}' has {found} keypoint_names in its metadata, and "
                f"MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS is {count}."
            )


def training_images(cfg: CfgNode, given: Sequence[Sample] | None) -> Sequence[Sample]:
    """What a program gives as the images to learn from; None: ``training_dicts(cfg)``.

    Raises:
        ValueError: as ``training_dicts``; or what is given is no list of Detectron2's dicts.
    """
    if given is None:
        return training_dicts(cfg)
    refuse_no_config(cfg)
    # Detectron2's DatasetFromList is as good as a list, and a generator could be read once alone.
    listed = hasattr(given, "__len__") and not isinstance(given, str | bytes | Mapping)
    if not listed or not len(given) or not all(isinstance(image, dict) for image in given):
        raise ValueError(
            f"dataset_dicts is {shown(given)}; it must be a list of Detectron2's dicts, one an "
            "image, as DatasetCatalog.get(name) gives."
        )
    return given


def landscape(images: Sequence[Sample]) -> np.ndarray:
    """(N,) bool: which images are wider than high.

    Raises:
        ValueError: naming one without sizes.
    """
    for image in images:
        if "width" not in image or "height" not in image:
            raise ValueError(
                "DATALOADER.ASPECT_RATIO_GROUPING needs the size of every image, but "
                f"{image.get('file_name')} has no 'width' and 'height'."
            )
    return np.array([image["width"] > image["height"] for image in images], dtype=bool)


def validation_dicts(cfg: CfgNode) -> list[Sample]:
    """The images of ``SOLVER.ROUTER.VALIDATION`` in Detectron2's format, all of them.

    Raises:
        ValueError: the data set is not registered or is empty, or has no object to judge by.
    """
    names = [cfg.SOLVER.ROUTER.VALIDATION]
    images = images_of("SOLVER.ROUTER.VALIDATION", names, judged(cfg), filter_empty=False)
    if cfg.DATASETS.CHECK and not any(map(_has_object, images)):
        raise ValueError(f"SOLVER.ROUTER.VALIDATION '{names[0]}': no image has an object.")
    return images


def _has_object(image: Sample) -> bool:
    return any(not annotation.get("iscrowd") for annotation in image.get("annotations") or ())


def learnt(cfg: CfgNode) -> Needs | None:
    """What images are read for of which losses are computed."""
    if not cfg.DATASETS.CHECK:
        return None
    masks = cfg.INPUT.MASK_FORMAT if cfg.MODEL.MASK_ON else None
    return Needs(objects=True, masks=masks, keypoints=num_keypoints(cfg))


def judged(cfg: CfgNode) -> Needs | None:
    """What images are read for of which losses and figures are computed."""
    needs = learnt(cfg)
    return None if needs is None else needs._replace(figures=True)


def _are_of_files(names: Sequence[str]) -> bool:
    """A "json_file" alone says little: Detectron2's COCOEvaluator gives one to any data set."""
    return all(map(is_of_coco_files, names))


def images_of(
    key: str, names: Sequence[str], needs: Needs | None = FIGURES, **options: object
) -> list[Sample]:
    """Detectron2's dicts of the data sets that a key names, with its complaints as ValueErrors.

    Args:
        key: of the config, or an option, for sentences.
        needs: what they are read for; held against data sets that are registered by code. None:
            these are not looked at.
        options: of ``get_detection_dataset_dicts``.

    Raises:
        ValueError: a data set is not registered or cannot be loaded, or one that is registered by
            code is malformed, naming the image.
    """
    if isinstance(names, str):  # whose letters would be taken for names
        raise ValueError(f"{key} is {shown(names)}; it must be a list of names of data sets.")
    if not names:
        raise ValueError(f"{key} names no data set.")
    check_registered(key, names)
    try:
        images = get_detection_dataset_dicts(list(names), **options)
    except _COMPLAINTS as error:
        name_malformed(names, needs or Needs())
        raise ValueError(f"{key} {list(names)} cannot be loaded: {in_words(error)}.") from error
    if needs is not None and not _are_of_files(names):
        refuse_malformed(names, images, needs)
    return images


def name_malformed(names: Sequence[str], needs: Needs) -> None:
    """Say it by the image, where that is what Detectron2 complains of.

    Args:
        names: of data sets; those of COCO's files are left alone.
        needs: what they are read for.

    Raises:
        ValueError: as ``refuse_malformed``; nothing where it finds nothing.
    """
    for name in names:
        if not _are_of_files([name]):
            try:
                given = DatasetCatalog.get(name)
            except Exception:  # a user's own function, whose fault is said by the caller
                continue
            refuse_malformed([name], given, needs)


def check_registered(key: str, names: Sequence[str]) -> None:
    """Refuse the names of data sets that Detectron2's catalog does not have.

    Raises:
        ValueError: with the config's key and names that are close.
    """
    for name in names:
        if not isinstance(name, str):
            raise ValueError(f"{key} names {shown(name)}; it must be the name of one data set.")
        if name not in DatasetCatalog:
            close = difflib.get_close_matches(name, DatasetCatalog.list(), n=3)
            hint = f" Close to it: {', '.join(close)}." if close else ""
            raise ValueError(
                f"{key} names '{name}', which is not registered: commands and trainers register "
                "[name, json file, image folder] of DATASETS.COCO_JSON, and other programs call "
                f"dynamicdet_d2.data.register_coco_json(cfg.DATASETS.COCO_JSON).{hint}"
            )


def without_folders(images: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The same images, wherever their files lie: by the files' names alone."""
    return [{**x, "file_name": os.path.basename(str(x.get("file_name")))} for x in images]


def images_hash(images: Sequence[Mapping[str, Any]]) -> str:
    """Of ids, files, sizes and annotations, in their order: 16 hexadecimal digits."""
    digest = hashlib.sha256()
    for image in images:
        try:
            text = json.dumps(image, sort_keys=True, default=_plain)
        except TypeError:  # keys that are no text, or of several kinds
            text = json.dumps(_with_text_for_keys(image), sort_keys=True, default=_plain)
        digest.update(text.encode())
    return digest.hexdigest()[:16]


def _plain(value: object) -> object:
    """What JSON does not know: arrays by their numbers, sets in an order of their own, all else
    (compressed masks) as text, which must be the same in each process."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, set | frozenset):
        return sorted(map(repr, value))
    return type(value).__name__ if type(value).__repr__ is object.__repr__ else repr(value)


def _with_text_for_keys(value: object) -> object:
    if isinstance(value, Mapping):
        return {repr(key): _with_text_for_keys(part) for key, part in value.items()}
    return [*map(_with_text_for_keys, value)] if isinstance(value, list | tuple) else value
