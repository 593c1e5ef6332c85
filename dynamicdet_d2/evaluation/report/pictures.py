# SPDX-License-Identifier: Apache-2.0
"""Pictures of a report: easiest and hardest images, and those that the router sent the wrong way.

Drawn from what the evaluator has kept, beside the ground truth; each chosen image is read once
more from its file.
"""

import io
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.data.detection_utils import read_image
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from dynamicdet_d2.evaluation.exit_records import EXITS
from dynamicdet_d2.evaluation.report.drawing import TALLEST, draw
from dynamicdet_d2.evaluation.tradeoff.routes import ImageRoute
from dynamicdet_d2.utils.charts import CARD, INK, PAGE_COLORS, chart_style
from dynamicdet_d2.utils.files import whole_file
from dynamicdet_d2.utils.spread import spread
from dynamicdet_d2.utils.words import in_words, shown

logger = logging.getLogger(__name__)

# Files of the pictures; a report shows them in this order.
GALLERY, MISROUTED = "gallery.jpg", "misrouted.jpg"
# What is drawn in an image that is no exit's: the objects that are there.
TRUTH = len(EXITS)
_EXIT_OF = {"easy": 0, "hard": 1}
# Inches that an image is wide in a picture.
_INCHES = 3.2
# Photographs lie well on a dark ground, on a light page and on a dark one.
_GROUND, _INK = PAGE_COLORS[CARD].dark, PAGE_COLORS[INK].dark


@dataclass(frozen=True)
class Row:
    """Images side by side.

    Attributes:
        title: what they have in common.
        images: at most as many as the row is long.
        drawn: what is drawn in each of them: 0 or 1, that exit's detections; 2, the ground truth.
    """

    title: str
    images: tuple[ImageRoute, ...]
    drawn: tuple[int, ...]


@dataclass(frozen=True)
class Album:
    """What pictures are drawn from.

    Attributes:
        results: image id -> both exits' detections, as in ``ExitRecord``.
        objects: from an image id to what is there, as ``GroundTruth.objects``.
        class_names: by class as the model counts it; may be shorter or empty.
        masks: whether the objects' masks are drawn, as of a model that has masks itself.
        count: images per row; 0: no pictures.
        min_score: from which a detection is drawn; the one that counts in what is said below it.
    """

    results: Mapping[Any, tuple[list[dict], list[dict]]]
    objects: Callable[[Any], Sequence[dict]]
    class_names: Sequence[str]
    masks: bool
    count: int
    min_score: float = 0.5

    def write(self, folder: str | os.PathLike, routes: Sequence[ImageRoute]) -> None:
        """Write gallery.jpg and misrouted.jpg; one without an image to show is taken away."""
        readable = self._readable(routes)
        if self.count and not readable:
            logger.warning("No image of the data set can be read from a file: no pictures.")
        rows = {
            GALLERY: extremes(readable, self.count),
            MISROUTED: wrong(readable, self.count),
        }
        for name, of_picture in rows.items():
            path = Path(folder) / name
            path.unlink(missing_ok=True)
            content = self._jpeg(of_picture) if of_picture else None
            if content is not None:
                with whole_file(path) as file:
                    file.write(content)

    def both_exits(self, routes: Sequence[ImageRoute]) -> NDArray[np.uint8] | None:
        """The same images, spread over the data set, as either exit sees them and as they are.

        Returns:
            (H, W, 3) RGB; None without an image to show, or where one cannot be drawn.
        """
        images = tuple(spread(self._readable(routes), self.count))
        if not images:
            return None
        rows = [_row(name, images, place) for place, name in enumerate(EXITS)]
        rows.append(_row("Ground truth", images, TRUTH))
        content = self._jpeg(rows)
        if content is None:
            return None
        with Image.open(io.BytesIO(content)) as picture:
            return np.asarray(picture)

    def _readable(self, routes: Sequence[ImageRoute]) -> list[ImageRoute]:
        return [image for image in routes if self.count and os.path.isfile(image.file_name)]

    def _jpeg(self, rows: Sequence[Row]) -> bytes | None:
        """None where an image cannot be drawn: a mapper of a program's own may read files that are
        no images, objects may lie far outside of theirs, and the evaluation's figures do not need
        pictures."""
        try:
            return self._drawn_rows(rows)
        except (AssertionError, OSError, RuntimeError, ValueError) as error:
            names = ", ".join(sorted({shown(own.file_name) for row in rows for own in row.images}))
            logger.warning("No picture of %s: %s.", names, in_words(error))
            return None

    def _drawn_rows(self, rows: Sequence[Row]) -> bytes:
        columns = max(len(row.images) for row in rows)
        with chart_style():
            pixels = [list(map(self._drawn, row.images, row.drawn)) for row in rows]
            captions = [list(map(_caption, row.images, row.drawn)) for row in rows]
            # A row is as high as its images need at the width of a column.
            shapes = [p.shape[0] / p.shape[1] for of_row in pixels for p in of_row]
            shape = min(float(np.median(shapes)), TALLEST)
            lines = [max(caption.count("\n") for caption in of_row) for of_row in captions]
            heights = [_INCHES * shape + 0.66 + 0.16 * more for more in lines]
            size = (_INCHES * columns, sum(heights))
            figure = Figure(figsize=size, dpi=110, layout="constrained", facecolor=_GROUND)
            parts = figure.subfigures(len(rows), 1, squeeze=False, height_ratios=heights)[:, 0]
            for part, row, of_row, said in zip(parts, rows, pixels, captions, strict=True):
                part.set_facecolor(_GROUND)
                part.suptitle(row.title, size=12, weight="bold", x=0.01, ha="left", color=_INK)
                axes = part.subplots(1, columns, squeeze=False)[0]
                for axis in axes:
                    axis.set_axis_off()
                for axis, drawn, caption in zip(axes, of_row, said, strict=False):
                    axis.imshow(drawn)
                    axis.set_title(caption, fontsize=9, color=_INK)
            content = io.BytesIO()
            figure.savefig(content, format="jpg", pil_kwargs={"quality": 88})
        return content.getvalue()

    def _drawn(self, image: ImageRoute, drawn: int) -> NDArray[np.uint8]:
        found = self._truth(image) if drawn == TRUTH else self._detected(image, drawn)
        return draw(read_image(image.file_name, "RGB"), found, self.class_names)

    def _detected(self, image: ImageRoute, place: int) -> Sequence[dict]:
        results = self.results[image.image_id][place]
        return [item for item in results if item["score"] >= self.min_score]

    def _truth(self, image: ImageRoute) -> Sequence[dict]:
        objects = self.objects(image.image_id)
        return objects if self.masks else [{**item, "segmentation": None} for item in objects]


