# SPDX-License-Identifier: Apache-2.0
"""One COCO file split by chance, such as into images to train on, to choose by, and to test on."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dynamicdet_d2.data.importing.mark import refuse_own_annotations, write_marked
from dynamicdet_d2.data.register import class_names, read_json
from dynamicdet_d2.utils.files import make_folder
from dynamicdet_d2.utils.words import shown

# Of the images, in percent.
SHARES = {"train": 60, "val": 15, "test": 25}
# So that every part has some to say.
MIN_IMAGES = 20


def split_coco(
    json_file: str,
    folder: Path,
    num_images: int | None = None,
    seed: int = 0,
    shares: Mapping[str, float] = SHARES,
    at_least: int = MIN_IMAGES,
) -> dict[str, Path]:
    """Write ``instances_train.json``, ``instances_val.json``, ... : a file per part.

    Each image with its annotations goes into one of them; categories go into all.

    Args:
        json_file: in COCO's format; it stays as it is.
        folder: for the files, made where it is not there.
        num_images: at most so many images, drawn at random; None: all.
        seed: the same seed gives the same parts.
        shares: part -> percent of the images, 100 in all.
        at_least: images that are enough.

    Returns:
        part -> file.

    Raises:
        ValueError: the file cannot be read, is not in COCO's format, or has fewer than
            ``at_least`` images, or too few for every part to have one.
    """
    content = read_json(json_file)
    images = content.get("images")
    if not isinstance(images, list) or not isinstance(content.get("annotations"), list):
        raise ValueError(f"{json_file} has no lists of 'images' and 'annotations'.")
    _check(images, content["annotations"], json_file)
    if num_images is not None and num_images < 0:
        raise ValueError(f"{num_images} images are asked for; it must be {MIN_IMAGES} or more.")
    order = np.random.default_rng(seed).permutation(len(images))[:num_images]
    # 43.99999999999999 is 44: shares of float are sums of such.
    bounds = (np.cumsum([*shares.values()]) * len(order) / 100 + 1e-9).astype(int)
    parts = dict(zip(shares, np.split(order, bounds[:-1]), strict=True))
    if len(order) < max(at_least, len(shares)):
        asked = "" if num_images is None else f", of which {num_images} at most are asked for"
        raise ValueError(
            f"{json_file} has {len(images)} image(s){asked}; at least "
            f"{max(at_least, len(shares))} are needed, one for each of {', '.join(shares)}."
        )
    empty = [name for name, part in parts.items() if not len(part)]
    if empty:
        percent = ", ".join(f"{share:.6g} % for {name}" for name, share in shares.items())
        raise ValueError(
            f"{json_file} has {len(images)} images, of which {percent} leave none for {empty[0]}."
        )
    class_names(content.get("categories"), json_file)
    files = {name: folder / f"instances_{name}.json" for name in parts}
    for file in files.values():
        refuse_own_annotations(file, Path(json_file))
    make_folder(folder)
    for name, part in parts.items():
        _write(content, part.tolist(), files[name])
    return files


def _check(images: list, annotations: list, json_file: str) -> None:
    """What a split needs; the rest is for the check of the parts to find."""
    seen: set = set()
    files: set = set()
    for image in images:
        known = image if isinstance(image, dict) else {}
        found, file = known.get("id"), known.get("file_name")
        if type(found) not in (int, str):
            fault = (
                "has an 'id' that is no whole number and no text"
                if "id" in known
                else "has no 'id'"
            )
            raise ValueError(f"{json_file}: the image {shown(image)} {fault}.")
        if found in seen:
            raise ValueError(f"{json_file}: the image id {shown(found)} is used more than once.")
        if not isinstance(file, str):
            fault = (
                f"has the 'file_name' {shown(file)}; it must be text"
                if "file_name" in known
                else "has no 'file_name'"
            )
            raise ValueError(f"{json_file}: the image {shown(found)} {fault}.")
        place = os.path.normpath(file)
        if place in files:  # it could be learnt and tested on
            raise ValueError(f"{json_file}: the file {shown(file)} is that of two images.")
        seen.add(found)
        files.add(place)
    for annotation in annotations:
        known = annotation if isinstance(annotation, dict) else {}
        found = known.get("image_id")
        if found is None:
            raise ValueError(f"{json_file}: the annotation {shown(annotation)} has no 'image_id'.")
        if type(found) not in (int, str) or found not in seen:  # it would be in no part
            which = f"annotation {shown(known['id'])}" if "id" in known else "an annotation"
            raise ValueError(
                f"{json_file}: {which} has the image_id {shown(found)}, which no image of the file "
                "has."
            )


def _write(content: dict[str, Any], places: Sequence[int], path: Path) -> None:
    images = [content["images"][place] for place in sorted(places)]
    ids = {image["id"] for image in images}
    annotations = [x for x in content["annotations"] if x.get("image_id") in ids]
    write_marked(path, {**content, "images": images, "annotations": annotations})
