# SPDX-License-Identifier: Apache-2.0
"""Pictures of a report: easiest and hardest images, and those that the router sent the wrong way.

Drawn from what the evaluator has kept; each chosen image is read once more from its file.
"""

import io
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.data.detection_utils import read_image
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from dynamicdet_d2.evaluation.exit_records import EXITS, ExitRecord
from dynamicdet_d2.evaluation.report.tables import write_whole

logger = logging.getLogger(__name__)

# Detections below this are not drawn.
MIN_SCORE = 0.5
# Files of the pictures; a report shows them in this order.
GALLERY, MISROUTED = "gallery.jpg", "misrouted.jpg"
_EXIT_OF = {"easy": 0, "hard": 1}
# Of classes, in turns; bright on photographs, and told apart by colour-blind readers.
_COLORS = ("#ffd400", "#00b7ff", "#ff6db6", "#35e07a", "#ff8c1a", "#b497ff", "#f2f2f2")

Route = Mapping[str, Any]
# Title and the exit whose detections are drawn, for each image of a row.
Row = tuple[str, list[tuple[Route, int]]]


def write_gallery(
    folder: str | os.PathLike,
    routes: Sequence[Route],
    records: Sequence[ExitRecord],
    class_names: Sequence[str],
    count: int,
) -> None:
    """Write gallery.jpg and misrouted.jpg; a picture without an image to show is taken away.

    Args:
        routes: lines of routes.jsonl.
        records: of the same images.
        class_names: by class as the model counts it; may be shorter or empty.
        count: images in a row; 0: no pictures.
    """
    by_id = {record.image_id: record for record in records}
    readable = [r for r in routes if count and os.path.isfile(r["file_name"])]
    if count and not readable:
        logger.warning("No image of the data set can be read from a file: there are no pictures.")
    for name, rows in ((GALLERY, extremes(readable, count)), (MISROUTED, wrong(readable, count))):
        path = Path(folder) / name
        path.unlink(missing_ok=True)
        if any(images for _, images in rows):
            write_whole(path, _draw(rows, by_id, class_names))


def extremes(routes: Sequence[Route], count: int) -> list[Row]:
    """The easiest and the hardest images, each with the detections of the exit that it took."""
    ordered = sorted(routes, key=lambda route: route["difficulty"])
    # No image in both rows.
    count = min(count, (len(ordered) + 1) // 2)
    chosen = {
        "Easiest images": ordered[:count],
        "Hardest images": ordered[max(count, len(ordered) - count) :][::-1],
    }
    return [
        (title, [(route, _EXIT_OF[route["route"]]) for route in images])
        for title, images in chosen.items()
    ]


def wrong(routes: Sequence[Route], count: int) -> list[Row]:
    """Images whose other exit would have been better for the whole set's AP, by how much.

    Two rows for each direction: what the exit taken detected, and the other.
    """
    rows = []
    for name, sign, other in (("easy", 1, "hard"), ("hard", -1, "easy")):
        found = [r for r in routes if r["route"] == name and sign * r["gain"] > 0]
        worst = sorted(found, key=lambda route: -sign * route["gain"])[:count]
        taken, better = _EXIT_OF[name], _EXIT_OF[other]
        rows.append((f"Wrongly {name}: {EXITS[taken]} was taken", [(r, taken) for r in worst]))
        rows.append((f"{EXITS[better]} on the same images", [(r, better) for r in worst]))
    return rows


def _draw(
    rows: Iterable[Row], by_id: Mapping[Any, ExitRecord], class_names: Sequence[str]
) -> bytes:
    rows = [row for row in rows if row[1]]
    columns = max(len(images) for _, images in rows)
    # A row is as high as its images need at the width of a column.
    pixels = {r["image_id"]: _read(r["file_name"]) for _, images in rows for r, _ in images}
    shape = np.median([p.shape[0] / p.shape[1] for p in pixels.values()])
    size = (3.2 * columns, len(rows) * (3.2 * float(shape) + 0.62))
    figure = Figure(figsize=size, dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    for part, (title, images) in zip(
        np.atleast_1d(figure.subfigures(len(rows), 1)), rows, strict=True
    ):
        part.suptitle(title, fontsize=12, fontweight="bold", x=0.01, ha="left")
        axes = part.subplots(1, columns, squeeze=False)[0]
        for axis in axes:
            axis.set_axis_off()
        for axis, (route, taken) in zip(axes, images, strict=False):
            axis.imshow(pixels[route["image_id"]])
            axis.set_title(_caption(route), fontsize=9)
            _draw_boxes(axis, by_id[route["image_id"]].results[taken], class_names)
    content = io.BytesIO()
    figure.savefig(content, format="jpg", pil_kwargs={"quality": 88})
    return content.getvalue()


def _read(path: str) -> np.ndarray:
    """(H, W, 3) uint8, turned as its EXIF data say."""
    return np.asarray(read_image(path, "RGB"))


def _caption(route: Route) -> str:
    return f"difficulty {route['difficulty']:.3f}, {route['route']}, gain {route['gain']:+.3f}"


def _draw_boxes(axis: Axes, results: Sequence[dict], class_names: Sequence[str]) -> None:
    """Worst first, so that the best lie on top."""
    shown = [result for result in results if result["score"] >= MIN_SCORE]
    for result in sorted(shown, key=lambda r: r["score"]):
        x, y, width, height = result["bbox"]
        label = result["category_id"]
        color = _COLORS[label % len(_COLORS)]
        box = Rectangle((x, y), width, height, fill=False, edgecolor=color, linewidth=1.4)
        # Seen on any ground.
        box.set_path_effects([withStroke(linewidth=2.6, foreground="black", alpha=0.6)])
        axis.add_patch(box)
        name = class_names[label] if label < len(class_names) else str(label)
        text = axis.annotate(
            f"{name} {100 * result['score']:.0f}", (x, y), xytext=(1, 1), color=color,
            textcoords="offset points", fontsize=6.5, fontweight="bold", annotation_clip=True,
        )  # fmt: skip
        text.set_path_effects([withStroke(linewidth=1.8, foreground="black")])
