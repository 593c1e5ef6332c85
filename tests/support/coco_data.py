# SPDX-License-Identifier: Apache-2.0
"""COCO data sets and results made in memory, for the tests of the sweep."""

import contextlib
import io

from pycocotools.coco import COCO

# Pixels of every image.
SIDE = 120
SQUARE = [10.0, 10.0, 10.0, 10.0]
FAR = [60.0, 60.0, 10.0, 10.0]


def data_set(images: list[int], annotations: list[dict], categories: list[int]) -> COCO:
    """A COCO data set; areas are those of the boxes where not given."""
    data = COCO()
    data.dataset = {
        "images": [{"id": i, "width": SIDE, "height": SIDE} for i in images],
        "annotations": [
            {"id": n, "iscrowd": 0, "area": a["bbox"][2] * a["bbox"][3], **a}
            for n, a in enumerate(annotations, start=1)
        ],
        "categories": [{"id": c, "name": str(c)} for c in categories],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        data.createIndex()
    return data


def target(image: int, box: list[float], **more: object) -> dict:
    return {"image_id": image, "category_id": 1, "bbox": box, **more}


def result(image: int, box: list[float], score: float, category: int = 1) -> dict:
    return {"image_id": image, "category_id": category, "bbox": box, "score": score}