def extremes(routes: Sequence[ImageRoute], count: int) -> list[Row]:
    """The easiest and the hardest images: as the exit that they took sees them, and as they are."""
    ordered = sorted(routes, key=lambda image: image.difficulty)
    # No image in both rows.
    count = min(count, (len(ordered) + 1) // 2)
    chosen = {
        "Easiest images": tuple(ordered[:count]),
        "Hardest images": tuple(ordered[max(count, len(ordered) - count) :][::-1]),
    }
    rows = []
    for title, images in chosen.items():
        if images:
            rows.append(Row(title, images, tuple(_EXIT_OF[image.route] for image in images)))
            rows.append(_row("Ground truth", images, TRUTH))
    return rows


def wrong(routes: Sequence[ImageRoute], count: int) -> list[Row]:
    """Images whose other exit would have been better for the whole set's AP, by how much.

    Three rows for each direction: what the exit taken detected, the other, and the ground truth.
    """
    rows = []
    for name, other in (("easy", "hard"), ("hard", "easy")):
        found = [image for image in routes if image.route == name and image.misrouted]
        worst = tuple(sorted(found, key=lambda image: -abs(image.gain))[:count])
        taken, better = _EXIT_OF[name], _EXIT_OF[other]
        if worst:
            rows.append(_row(f"Wrongly {name}: {EXITS[taken]} was taken", worst, taken))
            rows.append(_row(f"{EXITS[better]} on the same images", worst, better))
            rows.append(_row("Ground truth", worst, TRUTH))
    return rows


def _row(title: str, images: tuple[ImageRoute, ...], drawn: int) -> Row:
    return Row(title, images, (drawn,) * len(images))


def _caption(image: ImageRoute, drawn: int) -> str:
    """What the exit found; of the exit taken also difficulty and gain."""
    counts = image.counts
    said = []
    if drawn == _EXIT_OF[image.route]:
        said.append(f"difficulty {image.difficulty:.3f}, {image.route}, gain {image.gain:+.3f}")
    if counts is not None and drawn == TRUTH:
        said.append(f"{counts.objects} object{'s' * (counts.objects != 1)}")
    elif counts is not None:
        found, false = counts.found[drawn], counts.false[drawn]
        said.append(f"found {found} of {counts.objects}, {false} false")
    return "\n".join(said)
