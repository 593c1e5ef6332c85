# SPDX-License-Identifier: Apache-2.0
"""Refuses what is malformed of data sets that are registered by code: Detectron2's dicts.

Detectron2 would stop at it in the middle of a run, by a word that names no image, or learn and
measure something else.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from detectron2.data import MetadataCatalog
from detectron2.structures import BoxMode

from dynamicdet_d2.data.check.keypoints import keypoints_fault
from dynamicdet_d2.data.check.segmentations import are_run_lengths
from dynamicdet_d2.data.register import registered_classes
from dynamicdet_d2.utils.words import as_number, named_image, shown

_NUMBERS_OF = {BoxMode.XYXY_ABS: 4, BoxMode.XYWH_ABS: 4, BoxMode.XYWHA_ABS: 5}


class Needs(NamedTuple):
    """What whoever reads the images makes of them.

    Attributes:
        objects: annotations are learnt, so that every image must have a list of them.
        figures: COCO's are computed, by ids of images and in their sizes.
        masks: ``INPUT.MASK_FORMAT`` where masks are learnt, else None.
        keypoints: of an object, where the model learns them, else 0.
    """

    objects: bool = False
    figures: bool = False
    masks: str | None = None
    keypoints: int = 0


def refuse_malformed(names: Sequence[str], images: object, needs: Needs) -> None:
    """
    Args:
        names: of the data sets.
        images: what they give.

    Raises:
        ValueError: naming the first image that is not in Detectron2's format, and what is wrong; or
            the classes have no names that figures can be written with.
    """
    if not isinstance(images, Sequence) or isinstance(images, str | bytes):
        raise ValueError(
            f"Data sets {list(names)}: what is registered gives an object of type "
            f"{type(images).__name__}; it must be a list of dicts, one an image."
        )
    named = max((len(registered_classes(name)) for name in names if needs.figures), default=0)
    places: dict[object, int] = {}
    for place, image in enumerate(images):
        fault = _image_fault(image, needs)
        if fault is None and needs.figures:
            first = places.setdefault(image["image_id"], place)
            fault = f"has the image_id of entry {first}, too" if first != place else None
            id_, other = image["image_id"], images[0]["image_id"]
            if isinstance(id_, str) != isinstance(other, str):  # figures need them in an order
                fault = f"has the image_id {shown(id_)} and entry 0 has {shown(other)}; "
                fault += "all must be numbers, or all text"
        fault = fault or _unnamed(image, named)
        if fault is not None and isinstance(image, str):  # as of a dict's keys
            fault += ", and what is registered a list of such dicts"
        if fault is not None:
            called = named_image(image, f"Entry {place}")
            raise ValueError(f"Data sets {list(names)}: {called} {fault}.")


def unmeasurable(name: str, images: Sequence[Mapping[str, Any]]) -> str | None:
    """What Detectron2 cannot convert into COCO's format, as a sentence without its end; None where
    nothing is: metadata that name no classes, or no category of one, or a box that is turned.

    Args:
        name: of a data set that is registered by code.
        images: it gives, as ``refuse_malformed`` has found them to be.
    """
    classes = registered_classes(name)
    if not classes:
        return (
            "its metadata have no thing_classes, the names of its classes, which a program sets by "
            f"MetadataCatalog.get({name!r}).set(thing_classes=[...])"
        )
    categories = MetadataCatalog.get(name).get("thing_dataset_id_to_contiguous_id")
    led_to = set(range(len(classes)) if categories is None else categories.values())
    missing = [place for place in range(len(classes)) if place not in led_to]
    if missing:
        return (
            "thing_dataset_id_to_contiguous_id in its metadata leads to no class "
            f"{missing[0]}; by thing_classes it must lead to each of 0 to {len(classes) - 1}"
        )
    for image in images:
        if any(own.get("bbox_mode") == BoxMode.XYWHA_ABS for own in image.get("annotations", ())):
            return (
                f"image {shown(image['image_id'])} has a box of bbox_mode XYWHA_ABS, which is "
                "turned; COCO's figures are of XYWH_ABS or XYXY_ABS"
            )
    return None


def refuse_other_classes(images: Sequence[Mapping[str, Any]], number: int, key: str) -> None:
    """
    Args:
        images: in Detectron2's format, as ``refuse_malformed`` has found them to be.
        number: of the model's classes.
        key: of the config, that says so.

    Raises:
        ValueError: naming the first image with an object of a class that the model does not have.
    """
    for place, image in enumerate(images):
        for annotation in image.get("annotations") or ():
            class_ = annotation.get("category_id")
            if class_ is not None and not 0 <= class_ < number:
                raise ValueError(
                    f"{named_image(image, f'Entry {place}')} has an object with the category_id "
                    f"{shown(class_)}; by {key} classes are 0 to {number - 1}."
                )


def _image_fault(image: Any, needs: Needs) -> str | None:
    """What is wrong with an image's dict, as the end of a sentence; None where nothing is."""
    if not isinstance(image, dict):
        return f"is {shown(image)}; it must be a dict"
    if not isinstance(image.get("file_name"), str | os.PathLike):
        return f"{_has(image, 'file_name')}; it must be the path of an image file"
    for side in ("height", "width"):
        if (side in image or needs.figures) and not _is_side(image.get(side)):
            return f"{_has(image, side)}; it must be a whole number of pixels"
    if needs.figures and not isinstance(image.get("image_id"), int | np.integer | str):
        return f"{_has(image, 'image_id')}; it must be a whole number or text"
    annotations = image.get("annotations")
    if "annotations" not in image and not needs.objects:
        return None
    if not isinstance(annotations, list | tuple):
        return f"{_has(image, 'annotations')}; it must be a list, empty where there is no object"
    for annotation in annotations:
        fault = _fault(annotation, image, needs)
        if fault is not None:
            return f"has an object {fault}"
    return None


