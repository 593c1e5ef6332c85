# SPDX-License-Identifier: Apache-2.0
"""Ground truth for COCO's figures, of any data set in Detectron2's catalogs."""

import contextlib
import io
import logging
from copy import copy
from dataclasses import dataclass
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets.coco import convert_to_coco_dict
from detectron2.utils.file_io import PathManager
from pycocotools.coco import COCO

from dynamicdet_d2.data.check.by_code import warn_of_boxes
from dynamicdet_d2.data.check.records import unmeasurable
from dynamicdet_d2.data.check.run import is_of_coco_files
from dynamicdet_d2.data.loading.images import FIGURES, check_registered, name_malformed
from dynamicdet_d2.data.register import read_json
from dynamicdet_d2.utils.plain import is_finite
from dynamicdet_d2.utils.words import in_words, shown

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class GroundTruth:
    """A data set's annotations.

    Attributes:
        dataset: its name in Detectron2's catalogs.
        coco: images, annotations and categories, indexed.
    """

    dataset: str
    coco: COCO

    @property
    def category_ids(self) -> dict[int, int]:
        """Class as the model counts it -> category id.

        Asked for after the images were loaded: some data sets say only then how classes are
        counted. Where one never does, the classes are the category ids.

        Raises:
            ValueError: two categories are one class, and the first has objects.
        """
        mapping = MetadataCatalog.get(self.dataset).get("thing_dataset_id_to_contiguous_id")
        if mapping is None:
            return {category: category for category in self.coco.getCatIds()}
        found = {contiguous: category for category, contiguous in mapping.items()}
        merged = [
            category
            for category, place in mapping.items()
            if found[place] != category and self.coco.catToImgs.get(category)
        ]
        if merged:
            other = found[mapping[merged[0]]]
            raise ValueError(
                f"Data set {self.dataset}: by thing_dataset_id_to_contiguous_id categories "
                f"{merged[0]} and {other} are one class, and figures are by category; its "
                "annotations must have one of them."
            )
        return found

    def objects(self, image_id: Any) -> list[dict]:
        """What is to be found in an image, crowds left out, as ``ExitRecord.results`` has it.

        Boxes, masks (polygons or RLE) where there are some, and classes as the model counts them;
        those of other classes are left out. Asked for after the images were loaded, as above.
        """
        classes = {category: contiguous for contiguous, category in self.category_ids.items()}
        return [
            {**annotation, "category_id": classes[annotation["category_id"]]}
            for annotation in self.coco.imgToAnns.get(image_id, ())
            if annotation["category_id"] in classes and not annotation.get("iscrowd")
        ]


def read_ground_truth(dataset: str) -> GroundTruth:
    """Read a data set's COCO file, or convert what its catalog entry gives where there is none.

    Raises:
        ValueError: one sentence that names the data set, where it has no annotations, they are not
            in COCO's or Detectron2's format, or are those of LVIS.
    """
    if not isinstance(dataset, str):
        raise ValueError(
            f"The evaluation names {shown(dataset)}; it must be the name of one data set."
        )
    refuse_lvis(dataset)
    json_file = json_file_of(dataset)
    content = converted(dataset) if json_file is None else _from_file(json_file)
    if "annotations" not in content:
        raise ValueError(
            f"Data set {dataset} has no 'annotations'{f' in {json_file}' if json_file else ''}: "
            "without them there is no AP."
        )
    coco = COCO()
    coco.dataset = content
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints
            coco.createIndex()
    except (LookupError, TypeError, AttributeError) as error:
        raise ValueError(
            f"Data set {dataset} is not in COCO's format: {in_words(error)}."
        ) from error
    check_areas(dataset, content["annotations"])
    return GroundTruth(dataset, coco)


def refuse_lvis(dataset: str) -> None:
    """
    Raises:
        ValueError: it is a data set of LVIS, whose metadata do not say how its classes are counted,
            and of which no image has all its objects.
    """
    if MetadataCatalog.get(dataset).get("evaluator_type") == "lvis":
        raise ValueError(
            f"Data set {dataset} is one of LVIS, whose classes count in another way and whose "
            "images lack objects: its figures are those of Detectron2's LVISEvaluator, not COCO's."
        )


def json_file_of(dataset: str) -> str | None:
    """Where a data set's annotations are; None for one that is registered by code, also where a
    ``COCOEvaluator`` of the program's own has converted them, now or in an earlier run."""
    file: str | None = MetadataCatalog.get(dataset).get("json_file")
    made = file is not None and str(file).endswith(converted_name(dataset))
    by_code = dataset in DatasetCatalog and not is_of_coco_files(dataset)
    return None if by_code and made else file


def converted_name(dataset: str) -> str:
    """What Detectron2 calls the file into which it converts a data set."""
    return f"{dataset}_coco_format.json"


def check_areas(dataset: str, annotations: list[dict]) -> None:
    """One that is not there would end an evaluation behind its pass, and one that is not finite
    make every AP undefined.

    Raises:
        ValueError: naming the first such annotation.
    """
    for annotation in annotations:
        area = annotation.get("area")
        if not is_finite(area):
            found = f"has the area {shown(area)}" if "area" in annotation else "has no 'area'"
            raise ValueError(
                f"Data set {dataset}: annotation {shown(annotation.get('id'))} {found}; a number "
                "of square pixels is needed."
            )


def _from_file(json_file: str) -> dict[str, Any]:
    try:
        return read_json(PathManager.get_local_path(json_file))
    except OSError as error:  # of an address
        raise ValueError(f"{json_file} cannot be fetched: {error}.") from error


def converted(dataset: str) -> dict[str, Any]:
    """The COCO content of a data set that is registered by code; of its boxes it is said which
    nothing finds.

    Raises:
        ValueError: as ``read_ground_truth``.
    """
    check_registered("The evaluation", [dataset])
    name_malformed([dataset], FIGURES)
    images, posed = DatasetCatalog.get(dataset), []
    if (fault := unmeasurable(dataset, images)) is not None:
        raise ValueError(f"Data set {dataset}: {fault}.")
    try:
        objects = [x for image in images for x in image.get("annotations", ())]
        posed = [(own, copy(own["keypoints"])) for own in objects if "keypoints" in own]
        content: dict[str, Any] = convert_to_coco_dict(dataset)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"Data set {dataset} cannot be converted to COCO's format, since it lacks what "
            f"Detectron2 expects of one: {in_words(error)}."
        ) from error
    finally:
        # Detectron2 moves them by half a pixel in the data set's own dicts, each time anew.
        for own, points in posed:
            own["keypoints"] = points
    for annotation in content.get("annotations", ()):
        if annotation.get("segmentation") == []:  # of a box alone, of which Detectron2's area is 0
            del annotation["segmentation"]
            annotation["area"] = annotation["bbox"][2] * annotation["bbox"][3]
    warn_of_boxes([dataset], DatasetCatalog.get(dataset), measured=True)
    return content
