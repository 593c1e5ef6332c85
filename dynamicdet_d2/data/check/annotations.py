# SPDX-License-Identifier: Apache-2.0
"""Checks the "annotations" of a COCO json: ids, boxes and segmentations."""

import math
from collections import Counter
from typing import Any

from dynamicdet_d2.data.check.agreement import LEAST_SIDE, Agreement
from dynamicdet_d2.data.check.findings import DatasetReport, Findings
from dynamicdet_d2.data.check.images import Sizes
from dynamicdet_d2.data.check.keypoints import keypoints_fault
from dynamicdet_d2.data.check.segmentations import (
    are_polygons,
    are_run_lengths,
    farthest,
    has_area,
    what_is_lost,
)
from dynamicdet_d2.data.register import LARGEST_ID
from dynamicdet_d2.utils.plain import is_finite
from dynamicdet_d2.utils.words import shown

# Detectron2 clips boxes and leaves objects without a usable box or polygon out. Up to this share of
# the objects that is harmless (COCO's own training set has two boxes without height); more of them
# mean that the json is not what its maker thinks.
HARMLESS_SHARE = 1e-3

# Below this many objects, boxes that happen to fit as corners prove nothing.
_MIN_OBJECTS_FOR_CORNERS = 20


class AnnotationCheck:
    """One walk over the annotations; state is what has to be known across them.

    Boxes are COCO's ``[x, y, width, height]`` in absolute pixels.

    Args:
        sizes: image id -> (width, height), as ``check_images`` returns it.
        category_ids: the ids that the json defines.
        training, testing: losses are computed of it, as where it is learnt; figures are.
        mask_format: ``INPUT.MASK_FORMAT`` ("polygon" or "bitmask") where masks are trained, else
            None.
        num_keypoints: of an object, where keypoints are trained, else 0.
    """

    def __init__(
        self,
        report: DatasetReport,
        sizes: Sizes,
        category_ids: set[int],
        *,
        training: bool,
        testing: bool,
        mask_format: str | None,
        num_keypoints: int,
    ) -> None:
        self._report = report
        self._errors = report.errors
        self._unusable = Findings()
        self._sizes = sizes
        self._category_ids = category_ids
        self._training = training
        self._testing = testing
        self._mask_format = mask_format
        self._num_keypoints = num_keypoints
        self._needed = ("area", "iscrowd", "num_keypoints")[: 3 if num_keypoints else 2]
        self._ids: set[int] = set()
        self._objects_of: Counter[int | str] = Counter()
        self._objects_of_category: Counter[int] = Counter()
        self._crowds = 0
        self._reaching_out = 0
        self._fit_as_corners = 0
        self._fit_as_fractions = 0
        self._boxes: set[int] = set()  # hashes: those of COCO's own would take 200 MB
        self._repeated = 0
        self._agreement = Agreement(areas=testing)

    def run(self, annotations: list[Any]) -> None:
        """Adds everything wrong with the annotations to the report."""
        self._report.num_annotations = len(annotations)
        for annotation in annotations:
            if self._check_ids(annotation):
                self._check_flags(annotation)
                size = self._sizes[annotation["image_id"]]
                if size is not None:
                    self._check_box(annotation, *size)
                    self._check_segmentation(annotation, *size)
        self._judge_all_boxes()
        self._judge_unusable()
        self._add_warnings()

    def _check_ids(self, annotation: Any) -> bool:
        """Whether image and category are known."""
        id_ = annotation.get("id") if isinstance(annotation, dict) else None
        if type(id_) is not int or abs(id_) > LARGEST_ID:
            self._errors.add(
                "malformed annotations",
                f"The annotation {shown(annotation)} has no integer 'id' of 64 bits.",
            )
            return False
        if id_ in self._ids:
            self._errors.add(
                "duplicate annotation ids", f"The annotation id {id_} is used more than once."
            )
        self._ids.add(id_)
        known = True
        for key, kind, allowed in (
            ("image_id", "unknown images", self._sizes),
            ("category_id", "unknown categories", self._category_ids),
        ):
            value = annotation.get(key)
            if type(value) not in (int, str) or value not in allowed:
                self._errors.add(
                    kind,
                    f"Annotation {id_} has the {key} {shown(value)}, which the json does not "
                    f"define: it has {shown(next(iter(allowed)))}, for one.",
                )
                known = False
        return known

    def _check_flags(self, annotation: dict[str, Any]) -> None:
        if annotation.get("ignore", 0) != 0:
            self._errors.add(
                "ignored annotations",
                f"Annotation {annotation['id']} has 'ignore' set, which Detectron2 refuses; use "
                "'iscrowd' or remove it.",
            )
        for key in self._needed if self._testing else ():
            if key not in annotation:
                self._errors.add(
                    "missing keys",
                    f"Annotation {annotation['id']} has no '{key}', which COCO's evaluation needs.",
                )
        area = annotation.get("area", 0)
        if not is_finite(area) or area < 0:
            self._errors.add(
                "areas",
                f"Annotation {annotation['id']} has the area {shown(area)}; a number of square "
                "pixels is needed.",
            )
        if fault := keypoints_fault(annotation, self._num_keypoints, measured=self._testing):
            self._errors.add("malformed keypoints", f"Annotation {annotation['id']} {fault}.")
        if annotation.get("iscrowd", 0) not in (0, 1):
            self._errors.add(
                "crowd flags",
                f"Annotation {annotation['id']} has 'iscrowd' {shown(annotation['iscrowd'])}; it "
                "must be 0 or 1.",
            )
        if annotation.get("iscrowd", 0):
            self._crowds += 1
        else:
            self._objects_of[annotation["image_id"]] += 1
            self._objects_of_category[annotation["category_id"]] += 1

    def _check_box(self, annotation: dict[str, Any], width: int, height: int) -> None:
        box: Any = annotation.get("bbox")
        try:
            x, y, w, h = box
            finite = math.isfinite(x + y + w + h)
        except (TypeError, ValueError, OverflowError):
            finite = False
        if not finite:
            self._errors.add(
                "malformed boxes",
                f"{_place(annotation)} has the bbox {shown(box)}; four numbers [x, y, width, "
                "height] in pixels are needed.",
            )
        elif not annotation.get("iscrowd", 0):
            self._fit_as_fractions += max(x, y, w, h) <= 1
            self._note_repetition(annotation)
            self._fit_as_corners += x < w <= width + 1 and y < h <= height + 1
            self._check_place(annotation, (x, y, w, h), width, height)
            self._agreement.look(annotation, (x, y, w, h), (width, height))

    def _note_repetition(self, annotation: dict[str, Any]) -> None:
        box = hash((annotation["image_id"], annotation["category_id"], *annotation["bbox"]))
        self._repeated += box in self._boxes
        self._boxes.add(box)

    def _check_place(
        self,
        annotation: dict[str, Any],
        box: tuple[float, float, float, float],
        width: int,
        height: int,
    ) -> None:
        x, y, w, h = box
        if w <= LEAST_SIDE or h <= LEAST_SIDE:
            kept = self._errors if w < 0 or h < 0 else self._unusable
            kept.add(
                "boxes without area", f"{_place(annotation)} has the bbox {list(box)}: no area."
            )
            return
        inside_w = min(x + w, width) - max(x, 0)
        inside_h = min(y + h, height) - max(y, 0)
        if min(inside_w, inside_h) <= 0 or inside_w * inside_h < 0.5 * w * h:
            self._unusable.add(
                "boxes outside the image",
                f"{_place(annotation)} has the bbox {list(box)}, most of it outside the image of "
                f"{width}x{height} pixels.",
            )
        elif w - inside_w > 1 or h - inside_h > 1:
            self._reaching_out += 1

    def _check_segmentation(self, annotation: dict[str, Any], width: int, height: int) -> None:
        segmentation = annotation.get("segmentation")
        is_object = not annotation.get("iscrowd", 0)
        if not segmentation:
            if self._mask_format and (is_object or self._testing):  # of crowds figures need them
                self._errors.add(
                    "missing segmentations",
                    f"{_place(annotation)} has no segmentation, but MODEL.MASK_ON is True.",
                )
        elif isinstance(segmentation, dict):
            if not are_run_lengths(segmentation, width, height):
                self._add_malformed(annotation, f"run lengths that cover size [{height}, {width}]")
            elif self._mask_format == "polygon" and is_object and self._training:
                self._errors.add(
                    "run lengths",
                    f"{_place(annotation)} has a run-length mask, but INPUT.MASK_FORMAT is "
                    "'polygon'; 'bitmask' reads both.",
                )
            elif self._mask_format and is_object and (lost := what_is_lost(segmentation)):
                self._unusable.add("empty masks", f"{_place(annotation)} {lost}.")
        elif not are_polygons(segmentation):
            self._add_malformed(annotation, "a list of polygons [[x1, y1, x2, y2, ...], ...]")
        elif (far := farthest(segmentation, width, height)) is not None:
            self._errors.add(
                "polygons far outside",
                f"{_place(annotation)} has a polygon with the coordinate {shown(far)}, far outside "
                f"the image of {width}x{height} pixels.",
            )
        elif lost := what_is_lost(segmentation):
            # Boxes are learnt with any polygon that is left, and crowds are not.
            boxed = not self._mask_format and any(map(has_area, segmentation))
            kept = self._report.warnings if boxed or not is_object else self._unusable
            kept.add("polygons without area", f"{_place(annotation)} {lost}.")

    def _add_malformed(self, annotation: dict[str, Any], needed: str) -> None:
        self._errors.add(
            "malformed segmentations",
            f"{_place(annotation)} has the segmentation {shown(annotation['segmentation'])}; "
            f"{needed} are needed.",
        )

    def _judge_all_boxes(self) -> None:
        """What single boxes cannot show: corners or fractions where width and height belong."""
        objects = self._objects_of.total()
        out = self._reaching_out + self._unusable.counts["boxes outside the image"]
        if objects and self._fit_as_fractions == objects:
            self._errors.add(
                "box formats", "No box is larger than 1: they look like fractions, not pixels."
            )
        elif self._fit_as_fractions:
            said = f"{self._fit_as_fractions} of {objects} boxes lie within their image's first"
            self._report.warnings.add("box formats", f"{said} pixel: are they fractions?")
        proves = objects >= _MIN_OBJECTS_FOR_CORNERS and out >= 0.1 * objects
        if proves and self._fit_as_corners == objects:
            self._errors.add(
                "box formats",
                f"{out} of {objects} boxes reach out of their images as [x, y, width, height], but "
                "all fit as [x1, y1, x2, y2]: they look like corners.",
            )

    def _judge_unusable(self) -> None:
        few = len(self._unusable) <= HARMLESS_SHARE * self._objects_of.total()
        (self._report.warnings if few else self._errors).update(self._unusable)

    def _add_warnings(self) -> None:
        """Counts that a user should see once; none of them makes training wrong."""
        add = self._report.warnings.add
        objects = self._objects_of.total()
        if self._training and not objects:
            self._errors.add("missing objects", "No image has an object to train or judge by.")
        empty = len(self._sizes) - len(self._objects_of)
        if empty:
            add("empty images", f"{empty} of {len(self._sizes)} images have no object.")
        if self._reaching_out:
            add(
                "large boxes", f"{self._reaching_out} of {objects} boxes reach out of their images."
            )
        if self._repeated:
            add(
                "repeated objects",
                f"{self._repeated} of {objects} objects have the class and the box of another one "
                "in their image: each counts, also in AP.",
            )
        for kind, sentence in self._agreement.sentences(objects):
            add(kind, sentence)
        if self._crowds:
            add("crowds", f"{self._crowds} annotations are crowds, which are not trained on.")
        unseen = sorted(self._category_ids - self._objects_of_category.keys())
        if unseen:
            add("unused classes", f"{len(unseen)} categories have no object: ids {shown(unseen)}.")
        if self._testing and 0 in self._ids:
            add("ids", "Annotation id 0 never counts as found in COCO's evaluation; start at 1.")


def _place(annotation: dict[str, Any]) -> str:
    return f"Annotation {annotation['id']} of image {annotation['image_id']!r}"
