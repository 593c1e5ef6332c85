# SPDX-License-Identifier: Apache-2.0
"""The drawn data set: COCO format, any size, a known difficulty for each image.

``shapes_train``, ``shapes_val``, ``shapes_test`` and ``shapes_demo`` can stand in DATASETS.TRAIN
and TEST like any registered name; they are drawn when they are first asked for, into ``shapes/``
under Detectron2's folder of data sets (``DETECTRON2_DATASETS``, or ``datasets``).
"""

import json
import logging
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.utils import comm

from dynamicdet_d2.data.register import register_coco_json
from dynamicdet_d2.data.shapes.drawing import CLASSES, Shape, draw_picture
from dynamicdet_d2.utils.files import make_folder, read_json, whole_file
from dynamicdet_d2.utils.folder_lock import NAME as LOCK
from dynamicdet_d2.utils.folder_lock import held
from dynamicdet_d2.utils.numbers import as_whole
from dynamicdet_d2.utils.pictures import write_image
from dynamicdet_d2.utils.pixels import MOST_PIXELS
from dynamicdet_d2.utils.words import shown

logger = logging.getLogger(__name__)

# More fill a disk.
MOST_IMAGES = 10_000_000

# Raise it when drawing changes: pictures of another version are drawn anew.
VERSION = 2
JPEG_QUALITY = 95
DESCRIPTION = "drawn shapes"
# In a folder while a set is drawn into it: what is there may be replaced.
UNFINISHED = "drawing.unfinished"
# Pixels, of a JPEG file.
LONGEST_SIDE = 65_500


@dataclass(frozen=True)
class Recipe:
    """All that a split's pictures follow from, with ``VERSION``."""

    num_images: int
    seed: int
    width: int = 256
    height: int = 192

    def __post_init__(self) -> None:
        """
        Raises:
            ValueError: naming what is no whole number.
        """
        for name, value in asdict(self).items():
            object.__setattr__(self, name, as_whole(value, f"A drawn set's {name}"))

    def __str__(self) -> str:
        return ", ".join(f"{name} {value}" for name, value in asdict(self).items())


SPLITS = {
    "shapes_train": Recipe(num_images=6000, seed=1),
    "shapes_val": Recipe(num_images=400, seed=2),
    "shapes_test": Recipe(num_images=500, seed=3),
    # For the demo: images that the detectors of its weights were not trained on.
    "shapes_demo": Recipe(num_images=2000, seed=4),
}


def shapes_folder() -> Path:
    """The folder of the drawn sets.

    Raises:
        ValueError: ``DETECTRON2_DATASETS`` is an address, below which nothing can be drawn.
    """
    datasets = os.getenv("DETECTRON2_DATASETS", "datasets")
    if "://" in datasets:
        raise ValueError(f"DETECTRON2_DATASETS is {shown(datasets)}; it must be a folder.")
    return Path(datasets).expanduser() / "shapes"


def register_shapes(names: Iterable[str]) -> None:
    """Draw, where they are not there yet, and register those of the names that are drawn sets.

    Raises:
        ValueError: a data set of another file has such a name, before anything is drawn; or as
            ``shapes_folder``, or as ``draw_dataset``, in all processes of a run.
        OSError: as ``draw_dataset``.
    """
    wanted = sorted(set(names) & SPLITS.keys())
    if not wanted:
        return
    root = shapes_folder()
    for name in wanted:
        _refuse_other_file(name, root / name / "instances.json")
    _draw_once(root, wanted)
    register_coco_json(
        [
            [name, str(root / name / "instances.json"), str(root / name / "images")]
            for name in wanted
        ]
    )


def _draw_once(root: Path, names: Sequence[str]) -> None:
    """Draw in the first process of a run; where it fails, none of the others waits for it."""
    fault: ValueError | OSError | None = None
    try:
        for name in names if comm.is_main_process() else ():
            draw_dataset(root / name, SPLITS[name])
    except (ValueError, OSError) as error:
        fault = error
    said = comm.all_gather(None if fault is None else str(fault))[0]
    if said is not None:
        raise fault or ValueError(said)


def _refuse_other_file(name: str, file: Path) -> None:
    taken = name in DatasetCatalog
    if taken and MetadataCatalog.get(name).get("json_file") != os.path.abspath(file):
        raise ValueError(f"The data set '{name}' is a drawn one: call one of your own otherwise.")


