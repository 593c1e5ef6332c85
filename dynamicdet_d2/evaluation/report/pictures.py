# SPDX-License-Identifier: Apache-2.0
"""Pictures of a report: easiest and hardest images, and those that the router sent the wrong way.

Drawn from what the evaluator has kept; each chosen image is read once more from its file.
"""

import io
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.data.detection_utils import read_image
from detectron2.utils.visualizer import Visualizer
from matplotlib.figure import Figure
from numpy.typing import NDArray

from dynamicdet_d2.evaluation.exit_records import EXITS, ExitRecord
from dynamicdet_d2.evaluation.tradeoff.routes import ImageRoute
from dynamicdet_d2.utils.charts import chart_style
from dynamicdet_d2.utils.files import whole_file

logger = logging.getLogger(__name__)

# Detections below this are not drawn.
MIN_SCORE = 0.5
# Files of the pictures; a report shows them in this order.
GALLERY, MISROUTED = "gallery.jpg", "misrouted.jpg"
_EXIT_OF = {"easy": 0, "hard": 1}
# Of classes, in turns; bright on photographs, and told apart by colour-blind readers.
_COLORS = ("#ffd400", "#00b7ff", "#ff6db6", "#35e07a", "#ff8c1a", "#b497ff", "#f2f2f2")
# Pixels of an image in a picture, whatever the file has; and inches.
_WIDTH, _INCHES = 480, 3.2


@dataclass(frozen=True)
class Row:
    """Images side by side.

    Attributes:
        title: what they have in common.
        images: at most as many as the row is long.
        exit: which exit's detections are drawn in each of them, 0 or 1.
    """

    title: str
    images: tuple[ImageRoute, ...]
    exits: tuple[int, ...]


def write_pictures(
    folder: str | os.PathLike,
    routes: Sequence[ImageRoute],
    records: Sequence[ExitRecord],
    class_names: Sequence[str],
    count: int,
) -> None:
    """Write gallery.jpg and misrouted.jpg; a picture without an image to show is taken away.

    Args:
        records: of the same images as the routes.
        class_names: by class as the model counts it; may be shorter or empty.
        count: images per row; 0: no pictures.
    """
    by_id = {record.image_id: record for record in records}
    readable = [image for image in routes if count and os.path.isfile(image.file_name)]
    if count and not readable:
        logger.warning("No image of the data set can be read from a file: there are no pictures.")
    for name, rows in ((GALLERY, extremes(readable, count)), (MISROUTED, wrong(readable, count))):
        path = Path(folder) / name
        path.unlink(missing_ok=True)
        if rows:
            with whole_file(path) as file:
                file.write(_picture(rows, by_id, class_names))


def extremes(routes: Sequence[ImageRoute], count: int) -> list[Row]:
    """The easiest and the hardest images, each with the detections of the exit that it took."""
    ordered = sorted(routes, key=lambda image: image.difficulty)
    # No image in both rows.
    count = min(count, (len(ordered) + 1) // 2)
    chosen = {
        "Easiest images": ordered[:count],
        "Hardest images": ordered[max(count, len(ordered) - count) :][::-1],
    }
    return [
        Row(title, tuple(images), tuple(_EXIT_OF[image.route] for image in images))
        for title, images in chosen.items()
        if images
    ]


def wrong(routes: Sequence[ImageRoute], count: int) -> list[Row]:
    """Images whose other exit would have been better for the whole set's AP, by how much.

    Two rows for each direction: what the exit taken detected, and the other.
    """
    rows = []
    for name, sign, other in (("easy", 1, "hard"), ("hard", -1, "easy")):
        found = [image for image in routes if image.route == name and sign * image.gain > 0]
        worst = tuple(sorted(found, key=lambda image: -sign * image.gain)[:count])
        taken, better = _EXIT_OF[name], _EXIT_OF[other]
        if worst:
            title = f"Wrongly {name}: {EXITS[taken]} was taken"
            rows.append(Row(title, worst, (taken,) * len(worst)))
            title = f"{EXITS[better]} on the same images"
            rows.append(Row(title, worst, (better,) * len(worst)))
    return rows


def _picture(
    rows: Sequence[Row], by_id: Mapping[Any, ExitRecord], class_names: Sequence[str]
) -> bytes:
    columns = max(len(row.images) for row in rows)
    with chart_style():
        drawn = [
            [
                draw(read_image(image.file_name, "RGB"), record.results[exit_], class_names)
                for image, exit_ in zip(row.images, row.exits, strict=True)
                for record in (by_id[image.image_id],)
            ]
            for row in rows
        ]
        # A row is as high as its images need at the width of a column.
        shape = np.median([p.shape[0] / p.shape[1] for pixels in drawn for p in pixels])
        size = (_INCHES * columns, len(rows) * (_INCHES * float(shape) + 0.62))
        figure = Figure(figsize=size, dpi=110, layout="constrained")
        parts = figure.subfigures(len(rows), 1, squeeze=False)[:, 0]
        for part, row, pixels in zip(parts, rows, drawn, strict=True):
            part.suptitle(row.title, fontsize=12, fontweight="bold", x=0.01, ha="left")
            axes = part.subplots(1, columns, squeeze=False)[0]
            for axis in axes:
                axis.set_axis_off()
            for axis, image, shown in zip(axes, row.images, pixels, strict=False):
                axis.imshow(shown)
                axis.set_title(_caption(image), fontsize=9)
        content = io.BytesIO()
        figure.savefig(content, format="jpg", pil_kwargs={"quality": 88})
    return content.getvalue()


def _caption(image: ImageRoute) -> str:
    return f"difficulty {image.difficulty:.3f}, {image.route}, gain {image.gain:+.3f}"


def draw(
    pixels: NDArray[np.uint8], results: Sequence[dict], class_names: Sequence[str]
) -> NDArray[np.uint8]:
    """An image with boxes, masks and class names of its detections from score 0.5 on.

    Args:
        pixels: (H, W, 3) RGB.
        results: as in ``ExitRecord``.
        class_names: by class as the model counts it; the class's number where there is none.

    Returns:
        (H', W', 3) RGB, 480 pixels wide.
    """
    shown = [result for result in results if result["score"] >= MIN_SCORE]
    with_masks = bool(shown) and all("segmentation" in result for result in shown)
    boxes = np.array([result["bbox"] for result in shown], dtype=np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    with chart_style():
        visualizer = Visualizer(pixels, scale=_WIDTH / pixels.shape[1])
        visualizer.overlay_instances(
            boxes=boxes,
            labels=[_label(result, class_names) for result in shown],
            masks=[result["segmentation"] for result in shown] if with_masks else None,
            assigned_colors=[_COLORS[result["category_id"] % len(_COLORS)] for result in shown],
            alpha=0.4,
        )
        return visualizer.get_output().get_image()


def _label(result: dict, class_names: Sequence[str]) -> str:
    number = result["category_id"]
    name = class_names[number] if number < len(class_names) else str(number)
    return f"{name} {100 * result['score']:.0f}"