def _unnamed(image: Mapping[str, Any], named: int) -> str | None:
    """As ``_image_fault``, of a class without a name, whose objects no figures would count; nothing
    where no class has one."""
    for annotation in image.get("annotations") or () if named else ():
        class_ = annotation["category_id"]
        if not 0 <= class_ < named:
            return (
                f"has an object with the category_id {shown(class_)}; by the metadata's "
                f"thing_classes classes are 0 to {named - 1}"
            )
    return None


def _has(of: Mapping[str, Any], key: str) -> str:
    return f"has the {key} {shown(of[key])}" if key in of else f"has no '{key}'"


def _with(of: Mapping[str, Any], key: str) -> str:
    return f"with the {key} {shown(of[key])}" if key in of else f"without '{key}'"


def _is_side(value: Any) -> bool:
    return _is_whole(value) and value >= 1


def _is_whole(value: Any) -> bool:
    try:
        return as_number(value, "") % 1 == 0
    except ValueError:
        return False


def _fault(annotation: Any, image: Mapping[str, Any], needs: Needs) -> str | None:
    """As ``_image_fault``, of one of its annotations."""
    if not isinstance(annotation, dict):
        return f"that is {shown(annotation)}; it must be a dict"
    mode = annotation.get("bbox_mode")
    if not isinstance(mode, int | np.integer) or mode not in _NUMBERS_OF:
        return f"{_with(annotation, 'bbox_mode')}; it must be BoxMode.XYXY_ABS or BoxMode.XYWH_ABS"
    if not _are_numbers(annotation.get("bbox"), _NUMBERS_OF[BoxMode(mode)]):
        return (
            f"{_with(annotation, 'bbox')}; it must be {_NUMBERS_OF[BoxMode(mode)]} numbers in "
            f"pixels, {BoxMode(mode).name}"
        )
    one_by_one = mode == BoxMode.XYXY_ABS or isinstance(annotation["bbox"], list | tuple)
    if needs.objects and not one_by_one:
        kind = type(annotation["bbox"]).__name__  # of which Detectron2 converts several at a time
        return f"with a bbox of type {kind}; as {BoxMode(mode).name} it must be a list of numbers"
    if not _is_whole(annotation.get("category_id")):
        return f"{_with(annotation, 'category_id')}; it must be a whole number, from 0 on"
    crowd = annotation.get("iscrowd", 0)
    if crowd not in (0, 1):
        return f"with iscrowd {shown(crowd)}; it must be 0 or 1"
    if needs.figures and not _is_measured(annotation.get("segmentation", [])):
        said = "it must be a list of polygons, or run lengths as pycocotools.mask.encode gives, or "
        return f"{_with(annotation, 'segmentation')}; {said}be left out"
    if needs.keypoints:
        # For figures Detectron2 writes into them.
        learnt = not needs.figures
        posed = keypoints_fault(annotation, needs.keypoints, measured=needs.figures, arrays=learnt)
        if posed is not None:
            return f"that {posed}"
    return _mask_fault(annotation, image, needs.masks) if needs.masks and not crowd else None


def _are_numbers(value: Any, count: int | None = None) -> bool:
    """Whether these are finite numbers in a row; of a polygon (None) three points or more."""
    try:
        numbers = np.asarray(value)
        good = numbers.ndim == 1 and numbers.dtype.kind in "iuf" and np.isfinite(numbers).all()
    except (TypeError, ValueError, RuntimeError):  # lists of several lengths; tensors of a GPU
        return False
    size = numbers.size
    return bool(good) and (size >= 6 and size % 2 == 0 if count is None else size == count)


def _is_measured(given: Any) -> bool:
    """Whether Detectron2 converts it into COCO's; of run lengths it knows compressed ones alone."""
    if isinstance(given, dict):
        return isinstance(given.get("counts"), str | bytes)
    return isinstance(given, list)


def _mask_fault(annotation: dict, image: Mapping[str, Any], masks: str) -> str | None:
    given = annotation.get("segmentation")
    if isinstance(given, list) and given and all(map(_are_numbers, given)):
        return None
    polygons = "a list of polygons [[x1, y1, x2, y2, ...], ...], of three points or more"
    if masks == "polygon":
        return f"{_with(annotation, 'segmentation')}; with MODEL.MASK_ON it must be {polygons}"
    if isinstance(given, dict) and isinstance(given.get("counts"), str | bytes):
        size, counts = given.get("size"), given["counts"]
        size = list(size) if isinstance(size, list | tuple | np.ndarray) else []
        text = counts.decode("latin-1") if isinstance(counts, bytes) else counts
        height, width = image.get("height"), image.get("width")
        sides = [height, width] if height and width else size
        if len(sides) == 2 and are_run_lengths({"size": size, "counts": text}, *sides[::-1]):
            return None
    return (
        f"{_with(annotation, 'segmentation')}; with MODEL.MASK_ON it must be {polygons}, or run "
        "lengths of the image's size, as pycocotools.mask.encode(np.asfortranarray(mask)) gives "
        "of an array, which Detectron2's mapper does not read"
    )
