# SPDX-License-Identifier: Apache-2.0
"""An image with boxes, masks and class names: of what was detected, or of what is there."""

from collections.abc import Sequence

import numpy as np
from detectron2.utils.visualizer import Visualizer
from numpy.typing import NDArray

from dynamicdet_d2.utils.charts import chart_style
from dynamicdet_d2.utils.class_labels import color_of, name_of

# Pixels that an image is wide in a picture, whatever the file has, unless it is this many times as
# high: one of a few pixels' width would become one of gigabytes.
WIDTH = 480
TALLEST = 4


def draw(
    pixels: NDArray[np.uint8], found: Sequence[dict], class_names: Sequence[str]
) -> NDArray[np.uint8]:
    """An image with boxes, masks and class names of detections or of objects.

    Args:
        pixels: (H, W, 3) RGB.
        found: as in ``ExitRecord.results``; objects are without a score. Masks are drawn where all
            have one.
        class_names: by class as the model counts it; the class's number where there is none.

    Returns:
        (H', W', 3) RGB, 480 pixels wide, or narrower and 1920 high; no side has less than one.
    """
    with_masks = bool(found) and all(item.get("segmentation") for item in found)
    boxes = np.array([item["bbox"] for item in found], dtype=np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    height, width = pixels.shape[:2]
    scale = max(min(WIDTH / width, max(TALLEST * WIDTH / height, 1 / width)), 1 / height)
    with chart_style():
        visualizer = Visualizer(pixels, scale=scale)
        visualizer.overlay_instances(
            boxes=boxes,
            labels=[_label(item, class_names) for item in found],
            masks=[item["segmentation"] for item in found] if with_masks else None,
            assigned_colors=[[c / 255 for c in color_of(item["category_id"])] for item in found],
            alpha=0.4,
        )
        return visualizer.get_output().get_image()


def _label(item: dict, class_names: Sequence[str]) -> str:
    name = name_of(class_names, item["category_id"])
    return f"{name} {100 * item['score']:.0f}" if "score" in item else name
