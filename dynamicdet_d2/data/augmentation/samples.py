# SPDX-License-Identifier: Apache-2.0
"""From a data set's dict to a picture, and from a picture to what a detector trains on.

H, W: height and width in pixels; P: points.
"""

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
import torch
from detectron2.data import detection_utils
from detectron2.structures import BoxMode
from pycocotools import mask as coco_masks

from dynamicdet_d2.data.augmentation.picture import Annotation, Picture, transformed


def read_picture(
    dataset_dict: Mapping[str, Any], image_format: str, size: int, masks: bool
) -> Picture:
    """Read an image as Detectron2's ``DatasetMapper`` does, resized so that it fits a square.

    Args:
        dataset_dict: in Detectron2's format.
        image_format: "RGB" or "BGR".
        size: of the longest side, in pixels.
        masks: keep masks that are no polygons (run lengths); polygons are kept always, since
            boxes follow from them.

    Raises:
        SizeMismatchError: the image has another size than the dict says.
    """
    image = detection_utils.read_image(dataset_dict["file_name"], format=image_format)
    detection_utils.check_image_size(dict(dataset_dict), image)
    annotations = [_read(a, masks) for a in dataset_dict.get("annotations", ())]
    return resized(Picture(image, annotations), size)


def resized(picture: Picture, size: int) -> Picture:
    """Enlarged or reduced so that the longest side has ``size`` pixels, the other at least one."""
    height, width = picture.height, picture.width
    scale = size / max(height, width)
    new_height, new_width = (max(1, round(side * scale)) for side in (height, width))
    # A reduced pixel is the mean of those that it covers, as with Detectron2's resizing.
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    image = cv2.resize(picture.image, (new_width, new_height), interpolation=interpolation)
    matrix = np.diag([new_width / width, new_height / height, 1.0])
    return Picture(image, transformed(picture.annotations, matrix, new_height, new_width))


def finished(
    picture: Picture, dataset_dict: Mapping[str, Any], masks: bool, mask_format: str
) -> dict[str, Any]:
    """What ``DatasetMapper`` gives for a training image.

    Args:
        picture: at the size that it is trained at.
        dataset_dict: of the image that the sample is named after; it passes through, with the
            picture's height and width.
        masks, mask_format: ``MODEL.MASK_ON`` and ``INPUT.MASK_FORMAT``.

    Returns:
        with ``"image"`` (3, H, W) uint8, and ``"instances"`` without crowds.
    """
    shape = picture.height, picture.width
    annotations = [_drawn(a, masks) for a in picture.annotations if not a.get("iscrowd", 0)]
    instances = detection_utils.annotations_to_instances(annotations, shape, mask_format)
    rest = {name: value for name, value in dataset_dict.items() if name != "annotations"}
    return {
        **rest,
        "height": picture.height,
        "width": picture.width,
        "image": torch.from_numpy(np.ascontiguousarray(picture.image.transpose(2, 0, 1))),
        "instances": detection_utils.filter_empty_instances(instances),
    }


def _read(annotation: Annotation, masks: bool) -> Annotation:
    """Detectron2's dict -> a ``Picture``'s."""
    found = {k: v for k, v in annotation.items() if k not in ("segmentation", "keypoints")}
    box = BoxMode.convert(annotation["bbox"], annotation["bbox_mode"], BoxMode.XYXY_ABS)
    found.update(bbox=np.asarray(box, dtype=np.float64), bbox_mode=BoxMode.XYXY_ABS)
    # Crowds are not trained on, so that nobody has looked at their outlines.
    segmentation = None if annotation.get("iscrowd", 0) else annotation.get("segmentation")
    if isinstance(segmentation, list):
        outlines = [polygon for polygon in segmentation if _is_outline(polygon)]
        if outlines or masks:
            found["segmentation"] = [np.asarray(x, np.float64).reshape(-1, 2) for x in outlines]
    elif isinstance(segmentation, dict) and masks:
        found["segmentation"] = coco_masks.decode(segmentation)
    return found


def _is_outline(polygon: Any) -> bool:
    """Three points or more as flat numbers: others are drawn by nobody, Detectron2 included."""
    return np.ndim(polygon) == 1 and len(polygon) >= 6 and len(polygon) % 2 == 0


def _drawn(annotation: Annotation, masks: bool) -> Annotation:
    """A ``Picture``'s dict -> Detectron2's: flat polygons, and only where masks are trained."""
    found = dict(annotation)
    segmentation = found.pop("segmentation", None)
    if masks and isinstance(segmentation, list):
        found["segmentation"] = [polygon.reshape(-1) for polygon in segmentation]
    elif masks and segmentation is not None:
        found["segmentation"] = segmentation
    return found