def draw_dataset(folder: str | os.PathLike[str], recipe: Recipe) -> None:
    """Draw a set into ``folder``: ``images/*.jpg``, and ``instances.json``, written last.

    A set of the same recipe that is there already is left as it is, but for missing pictures.

    Raises:
        ValueError: if the recipe is none or out of range, or the folder has anything else in it.
        OSError: a picture cannot be written, or another process draws there; one sentence.
    """
    if not isinstance(recipe, Recipe):
        raise ValueError(f"recipe is {shown(recipe)}; it must be a Recipe(num_images, seed).")
    folder = Path(folder)
    if recipe.num_images < 1 or min(recipe.width, recipe.height) < 64:
        raise ValueError(f"Drawn sets need at least one image of 64 pixels a side; found {recipe}.")
    if max(recipe.width, recipe.height) > LONGEST_SIDE or not 0 <= recipe.seed < 2**63:
        raise ValueError(
            f"Drawn sets have at most {LONGEST_SIDE} pixels a side and a seed from 0 to 2^63; "
            f"found {recipe}."
        )
    if recipe.width * recipe.height > MOST_PIXELS:
        raise ValueError(f"Drawn images have at most {MOST_PIXELS} pixels; found {recipe}.")
    if recipe.num_images > MOST_IMAGES:
        raise ValueError(f"Drawn sets have at most {MOST_IMAGES} images; found {recipe}.")
    info = {"description": DESCRIPTION, "version": VERSION, **asdict(recipe)}
    if _drawn(folder) == info:
        _draw_missing(folder, recipe)
        return
    logger.info("Drawing %d images into %s", recipe.num_images, folder)
    make_folder(folder)
    with held(folder, "The drawn set"):
        # Before all else, so that whoever looks meanwhile, or after a kill, sees what this is.
        with whole_file(folder / UNFINISHED):
            pass
        make_folder(folder / "images")
        content: dict = {"info": info, "images": [], "annotations": [], "categories": _categories()}
        for number in range(recipe.num_images):
            _add_image(content, folder, recipe, number)
        with whole_file(folder / "instances.json") as file:
            file.write(json.dumps(content).encode())
        (folder / UNFINISHED).unlink()


def refuse_other(folder: Path, recipe: Recipe) -> None:
    """Refuse to draw over a finished set of another recipe, which may have been edited since.

    Raises:
        ValueError: there is one, or the folder has anything else in it.
    """
    found = _drawn(folder)
    others = {name: found.get(name) for name in asdict(recipe)}
    if found and others != asdict(recipe):
        raise ValueError(
            f"{folder} has a drawn set of {', '.join(f'{x} {n}' for x, n in others.items())}, "
            "which would be replaced; name another folder, or remove it."
        )


def _draw_missing(folder: Path, recipe: Recipe) -> None:
    missing = [n for n in range(recipe.num_images) if not _picture(folder, n).is_file()]
    if not missing:
        return
    logger.info("Drawing %d images into %s that are missing there", len(missing), folder)
    make_folder(folder / "images")
    for number in missing:
        _draw(folder, recipe, number)


def _drawn(folder: Path) -> dict:
    """What a set in the folder was drawn from; {} where there is none, or an unfinished one.

    Raises:
        ValueError: the folder is a file, or has something in it that is not of a drawn set.
    """
    annotations = folder / "instances.json"
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file; a drawn set is a folder, there or not yet.")
    # What is hidden, as a Mac leaves it, is nobody's data.
    names = [x.name for x in folder.iterdir()] if folder.is_dir() else []
    there = any(not name.startswith(".") and name != LOCK for name in names)
    begun = any(name.startswith(UNFINISHED) for name in names)  # or it is being written
    if not there or UNFINISHED in names or (begun and annotations.name not in names):
        return {}
    content = read_json(annotations, str(annotations)) if annotations.is_file() else None
    info = content.get("info") if isinstance(content, dict) else None
    if not isinstance(info, dict) or info.get("description") != DESCRIPTION:
        raise ValueError(
            f"{folder} has files in it that are not of a drawn set, which would be replaced; name "
            "another folder, or an empty one."
        )
    return info


def _categories() -> list[dict]:
    return [{"id": number, "name": name} for number, name in enumerate(CLASSES, start=1)]


def _add_image(content: dict, folder: Path, recipe: Recipe, number: int) -> None:
    difficulty, shapes = _draw(folder, recipe, number)
    file_name = _picture(folder, number).name
    image = {"id": number + 1, "file_name": file_name, "difficulty": round(difficulty, 4)}
    content["images"].append({**image, "width": recipe.width, "height": recipe.height})
    for shape in shapes:
        annotation = {"id": len(content["annotations"]) + 1, "image_id": number + 1}
        content["annotations"].append({**annotation, **_described(shape)})


def _draw(folder: Path, recipe: Recipe, number: int) -> tuple[float, list[Shape]]:
    """Write a picture; its difficulty and what is in it."""
    # A generator an image, so that a smaller set is the beginning of a larger one.
    rng = np.random.default_rng([VERSION, recipe.seed, number])
    difficulty = float(rng.uniform())
    picture, shapes = draw_picture(rng, difficulty, recipe.width, recipe.height)
    # That the disk has it matters for the whole set alone, whose last file is waited for.
    write_image(_picture(folder, number), picture, quality=JPEG_QUALITY, durable=False)
    return difficulty, shapes


def _picture(folder: Path, number: int) -> Path:
    return folder / "images" / f"{number:06d}.jpg"


def _described(shape: Shape) -> dict:
    x0, y0, x1, y1 = shape.box.round(2).tolist()
    return {
        "category_id": CLASSES.index(shape.name) + 1,
        "bbox": [x0, y0, round(x1 - x0, 2), round(y1 - y0, 2)],
        "area": round(shape.area, 2),
        "segmentation": [shape.polygon.round(2).ravel().tolist()],
        "iscrowd": 0,
    }
