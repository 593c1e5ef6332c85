# SPDX-License-Identifier: Apache-2.0
"""A data set of COCO's kind and the results of two exits on it, drawn without any image."""

import contextlib
import io

import numpy as np
from pycocotools.coco import COCO

IMAGE_SIZE = 640


def draw_data(
    num_images: int, num_classes: int, detections: int, seed: int
) -> tuple[COCO, tuple[list[dict], list[dict]], np.ndarray]:
    """Draw ground truth, the results of both exits, and each image's difficulty.

    Args:
        detections: results of each exit in every image.

    Returns:
        the data set, the COCO results of detector1 and detector2, and the difficulties
        (num_images,) in (0, 1), in the order of the image ids 1..num_images.
    """
    rng = np.random.default_rng(seed)
    difficulty = rng.random(num_images)
    image = np.repeat(np.arange(num_images), rng.poisson(7, num_images))
    # A few classes are far more frequent than the others, as in COCO.
    popularity = 1 / np.arange(1, num_classes + 1) ** 0.8
    label = rng.choice(num_classes, len(image), p=popularity / popularity.sum())
    boxes = _draw_boxes(rng, len(image))
    crowd = rng.random(len(image)) < 0.01
    annotations = [
        {"id": n + 1, "image_id": int(i) + 1, "category_id": int(k) + 1, "bbox": b,
         "area": b[2] * b[3] * 0.7, "iscrowd": int(c)}
        for n, (i, k, b, c) in enumerate(zip(image, label, boxes.tolist(), crowd, strict=False))
    ]  # fmt: skip
    data = COCO()
    data.dataset = {
        "images": [{"id": i + 1} for i in range(num_images)],
        "annotations": annotations,
        "categories": [{"id": k + 1, "name": str(k + 1)} for k in range(num_classes)],
    }
    with silence():
        data.createIndex()
    objects = (image, label, boxes)
    exits = [
        _draw_results(
            rng, objects, difficulty[image] * weakness, num_images, num_classes, detections
        )
        for weakness in (1.0, 0.7)
    ]
    return data, (exits[0], exits[1]), difficulty


def _draw_boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    """Boxes (count, 4) as x, y, width, height, of a log-normal size (median 60 pixels)."""
    size = np.exp(rng.normal(np.log(60), 0.9, (count, 2))).clip(4, IMAGE_SIZE)
    corner = rng.random((count, 2)) * (IMAGE_SIZE - size)
    return np.concatenate([corner, size], axis=1).round(2)


def _draw_results(
    rng: np.random.Generator,
    objects: tuple[np.ndarray, np.ndarray, np.ndarray],
    weakness: np.ndarray,
    num_images: int,
    num_classes: int,
    detections: int,
) -> list[dict]:
    """Results of one exit: up to three per object found, and false alarms to fill the image.

    Args:
        objects: image (G,), class (G,) and box (G, 4) of every object.
        weakness: (G,) in [0, 1]; the larger, the rarer, lower and less exact the results.
    """
    image, label, boxes = objects
    found = np.repeat(np.arange(len(image)), rng.binomial(3, 0.95 - 0.5 * weakness))
    noise = rng.normal(0, 1, (len(found), 4)) * (0.04 + 0.1 * weakness[found])[:, None]
    near = boxes[found] + noise * np.tile(boxes[found][:, 2:], 2)
    near[:, 2:] = near[:, 2:].clip(2)
    quality = 1 - 2 * np.abs(noise).mean(axis=1) - 0.3 * weakness[found]
    near_score = (quality + rng.normal(0, 0.15, len(found))).clip(0.01, 0.999)
    missing = (detections - np.bincount(image[found], minlength=num_images)).clip(0)
    alarm_image = np.repeat(np.arange(num_images), missing)
    alarm_score = rng.beta(1, 8, len(alarm_image))
    columns = (
        np.concatenate([image[found], alarm_image]) + 1,
        np.concatenate([label[found], rng.integers(0, num_classes, len(alarm_image))]) + 1,
        np.concatenate([near, _draw_boxes(rng, len(alarm_image))]).round(2),
        np.concatenate([near_score, alarm_score]).round(4),
    )
    order = np.argsort(columns[0], kind="stable")
    keys = ("image_id", "category_id", "bbox", "score")
    rows = zip(*(column[order].tolist() for column in columns), strict=True)
    return [dict(zip(keys, row, strict=True)) for row in rows]


def silence() -> contextlib.redirect_stdout:
    """pycocotools prints what it does."""
    return contextlib.redirect_stdout(io.StringIO())
