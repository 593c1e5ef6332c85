# SPDX-License-Identifier: Apache-2.0
"""Small COCO data sets on disk for the tests of the data package."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from detectron2.config import CfgNode, get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog

from dynamicdet_d2.config import add_dynamicdet_config

CATEGORIES = [{"id": 1, "name": "disc"}, {"id": 2, "name": "ring"}]


def image_entry(id_: int, width: int = 40, height: int = 30) -> dict[str, Any]:
    return {"id": id_, "file_name": f"{id_:03d}.jpg", "width": width, "height": height}


def object_entry(id_: int, image_id: int, **changes: Any) -> dict[str, Any]:
    """A box of 10x8 pixels with its rectangle as polygon."""
    entry = {
        "id": id_,
        "image_id": image_id,
        "category_id": 1,
        "bbox": [5, 6, 10, 8],
        "area": 80,
        "iscrowd": 0,
        "segmentation": [[5, 6, 15, 6, 15, 14, 5, 14]],
    }
    return {**entry, **changes}


def write_image(path: Path, width: int, height: int) -> None:
    """Noise that depends on the file's name only."""
    pixels = np.random.RandomState(int(path.stem)).randint(0, 255, (height, width, 3))
    assert cv2.imwrite(str(path), pixels.astype(np.uint8))


def write_coco(
    folder: Path,
    images: list[dict[str, Any]],
    annotations: list[dict[str, Any]],
    *,
    categories: Any = CATEGORIES,
    draw: bool = True,
) -> tuple[str, str]:
    """Writes ``set.json`` and ``images/``; returns both paths."""
    root = folder / "images"
    root.mkdir(parents=True, exist_ok=True)
    for image in images if draw else ():
        write_image(root / image["file_name"], image["width"], image["height"])
    content = {"images": images, "annotations": annotations, "categories": categories}
    json_file = folder / "set.json"
    json_file.write_text(json.dumps(content))
    return str(json_file), str(root)


def toy_cfg(names: tuple[str, ...] = ("toy",)) -> CfgNode:
    """A config for images of about 40 pixels, loaded in the main process."""
    cfg = get_cfg()
    add_dynamicdet_config(cfg)
    cfg.DATASETS.TRAIN = cfg.DATASETS.TEST = names
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = 2
    cfg.INPUT.MIN_SIZE_TRAIN = (24, 32, 40)
    cfg.INPUT.MIN_SIZE_TEST = 32
    cfg.DATALOADER.NUM_WORKERS = 0
    cfg.SOLVER.IMS_PER_BATCH = 2
    return cfg


@contextmanager
def clean_catalogs() -> Iterator[None]:
    """Forgets the data sets registered inside."""
    before = set(DatasetCatalog), set(MetadataCatalog)
    try:
        yield
    finally:
        for catalog, known in zip((DatasetCatalog, MetadataCatalog), before, strict=True):
            for name in set(catalog) - known:
                catalog.remove(name)
