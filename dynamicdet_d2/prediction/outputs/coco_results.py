# SPDX-License-Identifier: Apache-2.0
"""COCO's result format, with the ids of a COCO file."""

import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from detectron2.evaluation.coco_evaluation import instances_to_coco_json

from dynamicdet_d2.data.image_files import displayed_size
from dynamicdet_d2.data.register import class_names, read_json
from dynamicdet_d2.prediction.outputs.output import Output
from dynamicdet_d2.prediction.outputs.written import note_written
from dynamicdet_d2.prediction.sources import Frame, ImageFile, Source
from dynamicdet_d2.utils.files import whole_file

logger = logging.getLogger(__name__)

# As Detectron2's COCOEvaluator calls it.
RESULTS = "coco_instances_results.json"


class CocoResults(Output):
    """``coco_instances_results.json``, written at the end.

    An image is the one of the COCO file whose ``file_name`` ends its path; a class is the category
    of its name.
    """

    def __init__(
        self,
        folder: Path,
        json_file: str,
        num_classes: int,
        sources: Sequence[Source],
        names: Sequence[str] = (),
    ) -> None:
        """
        Args:
            json_file: a COCO file with the images and categories that are meant.
            num_classes: of the model.
            sources: what will be predicted.
            names: of the classes, as the model counts them; empty where nobody has told them:
                then they are the categories by rising id, as in training.

        Raises:
            ValueError: it cannot be read, has other categories than the model has classes, lacks
                an image, has two of a name or of an id, or one of another size.
        """
        content = read_json(json_file)
        images = content.get("images")
        if not isinstance(images, list) or not all(_is_image(image) for image in images):
            raise ValueError(
                f"{json_file} has no list of 'images', each with an 'id' (a whole number or text) "
                "and a 'file_name'."
            )
        self._ids = _ids_of(sources, images, json_file)
        num_images = len({image["id"] for image in images})  # one may stand there twice
        if len(self._ids) < num_images:
            logger.warning(
                "%d of %d image(s) of %s are not in --input: AP over all would count their objects "
                "as missed.",
                *(num_images - len(self._ids), num_images, json_file),
            )
        categories = class_names(content.get("categories"), json_file)
        if len(categories) != num_classes:
            raise ValueError(
                f"{json_file} has {len(categories)} categories, the model {num_classes} classes."
            )
        self._categories = _category_ids(categories, names, json_file)
        self._path = folder / RESULTS
        self._results: list[dict[str, Any]] = []
        self._stopped = False

    def write(self, frame: Frame, prediction: dict[str, Any]) -> None:
        image_id = self._ids[frame.source.name]
        results = instances_to_coco_json(prediction["instances"], image_id)
        for result in results:
            result["category_id"] = self._categories[result["category_id"]]
        self._results += results

    def stop(self) -> None:
        self._stopped = True

    def close(self) -> None:
        if self._stopped:
            logger.warning("%s is not written: it would lack images.", self._path)
            return
        with whole_file(self._path) as file:
            file.write(json.dumps(self._results).encode())
        note_written(self._path)

    def abandon(self) -> None:
        """Results of some of the images would look like poor results of all."""


def _category_ids(categories: dict[int, str], names: Sequence[str], json_file: str) -> list[int]:
    """By class as the model counts it.

    Args:
        categories: id -> name, by rising id, one for each class.
        names: of the classes; empty where nobody has told them.
    """
    if not names or list(categories.values()) == list(names):
        return list(categories)
    ids = {name: id_ for id_, name in categories.items()}
    for name in names:
        if name not in ids:
            raise ValueError(
                f"{json_file} has no category '{name}', which the model has a class of."
            )
    if len(set(names)) < len(names):
        raise ValueError(
            f"{json_file} has its categories in another order than the model its classes, "
            "of which two have one name: which is which cannot be told."
        )
    return [ids[name] for name in names]


def _ids_of(sources: Sequence[Source], images: list[dict], json_file: str) -> dict[str, Any]:
    """Of each source by its name; no two have the same."""
    by_name: dict[str, dict] = {}
    for image in images:
        first = by_name.setdefault(os.path.normpath(image["file_name"]), image)
        if first["id"] != image["id"]:
            raise ValueError(
                f"{json_file} has {image['file_name']} twice, with the ids {first['id']!r} and "
                f"{image['id']!r}."
            )
    found: dict[str, Any] = {}
    names: dict[Any, str] = {}
    for source in sources:
        if not isinstance(source, ImageFile):
            raise ValueError(f"--coco-ids is of images, and {source.name} is none.")
        image = _image(source.name, by_name, json_file)
        _check_size(source.name, image, json_file)
        found[source.name] = image_id = image["id"]
        if names.setdefault(image_id, source.name) != source.name:
            raise ValueError(
                f"{names[image_id]} and {source.name} both have the id {image_id!r} in {json_file}."
            )
    return found


def _image(name: str, by_name: dict[str, dict], json_file: str) -> dict:
    """By the longest end of the path that the COCO file knows."""
    parts = Path(os.path.abspath(name)).parts  # the first is the root: names may be absolute, too
    for start in range(len(parts)):
        end = os.path.join(*parts[start:])
        if end in by_name:
            return by_name[end]
    windows = any("\\" in other for other in by_name)
    hint = ": its names have the backslashes of Windows" if windows else ""
    raise ValueError(f"{name} is no image of {json_file}{hint}.")


def _check_size(name: str, image: dict, json_file: str) -> None:
    """Boxes in the pixels of a reduced copy would be wrong for the image that is meant.

    Raises:
        ValueError: the file has another size than the image of the JSON.
    """
    said = image.get("width"), image.get("height")
    if not all(isinstance(side, int | float) for side in said):
        return
    try:
        size = displayed_size(name)
    except Exception:  # reading the image says why
        return
    if size != said:
        raise ValueError(
            f"{name} is {size[0]}x{size[1]} pixels (EXIF rotation applied), but {json_file} says "
            f"{said[0]}x{said[1]}."
        )


def _is_image(image: object) -> bool:
    known = image if isinstance(image, dict) else {}
    return type(known.get("id")) in (int, str) and isinstance(known.get("file_name"), str)
