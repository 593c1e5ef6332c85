# SPDX-License-Identifier: Apache-2.0
"""AP of one training image under each exit, for the AP-based router of the paper's ablation."""

import contextlib
import io
import math

import numpy as np
from detectron2.evaluation.coco_evaluation import instances_to_coco_json
from detectron2.structures import BoxMode, Instances
from pycocotools.coco import COCO

from dynamicdet_d2.evaluation.coco.sweep import CocoSweep
from dynamicdet_d2.evaluation.exit_records import EXITS

# The one image of a data set that is made for it.
_IMAGE_ID = 1


def ap_gain(exits: dict, ground_truth: Instances) -> float:
    """Box AP of the image alone under detector2 less that under detector1, in percent.

    COCO's AP over the classes that the image shows (section 4.4.2 of the paper). 0 for an image
    without objects.

    Args:
        exits: what ``model.exits`` says of the image, in the ground truth's scale.
        ground_truth: with ``gt_boxes`` and ``gt_classes``.
    """
    if not len(ground_truth):
        return 0.0
    results = tuple(instances_to_coco_json(exits[name].to("cpu"), _IMAGE_ID) for name in EXITS)
    sweep = CocoSweep(_coco(ground_truth), results, "bbox", [_IMAGE_ID])
    easy, hard = (sweep.evaluate(np.array([route])).ap for route in (False, True))
    return 0.0 if math.isnan(hard - easy) else hard - easy


def _coco(instances: Instances) -> COCO:
    boxes = instances.gt_boxes.tensor.cpu()
    boxes = BoxMode.convert(boxes, BoxMode.XYXY_ABS, BoxMode.XYWH_ABS).tolist()
    classes = instances.gt_classes.tolist()
    coco = COCO()
    coco.dataset = {
        "images": [{"id": _IMAGE_ID}],
        "categories": [{"id": number} for number in sorted(set(classes))],
        "annotations": [
            {
                "id": number,
                "image_id": _IMAGE_ID,
                "category_id": category,
                "bbox": box,
                "area": box[2] * box[3],
                "iscrowd": 0,
            }
            for number, (box, category) in enumerate(zip(boxes, classes, strict=True), start=1)
        ],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco
