# SPDX-License-Identifier: Apache-2.0
"""Drawn shapes on parts of a photograph, for a demo on a machine without labelled photographs."""

import json
import logging
from pathlib import Path

import cv2
import numpy as np

from dynamicdet_d2.data.shapes.dataset import JPEG_QUALITY, Recipe, draw_dataset
from dynamicdet_d2.utils.files import make_folder, read_json, whole_file
from dynamicdet_d2.utils.pictures import write_image

logger = logging.getLogger(__name__)

# Shortest side of a part, as a share of the photograph's.
_SMALLEST = 0.3


def draw_over_photograph(folder: Path, recipe: Recipe, photograph: Path) -> Path:
    """Draw a set, and put a random part of the photograph behind the shapes of each picture.

    Args:
        folder: for ``images/*.jpg`` and ``instances.json``, which is written last; a set of the
            same recipe that is there already is left as it is.
        photograph: any picture.

    Returns:
        the annotations.

    Raises:
        ValueError: the photograph cannot be read.
    """
    annotations, drawn = folder / "instances.json", folder / "drawn"
    draw_dataset(drawn, recipe)
    content = read_json(drawn / "instances.json", "instances.json")
    names = [image["file_name"] for image in content["images"]]
    there = all((folder / "images" / name).is_file() for name in names)
    if there and _holds(annotations, content):
        return annotations
    behind = _read(photograph)
    polygons: dict[int, list[np.ndarray]] = {image["id"]: [] for image in content["images"]}
    for shape in content["annotations"]:
        polygons[shape["image_id"]].append(np.array(shape["segmentation"][0]).reshape(-1, 2))
    make_folder(folder / "images")
    logger.info("Putting parts of %s behind the shapes", photograph.name)
    for image in content["images"]:
        picture = cv2.imread(str(drawn / "images" / image["file_name"]))
        if picture is None:
            raise ValueError(f"{drawn / 'images' / image['file_name']} cannot be read as an image.")
        rng = np.random.default_rng([recipe.seed, image["id"]])
        whole = _over(rng, picture, polygons[image["id"]], behind)
        target = folder / "images" / image["file_name"]
        write_image(target, whole, quality=JPEG_QUALITY, durable=False)
    with whole_file(annotations) as file:
        file.write(json.dumps(content).encode())
    return annotations


def _holds(annotations: Path, content: object) -> bool:
    try:
        return read_json(annotations, str(annotations)) == content
    except ValueError:  # missing, or cut short
        return False


def _read(path: Path) -> np.ndarray:
    """(H, W, 3) uint8, BGR."""
    picture = cv2.imread(str(path))
    if picture is None:
        raise ValueError(f"{path} cannot be read as an image.")
    return picture


def _over(
    rng: np.random.Generator, picture: np.ndarray, polygons: list[np.ndarray], behind: np.ndarray
) -> np.ndarray:
    """The picture inside the polygons, a part of what is behind it elsewhere; (H, W, 3) uint8."""
    height, width = picture.shape[:2]
    mask = np.zeros((height, width, 1), dtype=np.uint8)
    cv2.fillPoly(mask, [np.round(polygon).astype(np.int32) for polygon in polygons], 1)
    fit = min(behind.shape[0] / height, behind.shape[1] / width) * rng.uniform(_SMALLEST, 1)
    size = np.array([fit * height, fit * width]).astype(int).clip(1)
    top, left = (int(rng.integers(room + 1)) for room in behind.shape[:2] - size)
    part = behind[top : top + size[0], left : left + size[1]]
    part = cv2.resize(part, (width, height), interpolation=cv2.INTER_AREA)
    if rng.uniform() < 0.5:
        part = part[:, ::-1]
    return np.where(mask, picture, part)
