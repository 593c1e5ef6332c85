# SPDX-License-Identifier: Apache-2.0
"""Images and boxes of data sets that are registered by code, which are hardly what was meant."""

import logging
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from detectron2.data import DatasetCatalog
from detectron2.structures import BoxMode

from dynamicdet_d2.data.check.agreement import LEAST_SIDE, extent_elsewhere
from dynamicdet_d2.data.check.findings import DatasetReport
from dynamicdet_d2.data.check.records import Needs, refuse_malformed, unmeasurable
from dynamicdet_d2.data.register import registered_classes

logger = logging.getLogger(__name__)

_MODES = {BoxMode.XYXY_ABS: "XYXY_ABS", BoxMode.XYWH_ABS: "XYWH_ABS"}


class _Box(NamedTuple):
    said: str
    x: float
    y: float
    width: float
    height: float
    inside: bool
    reaches_out: bool
    segmentation: Any
    size: tuple[Any, Any]


def report_of(name: str, later: Needs | None) -> list[DatasetReport]:
    """The images of a data set that is registered by code, and what their metadata says; nothing
    where it cannot be read, which whoever loads it says. An evaluation of one's own may take what
    COCO's refuses ``later``, so that this is a warning where a training comes first.
    """
    try:
        images = DatasetCatalog.get(name)
        files = [os.path.split(os.path.abspath(image["file_name"])) for image in images]
        objects = sum(len(image.get("annotations") or ()) for image in images)
    except Exception:  # a user's own function, or what it gives
        return []
    if not files:
        if later is not None:
            logger.warning("Data set '%s' has no image: its evaluation will be refused.", name)
        return []
    real = {folder: os.path.realpath(folder) for folder in dict(files)}
    report = DatasetReport(
        name,
        "by code",
        class_names=registered_classes(name),
        files={os.path.join(real[folder], file) for folder, file in files},
        num_images=len(files),
        num_annotations=objects,
    )
    if later is not None:
        try:
            refuse_malformed([name], images, later)
            fault = unmeasurable(name, images)
            said = None if fault is None else f"{fault}."
        except ValueError as error:
            said = str(error).removeprefix(f"Data sets {[name]}: ")
        if said is not None:
            report.warnings.add("malformed images", f"COCO's evaluation will refuse it: {said}")
    return [report]


def warn_of_boxes(
    names: Sequence[str],
    images: Sequence[Mapping[str, Any]],
    *,
    outlines: bool = False,
    measured: bool = False,
) -> None:
    """Say which boxes are hardly what was meant. Of those without area inside their images
    Detectron2 learns nothing, and measures them as objects that were missed.

    Args:
        names: of the data sets.
        images: of theirs, in Detectron2's format; what is malformed is left to whoever loads it.
        outlines: whether masks are learnt, as such or as what the boxes of mosaics follow from.
        measured: figures are computed by the boxes, and nothing is learnt.
    """
    lost = "count as objects that nothing finds" if measured else "are not trained on"
    boxes = list(_boxes(images))
    flat, solid = list[_Box](), list[_Box]()
    for box in boxes:
        (solid if min(box.width, box.height) > LEAST_SIDE else flat).append(box)
    if flat:
        logger.warning(
            "Data sets %s: %d of %d boxes have no area by their bbox_mode, and %s (the first: %s).",
            *(list(names), len(flat), len(boxes), lost, flat[0].said),
        )
    outside = [box for box in solid if not box.inside]
    if outside:
        logger.warning(
            "Data sets %s: %d of %d boxes lie outside of their images, and %s (the first: %s).",
            *(list(names), len(outside), len(boxes), lost, outside[0].said),
        )
    reaching = [box for box in solid if box.inside and box.reaches_out]
    if reaching:
        logger.warning(
            "Data sets %s: %d of %d boxes reach out of their images (the first: %s).",
            *(list(names), len(reaching), len(boxes), reaching[0].said),
        )
    if solid and all(box.width <= 1 and box.height <= 1 for box in solid):
        logger.warning(
            "Data sets %s: no box is larger than 1 (the first: %s): they look like fractions, and "
            "are taken for pixels.",
            *(list(names), solid[0].said),
        )
    elsewhere = [box for box in solid if outlines and _has_mask_elsewhere(box)]
    if elsewhere:
        logger.warning(
            "Data sets %s: %d of %d boxes have a mask elsewhere, which is learnt (the first: %s).",
            *(list(names), len(elsewhere), len(boxes), elsewhere[0].said),
        )


def _has_mask_elsewhere(box: _Box) -> bool:
    mask = box.segmentation
    if isinstance(mask, dict) and isinstance(mask.get("counts"), bytes):  # as pycocotools gives it
        mask = {**mask, "counts": mask["counts"].decode("latin-1")}
    if not isinstance(mask, list | dict):
        return False
    try:
        sides = (box.x, box.y, box.width, box.height)
        return extent_elsewhere(mask, sides, box.size) is not None
    except (TypeError, ValueError):  # malformed
        return False


def warn_of_shared_files(names: Sequence[str], images: Sequence[Mapping[str, Any]]) -> None:
    """Say which images have several entries, as where each row of a table, of one object, became
    one: the other objects of the image are learnt as background then.

    Args:
        names, images: as for ``warn_of_boxes``.
    """
    uses = Counter(str(image["file_name"]) for image in images if "file_name" in image)
    shared = [(file, count) for file, count in uses.items() if count > 1]
    if shared:
        logger.warning(
            "Data sets %s: %d image file(s) have several entries (%s has %d): the objects of an "
            "image belong into one.",
            *(list(names), len(shared), *shared[0]),
        )


def _boxes(images: Sequence[Mapping[str, Any]]) -> Iterator[_Box]:
    for image in images:
        for annotation in image.get("annotations") or ():
            mode = annotation.get("bbox_mode")
            if annotation.get("iscrowd"):  # which is not trained on
                continue
            try:
                x, y, right, bottom = map(float, annotation["bbox"])
            except (LookupError, OverflowError, TypeError, ValueError):
                continue
            if mode == BoxMode.XYXY_ABS:
                right, bottom = right - x, bottom - y
            elif mode != BoxMode.XYWH_ABS:
                continue
            numbers = ", ".join(f"{float(number):g}" for number in annotation["bbox"])
            said = f"[{numbers}] as {_MODES[mode]} of {image.get('file_name')}"
            inside, out = _place(image, x, y, right, bottom)
            size = image.get("width"), image.get("height")
            yield _Box(said, x, y, right, bottom, inside, out, annotation.get("segmentation"), size)


def _place(
    image: Mapping[str, Any], x: float, y: float, width: float, height: float
) -> tuple[bool, bool]:
    """Whether a part of a box is in its image, and whether more than a pixel is not; as one that
    lies in it where the image does not say its size."""
    right, bottom = image.get("width"), image.get("height")
    if not (isinstance(right, int | float) and isinstance(bottom, int | float)):
        return True, False
    inside = x < right and y < bottom and x + width > 0 and y + height > 0
    return inside, min(x, y, right - x - width, bottom - y - height) < -1
