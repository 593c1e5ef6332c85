# SPDX-License-Identifier: Apache-2.0
"""Detections drawn into an image: masks, boxes, class names with scores, difficulty and route.

Pillow draws in milliseconds, which a video needs; Detectron2's ``Visualizer``, made for figures,
takes a tenth of a second and more.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

import cv2
import numpy as np
from detectron2.structures import Instances
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from dynamicdet_d2.utils.class_labels import color_of, name_of
from dynamicdet_d2.utils.glyphs import FONT_FILE

ROUTE_COLORS = {"easy": (53, 224, 122), "hard": (255, 140, 26)}
# Labels are legible from about this many pixels on, so small images are drawn larger.
DRAWN_SIDE = 480
# No longer than this though, or a picture of one pixel's height would become one of gigabytes.
LONGEST_DRAWN = 4 * DRAWN_SIDE
MASK_ALPHA = 0.45

Pixels = NDArray[np.uint8]


def drawn(image: Pixels, prediction: dict[str, Any], class_names: Sequence[str]) -> Pixels:
    """The image with what was found in it.

    Args:
        image: (H, W, 3), BGR.
        prediction: ``"instances"`` on the CPU; ``"difficulty"`` and ``"route"`` where there are.
        class_names: by class as the model counts it; its number where there is none.

    Returns:
        (H', W', 3), BGR, both sides even (as videos need them); at least about 480 pixels high and
        wide, or, of a picture longer than four times its other side, with a longer side of 1920.
    """
    instances: Instances = prediction["instances"]
    sides = image.shape[:2]
    scale = max(1.0, min(DRAWN_SIDE / min(sides), LONGEST_DRAWN / max(sides)))
    height, width = (2 * max(1, round(side * scale / 2)) for side in sides)
    pixels = _with_masks(image, instances)
    resized = cv2.resize(pixels, (width, height)) if (height, width) != image.shape[:2] else pixels
    canvas = Image.fromarray(np.ascontiguousarray(resized[:, :, ::-1]))
    pen = ImageDraw.Draw(canvas)
    font = _font(max(12, min(height, width) // 40))
    for box, number, score in zip(*_found(instances), strict=True):
        name = f"{name_of(class_names, number)} {100 * score:.0f}%"
        _box(pen, font, [side * scale for side in box], name, color_of(number))
    if "route" in prediction:
        route = prediction["route"]
        said = f"{route}, difficulty {prediction['difficulty']:.2f}"
        _label(pen, font, 0, 0, said, ROUTE_COLORS[route])
    return np.ascontiguousarray(np.asarray(canvas)[:, :, ::-1])


def _found(instances: Instances) -> tuple[list[list[float]], list[int], list[float]]:
    """Boxes (x0, y0, x1, y1), classes and scores; best last, on top of the others."""
    order = instances.scores.argsort()
    boxes = instances.pred_boxes.tensor[order]
    return boxes.tolist(), instances.pred_classes[order].tolist(), instances.scores[order].tolist()


def _with_masks(image: Pixels, instances: Instances) -> Pixels:
    if not instances.has("pred_masks"):
        return image
    pixels = image.copy()
    classes = instances.pred_classes.tolist()
    for mask, number in zip(instances.pred_masks.numpy(), classes, strict=True):
        color = np.array(color_of(number)[::-1])
        pixels[mask] = (1 - MASK_ALPHA) * pixels[mask] + MASK_ALPHA * color
    return pixels


def _box(
    pen: ImageDraw.ImageDraw,
    font: ImageFont.FreeTypeFont,
    box: Sequence[float],
    name: str,
    color: tuple[int, int, int],
) -> None:
    x0, y0, x1, y1 = box
    pen.rectangle((x0, y0, max(x1, x0), max(y1, y0)), outline=color, width=2)
    above = y0 - 1.3 * font.size
    _label(pen, font, x0, above if above >= 0 else y0, name, color)


def _label(
    pen: ImageDraw.ImageDraw,
    font: ImageFont.FreeTypeFont,
    x: float,
    y: float,
    text: str,
    color: tuple[int, int, int],
) -> None:
    """Dark on a bright ground, so that it can be read on any image."""
    end = x + pen.textlength(text, font=font) + 6
    pen.rectangle((x, y, end, y + 1.3 * font.size), fill=color)
    pen.text((x + 3, y), text, fill=(0, 0, 0), font=font)


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(FONT_FILE, size)
