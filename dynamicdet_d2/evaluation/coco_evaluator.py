# SPDX-License-Identifier: Apache-2.0
"""Detectron2's own evaluator, for static detectors and augmented views, on the images and objects
that trade-offs are of."""

import logging
import os
from collections.abc import Sequence
from functools import partial
from itertools import chain
from typing import Any

from detectron2.data import MetadataCatalog
from detectron2.evaluation import COCOEvaluator
from detectron2.utils import comm
from pycocotools.coco import COCO

from dynamicdet_d2.data.check.keypoints import keypoints_fault
from dynamicdet_d2.evaluation.coco.arrays import mask_of
from dynamicdet_d2.evaluation.ground_truth import (
    check_areas,
    converted,
    converted_name,
    json_file_of,
    refuse_lvis,
)
from dynamicdet_d2.utils.files import make_folder, write_json
from dynamicdet_d2.utils.plain import is_finite, to_plain
from dynamicdet_d2.utils.words import shown

logger = logging.getLogger(__name__)


def coco_evaluator(
    dataset: str, folder: str, sigmas: Sequence[float] = (), keypoints: int = 0
) -> COCOEvaluator:
    """Detectron2's own, of the annotations that a data set has now and of the images that it sees.

    One that is registered by code is converted into a file of the folder. Left to itself Detectron2
    would take what an earlier run has converted, and name it as the data set's own.

    Args:
        sigmas: ``TEST.KEYPOINT_OKS_SIGMAS``, one a keypoint; empty: COCO's 17.
        keypoints: of an object, where they are measured, else 0.

    Raises:
        ValueError: as ``read_ground_truth``, or naming an object that nobody could measure.
    """
    refuse_lvis(dataset)
    metadata = MetadataCatalog.get(dataset)
    by_code = json_file_of(dataset) is None
    if by_code:
        path = os.path.join(folder, converted_name(dataset))
        # By each process, as machines need not share the folder.
        make_folder(os.path.dirname(path))  # names may have a slash
        write_json(path, to_plain(converted(dataset)))
        if hasattr(metadata, "json_file"):  # by an evaluator of the program's own
            del metadata.json_file
        metadata.json_file = path
    try:
        # Without compiled code there is no fast implementation.
        own = {"use_fast_impl": False, "kpt_oks_sigmas": sigmas}
        evaluator = _OfImagesSeen(dataset, output_dir=folder, **own)
    finally:
        if by_code:
            del metadata.json_file
    coco: Any = evaluator._coco_api
    _complete(dataset, coco.dataset.get("annotations", []), keypoints)
    coco.annToRLE = partial(_mask_of, dataset, coco)
    return evaluator


def _complete(dataset: str, annotations: list[dict], keypoints: int) -> None:
    """What COCO's evaluation asks of every object, behind its pass; sets may lack it.

    An object without keypoints is one whose keypoints count nowhere.

    Args:
        keypoints: as of ``coco_evaluator``.

    Raises:
        ValueError: naming an object of which that is malformed.
    """
    check_areas(dataset, annotations)
    for annotation in annotations:
        box = annotation.get("bbox")
        if not (isinstance(box, list) and len(box) == 4 and all(map(is_finite, box))):
            _refuse(dataset, annotation, f"has the box {shown(box)}; four numbers are needed")
        annotation["iscrowd"] = crowd = annotation.get("iscrowd") or 0
        if crowd not in (0, 1):
            _refuse(dataset, annotation, f"has 'iscrowd' {shown(crowd)}; it must be 0 or 1")
        if not keypoints:
            continue
        if not annotation.get("keypoints"):
            annotation.update(keypoints=[0] * 3 * keypoints, num_keypoints=0)
        if annotation.get("num_keypoints") is None:  # counted where it is there
            annotation.pop("num_keypoints", None)
        if fault := keypoints_fault(annotation, keypoints, measured=True):
            _refuse(dataset, annotation, fault)
        annotation.setdefault("num_keypoints", sum(v > 0 for v in annotation["keypoints"][2::3]))


def _refuse(dataset: str, annotation: dict, fault: str) -> None:
    raise ValueError(f"Data set {dataset}: annotation {shown(annotation.get('id'))} {fault}.")


def _mask_of(dataset: str, ground_truth: COCO, annotation: dict) -> dict:
    """As trade-offs have masks."""
    try:
        return mask_of(ground_truth, annotation)
    except ValueError as error:
        raise ValueError(f"Data set {dataset}: {error}, or MODEL.MASK_ON False.") from error


class _OfImagesSeen(COCOEvaluator):
    """Without those that nobody could read: a trade-off has no figures of them either, where
    Detectron2 counts all their objects as missed."""

    def reset(self) -> None:
        super().reset()
        self._seen: list[Any] = []

    def process(self, inputs: Sequence[dict], outputs: Sequence[dict]) -> None:
        # Ids may be numpy's numbers, as tables have them, which its file of results cannot hold.
        known = [{**image, "image_id": to_plain(image["image_id"])} for image in inputs]
        super().process(known, outputs)
        self._seen += [image["image_id"] for image in known]

    def _tasks_from_predictions(self, predictions: list[dict]) -> list[str]:
        """Of keypoints Detectron2 would ask the first object how many there are."""
        tasks = super()._tasks_from_predictions(predictions)
        has_objects = bool(self._coco_api.anns)
        return [task for task in tasks if has_objects or task != "keypoints"]

    def evaluate(self, img_ids: Sequence[Any] | None = None) -> dict:
        seen = {*chain.from_iterable(comm.gather(self._seen, dst=0))}
        known = self._coco_api.getImgIds()
        own = [image_id for image_id in known if image_id in seen]
        if own and len(own) < len(known) and img_ids is None:  # on the main process
            logger.warning(
                "%d images of %s were not seen; its figures are over the others.",
                *(len(known) - len(own), self._metadata.name),
            )
            img_ids = own
        return super().evaluate(img_ids)
